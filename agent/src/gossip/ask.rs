//! The question to the members of a cluster that comes before a join.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use podnet_core::node::Welcomed;
use podnet_proto::gossip::{Hello, Welcome};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::counters::Counters;
use super::header::{MAX_DATAGRAM, MessageId};
use super::keyring::Keyring;
use super::payload::Payload;
use super::seal::{Opener, SealError, Sealer};
use super::socket::{self, BindError};

/// The time between two questions to the same member.
const PERIOD: Duration = Duration::from_millis(250);

/// The most questions to remember, for an answer to be taken.
const MAX_QUESTIONS: usize = 1024;

/// Why no member has answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no socket to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// This host has no way to any of the targets.
    #[error("this host cannot reach {target}")]
    Unreachable {
        /// The last that was tried.
        target: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// A firewall of this host keeps the questions in, or a permission is missing.
    #[error("this host does not let packets to {target} out")]
    Forbidden {
        /// The last that was tried.
        target: SocketAddrV4,
        /// What the kernel said.
        source: io::Error,
    },
    /// No member answered: a wrong key, a wrong address, a firewall in between and a member that is
    /// down all look like this.
    #[error("no answer within {} s", waited.as_secs_f32())]
    Silent {
        /// How long an answer was waited for.
        waited: Duration,
    },
    /// The question could not be sealed.
    #[error("the question cannot be sealed")]
    Seal(#[source] SealError),
    /// The socket failed.
    #[error("the socket for the question to the members failed")]
    Socket(#[source] io::Error),
}

/// Asks every target every 250 ms until one answers authentically.
///
/// `bind` is best the address where gossip will listen: a port in use shows now, and a firewall
/// that lets answers in will let gossip in.
///
/// # Errors
/// At once if this host itself keeps the question from every target; after `patience`
/// if no member answers.
pub async fn ask_members(
    bind: SocketAddrV4,
    keyring: &Keyring,
    hello: &Hello,
    targets: &[SocketAddrV4],
    patience: Duration,
) -> Result<Welcomed, AskError> {
    let deadline = Instant::now() + patience;
    let mut asking = Asking::open(bind, keyring, hello).await?;
    let mut rounds = interval(PERIOD);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let answer = async {
        loop {
            tokio::select! {
                _ = rounds.tick() => asking.send(targets)?,
                answer = asking.udp.recv_from(&mut asking.buffer) => match answer {
                    Ok((len, _)) => if let Some(found) = asking.answer(len) {
                        return Ok(found);
                    },
                    Err(error) if socket::is_transient(&error) => {}
                    Err(error) => return Err(AskError::Socket(error)),
                },
            }
        }
    };
    let (target, welcome) = timeout_at(deadline, answer)
        .await
        .unwrap_or(Err(AskError::Silent { waited: patience }))?;
    let source = source_towards(*bind.ip(), target).map_err(AskError::Socket)?;
    Ok(Welcomed {
        target,
        welcome,
        source,
    })
}

struct Asking {
    udp: UdpSocket,
    sealer: Sealer,
    opener: Opener,
    question: Hello,
    asked: Vec<(MessageId, SocketAddrV4)>,
    buffer: [u8; MAX_DATAGRAM + 1],
}

impl Asking {
    async fn open(bind: SocketAddrV4, keyring: &Keyring, hello: &Hello) -> Result<Self, AskError> {
        let udp = socket::bind(bind).await?;
        let sealer = Sealer::new(keyring.clone()).map_err(AskError::Socket)?;
        let own = Some(sealer.instance());
        let counters = Arc::new(Counters::default());
        Ok(Self {
            udp,
            opener: Opener::new(keyring.clone(), own, counters).map_err(AskError::Socket)?,
            sealer,
            question: hello.clone(),
            asked: Vec::new(),
            buffer: [0; MAX_DATAGRAM + 1],
        })
    }

    /// Asks each target once; an error if not one question got out of this host.
    fn send(&mut self, targets: &[SocketAddrV4]) -> Result<(), AskError> {
        let mut refused = None;
        let mut sent = false;
        for &target in targets {
            let hello = self.question.clone();
            let question = Payload::Hello { target, hello };
            let sealed = self.sealer.seal(&question).map_err(AskError::Seal)?;
            for datagram in &sealed.datagrams {
                match self.udp.try_send_to(datagram, SocketAddr::V4(target)) {
                    Ok(_) => sent = true,
                    // A full buffer empties before the next round.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent = true,
                    Err(error) => refused = Some((target, error)),
                }
            }
            self.asked.push((sealed.id, target));
        }
        let excess = self.asked.len().saturating_sub(MAX_QUESTIONS);
        self.asked.drain(..excess);
        match refused {
            Some((target, error)) if !sent => Err(classify(target, error)),
            Some(_) | None => Ok(()),
        }
    }

    /// The answer in the buffer's first `len` bytes, if it answers one of these questions.
    fn answer(&mut self, len: usize) -> Option<(SocketAddrV4, Welcome)> {
        let opened = self
            .opener
            .open(&self.buffer[..len], std::time::Instant::now());
        match opened.ok()??.payload {
            Payload::Welcome { answers, welcome } => {
                let (_, target) = self.asked.iter().find(|(id, _)| *id == answers)?;
                Some((*target, welcome))
            }
            Payload::Chitchat { .. } | Payload::Hello { .. } => None,
        }
    }
}

fn classify(target: SocketAddrV4, source: io::Error) -> AskError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        AskError::Forbidden { target, source }
    } else {
        AskError::Unreachable { target, source }
    }
}

/// The address from which the kernel sends to `target`: connecting a UDP socket sends nothing.
fn source_towards(bind: Ipv4Addr, target: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((bind, 0))?;
    socket.connect(target)?;
    match socket.local_addr()? {
        SocketAddr::V4(address) => Ok(*address.ip()),
        SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
