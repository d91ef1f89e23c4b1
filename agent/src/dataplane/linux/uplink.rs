//! Which bridges lead off this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::InfoKind;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};

use super::errno::KernelError;
use super::link::Link;
use super::route;
use super::socket::Socket;

/// An address of no network (RFC 5737): only a default route leads to it.
const ANYWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Those of the bridges with these numbers that lead off this host: a port of theirs is hardware's, or a
/// default route leads out of them.
pub(super) async fn bridges(
    socket: &Socket,
    links: &BTreeMap<u32, Link>,
    asked: &BTreeSet<u32>,
) -> Result<BTreeSet<u32>, KernelError> {
    let ports = links.values().filter(|link| is_outward(link));
    let mut uplinks: BTreeSet<u32> = ports.filter_map(|link| link.master).collect();
    let is_bridge = |index: &&u32| {
        let link = links.get(index);
        link.is_some_and(|link| link.kind == Some(InfoKind::Bridge) && !link.is_our_bridge())
    };
    let unsure: Vec<u32> = asked
        .difference(&uplinks)
        .filter(is_bridge)
        .copied()
        .collect();
    let requests = unsure.iter().map(|index| (way_out(*index), 0)).collect();
    for (index, answer) in unsure.into_iter().zip(socket.batch(requests).await) {
        match answer {
            Ok(messages) if is_default(&messages) => _ = uplinks.insert(index),
            // Nothing leads out of it.
            Ok(_) | Err(KernelError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(uplinks)
}

/// Whether a link is hardware's, or made of such: no container or virtual machine is behind it.
fn is_outward(link: &Link) -> bool {
    let outward = matches!(link.kind, None | Some(InfoKind::Bond | InfoKind::Vlan));
    outward && !link.loopback
}

/// Asks for the route by which packets to anywhere leave by a device.
fn way_out(device: u32) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = route::family(ANYWHERE.into());
    message.header.destination_prefix_length = 32;
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.extend([
        RouteAttribute::Destination(ANYWHERE.into()),
        RouteAttribute::Oif(device),
    ]);
    RouteNetlinkMessage::GetRoute(message)
}

fn is_default(messages: &[RouteNetlinkMessage]) -> bool {
    route::read_all(messages)
        .any(|found| found.kind == RouteType::Unicast && found.destination.prefix() == 0)
}
