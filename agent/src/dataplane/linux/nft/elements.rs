//! Changes of elements of podnet's sets, by messages of nftables (`linux/netfilter/nf_tables.h`): a process of `nft`
//! for each pod would take several times as long as all the rest.

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use podnet_core::kernel::{Holding, IfName, Source};

use super::super::errno::{Errno, KernelError};
use super::holding::{PORTS, SOURCES, TABLE};

/// The messages that begin and end a transaction (`NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`), and the
/// subsystem that they name (`NFNL_SUBSYS_NFTABLES`).
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;

/// `NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM`.
const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;

/// The family of bridges (`NFPROTO_BRIDGE`).
const BRIDGE: u8 = 7;

/// Flags of messages (`linux/netlink.h`).
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;

/// What an attribute is that holds others (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;

/// Attributes: `NFTA_SET_ELEM_LIST_TABLE`, `_SET`, `_ELEMENTS`; `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY`,
/// `NFTA_DATA_VALUE`.
const OF_TABLE: u16 = 1;
const OF_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const FIRST: u16 = 1;

/// The length of a link's name in a key, with the final NUL and padding.
const IFNAMSIZ: usize = 16;

/// The length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;

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
    let changes: Vec<Vec<u8>> = sources
        .chain(ports)
        .map(|(set, key)| element(set, &key))
        .collect();
    if changes.is_empty() {
        return Ok(Outcome::Done);
    }
    let (kind, flags) = if add {
        (NEW_ELEMENT, REQUEST | ACK | CREATE)
    } else {
        (DELETE_ELEMENT, REQUEST | ACK)
    };
    let subsystem = SUBSYSTEM.to_be_bytes();
    let edge = [0, 0, subsystem[0], subsystem[1]];
    let mut bytes = message(BEGIN, REQUEST, &edge);
    for change in &changes {
        bytes.extend(message(kind, flags, change));
    }
    bytes.extend(message(END, REQUEST, &edge));

    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    // The kernel has done all, and answered, when it has taken the message.
    socket.set_non_blocking(true)?;
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    for _ in &changes {
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
    let code = answer.get(HEADER_LEN..)?.first_chunk()?;
    let code = i32::from_ne_bytes(*code);
    (code != 0).then(|| KernelError::Refused {
        errno: code.saturating_abs(),
        words: None,
    })
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

fn element(set: &str, key: &[u8]) -> Vec<u8> {
    let key = attribute(NESTED | FIRST, &attribute(FIRST, key));
    let list = attribute(NESTED | FIRST, &key);
    [
        vec![BRIDGE, 0, 0, 0],
        attribute(OF_TABLE, &text(TABLE)),
        attribute(OF_SET, &text(set)),
        attribute(NESTED | ELEMENTS, &list),
    ]
    .concat()
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + payload.len()).unwrap_or(u32::MAX);
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
        payload,
    ]
    .concat()
}
