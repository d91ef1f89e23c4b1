//! What is inside of a pod's network namespace: its interface, addresses, default route and
//! neighbours.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteHeader, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{
    IfName, LinkParameters, Mtu, ObservedInterface, OpError, OpErrorKind, PodLink,
};

use super::errno::{Errno, KernelError};
use super::link::{self, Link};
use super::route::{self, Filter};
use super::socket::Socket;
use super::{address, neighbour};

/// The index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Looks at a pod's interface, whose kernel parameters are known.
pub(super) async fn observe(
    socket: &Socket,
    ifname: &IfName,
    parameters: LinkParameters,
) -> Result<Option<ObservedInterface>, KernelError> {
    let Some(link) = link::look_up(socket, ifname).await? else {
        return Ok(None);
    };
    let index = link.index;
    let addresses = address::list(socket, Some(index)).await?;
    let addresses = addresses
        .into_iter()
        .filter(|found| found.index == index && found.global)
        .map(|found| found.address);
    Ok(Some(ObservedInterface {
        mac: link
            .mac
            .ok_or(KernelError::Incomplete("link-layer address"))?,
        mtu: Mtu(link.mtu),
        up: link.up,
        addresses: addresses.collect(),
        gateways: gateways(socket, index).await?,
        neighbours: neighbour::list(socket, index).await?,
        parameters,
    }))
}

/// The next hops of the default routes that leave by a link.
async fn gateways(socket: &Socket, index: u32) -> Result<BTreeSet<IpAddr>, KernelError> {
    let mut gateways = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let filter = Filter {
            family,
            table: RouteHeader::RT_TABLE_MAIN,
            ..Filter::default()
        };
        let routes = match route::list(socket, filter).await {
            Ok(routes) => routes,
            // A kernel without IPv6.
            Err(error) if error.is(Errno::Unsupported) => continue,
            Err(error) => return Err(error),
        };
        let default = routes.into_iter().filter(|route| {
            route.destination.prefix() == 0
                && route.kind == RouteType::Unicast
                && route.device == Some(index)
        });
        gateways.extend(default.filter_map(|route| route.gateway));
    }
    Ok(gateways)
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
pub(super) async fn repair(socket: &Socket, pod: &PodLink, link: &Link) -> Result<(), OpError> {
    let found = gateways(socket, link.index).await;
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
    carry_out(socket, pod, steps).await
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
