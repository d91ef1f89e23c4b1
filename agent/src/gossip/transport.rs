//! chitchat's transport: sealed datagrams over UDP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use podnet_proto::gossip::{Hello, Welcome};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::counters::{Counters, Dropped};
use super::header::{MAX_DATAGRAM, MessageId};
use super::keyring::Keyring;
use super::payload::Payload;
use super::seal::{Opener, Sealer};
use super::socket;

/// Makes a member's answer to a node that asks before it joins; `None` while this node is no member.
/// It is called on the task that receives gossip, so it must not block.
pub type Welcomer = Arc<dyn Fn(&Hello) -> Option<Welcome> + Send + Sync>;

/// Gives chitchat a socket that is bound already: if binding fails, the reason is known, which chitchat
/// would return only as text.
pub(super) struct SealedTransport(Mutex<Option<SealedSocket>>);

impl SealedTransport {
    pub(super) const fn new(socket: SealedSocket) -> Self {
        Self(Mutex::new(Some(socket)))
    }
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match socket {
            Some(socket) => Ok(Box::new(socket)),
            None => anyhow::bail!("the gossip socket is taken"),
        }
    }
}

/// A UDP socket that seals what goes out and opens what comes in. As long as its gate is shut it
/// does neither.
pub(super) struct SealedSocket {
    udp: UdpSocket,
    /// The address of this node that peers are told.
    advertise: SocketAddrV4,
    gate: watch::Receiver<bool>,
    sealer: Sealer,
    opener: Opener,
    welcomer: Welcomer,
    counters: Arc<Counters>,
    // One byte more than is allowed, so that a longer datagram shows.
    buffer: Box<[u8; MAX_DATAGRAM + 1]>,
}

impl SealedSocket {
    pub(super) fn new(
        udp: UdpSocket,
        advertise: SocketAddrV4,
        gate: watch::Receiver<bool>,
        keyring: &Keyring,
        welcomer: Welcomer,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let sealer = Sealer::new(keyring.clone())?;
        let own = Some(sealer.instance());
        Ok(Self {
            udp,
            advertise,
            gate,
            sealer,
            opener: Opener::new(keyring.clone(), own, Arc::clone(&counters))?,
            welcomer,
            counters,
            buffer: Box::new([0; MAX_DATAGRAM + 1]),
        })
    }

    /// Never blocks: a lost message costs one round of gossip, a stalled one stalls them all.
    fn transmit(&mut self, from: Ipv4Addr, to: SocketAddr, payload: &Payload) {
        let SocketAddr::V4(to) = to else {
            return;
        };
        let sealed = match self.sealer.seal(payload) {
            Ok(sealed) => sealed,
            Err(error) => {
                self.counters.count_unsent();
                tracing::warn!(%to, %error, "a gossip message cannot be sent");
                return;
            }
        };
        for datagram in &sealed.datagrams {
            match socket::try_send(&self.udp, datagram, from, to) {
                Ok(()) => self.counters.count_out(datagram.len()),
                Err(error) => {
                    // Without one fragment the rest are of no use.
                    self.counters.count_unsent();
                    tracing::debug!(%to, %error, "a gossip datagram cannot be sent");
                    return;
                }
            }
        }
    }

    /// Answers from the address that was asked: a firewall on the way lets answers from no other through.
    fn welcome(&mut self, asked: Ipv4Addr, from: SocketAddr, question: MessageId, hello: &Hello) {
        if let Some(welcome) = (self.welcomer)(hello) {
            let answer = Payload::Welcome {
                answers: question,
                welcome,
            };
            self.transmit(asked, from, &answer);
        }
    }

    /// What a datagram of `len` bytes means to chitchat, if it does, and to whom an answer goes; a
    /// question is answered here.
    fn take(&mut self, from: SocketAddr, len: usize) -> Option<(SocketAddr, ChitchatMessage)> {
        let message = match self.opener.open(&self.buffer[..len], Instant::now()) {
            Ok(message) => message?,
            Err(reason) => {
                tracing::debug!(%from, reason = reason.as_str(), "a gossip datagram is dropped");
                return None;
            }
        };
        match message.payload {
            Payload::Chitchat { sender, message } => {
                match ChitchatMessage::deserialize(&mut &message[..]) {
                    Ok(message) => Some((SocketAddr::V4(sender), message)),
                    Err(error) => {
                        self.counters.count_dropped(Dropped::Malformed, 1);
                        tracing::debug!(%from, %error, "a gossip message cannot be read");
                        None
                    }
                }
            }
            Payload::Hello { target, hello } => {
                if socket::is_local(*target.ip()) {
                    self.welcome(*target.ip(), from, message.id, &hello);
                }
                None
            }
            // An answer to a question that nobody waits for any more.
            Payload::Welcome { .. } => None,
        }
    }
}

#[async_trait]
impl Socket for SealedSocket {
    /// What is sent comes from the address that peers are told. A clone speaks under its original's address until it
    /// has noticed that it has another: peers would then take the records of the original for older ones. Nor would
    /// answers reach the clone.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        if *self.gate.borrow() && socket::is_local(*self.advertise.ip()) {
            let payload = Payload::Chitchat {
                sender: self.advertise,
                message: message.serialize_to_vec(),
            };
            self.transmit(*self.advertise.ip(), to, &payload);
        }
        Ok(())
    }

    /// An error ends gossip; so there is one only if the socket itself is broken.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.gate.wait_for(|open| *open).await?;
        loop {
            match self.udp.recv_from(&mut self.buffer[..]).await {
                Ok((len, from)) => {
                    if let Some(taken) = self.take(from, len) {
                        return Ok(taken);
                    }
                }
                Err(error) if socket::is_transient(&error) => {
                    tracing::debug!(%error, "the gossip socket reports an error");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use podnet_proto::GossipKey;

    use super::*;

    /// Where the sockets of the tests say that they are; they are bound elsewhere.
    const TOLD: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(127, 9, 9, 9), 7846);

    fn sealed(udp: UdpSocket, gate: watch::Receiver<bool>) -> SealedSocket {
        let ring = Keyring::new(GossipKey::from_bytes([1; 32]));
        let nobody: Welcomer = Arc::new(|_| None);
        SealedSocket::new(udp, TOLD, gate, &ring, nobody, Arc::default()).unwrap()
    }

    #[tokio::test]
    async fn a_shut_gate_lets_nothing_out_and_nothing_in() {
        let any_port = "127.0.0.1:0".parse().unwrap();
        let udp = [
            socket::bind(any_port).await.unwrap(),
            socket::bind(any_port).await.unwrap(),
        ];
        let addresses = udp.each_ref().map(|udp| udp.local_addr().unwrap());
        let (gate, receiver) = watch::channel(false);
        let (_open, open_receiver) = watch::channel(true);
        let [shut_udp, open_udp] = udp;
        let mut shut = sealed(shut_udp, receiver);
        let mut open = sealed(open_udp, open_receiver);

        shut.send(addresses[1], ChitchatMessage::BadCluster)
            .await
            .unwrap();
        assert_eq!(shut.counters.datagrams_out(), 0);

        let message = ChitchatMessage::BadCluster;
        open.send(addresses[0], message).await.unwrap();
        shut.udp.readable().await.unwrap();
        let mut receive = shut.recv();
        let first = std::future::poll_fn(|context| Poll::Ready(receive.as_mut().poll(context)));
        assert!(first.await.is_pending(), "though a datagram is there");

        gate.send_replace(true);
        let received = tokio::time::timeout(Duration::from_secs(20), receive).await;
        let (from, message) = received.unwrap().unwrap();
        assert_eq!(message, ChitchatMessage::BadCluster);
        assert_eq!(from, SocketAddr::V4(TOLD), "not where it came from");
        shut.send(addresses[1], ChitchatMessage::BadCluster)
            .await
            .unwrap();
        assert_eq!(shut.counters.datagrams_out(), 1);
    }

    #[tokio::test]
    async fn nobody_speaks_under_an_address_that_is_another_hosts() {
        let udp = socket::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let to = udp.local_addr().unwrap();
        let (_open, open) = watch::channel(true);
        let mut clone = sealed(udp, open);
        clone.advertise = "192.0.2.7:7846".parse().unwrap();
        clone.send(to, ChitchatMessage::BadCluster).await.unwrap();
        assert_eq!(clone.counters.datagrams_out(), 0);
    }
}
