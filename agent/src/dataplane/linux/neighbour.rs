//! Permanent neighbours: entries that no lookup makes and no shortage removes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::neighbour::Op;
use podnet_core::kernel::{MacAddr, OpError, OpErrorKind};

use super::errno::{Errno, KernelError};
use super::socket::Socket;
use super::{Results, bridge, nothing_made};

/// Makes changes of neighbours on podnet's bridge, those that follow one another in one batch.
pub(super) async fn apply(socket: &Socket, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for batch in ops.chunk_by(|a, b| a.device() == b.device()) {
        results.extend(nothing_made(change(socket, batch).await));
    }
    results
}

/// A request for a permanent neighbour on a link.
pub(super) fn set(index: u32, address: IpAddr, mac: MacAddr) -> (RouteNetlinkMessage, u16) {
    let mut message = message(index, address);
    message.header.state = NeighbourState::Permanent;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    (
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// A request to remove a neighbour from a link.
pub(super) fn delete(index: u32, address: IpAddr) -> (RouteNetlinkMessage, u16) {
    (
        RouteNetlinkMessage::DelNeighbour(message(index, address)),
        0,
    )
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = index;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address.into()));
    message
}

/// Lists the permanent neighbours on a link.
pub(super) async fn list(
    socket: &Socket,
    index: u32,
) -> Result<BTreeMap<IpAddr, MacAddr>, KernelError> {
    let answer = socket.dump(listing(index)).await?;
    Ok(answer
        .iter()
        .filter_map(|message| permanent(message, index))
        .collect())
}

/// A request for the neighbours on a link.
pub(super) fn listing(index: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.attributes.push(NeighbourAttribute::IfIndex(index));
    RouteNetlinkMessage::GetNeighbour(message)
}

/// The permanent neighbour on a link in an answer.
pub(super) fn permanent(message: &RouteNetlinkMessage, index: u32) -> Option<(IpAddr, MacAddr)> {
    if let RouteNetlinkMessage::NewNeighbour(message) = message {
        let found = read(message).filter(|found| found.index == index)?;
        Some((found.address, found.mac?))
    } else {
        None
    }
}

/// A neighbour of the host, on some link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    /// Where it is for good; `None` for one that is not permanent.
    pub(super) mac: Option<MacAddr>,
}

/// Reads a neighbour; `None` for what has no address, such as a port's entry in a bridge's table.
pub(super) fn read(message: &NeighbourMessage) -> Option<Neighbour> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) = attribute {
            address = Some(IpAddr::V4(*ip));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) = attribute {
            address = Some(IpAddr::V6(*ip));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = bytes.as_slice().try_into().ok().map(MacAddr);
        }
    }
    Some(Neighbour {
        index: message.header.ifindex,
        address: address?,
        mac: mac.filter(|_| message.header.state == NeighbourState::Permanent),
    })
}

/// Changes neighbours on one bridge, all in one batch.
async fn change(socket: &Socket, ops: &[&Op]) -> Vec<Result<(), OpError>> {
    let Some(device) = ops.first().map(|op| op.device()) else {
        return Vec::new();
    };
    let link = match bridge::ours(socket, device).await {
        Ok(link) => link,
        // No bridge of podnet's, no neighbours of podnet's.
        Err(error) => {
            let gone = matches!(error.kind, OpErrorKind::NotFound | OpErrorKind::Foreign);
            let result = |op: &&Op| match op {
                Op::Delete { .. } if gone => Ok(()),
                Op::Set { .. } | Op::Delete { .. } => Err(error.clone()),
            };
            return ops.iter().map(result).collect();
        }
    };
    let requests = ops.iter().map(|op| match op {
        Op::Set { address, mac, .. } => set(link.index, *address, *mac),
        Op::Delete { address, .. } => delete(link.index, *address),
    });
    let answers = socket.batch(requests.collect()).await;
    answers
        .into_iter()
        .zip(ops)
        .map(|(answer, op)| match (answer, op) {
            (Ok(_), _) => Ok(()),
            (Err(error), Op::Delete { .. }) if error.is(Errno::NotFound) => Ok(()),
            (Err(error), _) => Err(error.at(format!("neighbour {} on {device}", op.address()))),
        })
        .collect()
}
