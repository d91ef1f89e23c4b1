//! Netlink sockets: batches of requests in one `sendmsg`, dumps, deadlines.
//!
//! The kernel carries out a request inside of `sendmsg`, and may hold the sender there for as long
//! as another holds the lock of the network configuration. So all sockets are driven by one thread
//! of their own: no other task stands still, and deadlines fire.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::proto::{ConnectionHandle, new_connection};
use tokio::runtime;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::errno::{Errno, KernelError};
use crate::fault;

/// How long one request, or one dump, may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// How many requests go into one `sendmsg`: their acknowledgements must fit the receive buffer.
const BATCH: usize = 128;

/// How often a dump is begun anew that changes made inconsistent, or another dump kept away.
const DUMP_TRIES: u32 = 5;

/// The receive buffer, in bytes: a burst of 2000 changes overran the default one.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Where the text stands in an extended acknowledgement (`linux/netlink.h`).
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The length of `struct nlmsghdr`, which a refusal repeats before its attributes.
const HEADER_LEN: usize = 16;

/// The thread that drives the sockets. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    runtime: runtime::Handle,
    _alive: oneshot::Sender<()>,
}

impl Driver {
    /// Starts the thread, in the namespaces of the calling one.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("netlink".to_owned())
            .spawn(move || {
                // Nothing is ever sent: this waits for the sender's end.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self {
            runtime: handle,
            _alive: alive,
        })
    }

    /// Where sockets are opened.
    pub(super) fn runtime(&self) -> &runtime::Handle {
        &self.runtime
    }
}

/// What a netlink socket speaks.
pub(super) trait Message:
    Debug + NetlinkSerializable + NetlinkDeserializable + Unpin + Send + 'static
{
}

impl<T> Message for T where
    T: Debug + NetlinkSerializable + NetlinkDeserializable + Unpin + Send + 'static
{
}

/// A netlink socket. It stays in the network namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Socket<T: Message = RouteNetlinkMessage> {
    handle: ConnectionHandle<T>,
    port: u32,
    /// The kernel takes one dump at a time from a socket.
    dump: Mutex<()>,
}

/// The unsolicited messages of a socket: those of the multicast groups that it joined.
pub(super) type Events<T> = UnboundedReceiver<(NetlinkMessage<T>, SocketAddr)>;

impl Socket<RouteNetlinkMessage> {
    /// Opens a socket for links, addresses, routes and neighbours, in the network namespace of the
    /// calling thread.
    pub(super) fn route(driver: &runtime::Handle) -> io::Result<Self> {
        Ok(Self::open(driver, NETLINK_ROUTE, &[])?.0)
    }
}

impl<T: Message> Socket<T> {
    /// Opens a socket of a protocol, in the network namespace of the calling thread, and joins
    /// multicast groups.
    pub(super) fn open(
        driver: &runtime::Handle,
        protocol: isize,
        groups: &[u32],
    ) -> io::Result<(Self, Events<T>)> {
        let _reactor = driver.enter();
        let (mut connection, handle, events) = new_connection::<T>(protocol)?;
        // Each request is answered by an acknowledgement, so that answers can be distinguished.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        let port = socket.bind_auto()?.port_number();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        if protocol == NETLINK_ROUTE {
            // Without it the kernel ignores the filters of a dump.
            socket.set_netlink_get_strict_chk(true)?;
        }
        // Beyond the host's limit only with CAP_NET_ADMIN; up to it anybody may.
        if setsockopt(&*socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&*socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        for group in groups {
            socket.add_membership(*group)?;
        }
        driver.spawn(connection);
        Ok((
            Self {
                handle,
                port,
                dump: Mutex::new(()),
            },
            events,
        ))
    }

    /// The socket's port number, which events that it caused bear.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Sends requests together, and returns what came back for each. One that fails hinders no
    /// other. `flags` are those beside `NLM_F_REQUEST` and `NLM_F_ACK`.
    pub(super) async fn batch(&self, requests: Vec<(T, u16)>) -> Vec<Result<Vec<T>, KernelError>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let together = if fault::awaited() { 1 } else { BATCH };
            let chunk: Vec<_> = requests.by_ref().take(together).collect();
            let count = chunk.len();
            let exchanged = self.exchange(chunk, NLM_F_ACK).await;
            fault::point("netlink request");
            match exchanged {
                Ok(replies) if replies.len() == count => {
                    answers.extend(replies.into_values().map(Reply::into_answer));
                }
                // Which of them were answered is not known: all count as not.
                Ok(_) => answers.extend((0..count).map(|_| Err(KernelError::Lost))),
                Err(error) => answers.extend((0..count).map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    /// Sends one request, and returns what came back.
    pub(super) async fn request(&self, message: T, flags: u16) -> Result<Vec<T>, KernelError> {
        self.batch(vec![(message, flags)])
            .await
            .pop()
            .unwrap_or(Err(KernelError::Lost))
    }

    /// Lists what fits a request; begun anew while changes make it inconsistent.
    pub(super) async fn dump(&self, request: T) -> Result<Vec<T>, KernelError>
    where
        T: Clone,
    {
        let lock = timeout(DEADLINE, self.dump.lock()).await;
        let _one_at_a_time = lock.map_err(|_| KernelError::Timeout)?;
        let mut last = KernelError::Refused {
            errno: libc::EBUSY,
            words: None,
        };
        for _ in 0..DUMP_TRIES {
            let replies = self
                .exchange(vec![(request.clone(), NLM_F_DUMP)], 0)
                .await?;
            let reply = replies.into_values().next().ok_or(KernelError::Lost)?;
            if reply.interrupted {
                continue;
            }
            match reply.into_answer() {
                Err(error) if error.is(Errno::Busy) => last = error,
                answer => return answer,
            }
        }
        Err(last)
    }

    /// Sends requests in one `sendmsg` and collects the replies, by sequence number, which is the
    /// order of the requests.
    async fn exchange(
        &self,
        requests: Vec<(T, u16)>,
        ack: u16,
    ) -> Result<BTreeMap<u32, Reply<T>>, KernelError> {
        let messages = requests.into_iter().map(|(message, flags)| {
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | ack | flags;
            NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message))
        });
        let mut incoming = self
            .handle
            .request_batch(messages.collect::<Vec<_>>(), SocketAddr::new(0, 0))
            .map_err(|_| KernelError::Lost)?;
        let mut replies = BTreeMap::new();
        let collect = async {
            while let Some(message) = incoming.next().await {
                replies
                    .entry(message.header.sequence_number)
                    .or_insert_with(Reply::new)
                    .add(message);
            }
        };
        timeout(DEADLINE, collect)
            .await
            .map_err(|_| KernelError::Timeout)?;
        Ok(replies)
    }
}

/// What came back for one request.
struct Reply<T> {
    messages: Vec<T>,
    end: Result<(), KernelError>,
    interrupted: bool,
}

impl<T> Reply<T> {
    fn new() -> Self {
        Self {
            messages: Vec::new(),
            end: Err(KernelError::Lost),
            interrupted: false,
        }
    }

    fn add(&mut self, message: NetlinkMessage<T>) {
        let flags = message.header.flags;
        self.interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
            NetlinkPayload::Error(error) => self.end = end_of(&error, flags),
            NetlinkPayload::Done(done) => {
                self.end = match done.code {
                    0.. => Ok(()),
                    code => Err(KernelError::Refused {
                        errno: -code,
                        words: None,
                    }),
                };
            }
            // NetlinkPayload is open: what netlink(7) may add ends no request.
            NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
        }
    }

    fn into_answer(self) -> Result<Vec<T>, KernelError> {
        self.end.map(|()| self.messages)
    }
}

/// An acknowledgement, or a refusal with the kernel's words.
pub(super) fn end_of(error: &ErrorMessage, flags: u16) -> Result<(), KernelError> {
    match error.code {
        None => Ok(()),
        Some(code) => Err(KernelError::Refused {
            errno: code.get().saturating_abs(),
            words: (flags & NLM_F_ACK_TLVS != 0)
                .then(|| words(&error.header))
                .flatten(),
        }),
    }
}

/// The text of an extended acknowledgement, which stands behind the header of the refused request.
fn words(refused: &[u8]) -> Option<String> {
    let attributes = NlasIterator::new(refused.get(HEADER_LEN..)?);
    let text = attributes
        .filter_map(Result::ok)
        .find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)?;
    let text = text.value().split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let mut refused = vec![0; HEADER_LEN];
        refused.extend([8, 0, 3, 0, 1, 2, 3, 4]);
        refused.extend([9, 0, 1, 0]);
        refused.extend(b"Nope\0\0\0\0");
        assert_eq!(words(&refused).as_deref(), Some("Nope"));
        assert_eq!(words(&refused[..HEADER_LEN]), None);
        assert_eq!(words(&[]), None);
    }
}
