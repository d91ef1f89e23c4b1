//! Addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::AddressMessageBuilder;

use super::errno::{Errno, KernelError};
use super::socket::Socket;

/// What podnet reads of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) address: IpNetwork,
    pub(super) global: bool,
}

impl Address {
    /// Whether it is an IPv6 address that the link itself brings.
    pub(super) fn is_link_local(&self) -> bool {
        self.address.is_ipv6() && !self.global
    }

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
    list_of(socket, AddressFamily::Unspec, index).await
}

/// The links that have link-local addresses of IPv6. There are few: pods' host ends should have none.
pub(super) async fn link_local(socket: &Socket) -> Result<BTreeSet<u32>, KernelError> {
    let addresses = list_ipv6(socket, None).await?;
    let found = addresses.iter().filter(|address| address.is_link_local());
    Ok(found.map(|address| address.index).collect())
}

/// Takes the link-local addresses of IPv6 from a link.
pub(super) async fn delete_link_local(socket: &Socket, index: u32) -> Result<(), KernelError> {
    let addresses = list_ipv6(socket, Some(index)).await?.into_iter();
    let found = addresses.filter(|address| address.index == index && address.is_link_local());
    let requests = found.map(|found| {
        let message = message(index, found.address);
        (RouteNetlinkMessage::DelAddress(message), 0)
    });
    for answer in socket.batch(requests.collect()).await {
        match answer {
            Err(error) if !error.is(Errno::NotFound) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

async fn list_ipv6(socket: &Socket, index: Option<u32>) -> Result<Vec<Address>, KernelError> {
    match list_of(socket, AddressFamily::Inet6, index).await {
        // A kernel without IPv6.
        Err(error) if error.is(Errno::Unsupported) => Ok(Vec::new()),
        listed => listed,
    }
}

async fn list_of(
    socket: &Socket,
    family: AddressFamily,
    index: Option<u32>,
) -> Result<Vec<Address>, KernelError> {
    let answer = socket.dump(listing_of(family, index)).await?;
    Ok(answer.iter().filter_map(read).collect())
}

/// A request for addresses; all, or those of one link.
pub(super) fn listing(index: Option<u32>) -> RouteNetlinkMessage {
    listing_of(AddressFamily::Unspec, index)
}

fn listing_of(family: AddressFamily, index: Option<u32>) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = family;
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

pub(super) fn message(index: u32, address: IpNetwork) -> AddressMessage {
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
