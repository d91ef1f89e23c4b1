//! The host's own network: its addresses, its routes, and how addresses are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{HostAddress, HostRoute, IfName, Mtu, UnderlayPath};

use super::address;
use super::errno::{Errno, KernelError};
use super::link::{self, Link};
use super::route::{self, Filter, KernelRoute, OURS};
use super::socket::Socket;
use super::uplink;

/// The table of the addresses that the host itself has (`RT_TABLE_LOCAL`).
pub(super) const LOCAL_TABLE: u32 = 255;

/// Lists the host's addresses, but for the bridge's.
pub(super) async fn addresses(socket: &Socket) -> Result<Vec<HostAddress>, KernelError> {
    let links = links(socket).await?;
    let addresses = address::list(socket, None).await?;
    let with_addresses = addresses.iter().map(|found| found.index).collect();
    let uplinks = uplink::bridges(socket, &links, &with_addresses).await?;
    let addresses = addresses.into_iter().filter_map(|found| {
        let link = links
            .get(&found.index)
            .filter(|link| !link.is_our_bridge())?;
        Some(HostAddress {
            address: found.address,
            index: link::index_of(link),
            ifname: name(link)?,
            mac: link.mac,
            mtu: Mtu(link.mtu),
            up: link.up,
            global: found.global && !link.loopback,
            uplink: uplinks.contains(&found.index),
        })
    });
    Ok(addresses.collect())
}

/// Lists the host's routes, but for podnet's own and the one that the bridge's address brings.
pub(super) async fn routes(socket: &Socket) -> Result<Vec<HostRoute>, KernelError> {
    let links = links(socket).await?;
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        match route::list(
            socket,
            Filter {
                family,
                ..Filter::default()
            },
        )
        .await
        {
            Ok(found) => routes.extend(found),
            // A kernel without IPv6.
            Err(error) if error.is(Errno::Unsupported) => {}
            Err(error) => return Err(error),
        }
    }
    let routes = routes.into_iter().filter(|route| {
        route.kind == RouteType::Unicast && route.protocol != OURS && route.table != LOCAL_TABLE
    });
    let routes = routes.filter_map(|route| {
        let link = route.device.and_then(|device| links.get(&device));
        if link.is_some_and(Link::is_our_bridge) {
            return None;
        }
        Some(HostRoute {
            destination: route.destination,
            device: link.and_then(name),
        })
    });
    Ok(routes.collect())
}

async fn links(socket: &Socket) -> Result<BTreeMap<u32, Link>, KernelError> {
    let links = link::list(socket, None).await?;
    Ok(links.into_iter().map(|link| (link.index, link)).collect())
}

fn name(link: &Link) -> Option<IfName> {
    link.name.parse().ok()
}

/// Asks the kernel how addresses are reached.
pub(super) async fn paths(
    socket: &Socket,
    addresses: &BTreeSet<IpAddr>,
) -> Result<BTreeMap<IpAddr, UnderlayPath>, KernelError> {
    let requests = addresses.iter().map(|address| (get(*address), 0)).collect();
    let mut answers: Vec<_> = socket
        .batch(requests)
        .await
        .into_iter()
        .map(|answer| answer.map(|messages| route::read_all(&messages).next()))
        .collect();
    let (mut requests, mut learned) = (Vec::new(), Vec::new());
    for (address, answer) in addresses.iter().zip(&mut answers) {
        if let Ok(Some(route)) = answer
            && route.passing
        {
            requests.push((get_of_table(*address), 0));
            learned.push(route);
        }
    }
    for (route, answer) in learned.into_iter().zip(socket.batch(requests).await) {
        let of_table = answer.map(|messages| route::read_all(&messages).next());
        route.forget_learned(of_table.ok().flatten().as_ref());
    }
    let devices: BTreeSet<u32> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok()?.as_ref()?.device)
        .collect();
    let lookups = devices
        .iter()
        .map(|device| (link::get_index(*device), 0))
        .collect();
    let mut links = BTreeMap::new();
    for answer in socket.batch(lookups).await {
        links.extend(link::found(answer)?.map(|link| (link.index, link)));
    }
    let mut paths = BTreeMap::new();
    for (address, answer) in addresses.iter().zip(answers) {
        let path = match answer {
            Ok(route) => path(route.as_ref(), &links),
            Err(error @ KernelError::Refused { .. }) => UnderlayPath::None(error.to_string()),
            Err(error) => return Err(error),
        };
        paths.insert(*address, path);
    }
    Ok(paths)
}

fn get(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: route::family(address),
        destination_prefix_length: if address.is_ipv4() { 32 } else { 128 },
        protocol: RouteProtocol::Unspec,
        ..RouteHeader::default()
    };
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    RouteNetlinkMessage::GetRoute(message)
}

/// The same for the route of the table, whatever the kernel has learned of the path since.
fn get_of_table(address: IpAddr) -> RouteNetlinkMessage {
    let mut message = get(address);
    if let RouteNetlinkMessage::GetRoute(message) = &mut message {
        message.header.flags.insert(RouteFlags::FibMatch);
    }
    message
}

/// The path that a route means.
fn path(route: Option<&KernelRoute>, links: &BTreeMap<u32, Link>) -> UnderlayPath {
    let Some(route) = route else {
        return UnderlayPath::None("the kernel named no route".to_owned());
    };
    if route.kind == RouteType::Local {
        return UnderlayPath::Local;
    }
    if route.kind != RouteType::Unicast {
        return UnderlayPath::None("not an address of one host".to_owned());
    }
    let Some(source) = route.source else {
        return UnderlayPath::None("no address of this host to send from".to_owned());
    };
    if let Some(via) = route.gateway {
        return UnderlayPath::Routed { via, source };
    }
    let link = route.device.and_then(|device| links.get(&device));
    match link.and_then(|link| Some((link, name(link)?))) {
        Some((link, ifname)) => UnderlayPath::OnLink {
            ifname,
            mtu: Mtu(route.mtu.map_or(link.mtu, |mtu| link.mtu.min(mtu))),
            source,
        },
        None => UnderlayPath::None("its device has vanished".to_owned()),
    }
}
