//! Whether packets reach the peers: ICMP echo, from gateway to gateway.

mod pod;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use podnet_core::node::{NO_ECHO, PathReport, Targets};
use podnet_proto::NodeId;
use surge_ping::{
    Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, Pinger, SurgeError,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

pub use self::pod::EchoSocket;
use crate::vital;

/// The type of an ICMP echo reply (RFC 792).
const ECHO_REPLY: u8 = 0;

/// How long the first echo to a peer may take; doubled with each one that fails. The first ones are
/// often lost: the peer has no way back yet.
const FIRST_TIMEOUT: Duration = Duration::from_millis(50);

/// How long an echo may take at most.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer that has never answered, or stopped to, is asked without a pause; then it counts
/// as failed, and is asked now and then.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait between two echoes to a peer that does not answer.
const NOW_AND_THEN: Duration = Duration::from_secs(2);

/// How long to wait between two echoes to a peer that answers.
const STEADY: Duration = Duration::from_secs(10);

/// How long to wait before another try to open a socket; doubled with each one that fails.
const REOPEN: Duration = Duration::from_millis(200);

/// How long to wait before it at most.
const LONGEST_REOPEN: Duration = Duration::from_secs(3);

/// Sends echoes to the gateways of all peers, for as long as it lives.
#[derive(Debug)]
pub struct Prober {
    targets: watch::Sender<Targets>,
}

impl Prober {
    /// Starts to send echoes, and to report what changes. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When no raw ICMP socket can be opened (`CAP_NET_RAW`).
    pub fn start(reports: mpsc::Sender<PathReport>) -> io::Result<Self> {
        drop(open(None)?);
        let (targets, receiver) = watch::channel(Targets::default());
        vital::spawn(supervise(receiver, reports));
        Ok(Self { targets })
    }

    /// Sets which gateways to send echoes to, and from where.
    pub fn set_targets(&self, targets: Targets) {
        self.targets.send_if_modified(|current| {
            let changed = *current != targets;
            *current = targets;
            changed
        });
    }
}

/// Opens a socket for echoes, at an address of this host.
fn open(source: Option<IpAddr>) -> io::Result<Client> {
    let config = Config::builder()
        .kind(ICMP::V4)
        .sock_type_hint(socket2::Type::RAW);
    let config = match source {
        Some(source) => config.bind((source, 0).into()),
        None => config,
    };
    Client::new(&config.build())
}

/// Keeps one task running for each target, all with the socket of one source.
async fn supervise(mut targets: watch::Receiver<Targets>, reports: mpsc::Sender<PathReport>) {
    let mut socket: Option<(IpAddr, Client)> = None;
    let mut reopen = REOPEN;
    let mut running: BTreeMap<(NodeId, IpAddr), AbortHandle> = BTreeMap::new();
    // Dropping the set ends all tasks.
    let mut tasks = JoinSet::new();
    loop {
        let Targets { source, gateways } = targets.borrow_and_update().clone();
        socket = socket.filter(|(address, _)| Some(*address) == source);
        if let (None, Some(source)) = (&socket, source) {
            match open(Some(source)) {
                Ok(client) => {
                    socket = Some((source, client));
                    reopen = REOPEN;
                }
                // The bridge may not have it yet.
                Err(error) => tracing::debug!(%source, %error, "no echoes can be sent"),
            }
            for (_, task) in std::mem::take(&mut running) {
                task.abort();
            }
        }
        running.retain(|target, task| {
            let keep = gateways.get(&target.0) == Some(&target.1) && socket.is_some();
            if !keep {
                task.abort();
            }
            keep
        });
        if let Some((_, client)) = &socket {
            for target in gateways {
                running.entry(target).or_insert_with(|| {
                    let (node, gateway) = target;
                    tasks.spawn(vital::watched(watch_path(
                        client.clone(),
                        node,
                        gateway,
                        reports.clone(),
                    )))
                });
            }
        }
        while tasks.try_join_next().is_some() {}
        let waits = source.is_some() && socket.is_none();
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                reopen = REOPEN;
            }
            () = sleep(reopen), if waits => reopen = (reopen * 2).min(LONGEST_REOPEN),
        }
    }
}

/// Sends echoes to one gateway, and reports when it begins or ceases to answer.
async fn watch_path(
    client: Client,
    node: NodeId,
    gateway: IpAddr,
    reports: mpsc::Sender<PathReport>,
) {
    let mut pinger = client.pinger(gateway, PingIdentifier(rand::random())).await;
    let mut silent_since = None;
    let mut timeout = FIRST_TIMEOUT;
    let mut reported: Option<bool> = None;
    // Whether anything but silence was ever the answer.
    let mut heard = false;
    let mut sequence = 0_u16;
    loop {
        sequence = sequence.wrapping_add(1);
        let sent = Instant::now();
        pinger.timeout(timeout);
        let (outcome, pause) = match echo(&mut pinger, sequence).await {
            Ok(round_trip) => {
                (silent_since, heard) = (None, true);
                timeout = FIRST_TIMEOUT.max(round_trip * 4);
                (Ok(round_trip), STEADY)
            }
            Err(NoEcho { reason, refused }) => {
                let patient = silent_since.get_or_insert(sent).elapsed() < PATIENCE;
                if patient {
                    // One that was refused at once waits as long as one that was lost.
                    sleep_until(sent + timeout).await;
                }
                timeout = (timeout * 2).min(LONGEST_TIMEOUT);
                if patient {
                    continue;
                }
                heard |= refused;
                (
                    Err(format!("{NO_ECHO} from {gateway}: {reason}")),
                    NOW_AND_THEN,
                )
            }
        };
        if reported != Some(outcome.is_ok()) {
            reported = Some(outcome.is_ok());
            if reports
                .send(PathReport {
                    node,
                    gateway,
                    outcome,
                    unproved: !heard,
                })
                .await
                .is_err()
            {
                return;
            }
        }
        sleep(pause).await;
    }
}

/// Why there is no answer.
struct NoEcho {
    reason: String,
    /// Whether a host on the way says that there will be none; else it is only missing.
    refused: bool,
}

/// Sends one echo. What comes back may be an answer, or the word of a host on the way that there will be none.
async fn echo(pinger: &mut Pinger, sequence: u16) -> Result<Duration, NoEcho> {
    let sent = Instant::now();
    let answer = pinger.ping(PingSequence(sequence), &[]).await;
    let (packet, _) = answer.map_err(|error| NoEcho {
        refused: !matches!(error, SurgeError::Timeout { .. }),
        reason: error.to_string(),
    })?;
    let refused = |reason| NoEcho {
        reason,
        refused: true,
    };
    match packet {
        IcmpPacket::V4(packet) if packet.get_icmp_type().0 == ECHO_REPLY => Ok(sent.elapsed()),
        IcmpPacket::V4(packet) => Err(refused(format!(
            "{} says that it cannot be reached",
            packet.get_source()
        ))),
        IcmpPacket::V6(packet) => {
            let source = packet.get_source();
            Err(refused(format!("{source} answers by IPv6")))
        }
    }
}
