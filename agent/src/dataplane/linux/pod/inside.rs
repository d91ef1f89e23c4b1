//! What is inside of a pod's network namespace: its interface, addresses, default route and
//! neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::slice;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteHeader, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{
    IfName, LinkParameters, MacAddr, Mtu, ObservedInterface, OpError, OpErrorKind, PodLink,
};

use super::super::errno::{Errno, KernelError};
use super::super::link::{self, Link};
use super::super::netns::Inside;
use super::super::route::{self, Filter};
use super::super::socket::Socket;
use super::super::{address, bounded, neighbour};

/// The index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Looks at a pod's interface, whose kernel parameters are known.
pub(super) async fn observe(
    namespace: &Inside,
    ifname: &IfName,
    parameters: LinkParameters,
) -> Result<Option<ObservedInterface>, KernelError> {
    let Some(link) = link::look_up(&namespace.socket, ifname).await? else {
        return Ok(None);
    };
    let index = link.index;
    let read = move || {
        let addresses = addresses(index)?;
        Ok::<_, KernelError>((addresses, gateways(index)?, neighbours(index)?))
    };
    let (addresses, gateways, neighbours) = namespace.netns.run(read).await??;
    Ok(Some(ObservedInterface {
        mac: link
            .mac
            .ok_or(KernelError::Incomplete("link-layer address"))?,
        mtu: Mtu(link.mtu),
        up: link.up,
        addresses,
        gateways,
        neighbours,
        parameters,
    }))
}

/// The addresses of global scope of a link, in the calling thread's namespace.
fn addresses(index: u32) -> Result<BTreeSet<IpNetwork>, KernelError> {
    let found = bounded::list(&address::listing(Some(index)), "addresses", |message| {
        address::read(message).filter(|found| found.index == index && found.global)
    })?;
    Ok(found.into_iter().map(|found| found.address).collect())
}

/// The next hops of the default routes that leave by a link, in the calling thread's namespace.
fn gateways(index: u32) -> Result<BTreeSet<IpAddr>, KernelError> {
    let mut gateways = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let filter = Filter {
            family,
            table: RouteHeader::RT_TABLE_MAIN,
            device: Some(index),
            ..Filter::default()
        };
        let found = bounded::list(&route::listing(filter), "routes", |message| {
            let route = route::read_all(slice::from_ref(message)).next()?;
            let default = route.destination.prefix() == 0
                && route.kind == RouteType::Unicast
                && route.device == Some(index);
            route.gateway.filter(|_| default)
        });
        match found {
            Ok(found) => gateways.extend(found),
            // A table that has never had a route; a kernel without IPv6.
            Err(error) if error.is(Errno::NotFound) || error.is(Errno::Unsupported) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(gateways)
}

/// The permanent neighbours on a link, in the calling thread's namespace.
fn neighbours(index: u32) -> Result<BTreeMap<IpAddr, MacAddr>, KernelError> {
    let found = bounded::list(&neighbour::listing(index), "neighbours", |message| {
        neighbour::permanent(message, index)
    })?;
    Ok(found.into_iter().collect())
}

/// Sets a pod's new interface up, all in one batch.
pub(super) async fn set_up(socket: &Socket, pod: &PodLink, index: u32) -> Result<(), OpError> {
    let mut steps = vec![
        (
            "loopback interface".to_owned(),
            (set_link_up(LOOPBACK, &[]), 0),
        ),
        (
            format!("interface {}", pod.ifname),
            (set_link_up(index, &[]), 0),
        ),
    ];
    steps.extend(addresses_and_neighbours(pod, index));
    steps.extend(default_routes(pod, index));
    carry_out(socket, pod, steps).await
}

/// Puts right what differs inside of a pod.
pub(super) async fn repair(namespace: &Inside, pod: &PodLink, link: &Link) -> Result<(), OpError> {
    let index = link.index;
    let found = namespace.netns.run(move || gateways(index)).await;
    let found = found.and_then(|found| found);
    let found = found.map_err(|error| error.at(format!("default route of pod {}", pod.pod)))?;
    let settings = [
        LinkAttribute::Address(pod.mac.0.to_vec()),
        LinkAttribute::Mtu(pod.mtu.0),
    ];
    let mut steps = vec![
        (
            "loopback interface".to_owned(),
            (set_link_up(LOOPBACK, &[]), 0),
        ),
        (
            format!("interface {}", pod.ifname),
            (set_link_up(link.index, &settings), 0),
        ),
    ];
    steps.extend(addresses_and_neighbours(pod, link.index));
    if !pod.gateways.iter().all(|gateway| found.contains(gateway)) {
        steps.extend(default_routes(pod, link.index));
    }
    carry_out(&namespace.socket, pod, steps).await
}

/// A request, and the object that it is about.
type Step = (String, (RouteNetlinkMessage, u16));

fn addresses_and_neighbours(pod: &PodLink, index: u32) -> impl Iterator<Item = Step> {
    let addresses = pod
        .addresses
        .iter()
        .map(move |address| (format!("address {address}"), address::add(index, *address)));
    let neighbours = pod.gateways.iter().map(move |gateway| {
        let neighbour = neighbour::set(index, *gateway, pod.gateway_mac);
        (format!("neighbour {gateway}"), neighbour)
    });
    addresses.chain(neighbours)
}

fn default_routes(pod: &PodLink, index: u32) -> impl Iterator<Item = Step> {
    pod.gateways.iter().map(move |gateway| {
        let message = RouteNetlinkMessage::NewRoute(route::default_via(*gateway, index));
        (
            format!("default route via {gateway}"),
            (message, NLM_F_CREATE | NLM_F_EXCL),
        )
    })
}

fn set_link_up(index: u32, settings: &[LinkAttribute]) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend_from_slice(settings);
    RouteNetlinkMessage::SetLink(link::up(message))
}

/// Sends the steps in one batch, and reports the first that failed.
async fn carry_out(socket: &Socket, pod: &PodLink, steps: Vec<Step>) -> Result<(), OpError> {
    let (objects, requests): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let answers: Vec<_> = socket.batch(requests).await;
    for (answer, object) in answers.into_iter().zip(objects) {
        match answer {
            Ok(_) => {}
            Err(error) if error.is(Errno::Exists) => {
                let detail = format!("{object} of pod {}: another stands there already", pod.pod);
                return Err(OpError::new(OpErrorKind::Foreign, detail));
            }
            Err(error) => return Err(error.at(format!("{object} of pod {}", pod.pod))),
        }
    }
    Ok(())
}
