//! What other programs have among the addresses of the pod network.

use std::collections::BTreeMap;
use std::fmt;

use ipnetwork::IpNetwork;

use super::{NextHop, ObservedRoute, RouteKey};
use crate::kernel::conflict::{Conflict, Disputed};
use crate::kernel::desired::Desired;
use crate::kernel::kinds::{Kind, Kinds};
use crate::kernel::link::BRIDGE;
use crate::kernel::underlay::HostAddress;

/// Addresses of the pod network that another program has a route to, or gives to the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Intruder {
    /// The addresses.
    pub range: IpNetwork,
    /// Whose they are.
    pub owner: Owner,
}

/// Whose addresses of the pod network are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// They are the whole block of this node, to which the bridge's own route should lead.
    Bridge,
    /// They are in the block of a node.
    Node,
    /// They are in no block so far.
    Nobody,
}

impl fmt::Display for Intruder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.range.is_ipv4() { 32 } else { 128 };
        let plural = if self.range.prefix() == longest {
            ""
        } else {
            "es"
        };
        write!(f, "pod address{plural} {}", self.range)
    }
}

impl Disputed for Intruder {
    fn cure(&self) -> String {
        let range = self.range;
        if self.owner == Owner::Bridge {
            format!(
                "put the bridge's own route back with 'ip route replace {range} dev {BRIDGE} proto kernel \
                 scope link'; this node's pods are reached by it"
            )
        } else {
            "remove it: packets of pods to these addresses go there, and not to pods".to_owned()
        }
    }

    fn looks(&self) -> Kinds {
        Kinds::from([Kind::Routes])
    }

    fn cause(&self) -> Kind {
        Kind::OtherRoutes
    }

    /// Podnet's own routes are there too.
    fn keep(&self, _held: &mut Desired, _before: &Desired) {}
}

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

    /// Whose the addresses of a range are.
    fn owner(&self, range: IpNetwork) -> Owner {
        if self.own_blocks().any(|block| block == range) {
            Owner::Bridge
        } else if self.blocks().any(|block| is_inside(range, block)) {
            Owner::Node
        } else {
            Owner::Nobody
        }
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

/// Foreign routes that come before podnet's and the bridge's own: narrower ones, and a route to the own block
/// that stands in the place of the bridge's.
pub(super) fn routes<'a>(
    desired: &'a Desired,
    found: &'a BTreeMap<RouteKey, ObservedRoute>,
) -> impl Iterator<Item = (Intruder, &'a str)> {
    found.iter().filter_map(|(key, route)| {
        let ObservedRoute::Foreign(words) = route else {
            return None;
        };
        let range = key.destination;
        let replaces = desired.routes.contains_key(&RouteKey::to(range));
        let owner = desired.owner(range);
        // The kernel takes the bridge's own route before those.
        let comes_after = owner == Owner::Bridge && key.metric > 0;
        let mut ranges = desired.ranges();
        let narrower = owner == Owner::Bridge || ranges.any(|whole| is_inside(range, whole));
        let intrudes = !replaces && !comes_after && narrower;
        intrudes.then_some((Intruder { range, owner }, words.as_str()))
    })
}

/// Addresses of the host, except for those of podnet's bridge, that are in a block: packets to a pod that has such
/// an address would end at the host.
pub fn addresses(desired: &Desired, addresses: &[HostAddress]) -> impl Iterator<Item = Conflict> {
    addresses.iter().filter_map(|found| {
        let ip = found.address.ip();
        let mut blocks = desired.blocks();
        blocks.any(|block| block.contains(ip)).then(|| {
            let object = Intruder {
                range: IpNetwork::from(ip),
                owner: Owner::Node,
            };
            let words = format!("the address {} of {}", found.address, found.ifname);
            Conflict::new(object, words)
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
            device: "eth0".parse().unwrap(),
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

    /// Whether a foreign route is in the way, and then whose addresses it leads astray.
    fn judged(desired: &Desired, destination: &str, metric: u32) -> Option<Owner> {
        let key = RouteKey {
            destination: destination.parse().unwrap(),
            metric,
        };
        let foreign = ObservedRoute::Foreign("a route".to_owned());
        let found = BTreeMap::from([(key, foreign)]);
        Some(routes(desired, &found).next()?.0.owner)
    }

    #[test]
    fn narrower_routes_are_in_the_way_and_equal_and_wider_ones_are_not() {
        for (destination, expected) in [
            ("10.244.1.128/25", Some(Owner::Node)),
            ("10.244.1.7/32", Some(Owner::Node)),
            ("10.244.0.128/25", Some(Owner::Node)),
            ("10.244.0.0/20", Some(Owner::Nobody)),
            ("10.244.9.0/24", Some(Owner::Nobody)),
            ("10.244.1.0/24", None),
            ("10.244.0.0/16", None),
            ("10.0.0.0/8", None),
            ("0.0.0.0/0", None),
            ("10.245.0.0/24", None),
        ] {
            for metric in [0, 100] {
                let found = judged(&desired(), destination, metric);
                assert_eq!(found, expected, "{destination} metric {metric}");
                assert_eq!(judged(&Desired::default(), destination, metric), None);
            }
        }
    }

    /// As by `ip route replace`: the node's own pods are cut off then.
    #[test]
    fn a_route_to_the_own_block_is_in_the_way_if_it_stands_in_the_place_of_the_bridges() {
        let block = "10.244.0.0/24";
        assert_eq!(judged(&desired(), block, 0), Some(Owner::Bridge));
        assert_eq!(judged(&desired(), block, 100), None, "never taken");
        let object = Intruder {
            range: block.parse().unwrap(),
            owner: Owner::Bridge,
        };
        let conflict = Conflict::new(object, String::new());
        assert!(!conflict.is_harmless());
        let cure = conflict.cure();
        assert!(
            cure.contains("'ip route replace 10.244.0.0/24 dev podnet0"),
            "{cure}"
        );
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
