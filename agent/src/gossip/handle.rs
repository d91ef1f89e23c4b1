//! The handle of a running gossip.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, Deserializable, FailureDetectorConfig,
    Heartbeat, NodeState, spawn_chitchat,
};
use podnet_core::signed::SignedEntry;
use podnet_core::time::Moment;
use podnet_proto::NodeId;
use podnet_proto::gossip::{Key, MAX_VALUE_LEN};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::bucket::TokenBucket;
use super::config::{GossipConfig, cluster_name};
use super::counters::Counters;
use super::liveness::Liveness;
use super::socket::{self, BindError};
use super::transport::{SealedSocket, SealedTransport};

/// How many of the 64 bits of a version count within one epoch.
const EPOCH_SHIFT: u32 = 32;

/// How long chitchat keeps the mark of a deleted key. No key is ever deleted.
const DELETION_GRACE: Duration = Duration::from_hours(1);

/// How many handshakes may be asked for at once.
const NUDGE_BURST: u32 = 6;

/// After how long a further handshake may be asked for.
const NUDGE_REFILL: Duration = Duration::from_nanos(1_000_000_000 / 6);

/// How long a shutdown waits for the round that is under way.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Why gossip does not start, or does not take a value.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// There is no socket to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The start counter leaves no room for versions.
    #[error(
        "start counter {epoch} is beyond {}: this identity is worn out",
        u32::MAX
    )]
    EpochTooHigh {
        /// The start counter.
        epoch: u64,
    },
    /// A value is too long for gossip.
    #[error("the value of '{}' has {len} bytes, more than {MAX_VALUE_LEN}", key.as_str())]
    ValueTooLong {
        /// The key.
        key: Key,
        /// The value's length in bytes.
        len: usize,
    },
    /// There is no memory for the transport's buffers.
    #[error("the gossip transport cannot be set up")]
    Setup(#[source] std::io::Error),
    /// chitchat did not start.
    #[error("gossip does not start: {reason}")]
    Start {
        /// What chitchat reports.
        reason: String,
    },
}

/// What gossip knows at one point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// All entries: also of dead nodes, and of the node itself.
    pub entries: Vec<SignedEntry>,
    /// An epoch under which values of this node were published that this run did not publish: its disk
    /// was rolled back, or it was cloned, or another member lies. Its own values may be overwritten;
    /// gossip must be started again with a higher epoch.
    pub own_version_ahead: Option<u64>,
    /// How many entries were left out, because their id or address is none that podnet makes.
    pub skipped: usize,
}

/// A running gossip. It ends when this is dropped.
pub struct Gossip {
    chitchat: ChitchatHandle,
    own_id: ChitchatId,
    start: Instant,
    seen: Mutex<Seen>,
    nudges: Mutex<TokenBucket>,
    news: Arc<Notify>,
    counters: Arc<Counters>,
    // The transport shuts when this is dropped.
    _gate: watch::Sender<bool>,
    // The watchers are aborted when this is dropped.
    _watchers: JoinSet<()>,
}

/// What was seen by the snapshots so far.
struct Seen {
    liveness: Liveness<ChitchatId>,
    /// What was last read of each node, and the version of its state then.
    values: BTreeMap<ChitchatId, (u64, Arc<BTreeMap<Key, String>>)>,
    own_version: u64,
    own_version_ahead: Option<u64>,
}

impl Seen {
    /// The values of a node, shared with the last snapshot if nothing has changed.
    fn values_of(&mut self, id: &ChitchatId, state: &NodeState) -> Arc<BTreeMap<Key, String>> {
        let version = state.max_version();
        if let Some((known, values)) = self.values.get(id)
            && *known == version
        {
            return Arc::clone(values);
        }
        let values = Arc::new(read_values(state));
        self.values
            .insert(id.clone(), (version, Arc::clone(&values)));
        values
    }

    /// A version of the node's own entry that this run did not make comes from another process.
    fn note_own_version(&mut self, version: u64) {
        if version > self.own_version {
            self.own_version_ahead = self.own_version_ahead.max(Some(version >> EPOCH_SHIFT));
        }
    }
}

impl Gossip {
    /// Starts gossip with these values; a key without one has the empty value.
    ///
    /// # Errors
    /// When the socket cannot be had, a value is too long, or the epoch is beyond 32 bits.
    pub async fn spawn(
        config: GossipConfig,
        values: BTreeMap<Key, String>,
    ) -> Result<Self, GossipError> {
        check_values(&values)?;
        let lifted = u32::try_from(config.epoch)
            .map(|epoch| u64::from(epoch) << EPOCH_SHIFT)
            .map_err(|_| GossipError::EpochTooHigh {
                epoch: config.epoch,
            })?;
        let udp = socket::bind(config.listen).await?;
        let (gate, gate_receiver) = watch::channel(false);
        let socket = SealedSocket::new(
            udp,
            config.advertise,
            gate_receiver,
            &config.keyring,
            Arc::clone(&config.welcomer),
            Arc::clone(&config.counters),
        )
        .map_err(GossipError::Setup)?;
        let chitchat_config = chitchat_config(&config);
        let own_id = chitchat_config.chitchat_id.clone();
        let chitchat = spawn_chitchat(chitchat_config, Vec::new(), &SealedTransport::new(socket))
            .await
            .map_err(|error| GossipError::Start {
                reason: error.to_string(),
            })?;
        let news = Arc::new(Notify::new());
        let (own_version, watchers) = {
            let chitchat = chitchat.chitchat();
            let mut chitchat = chitchat.lock().await;
            let watchers = watch_news(&chitchat, &own_id, &news);
            (lift(chitchat.self_node_state(), lifted, &values), watchers)
        };
        let patience = config.timing.initial_interval.mul_f64(config.timing.phi);
        // A handshake that began before the lift and is sent after it harms nobody: the heartbeat
        // and the versions that it names are lower than those that all nodes have seen.
        gate.send_replace(true);
        let gossip = Self {
            chitchat,
            own_id,
            start: config.start,
            seen: Mutex::new(Seen {
                values: BTreeMap::new(),
                liveness: Liveness::new(patience),
                own_version,
                own_version_ahead: None,
            }),
            nudges: Mutex::new(TokenBucket::new(NUDGE_BURST, NUDGE_REFILL, Instant::now())),
            news,
            counters: config.counters,
            _gate: gate,
            _watchers: watchers,
        };
        // The first round came to a shut gate; do not wait for the second.
        gossip.nudge(config.seeds);
        Ok(gossip)
    }

    /// Publishes changed values of this node.
    ///
    /// # Errors
    /// When a value is too long; then nothing is published.
    pub async fn set(&self, changed: BTreeMap<Key, String>) -> Result<(), GossipError> {
        check_values(&changed)?;
        let chitchat = self.chitchat.chitchat();
        let mut chitchat = chitchat.lock().await;
        let mut seen = self.seen();
        let own = chitchat.self_node_state();
        seen.note_own_version(own.max_version());
        if seen.own_version_ahead.is_some() {
            // Gossip is about to be started again, with all values; this run may have no version left.
            return Ok(());
        }
        for (key, value) in changed {
            own.set(key.as_str(), value);
        }
        seen.own_version = own.max_version();
        Ok(())
    }

    /// All that gossip knows now.
    pub async fn snapshot(&self) -> Snapshot {
        let chitchat = self.chitchat.chitchat();
        let chitchat = chitchat.lock().await;
        let mut seen = self.seen();
        let now = Moment::after_start(self.start.elapsed());
        let detected: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
        let mut entries = Vec::new();
        let mut skipped = 0;
        let mut ids = BTreeSet::new();
        for (id, state) in chitchat.node_states() {
            let Some((node, address)) = read_id(id) else {
                skipped += 1;
                continue;
            };
            let (live, last_seen) = if *id == self.own_id {
                seen.note_own_version(state.max_version());
                (true, Some(now))
            } else {
                let heartbeat = state.heartbeat().into();
                seen.liveness
                    .observe(id, heartbeat, detected.contains(id), now)
            };
            entries.push(SignedEntry {
                node,
                address,
                live,
                last_seen,
                values: seen.values_of(id, state),
            });
            ids.insert(id.clone());
        }
        seen.liveness.retain(&ids);
        seen.values.retain(|id, _| ids.contains(id));
        Snapshot {
            skipped,
            entries,
            own_version_ahead: seen.own_version_ahead,
        }
    }

    /// Begins a handshake with each of these at once, as far as the rate allows: a burst of six,
    /// and six a second. The rest is dropped; the next round of gossip does the same, later. This
    /// is also how nodes that are given up are looked for.
    pub fn nudge(&self, addresses: impl IntoIterator<Item = SocketAddrV4>) {
        self.nudge_beyond(0, addresses);
    }

    /// Begins handshakes that can wait: half of the burst is left for [`Self::nudge`].
    pub fn nudge_idly(&self, addresses: impl IntoIterator<Item = SocketAddrV4>) {
        self.nudge_beyond(NUDGE_BURST / 2, addresses);
    }

    fn nudge_beyond(&self, reserve: u32, addresses: impl IntoIterator<Item = SocketAddrV4>) {
        let mut bucket = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if !bucket.take(reserve, Instant::now()) {
                self.counters.count_dropped_nudge();
            } else if let Err(error) = self.chitchat.gossip(SocketAddr::V4(address)) {
                tracing::debug!(%address, %error, "gossip has ended");
            }
        }
    }

    /// Whether the node speaks at all: not while the host does not have the address that peers are
    /// told.
    #[must_use]
    pub fn speaks(&self) -> bool {
        match self.own_id.gossip_advertise_addr {
            SocketAddr::V4(address) => socket::is_local(*address.ip()),
            SocketAddr::V6(_) => false,
        }
    }

    /// Waits until a value of another node or the set of live nodes has changed since the last
    /// call. Many changes may be one.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Waits until gossip has ended by itself, which a damaged message of another member can bring
    /// about. The daemon then starts it again, with a higher epoch.
    pub async fn terminated(&self) {
        match self.chitchat.termination_watcher().await {
            Ok(()) => tracing::info!("the gossip task has ended"),
            Err(error) => tracing::warn!(%error, "the gossip task has failed"),
        }
    }

    /// What the transport has counted.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Ends gossip and frees its port, after the handshakes that were asked for have begun.
    pub async fn shutdown(self) {
        let ended = tokio::time::timeout(SHUTDOWN_PATIENCE, self.chitchat.shutdown()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the gossip task did not end in order");
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_values(values: &BTreeMap<Key, String>) -> Result<(), GossipError> {
    match values.iter().find(|(_, v)| v.len() > MAX_VALUE_LEN) {
        Some((&key, value)) => Err(GossipError::ValueTooLong {
            key,
            len: value.len(),
        }),
        None => Ok(()),
    }
}

fn chitchat_config(config: &GossipConfig) -> ChitchatConfig {
    let timing = &config.timing;
    ChitchatConfig {
        chitchat_id: ChitchatId::new(
            config.node.to_string(),
            // Not a new one for each start, which would make a restarted node another node to
            // chitchat, and the old one would haunt the cluster: starts lift the versions instead.
            config.generation,
            SocketAddr::V4(config.advertise),
        ),
        cluster_id: cluster_name(&config.cluster, &config.networks),
        gossip_interval: timing.interval,
        listen_addr: SocketAddr::V4(config.listen),
        seed_nodes: config.seeds.iter().map(ToString::to_string).collect(),
        failure_detector_config: FailureDetectorConfig::new(
            timing.phi,
            timing.window,
            timing.max_interval,
            timing.initial_interval,
            timing.dead_grace,
        ),
        marked_for_deletion_grace_period: DELETION_GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}

/// Lifts the versions above all that this node has ever published, and publishes every key anew:
/// else the other nodes would hold its old values for the newer ones, and give them back to it.
fn lift(own: &mut NodeState, lifted: u64, values: &BTreeMap<Key, String>) -> u64 {
    own.set_max_version(lifted);
    // The number itself is private to chitchat, its encoding is not.
    if let Ok(heartbeat) = Heartbeat::deserialize(&mut lifted.to_le_bytes().as_slice()) {
        own.try_set_heartbeat(heartbeat);
    }
    for key in Key::ALL {
        let value = values.get(&key).map_or("", String::as_str);
        own.set(key.as_str(), value);
    }
    own.max_version()
}

/// Notifies `news` of values at once, and of live nodes in the round that sees them.
fn watch_news(chitchat: &Chitchat, own_id: &ChitchatId, news: &Arc<Notify>) -> JoinSet<()> {
    let own_id = own_id.clone();
    let on_value = Arc::clone(news);
    // This runs under chitchat's lock.
    chitchat
        .subscribe_event("", move |event| {
            if *event.node != own_id {
                on_value.notify_one();
            }
        })
        .forever();
    let on_membership = Arc::clone(news);
    let mut live_nodes = chitchat.live_nodes_watcher();
    let mut watchers = JoinSet::new();
    watchers.spawn(async move {
        while live_nodes.changed().await.is_ok() {
            on_membership.notify_one();
        }
    });
    watchers
}

fn read_id(id: &ChitchatId) -> Option<(NodeId, SocketAddrV4)> {
    match (id.node_id.parse(), id.gossip_advertise_addr) {
        (Ok(node), SocketAddr::V4(address)) => Some((node, address)),
        (Err(_), SocketAddr::V4(_)) | (_, SocketAddr::V6(_)) => None,
    }
}

fn read_values(state: &NodeState) -> BTreeMap<Key, String> {
    Key::ALL
        .into_iter()
        .filter_map(|key| Some((key, state.get(key.as_str())?.to_owned())))
        .collect()
}
