//! Addresses.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use podnet_core::kernel::{IfName, OpError};
use rtnetlink::AddressMessageBuilder;

use super::errno::{Errno, KernelError};
use super::link;
use super::socket::Socket;

/// What podnet reads of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) address: IpNetwork,
    pub(super) global: bool,
}

impl Address {
    fn read(message: &AddressMessage) -> Option<Self> {
        let local = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Local(ip) = attribute {
                Some(*ip)
            } else {
                None
            }
        });
        // On a point-to-point link, this is the other side; IPv6 has nothing else elsewhere.
        let address = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Address(ip) = attribute {
                Some(*ip)
            } else {
                None
            }
        });
        Some(Self {
            index: message.header.index,
            address: IpNetwork::new(local.or(address)?, message.header.prefix_len).ok()?,
            global: message.header.scope == AddressScope::Universe,
        })
    }
}

/// Lists addresses; all, or those of one link.
pub(super) async fn list(socket: &Socket, index: Option<u32>) -> Result<Vec<Address>, KernelError> {
    let answer = socket.dump(listing(index)).await?;
    Ok(answer.iter().filter_map(read).collect())
}

/// A request for addresses; all, or those of one link.
pub(super) fn listing(index: Option<u32>) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = index.unwrap_or(0);
    RouteNetlinkMessage::GetAddress(message)
}

/// The address in an answer.
pub(super) fn read(message: &RouteNetlinkMessage) -> Option<Address> {
    if let RouteNetlinkMessage::NewAddress(message) = message {
        Address::read(message)
    } else {
        None
    }
}

/// A request to give a link an address, or to keep it.
pub(super) fn add(index: u32, address: IpNetwork) -> (RouteNetlinkMessage, u16) {
    (
        RouteNetlinkMessage::NewAddress(message(index, address)),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

fn message(index: u32, address: IpNetwork) -> AddressMessage {
    let prefix = address.prefix();
    match address.ip() {
        IpAddr::V4(ip) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(ip, prefix)
            .build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(index)
            .address(ip, prefix)
            .build(),
    }
}

/// Gives podnet's bridge an address.
pub(super) async fn add_to_bridge(
    socket: &Socket,
    bridge: &IfName,
    address: IpNetwork,
) -> Result<(), OpError> {
    let link = link::our_bridge(socket, bridge).await?;
    let (message, flags) = add(link.index, address);
    match socket.request(message, flags).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.at(format!("address {address} on {bridge}"))),
    }
}

/// Takes an address from podnet's bridge.
pub(super) async fn delete_from_bridge(
    socket: &Socket,
    bridge: &IfName,
    address: IpNetwork,
) -> Result<(), OpError> {
    let object = || format!("address {address} on {bridge}");
    let link = match link::look_up(socket, bridge).await {
        Ok(Some(link)) if link.is_our_bridge() => link,
        // What has the name by now is not podnet's, and so are its addresses.
        Ok(_) => return Ok(()),
        Err(error) => return Err(error.at(object())),
    };
    let message = RouteNetlinkMessage::DelAddress(message(link.index, address));
    match socket.request(message, 0).await {
        Err(error) if !error.is(Errno::NotFound) => Err(error.at(object())),
        Ok(_) | Err(_) => Ok(()),
    }
}
