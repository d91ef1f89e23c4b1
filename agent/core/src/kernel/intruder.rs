//! What others have among the addresses of the pod network.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::desired::Desired;
use super::diff::{Conflict, Contested};
use super::observed::{HostAddress, ObservedRoute};
use super::route::{NextHop, RouteKey};

/// Whether a range is a part of another.
#[must_use]
pub fn is_inside(part: IpNetwork, whole: IpNetwork) -> bool {
    part.prefix() > whole.prefix() && whole.contains(part.network())
}

impl Desired {
    /// The ranges that podnet's routes, and the addresses of its bridge, lead to.
    pub fn ranges(&self) -> impl Iterator<Item = IpNetwork> {
        let routes = self.routes.keys().map(|key| key.destination);
        routes.chain(self.own_blocks())
    }

    fn own_blocks(&self) -> impl Iterator<Item = IpNetwork> {
        let addresses = self.bridge.iter().flat_map(|bridge| &bridge.addresses);
        addresses.filter_map(|address| IpNetwork::new(address.network(), address.prefix()).ok())
    }

    /// The blocks that pods of this node and of its peers are in.
    fn blocks(&self) -> impl Iterator<Item = IpNetwork> {
        let routes = self.routes.values();
        let routed = routes.filter(|route| matches!(route.next_hop, NextHop::Gateway { .. }));
        routed
            .map(|route| route.destination)
            .chain(self.own_blocks())
    }
}

/// Routes of others that are narrower than podnet's, and so come first.
pub(super) fn routes(
    desired: &Desired,
    found: &BTreeMap<RouteKey, ObservedRoute>,
) -> impl Iterator<Item = Conflict> {
    found.iter().filter_map(|(key, route)| {
        let ObservedRoute::Foreign(words) = route else {
            return None;
        };
        let range = key.destination;
        let mut ranges = desired.ranges();
        let replaces = desired.routes.contains_key(&RouteKey::to(range));
        (!replaces && ranges.any(|whole| is_inside(range, whole))).then(|| Conflict {
            object: Contested::Addresses {
                range,
                used: desired.blocks().any(|block| is_inside(range, block)),
            },
            found: words.clone(),
        })
    })
}

/// Addresses of the host, but for those of podnet's bridge, that are in a block: packets to a pod that has such
/// an address would end at the host.
pub fn addresses(desired: &Desired, addresses: &[HostAddress]) -> impl Iterator<Item = Conflict> {
    addresses.iter().filter_map(|found| {
        let ip = found.address.ip();
        let mut blocks = desired.blocks();
        blocks.any(|block| block.contains(ip)).then(|| Conflict {
            object: Contested::Addresses {
                range: IpNetwork::from(ip),
                used: true,
            },
            found: format!("the address {} of {}", found.address, found.ifname),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Bridge, IfIndex, IfName, MacAddr, Mtu, Route};

    fn desired() -> Desired {
        let route = |destination: &str, next_hop| {
            let destination = destination.parse().unwrap();
            let route = Route {
                destination,
                next_hop,
            };
            (route.key(), route)
        };
        let gateway = NextHop::Gateway {
            via: "192.0.2.1".parse().unwrap(),
            device: IfIndex(2),
            source: "10.244.0.1".parse().unwrap(),
            mtu: Mtu(1500),
        };
        Desired {
            bridge: Some(Bridge {
                name: IfName::bridge(),
                mac: MacAddr([0; 6]),
                mtu: Mtu(1500),
                addresses: vec!["10.244.0.1/24".parse().unwrap()],
            }),
            routes: [
                route("10.244.0.0/16", NextHop::Unreachable),
                route("10.244.1.0/24", gateway),
            ]
            .into(),
            ..Desired::default()
        }
    }

    /// Whether a route of others is in the way, and then whether in that of packets that pods send today.
    fn judged(desired: &Desired, destination: &str) -> Option<bool> {
        let key = RouteKey {
            destination: destination.parse().unwrap(),
            metric: 100,
        };
        let foreign = ObservedRoute::Foreign("a route".to_owned());
        let found = BTreeMap::from([(key, foreign)]);
        let conflict = routes(desired, &found).next()?;
        if let Contested::Addresses { used, .. } = conflict.object {
            Some(used)
        } else {
            None
        }
    }

    #[test]
    fn narrower_routes_are_in_the_way_and_equal_and_wider_ones_are_not() {
        for (destination, expected) in [
            ("10.244.1.128/25", Some(true)),
            ("10.244.1.7/32", Some(true)),
            ("10.244.0.128/25", Some(true)),
            ("10.244.0.0/20", Some(false)),
            ("10.244.9.0/24", Some(false)),
            ("10.244.1.0/24", None),
            ("10.244.0.0/16", None),
            ("10.0.0.0/8", None),
            ("0.0.0.0/0", None),
            ("10.245.0.0/24", None),
        ] {
            assert_eq!(judged(&desired(), destination), expected, "{destination}");
            assert_eq!(judged(&Desired::default(), destination), None);
        }
    }

    #[test]
    fn an_address_of_the_host_in_a_block_is_in_the_way() {
        let own = |text: &str| HostAddress {
            address: text.parse().unwrap(),
            index: IfIndex(3),
            ifname: "eth1".parse().unwrap(),
            mac: None,
            mtu: Mtu(1500),
            up: true,
            global: true,
            uplink: false,
        };
        let named = |text: &str| {
            let found = addresses(&desired(), &[own(text)]).next();
            found.map(|conflict| conflict.to_string())
        };
        assert_eq!(
            named("10.244.1.7/32").unwrap(),
            "pod address 10.244.1.7/32: the address 10.244.1.7/32 of eth1 is in the way"
        );
        assert_eq!(named("10.244.7.1/24"), None, "nobody's block");
        assert_eq!(named("10.1.1.1/24"), None);
    }
}
