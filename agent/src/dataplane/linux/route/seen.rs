//! Reading routes, podnet's and those of other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteType,
    RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{IfName, Mtu, NextHop, ObservedRoute, RouteKey, is_inside};

use super::super::bridge;
use super::super::errno::{Errno, KernelError};
use super::super::link;
use super::super::socket::Socket;
use super::OURS;

/// What podnet reads of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct KernelRoute {
    pub(in super::super) destination: IpNetwork,
    pub(in super::super) metric: u32,
    pub(in super::super) table: u32,
    pub(in super::super) protocol: RouteProtocol,
    pub(in super::super) kind: RouteType,
    pub(in super::super) tos: u8,
    pub(in super::super) gateway: Option<IpAddr>,
    pub(in super::super) device: Option<u32>,
    /// The devices of the other hops, if there are several.
    more_devices: Vec<u32>,
    pub(in super::super) source: Option<IpAddr>,
    pub(in super::super) mtu: Option<u32>,
    /// Whether it is what the kernel has learned of the path for a while. An ICMP error that says so can be
    /// forged: no MTU of such a route counts, but that of the table.
    pub(in super::super) passing: bool,
}

impl KernelRoute {
    /// Reads a route; `None` for one of a family that podnet knows nothing of.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a route has far more than podnet reads"
    )]
    pub(in super::super) fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let everything = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut destination = everything;
        let mut route = Self {
            destination: IpNetwork::from(everything),
            metric: 0,
            table: header.table.into(),
            protocol: header.protocol,
            kind: header.kind,
            tos: header.tos,
            gateway: None,
            device: None,
            more_devices: Vec::new(),
            source: None,
            mtu: None,
            passing: false,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Priority(metric) => route.metric = *metric,
                // The header holds tables up to 255 only.
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::Via(RouteVia::Inet6(address)) => {
                    route.gateway = Some((*address).into());
                }
                RouteAttribute::Oif(device) => route.device = Some(*device),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Metrics(metrics) => {
                    route.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                RouteAttribute::CacheInfo(cached) => route.passing = cached.expires != 0,
                RouteAttribute::MultiPath(hops) => {
                    let mut devices = hops.iter().map(|hop| hop.interface_index);
                    route.device = devices.next();
                    route.more_devices = devices.collect();
                }
                _ => {}
            }
        }
        route.destination = IpNetwork::new(destination, header.destination_prefix_length).ok()?;
        Some(route)
    }

    /// The devices that it leads out of.
    pub(in super::super) fn devices(&self) -> impl Iterator<Item = u32> {
        self.device
            .into_iter()
            .chain(self.more_devices.iter().copied())
    }

    /// Takes the MTU of the route of the table in place of what was learned.
    pub(in super::super) fn forget_learned(&mut self, of_table: Option<&Self>) {
        if self.passing {
            self.mtu = of_table
                .filter(|route| !route.passing)
                .and_then(|route| route.mtu);
        }
    }

    pub(super) fn key(&self) -> RouteKey {
        RouteKey {
            destination: self.destination,
            metric: self.metric,
        }
    }

    /// What happens on a route of podnet's; `None` for what podnet never makes.
    fn next_hop(&self, names: &BTreeMap<u32, IfName>) -> Option<NextHop> {
        if self.kind == RouteType::Unreachable {
            return Some(NextHop::Unreachable);
        }
        if self.kind != RouteType::Unicast {
            return None;
        }
        Some(NextHop::Gateway {
            via: self.gateway?,
            device: names.get(&self.device?)?.clone(),
            source: self.source?,
            mtu: Mtu(self.mtu?),
        })
    }

    pub(super) fn words(&self) -> String {
        let protocol = u8::from(self.protocol);
        match self.gateway {
            Some(gateway) => format!("a route via {gateway} (protocol {protocol})"),
            None => format!("a route without a gateway (protocol {protocol})"),
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(ip) = address {
        Some((*ip).into())
    } else if let RouteAddress::Inet6(ip) = address {
        Some((*ip).into())
    } else {
        None
    }
}

/// What a dump of routes is narrowed down to; the kernel does it.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Filter {
    pub(in super::super) family: AddressFamily,
    /// 0 for all.
    pub(in super::super) table: u8,
    pub(in super::super) protocol: RouteProtocol,
    /// The device that they leave by.
    pub(in super::super) device: Option<u32>,
}

/// Lists routes.
pub(in super::super) async fn list(
    socket: &Socket,
    filter: Filter,
) -> Result<Vec<KernelRoute>, KernelError> {
    let routes = match socket.dump(listing(filter)).await {
        Ok(answer) => read_all(&answer).collect(),
        // A table that has never had a route.
        Err(error) if error.is(Errno::NotFound) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(routes)
}

/// A request for routes.
pub(in super::super) fn listing(filter: Filter) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = filter.family;
    message.header.table = filter.table;
    message.header.protocol = filter.protocol;
    message
        .attributes
        .extend(filter.device.map(RouteAttribute::Oif));
    RouteNetlinkMessage::GetRoute(message)
}

/// The routes in an answer.
pub(in super::super) fn read_all(
    answer: &[RouteNetlinkMessage],
) -> impl Iterator<Item = KernelRoute> {
    answer.iter().filter_map(|message| {
        if let RouteNetlinkMessage::NewRoute(route) = message {
            KernelRoute::read(route)
        } else {
            None
        }
    })
}

pub(super) const MAIN: Filter = Filter {
    family: AddressFamily::Inet,
    table: RouteHeader::RT_TABLE_MAIN,
    protocol: RouteProtocol::Unspec,
    device: None,
};

/// Looks at podnet's routes, and at what else stands at the wanted destinations and inside of them. Where several routes
/// share a destination and a metric the kernel takes the first, and so does this.
pub(in super::super) async fn observe(
    socket: &Socket,
    wanted: &BTreeSet<IpNetwork>,
) -> Result<BTreeMap<RouteKey, ObservedRoute>, KernelError> {
    let bridge = bridge::index(socket).await?;
    let mut found = BTreeMap::new();
    // A host may have a million routes: what is inside of a destination is inside of the outermost one.
    let inner = |one: &IpNetwork| wanted.iter().any(|other| is_inside(*one, *other));
    let outermost: Vec<IpNetwork> = wanted.iter().copied().filter(|one| !inner(one)).collect();
    let concerned = |destination| {
        let mut ranges = outermost.iter();
        wanted.contains(&destination) || ranges.any(|range| is_inside(destination, *range))
    };
    let mut of_bridge = BTreeSet::new();
    let routes = list(socket, MAIN).await?;
    let ours = routes.iter().filter(|route| route.protocol == OURS);
    let devices = ours.filter_map(|route| route.device).collect();
    let names = link::names(socket, &devices).await?;
    for route in routes {
        // What comes with the bridge's address goes with it.
        if bridge.is_some() && route.device == bridge && route.protocol == RouteProtocol::Kernel {
            of_bridge.insert(route.key());
        }
        let place = if route.protocol == OURS {
            ObservedRoute::Ours {
                next_hop: route.next_hop(&names),
            }
        } else if concerned(route.destination)
            && !of_bridge.contains(&route.key())
            && route.tos == 0
        {
            ObservedRoute::Foreign(route.words())
        } else {
            continue;
        };
        found.entry(route.key()).or_insert(place);
    }
    Ok(found)
}
