//! Connections that the kernel tracks.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, Nla};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, Tuple};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use podnet_core::kernel::connections::Op;
use podnet_core::kernel::{Made, OpError};
use tokio::runtime;

use super::Results;
use super::errno::{Errno, KernelError};
use super::socket::Socket;

// linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_GET: u8 = 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;

/// The bit of a filter that asks for the source address (`ctnetlink_filter` in the kernel).
const FILTER_SOURCE: u32 = 1;

/// The bit of a filter that asks for the destination address.
const FILTER_DESTINATION: u32 = 1 << 1;

/// Where in a connection an address may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    /// In the packets that come back.
    reply: bool,
    /// As the destination.
    destination: bool,
}

impl Role {
    /// What an address is in this role.
    const fn part(self, address: IpAddr) -> IPTuple {
        if self.destination {
            IPTuple::DestinationAddress(address)
        } else {
            IPTuple::SourceAddress(address)
        }
    }
}

/// All roles. The destination of what comes back is the source of what was sent, unless that is
/// translated; and podnet translates to no pod's address.
const ROLES: [Role; 3] = [
    Role {
        reply: false,
        destination: false,
    },
    Role {
        reply: false,
        destination: true,
    },
    Role {
        reply: true,
        destination: false,
    },
];

/// Makes changes of connections, one after the other.
pub(super) async fn apply(driver: &runtime::Handle, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for Op::Flush(address) in ops {
        results.push(flush(driver, *address).await.map(Made::from));
    }
    results
}

/// Forgets the connections from and to an address: answers of whoever had it before must not reach
/// who has it next.
async fn flush(driver: &runtime::Handle, address: IpAddr) -> Result<(), OpError> {
    match forget(driver, address).await {
        // A kernel that tracks no connections has none to forget. One without the module that
        // lists them answers that it does not know the request.
        Err(error) if error.is(Errno::Unsupported) || error.is(Errno::Other(libc::EINVAL)) => {
            tracing::debug!(%address, %error, "connections are not tracked");
            Ok(())
        }
        result => result.map_err(|error| error.at(format!("connections of {address}"))),
    }
}

async fn forget(driver: &runtime::Handle, address: IpAddr) -> Result<(), KernelError> {
    let (socket, _events) = Socket::open(driver, NETLINK_NETFILTER, &[])?;
    for role in ROLES {
        let listed = socket.dump(list(role, address)).await?;
        let connections = listed.iter().filter_map(|message| {
            if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(connection)) =
                &message.inner
                && bears(connection, role, address)
            {
                Some((delete(address, connection), 0))
            } else {
                None
            }
        });
        for answer in socket.batch(connections.collect()).await {
            match answer {
                Err(error) if !error.is(Errno::NotFound) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// A request for the connections that bear an address. Kernels before 5.8 do not know the filter,
/// and list all.
fn list(role: Role, address: IpAddr) -> NetfilterMessage {
    let (tuple, flags) = if role.reply {
        (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)
    } else {
        (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS)
    };
    let wanted = if role.destination {
        FILTER_DESTINATION
    } else {
        FILTER_SOURCE
    };
    let flags = DefaultNla::new(flags, wanted.to_ne_bytes().to_vec());
    message(
        address,
        NetfilterMessageInner::Other {
            subsys: NetfilterSubsystem::Conntrack,
            message_type: IPCTNL_MSG_CT_GET,
            attributes: vec![
                nest(tuple, &Tuple::Ip(vec![role.part(address)])),
                nest(CTA_FILTER, &flags),
            ],
        },
    )
}

fn nest(kind: u16, inner: &impl Emitable) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

/// A request to forget one connection: its packets and number, so that no other is hit.
fn delete(address: IpAddr, connection: &[ConntrackAttribute]) -> NetfilterMessage {
    let identity = connection.iter().filter(|attribute| {
        if let ConntrackAttribute::Other(other) = attribute {
            matches!(other.kind(), CTA_ID | CTA_ZONE)
        } else {
            matches!(attribute, ConntrackAttribute::CtaTupleOrig(_))
        }
    });
    message(
        address,
        ConntrackMessage::Delete(identity.cloned().collect()),
    )
}

fn message(address: IpAddr, message: impl Into<NetfilterMessageInner>) -> NetfilterMessage {
    let family = match address {
        IpAddr::V4(_) => NetfilterProtoFamily::IPv4,
        IpAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

/// Whether a connection bears an address in a role.
fn bears(connection: &[ConntrackAttribute], role: Role, address: IpAddr) -> bool {
    let wanted = role.part(address);
    connection.iter().any(|attribute| {
        let tuple = if let ConntrackAttribute::CtaTupleOrig(tuple) = attribute {
            (!role.reply).then_some(tuple)
        } else if let ConntrackAttribute::CtaTupleReply(tuple) = attribute {
            role.reply.then_some(tuple)
        } else {
            None
        };
        tuple.into_iter().flatten().any(|part| {
            if let Tuple::Ip(addresses) = part {
                addresses.contains(&wanted)
            } else {
                false
            }
        })
    })
}
