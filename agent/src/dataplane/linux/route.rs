//! Routes: podnet's own in the main table, marked by their protocol number.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::route::Op;
use podnet_core::kernel::{
    IfIndex, Mtu, NextHop, ObservedRoute, OpError, OpErrorKind, PROTOCOL, Route, RouteKey,
    is_inside,
};

use super::errno::{Errno, KernelError};
use super::socket::Socket;
use super::{Results, bridge, nothing_made};

/// The mark of podnet's routes.
pub(super) const OURS: RouteProtocol = RouteProtocol::Other(PROTOCOL);

/// Makes changes of routes; those of one sort that follow one another in one batch.
pub(super) async fn apply(socket: &Socket, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for alike in ops.chunk_by(|a, b| mem::discriminant(*a) == mem::discriminant(*b)) {
        let keys: Vec<RouteKey> = alike.iter().map(|op| op.key()).collect();
        let routes: Vec<Route> = alike.iter().filter_map(|op| op.route()).collect();
        let done = match alike.first() {
            None => Vec::new(),
            Some(Op::Add(_)) => add(socket, &routes).await,
            Some(Op::Replace(_)) => replace(socket, &routes).await,
            Some(Op::Delete(_)) => delete(socket, &keys).await,
        };
        results.extend(nothing_made(done));
    }
    results
}

/// What podnet reads of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) destination: IpNetwork,
    pub(super) metric: u32,
    pub(super) table: u32,
    pub(super) protocol: RouteProtocol,
    pub(super) kind: RouteType,
    pub(super) tos: u8,
    pub(super) gateway: Option<IpAddr>,
    pub(super) device: Option<u32>,
    /// The devices of the other hops, if there are several.
    more_devices: Vec<u32>,
    pub(super) source: Option<IpAddr>,
    pub(super) mtu: Option<u32>,
    /// Whether it is what the kernel has learned of the path for a while. An ICMP error that says so can be
    /// forged: no MTU of such a route counts, but that of the table.
    pub(super) passing: bool,
}

impl KernelRoute {
    /// Reads a route; `None` for one of a family that podnet knows nothing of.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a route has far more than podnet reads"
    )]
    pub(super) fn read(message: &RouteMessage) -> Option<Self> {
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
    pub(super) fn devices(&self) -> impl Iterator<Item = u32> {
        self.device
            .into_iter()
            .chain(self.more_devices.iter().copied())
    }

    /// Takes the MTU of the route of the table in place of what was learned.
    pub(super) fn forget_learned(&mut self, of_table: Option<&Self>) {
        if self.passing {
            self.mtu = of_table
                .filter(|route| !route.passing)
                .and_then(|route| route.mtu);
        }
    }

    fn key(&self) -> RouteKey {
        RouteKey {
            destination: self.destination,
            metric: self.metric,
        }
    }

    /// What happens on a route of podnet's; `None` for what podnet never makes.
    fn next_hop(&self) -> Option<NextHop> {
        if self.kind == RouteType::Unreachable {
            return Some(NextHop::Unreachable);
        }
        if self.kind != RouteType::Unicast {
            return None;
        }
        Some(NextHop::Gateway {
            via: self.gateway?,
            device: IfIndex(self.device?),
            source: self.source?,
            mtu: Mtu(self.mtu?),
        })
    }

    fn words(&self) -> String {
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
pub(super) struct Filter {
    pub(super) family: AddressFamily,
    /// 0 for all.
    pub(super) table: u8,
    pub(super) protocol: RouteProtocol,
    /// The device that they leave by.
    pub(super) device: Option<u32>,
}

/// Lists routes.
pub(super) async fn list(socket: &Socket, filter: Filter) -> Result<Vec<KernelRoute>, KernelError> {
    let routes = match socket.dump(listing(filter)).await {
        Ok(answer) => read_all(&answer).collect(),
        // A table that has never had a route.
        Err(error) if error.is(Errno::NotFound) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(routes)
}

/// A request for routes.
pub(super) fn listing(filter: Filter) -> RouteNetlinkMessage {
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
pub(super) fn read_all(answer: &[RouteNetlinkMessage]) -> impl Iterator<Item = KernelRoute> {
    answer.iter().filter_map(|message| {
        if let RouteNetlinkMessage::NewRoute(route) = message {
            KernelRoute::read(route)
        } else {
            None
        }
    })
}

const MAIN: Filter = Filter {
    family: AddressFamily::Inet,
    table: RouteHeader::RT_TABLE_MAIN,
    protocol: RouteProtocol::Unspec,
    device: None,
};

/// Looks at podnet's routes, and at what else stands at the wanted destinations and inside of them. Where several routes
/// share a destination and a metric the kernel takes the first, and so does this.
pub(super) async fn observe(
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
    for route in list(socket, MAIN).await? {
        // What comes with the bridge's address goes with it.
        if bridge.is_some() && route.device == bridge && route.protocol == RouteProtocol::Kernel {
            of_bridge.insert(route.key());
        }
        let place = if route.protocol == OURS {
            ObservedRoute::Ours {
                next_hop: route.next_hop(),
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

/// Adds routes where none stand, in one batch. Where one of podnet's stands already, it is changed.
async fn add(socket: &Socket, routes: &[Route]) -> Vec<Result<(), OpError>> {
    let requests = routes
        .iter()
        .map(|route| (new(route), NLM_F_CREATE | NLM_F_EXCL));
    let answers = socket.batch(requests.collect()).await;
    let mut results = Vec::with_capacity(routes.len());
    let mut standing = Vec::new();
    for (position, (answer, route)) in answers.into_iter().zip(routes).enumerate() {
        if matches!(&answer, Err(error) if error.is(Errno::Exists)) {
            standing.push((position, *route));
        }
        results.push(
            answer
                .map(drop)
                .map_err(|error| error.at(format!("route {route}"))),
        );
    }
    if !standing.is_empty() {
        let (positions, routes): (Vec<_>, Vec<_>) = standing.into_iter().unzip();
        for (position, result) in positions.into_iter().zip(replace(socket, &routes).await) {
            results[position] = result;
        }
    }
    results
}

/// Changes routes of podnet's, in one batch. What stands there is looked at first: the kernel
/// would replace anybody's.
async fn replace(socket: &Socket, routes: &[Route]) -> Vec<Result<(), OpError>> {
    let standing = match list(socket, MAIN).await {
        Ok(standing) => standing,
        Err(error) => {
            let failed = |route: &Route| Err(error.at(format!("route {route}")));
            return routes.iter().map(failed).collect();
        }
    };
    let foreign: BTreeMap<_, _> = standing
        .iter()
        .filter(|found| found.protocol != OURS && found.tos == 0)
        .map(|found| (found.key(), found))
        .collect();
    let free = routes
        .iter()
        .filter(|route| !foreign.contains_key(&route.key()));
    let requests = free.map(|route| (new(route), NLM_F_CREATE | NLM_F_REPLACE));
    let mut answers = socket.batch(requests.collect()).await.into_iter();
    let result = |route: &Route| match foreign.get(&route.key()) {
        Some(found) => {
            let detail = format!("route {route}: {} stands there", found.words());
            Err(OpError::new(OpErrorKind::Foreign, detail))
        }
        None => match answers.next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.at(format!("route {route}"))),
            None => Err(KernelError::Lost.at(format!("route {route}"))),
        },
    };
    routes.iter().map(result).collect()
}

/// Removes routes of podnet's, in one batch: the protocol number keeps anybody else's safe.
async fn delete(socket: &Socket, keys: &[RouteKey]) -> Vec<Result<(), OpError>> {
    let requests = keys.iter().map(|key| {
        let mut message = to(key.destination);
        // Any type, and any scope.
        message.header.kind = RouteType::Unspec;
        message.header.scope = RouteScope::NoWhere;
        message
            .attributes
            .push(RouteAttribute::Priority(key.metric));
        (RouteNetlinkMessage::DelRoute(message), 0)
    });
    let answers = socket.batch(requests.collect()).await;
    answers
        .into_iter()
        .zip(keys)
        .map(|(answer, key)| match answer {
            Err(error) if !error.is(Errno::NotFound) => {
                Err(error.at(format!("route {}", key.destination)))
            }
            Ok(_) | Err(_) => Ok(()),
        })
        .collect()
}

fn new(route: &Route) -> RouteNetlinkMessage {
    let mut message = to(route.destination);
    match route.next_hop {
        NextHop::Unreachable => message.header.kind = RouteType::Unreachable,
        NextHop::Gateway {
            via,
            device,
            source,
            mtu,
        } => message.attributes.extend([
            gateway(route.destination, via),
            RouteAttribute::Oif(device.0),
            RouteAttribute::PrefSource(source.into()),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.0)]),
        ]),
    }
    RouteNetlinkMessage::NewRoute(message)
}

/// The next hop of a route, which may be of another family than the destination (RFC 5549).
fn gateway(destination: IpNetwork, via: IpAddr) -> RouteAttribute {
    match (destination, via) {
        (IpNetwork::V4(_), IpAddr::V6(via)) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (IpNetwork::V4(_), IpAddr::V4(_)) | (IpNetwork::V6(_), _) => {
            RouteAttribute::Gateway(via.into())
        }
    }
}

/// The first message about a unicast route of podnet's in the main table.
fn to(destination: IpNetwork) -> RouteMessage {
    let mut message = unicast(family(destination.ip()));
    message.header.destination_prefix_length = destination.prefix();
    message
        .attributes
        .push(RouteAttribute::Destination(destination.network().into()));
    message
}

/// The first message about a default route of podnet's in the main table.
fn unicast(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = OURS;
    message.header.kind = RouteType::Unicast;
    message
}

/// The family of an address.
pub(super) const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// A default route by way of a gateway on a link.
pub(super) fn default_via(via: IpAddr, device: u32) -> RouteMessage {
    let mut message = unicast(family(via));
    message.attributes.extend([
        RouteAttribute::Gateway(via.into()),
        RouteAttribute::Oif(device),
    ]);
    message
}

#[cfg(test)]
mod tests;
