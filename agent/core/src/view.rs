//! The gossip state, read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use podnet_proto::gossip::{
    AccRecord, Key, NodeRecord, PropRecord, Record, SnapRecord, UseRecord, Want, decode,
};
use podnet_proto::{Boot, NodeId};

use crate::time::Moment;

/// How long after it was first heard of an entry may be alive without looking alive: its heartbeat
/// has to be seen to rise.
pub const NEWCOMER: Duration = Duration::from_secs(3);

/// The boot with which each member may use its block, as the ledger registers it.
pub type Registered = BTreeMap<NodeId, Boot>;

/// One entry of the gossip state, heard ([`Ear`](crate::signed::Ear)) and unread: a node at an address.
/// A node whose address changed has two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// The node.
    pub node: NodeId,
    /// Where it gossips.
    pub address: SocketAddrV4,
    /// Whether its heartbeat rose after it was first heard of, and the failure detector has not
    /// given it up. Always true for the entry of the agent itself.
    pub live: bool,
    /// When its heartbeat rose last, as far as this agent saw.
    pub last_seen: Option<Moment>,
    /// Its records, as it has signed them. If it is the same allocation again, none has changed.
    pub values: Arc<BTreeMap<Key, String>>,
}

/// One entry of the gossip state, read. A record that is empty, missing or malformed is `None`.
///
/// The big records are shared, so that a clone of an entry is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub node: NodeId,
    /// Where it gossips.
    pub address: SocketAddrV4,
    /// [`RawEntry::live`].
    pub live: bool,
    /// Whether it is live, or so new that it cannot look alive yet.
    pub present: bool,
    /// [`RawEntry::last_seen`].
    pub last_seen: Option<Moment>,
    /// When this agent first saw the entry; if gossip had forgotten it in between, since it came back.
    pub first_seen: Moment,
    /// What it says of itself.
    pub record: Option<Arc<NodeRecord>>,
    /// What its data path carries.
    pub usage: Option<UseRecord>,
    /// What it asks the voters for.
    pub want: Option<Want>,
    /// When this agent first saw the present value of `want`, also if that is empty.
    pub want_first_seen: Moment,
    /// Its acceptor.
    pub acc: Option<Arc<AccRecord>>,
    /// Its proposal.
    pub prop: Option<Arc<PropRecord>>,
    /// The ledger as it knows it.
    pub snap: Option<Arc<SnapRecord>>,
}

/// All that gossip shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    entries: Vec<Entry>,
    /// How many values cannot be read, and count as absent.
    pub malformed: usize,
    /// The nodes of which a value changed since the last read, this node among them.
    pub news: BTreeSet<NodeId>,
    /// Whether anything changed since the last read but the time: a value, an entry, a life.
    pub changed: bool,
}

impl View {
    /// All entries, sorted by node and address.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries of a node: several, if its address changed.
    #[must_use]
    pub fn of(&self, node: NodeId) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.node < node);
        let len = self.entries[start..].partition_point(|entry| entry.node == node);
        &self.entries[start..start + len]
    }

    /// The entry of a node to hear and to show: first an entry that looks alive with the registered boot,
    /// since another may be a clone's; then the one with the newest record, a live one before a dead one,
    /// the one seen last.
    #[must_use]
    pub fn best(&self, node: NodeId, registered: &Registered) -> Option<&Entry> {
        best_of(self.of(node), registered)
    }

    /// The [`best`](Self::best) entry of each node.
    pub fn all_best(&self, registered: &Registered) -> impl Iterator<Item = &Entry> {
        self.entries
            .chunk_by(|a, b| a.node == b.node)
            .filter_map(|entries| best_of(entries, registered))
    }

    /// Whether one of the node's entries is live.
    #[must_use]
    pub fn is_live(&self, node: NodeId) -> bool {
        self.of(node).iter().any(|entry| entry.live)
    }

    /// Whether an instance of the node that looks alive runs with this boot, or does not say yet with
    /// which: its gossip has just started.
    #[must_use]
    pub fn may_run(&self, node: NodeId, boot: Boot) -> bool {
        let may_be = |said: Option<Boot>| said.is_none_or(|said| said == boot);
        self.of(node)
            .iter()
            .any(|entry| entry.present && may_be(entry.boot()))
    }
}

impl Entry {
    /// The boot that it runs with, as it says.
    #[must_use]
    pub fn boot(&self) -> Option<Boot> {
        self.usage.map(|usage| usage.boot)
    }
}

fn best_of<'a>(entries: &'a [Entry], registered: &Registered) -> Option<&'a Entry> {
    entries.iter().max_by_key(|entry| {
        let boot = entry.boot();
        let may_use = boot.is_some() && boot == registered.get(&entry.node).copied();
        let counter = entry.record.as_ref().map(|record| record.counter);
        (
            entry.present && may_use,
            counter,
            entry.live,
            entry.last_seen,
            entry.first_seen,
        )
    })
}

/// Reads the gossip state again and again; what did not change in between is not parsed again.
#[derive(Debug, Default)]
pub struct Reader {
    cache: BTreeMap<(NodeId, SocketAddrV4), Cached>,
}

#[derive(Debug)]
struct Cached {
    live: bool,
    values: Arc<BTreeMap<Key, String>>,
    first_seen: Moment,
    want_first_seen: Moment,
    record: Value<Arc<NodeRecord>>,
    usage: Value<UseRecord>,
    want: Value<Want>,
    acc: Value<Arc<AccRecord>>,
    prop: Value<Arc<PropRecord>>,
    snap: Value<Arc<SnapRecord>>,
}

impl Cached {
    fn new(now: Moment) -> Self {
        Self {
            live: false,
            values: Arc::default(),
            first_seen: now,
            want_first_seen: now,
            record: Value::default(),
            usage: Value::default(),
            want: Value::default(),
            acc: Value::default(),
            prop: Value::default(),
            snap: Value::default(),
        }
    }

    /// Takes new values over; returns whether one differs from the last.
    fn update(&mut self, now: Moment, values: Arc<BTreeMap<Key, String>>) -> bool {
        if Arc::ptr_eq(&self.values, &values) {
            return false;
        }
        let take = |key| values.get(&key).map_or("", String::as_str);
        let want_changed = self.want.update(take(Key::Want));
        if want_changed {
            self.want_first_seen = now;
        }
        let changed = [
            want_changed,
            self.record.update_shared(take(Key::Node)),
            self.usage.update(take(Key::Use)),
            self.acc.update_shared(take(Key::Acc)),
            self.prop.update_shared(take(Key::Prop)),
            self.snap.update_shared(take(Key::Snap)),
        ];
        self.values = values;
        changed.contains(&true)
    }

    fn malformed(&self) -> usize {
        [
            self.record.malformed,
            self.usage.malformed,
            self.want.malformed,
            self.acc.malformed,
            self.prop.malformed,
            self.snap.malformed,
        ]
        .into_iter()
        .filter(|malformed| *malformed)
        .count()
    }
}

/// A value as text, and as what it was read.
#[derive(Debug)]
struct Value<T> {
    text: String,
    parsed: Option<T>,
    malformed: bool,
}

impl<T> Default for Value<T> {
    fn default() -> Self {
        Self {
            text: String::new(),
            parsed: None,
            malformed: false,
        }
    }
}

impl<T: Record> Value<T> {
    fn update(&mut self, text: &str) -> bool {
        self.update_with(text, |record: T| record)
    }
}

impl<T: Record> Value<Arc<T>> {
    fn update_shared(&mut self, text: &str) -> bool {
        self.update_with(text, Arc::new)
    }
}

impl<T> Value<T> {
    /// Takes a value over, unless it is the same; returns whether it differs.
    fn update_with<R: Record>(&mut self, text: &str, wrap: fn(R) -> T) -> bool {
        if self.text == text {
            return false;
        }
        let parsed = decode::<R>(text);
        self.malformed = parsed.is_err();
        self.parsed = parsed.ok().flatten().map(wrap);
        text.clone_into(&mut self.text);
        true
    }
}

impl Reader {
    /// Reads the gossip state as it is now. Of two entries of the same node and address the last
    /// counts.
    pub fn read(&mut self, now: Moment, raw: Vec<RawEntry>) -> View {
        let mut last = std::mem::take(&mut self.cache);
        let mut entries = BTreeMap::new();
        let mut news = BTreeSet::new();
        let mut changed = false;
        for entry in raw {
            let at = (entry.node, entry.address);
            let known = last.remove(&at).or_else(|| self.cache.remove(&at));
            changed |= known.as_ref().is_none_or(|known| known.live != entry.live);
            let mut cached = known.unwrap_or_else(|| Cached::new(now));
            cached.live = entry.live;
            if cached.update(now, entry.values) {
                news.insert(entry.node);
            }
            entries.insert(
                at,
                Entry {
                    node: entry.node,
                    address: entry.address,
                    live: entry.live,
                    present: entry.live || now.since(cached.first_seen) < NEWCOMER,
                    last_seen: entry.last_seen,
                    first_seen: cached.first_seen,
                    record: cached.record.parsed.clone(),
                    usage: cached.usage.parsed,
                    want: cached.want.parsed,
                    want_first_seen: cached.want_first_seen,
                    acc: cached.acc.parsed.clone(),
                    prop: cached.prop.parsed.clone(),
                    snap: cached.snap.parsed.clone(),
                },
            );
            self.cache.insert(at, cached);
        }
        View {
            entries: entries.into_values().collect(),
            malformed: self.cache.values().map(Cached::malformed).sum(),
            changed: changed || !news.is_empty() || !last.is_empty(),
            news,
        }
    }
}

#[cfg(test)]
mod tests;
