//! Changes of elements of podnet's sets, by messages of nftables (`linux/netfilter/nf_tables.h`): a process of `nft`
//! for each pod would take several times as long as all the rest.

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList,
    SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use podnet_core::kernel::{Holding, IfName, Source};

use super::super::errno::{Errno, KernelError};
use super::holding::{PORTS, SOURCES, TABLE};

/// The subsystem that a transaction is of (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u16 = 10;

/// The length of a link's name in a key, with the final NUL and padding.
const IFNAMSIZ: usize = 16;

/// What a transaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There is no such table, set or element.
    NotThere,
}

/// Adds what a pod is held to, or takes it away, in one transaction; from the calling thread's namespace.
pub(super) fn change(holding: &Holding, add: bool) -> Result<Outcome, KernelError> {
    let ports = holding.ports.iter().map(|port| (PORTS, port_key(port)));
    let sources = holding.sources.iter();
    let sources = sources.map(|source| (SOURCES, source_key(source)));
    let elements: Vec<_> = sources.chain(ports).collect();
    if elements.is_empty() {
        return Ok(Outcome::Done);
    }
    let changes = elements.len();
    let mut bytes = edge(ControlMessage::BatchBegin);
    for (set, key) in elements {
        bytes.extend(element(set, key, add));
    }
    bytes.extend(edge(ControlMessage::BatchEnd));

    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    // The kernel has done all, and answered, when it has taken the message.
    socket.set_non_blocking(true)?;
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    for _ in 0..changes {
        let (answer, _) = socket.recv_from_full()?;
        match refusal(&answer) {
            None => {}
            Some(error) if error.is(Errno::NotFound) => return Ok(Outcome::NotThere),
            Some(error) => return Err(error),
        }
    }
    Ok(Outcome::Done)
}

/// What an acknowledgement refuses with.
fn refusal(answer: &[u8]) -> Option<KernelError> {
    match NetlinkMessage::<NetfilterMessage>::deserialize(answer) {
        Ok(NetlinkMessage {
            payload: NetlinkPayload::Error(answer),
            ..
        }) => answer.code.map(|code| KernelError::Refused {
            errno: code.get().saturating_abs(),
            words: None,
        }),
        Ok(_) | Err(_) => Some(KernelError::Incomplete("change of nftables")),
    }
}

fn port_key(port: &IfName) -> Vec<u8> {
    let mut key = port.as_str().as_bytes().to_vec();
    key.resize(IFNAMSIZ, 0);
    key
}

/// Each part of a key takes a multiple of four bytes.
fn source_key(source: &Source) -> Vec<u8> {
    let mac = source.mac.0;
    [
        &port_key(&source.port)[..],
        &mac,
        &[0, 0],
        &source.address.octets(),
    ]
    .concat()
}

/// A message that adds an element to a set, or takes it away.
fn element(set: &str, key: Vec<u8>, add: bool) -> Vec<u8> {
    let key = SetElementAttribute::Key(DataAttribute::Value(key));
    let change = SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(set.to_owned()),
            SetElementList::Elements(vec![ListAttribute::Element(vec![key])]),
        ],
    };
    let header = NetfilterHeader::new(NetfilterProtoFamily::Bridge, 0, 0);
    if add {
        let message = NfTablesMessage::NewSetElement(change);
        serialized(header, message, NLM_F_ACK | NLM_F_CREATE)
    } else {
        serialized(header, NfTablesMessage::DeleteSetElement(change), NLM_F_ACK)
    }
}

/// A message that begins or ends a transaction.
fn edge(message: ControlMessage) -> Vec<u8> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
    serialized(header, message, 0)
}

fn serialized(
    header: NetfilterHeader,
    message: impl Into<NetfilterMessageInner>,
    flags: u16,
) -> Vec<u8> {
    let mut message = NetlinkMessage::from(NetfilterMessage::new(header, message));
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
