//! Routes: podnet's own in the main table, marked by their protocol number.

mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::route::Op;
use podnet_core::kernel::{IfName, NextHop, OpError, OpErrorKind, PROTOCOL, Route, RouteKey};

use self::seen::MAIN;
pub(super) use self::seen::{Filter, KernelRoute, list, listing, observe, read_all};
use super::errno::{Errno, KernelError};
use super::link::{self, Link};
use super::socket::Socket;
use super::{Results, nothing_made};

/// The mark of podnet's routes.
pub(super) const OURS: RouteProtocol = RouteProtocol::Other(PROTOCOL);

/// Makes changes of routes; those of one sort that follow one another in one batch.
pub(super) async fn apply(socket: &Socket, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for alike in ops.chunk_by(|a, b| mem::discriminant(*a) == mem::discriminant(*b)) {
        let keys: Vec<RouteKey> = alike.iter().map(|op| op.key()).collect();
        let routes: Vec<&Route> = alike.iter().filter_map(|op| op.route()).collect();
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

/// Sends one message for each route that can be made now: the devices that routes leave by are known by name.
async fn send(socket: &Socket, routes: &[&Route], flags: u16) -> Vec<Result<(), KernelError>> {
    let names: BTreeSet<&IfName> = routes.iter().filter_map(|route| route.device()).collect();
    let links = link::look_up_all(socket, names.iter().copied()).await;
    let links: BTreeMap<&IfName, Result<Option<Link>, KernelError>> =
        names.into_iter().zip(links).collect();
    let index = |route: &Route| match route.device().map(|device| &links[device]) {
        None => Ok(None),
        Some(Ok(Some(link))) => Ok(Some(link.index)),
        Some(Ok(None)) => Err(KernelError::Refused {
            errno: libc::ENODEV,
            words: None,
        }),
        Some(Err(error)) => Err(error.clone()),
    };
    let indices: Vec<Result<Option<u32>, KernelError>> =
        routes.iter().map(|route| index(route)).collect();
    let known = routes.iter().zip(&indices);
    let requests =
        known.filter_map(|(route, index)| Some((new(route, *index.as_ref().ok()?), flags)));
    let mut answers = socket.batch(requests.collect()).await.into_iter();
    let answer = |index: Result<Option<u32>, KernelError>| {
        index?;
        answers.next().unwrap_or(Err(KernelError::Lost)).map(drop)
    };
    indices.into_iter().map(answer).collect()
}

/// Adds routes in one batch. A route of podnet's that is there already is changed.
async fn add(socket: &Socket, routes: &[&Route]) -> Vec<Result<(), OpError>> {
    let answers = send(socket, routes, NLM_F_CREATE | NLM_F_EXCL).await;
    let mut results = Vec::with_capacity(routes.len());
    let mut standing = Vec::new();
    for (position, (answer, route)) in answers.into_iter().zip(routes).enumerate() {
        if matches!(&answer, Err(error) if error.is(Errno::Exists)) {
            standing.push((position, *route));
        }
        results.push(answer.map_err(|error| error.at(format!("route {route}"))));
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
async fn replace(socket: &Socket, routes: &[&Route]) -> Vec<Result<(), OpError>> {
    let standing = match list(socket, MAIN).await {
        Ok(standing) => standing,
        Err(error) => {
            let failed = |route: &&Route| Err(error.at(format!("route {route}")));
            return routes.iter().map(failed).collect();
        }
    };
    let foreign: BTreeMap<_, _> = standing
        .iter()
        .filter(|found| found.protocol != OURS && found.tos == 0)
        .map(|found| (found.key(), found))
        .collect();
    let free = routes.iter().copied();
    let free: Vec<&Route> = free
        .filter(|route| !foreign.contains_key(&route.key()))
        .collect();
    let mut answers = send(socket, &free, NLM_F_CREATE | NLM_F_REPLACE)
        .await
        .into_iter();
    let result = |route: &&Route| match foreign.get(&route.key()) {
        Some(found) => {
            let detail = format!("route {route}: {} stands there", found.words());
            Err(OpError::new(OpErrorKind::Foreign, detail))
        }
        None => {
            let answer = answers.next().unwrap_or(Err(KernelError::Lost));
            answer.map_err(|error| error.at(format!("route {route}")))
        }
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

/// A request for a route, which leaves by the device of this index, if it leaves by one.
fn new(route: &Route, device: Option<u32>) -> RouteNetlinkMessage {
    let mut message = to(route.destination);
    message.attributes.extend(device.map(RouteAttribute::Oif));
    match &route.next_hop {
        NextHop::Unreachable => message.header.kind = RouteType::Unreachable,
        NextHop::Gateway {
            via,
            device: _,
            source,
            mtu,
        } => message.attributes.extend([
            gateway(route.destination, *via),
            RouteAttribute::PrefSource((*source).into()),
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
