//! What is done with podnet's table by messages of nftables (`linux/netfilter/nf_tables.h`): a process of `nft` for
//! each pod would take several times as long as all the rest, and elements and the table have to go without it too.

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList,
    SetElementMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use podnet_core::kernel::{Holding, IfName, Source};

use super::super::errno::{Errno, KernelError};
use super::{PORTS, SOURCES, TABLE};

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

/// The socket of transactions. It stays open: when one is closed, the kernel waits until what transactions have
/// removed is gone from all processors, and lets no other transaction begin (`nft_rcv_nl_event`).
#[derive(Debug, Default)]
pub(super) struct Line(Option<Socket>);

impl Line {
    /// Sends this, after what came back before and was not read.
    fn send(&mut self, bytes: &[u8]) -> Result<&Socket, KernelError> {
        let socket = match self.0.take() {
            Some(socket) => socket,
            None => opened()?,
        };
        while socket.recv_from_full().is_ok() {}
        socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(self.0.insert(socket))
    }
}

/// Adds what a pod is held to, in one transaction; from the calling thread's namespace, as all of this.
pub(super) fn add(line: &mut Line, holding: &Holding) -> Result<Outcome, KernelError> {
    let elements = elements(holding);
    let changes = elements.map(|(set, key)| element(set, key, true));
    transaction(line, &changes.collect::<Vec<_>>())
}

/// Takes away what a pod is held to, as far as it is there.
pub(super) fn remove(line: &mut Line, holding: &Holding) -> Result<Outcome, KernelError> {
    let elements = elements(holding);
    let changes: Vec<_> = elements
        .map(|(set, key)| element(set, key, false))
        .collect();
    match transaction(line, &changes)? {
        Outcome::Done => Ok(Outcome::Done),
        // What is not there keeps the rest of a transaction.
        Outcome::NotThere => changes
            .chunks(1)
            .try_fold(Outcome::NotThere, |all, change| {
                let one = transaction(line, change)?;
                Ok(if one == Outcome::Done { one } else { all })
            }),
    }
}

/// Removes the table, with all that is in it.
pub(super) fn remove_table(line: &mut Line) -> Result<Outcome, KernelError> {
    let message = NfTablesMessage::DeleteTable(table());
    transaction(line, &[serialized(header(), message, NLM_F_ACK)])
}

/// Whether there is a table.
pub(super) fn table_is_there() -> Result<bool, KernelError> {
    let question = serialized(header(), NfTablesMessage::GetTable(table()), 0);
    let asked = || {
        let socket = opened()?;
        socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        refusal(&answer, false).map_or(Ok(()), Err)
    };
    // What a kernel without nftables says of sockets, and of questions.
    let none = [
        Errno::NotFound,
        Errno::Unsupported,
        Errno::Other(libc::EINVAL),
    ];
    match asked() {
        Ok(()) => Ok(true),
        Err(error) if none.iter().any(|errno| error.is(*errno)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn table() -> TableMessage {
    TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    }
}

/// The sets that say what a pod is held to, and the keys to them.
fn elements(holding: &Holding) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let ports = holding.ports.iter().map(|port| (PORTS, port_key(port)));
    let sources = holding.sources.iter();
    let sources = sources.map(|source| (SOURCES, source_key(source)));
    sources.chain(ports)
}

/// Makes all of these changes, or none.
fn transaction(line: &mut Line, changes: &[Vec<u8>]) -> Result<Outcome, KernelError> {
    match attempt(line, changes) {
        Ok(()) => Ok(Outcome::Done),
        // A kernel without nftables has no table either.
        Err(error) if error.is(Errno::NotFound) || error.is(Errno::Unsupported) => {
            Ok(Outcome::NotThere)
        }
        Err(error) => Err(error),
    }
}

fn attempt(line: &mut Line, changes: &[Vec<u8>]) -> Result<(), KernelError> {
    if changes.is_empty() {
        return Ok(());
    }
    let begin = edge(ControlMessage::BatchBegin);
    let end = edge(ControlMessage::BatchEnd);
    let socket = line.send(&[begin, changes.concat(), end].concat())?;
    for _ in changes {
        let (answer, _) = socket.recv_from_full()?;
        refusal(&answer, true).map_or(Ok(()), Err)?;
    }
    Ok(())
}

fn opened() -> Result<Socket, KernelError> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    // The kernel has done all, and answered, when it has taken a message.
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// What an answer refuses with. Whether an acknowledgement is due says `acknowledged`; else it is an object.
fn refusal(answer: &[u8], acknowledged: bool) -> Option<KernelError> {
    match NetlinkMessage::<NetfilterMessage>::deserialize(answer) {
        Ok(NetlinkMessage {
            payload: NetlinkPayload::Error(answer),
            ..
        }) => answer.code.map(|code| KernelError::Refused {
            errno: code.get().saturating_abs(),
            words: None,
        }),
        Ok(_) if !acknowledged => None,
        Ok(_) | Err(_) => Some(KernelError::Incomplete("answer of nftables")),
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
    let header = header();
    if add {
        let message = NfTablesMessage::NewSetElement(change);
        serialized(header, message, NLM_F_ACK | NLM_F_CREATE)
    } else {
        serialized(header, NfTablesMessage::DeleteSetElement(change), NLM_F_ACK)
    }
}

/// What is said of tables of bridges.
fn header() -> NetfilterHeader {
    NetfilterHeader::new(NetfilterProtoFamily::Bridge, 0, 0)
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
