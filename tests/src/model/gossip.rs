//! A model of chitchat: a lossy, monotonic blackboard with one writer per entry.
//!
//! Nodes exchange SYN (digest), SYN-ACK (digest and delta) and ACK (delta). Of each writer a reader
//! always holds a prefix of its versions: values in between are skipped, none comes before one that
//! was published earlier, and a message holds only so much.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use podnet_core::signed::SignedEntry;
use podnet_core::time::Moment;
use podnet_proto::NodeId;
use podnet_proto::gossip::Key;

/// How long without a rise of its heartbeat an entry still looks alive.
const DEAD_AFTER: Duration = Duration::from_secs(6);

/// A node at an address: to gossip two different nodes, if either differs.
pub type EntryId = (NodeId, SocketAddrV4);

/// Of each entry: its heartbeat and its highest version.
pub type Digest = BTreeMap<EntryId, (u64, u64)>;

/// What a reader lacks of one entry.
#[derive(Debug, Clone)]
pub struct Patch {
    id: EntryId,
    /// The version up to which the reader was taken to know the writer.
    from: u64,
    /// The version up to which it knows it afterwards.
    to: u64,
    values: Vec<(Key, u64, Rc<str>)>,
}

/// What a reader lacks.
pub type Delta = Vec<Patch>;

/// A message of a handshake.
#[derive(Debug, Clone)]
pub enum Message {
    /// What the sender knows.
    Syn(Digest),
    /// What the answering node knows, and what the first sender lacks.
    SynAck(Digest, Delta),
    /// What the answering node lacks.
    Ack(Delta),
}

#[derive(Debug)]
struct Entry {
    heartbeat: u64,
    rises: u32,
    last_rise: Option<Moment>,
    first_heard: Moment,
    version: u64,
    values: BTreeMap<Key, (u64, Rc<str>)>,
    /// The values as they were last read; none when they have changed since.
    shown: Option<Arc<BTreeMap<Key, String>>>,
}

impl Entry {
    fn is_live(&self, now: Moment) -> bool {
        self.rises >= 2 && self.silence(now) < DEAD_AFTER
    }

    fn silence(&self, now: Moment) -> Duration {
        now.since(self.last_rise.unwrap_or(self.first_heard))
    }
}

/// One process' copy of the blackboard.
#[derive(Debug)]
pub struct Board {
    own: EntryId,
    entries: BTreeMap<EntryId, Entry>,
    /// How long a dead entry is kept; half as long it is given to others.
    grace: Duration,
    /// The highest start under which others hold values of this node that it has not published.
    ahead: Option<u64>,
}

impl Board {
    /// The copy of a process that starts for the `epoch`th time with these values. Its versions are
    /// above all of the starts before, and every key is set.
    ///
    /// # Panics
    /// If a key has no value.
    #[must_use]
    pub fn new(own: EntryId, epoch: u64, grace: Duration, said: &BTreeMap<Key, String>) -> Self {
        let base = epoch << 32;
        let values = Key::ALL.iter().zip(base + 1..);
        let entry = Entry {
            heartbeat: base,
            rises: 0,
            last_rise: None,
            first_heard: Moment::START,
            version: base + Key::ALL.len() as u64,
            values: values
                .map(|(key, version)| (*key, (version, Rc::from(said[key].as_str()))))
                .collect(),
            shown: None,
        };
        Self {
            own,
            entries: BTreeMap::from([(own, entry)]),
            grace,
            ahead: None,
        }
    }

    /// The highest start under which others hold values of this node that it has not published.
    #[must_use]
    pub const fn ahead(&self) -> Option<u64> {
        self.ahead
    }

    /// Publishes values.
    ///
    /// # Panics
    /// Never: one's own entry is always there.
    pub fn set(&mut self, said: BTreeMap<Key, String>) {
        let own = self.entries.get_mut(&self.own).expect("one's own entry");
        for (key, value) in said {
            own.version += 1;
            own.shown = None;
            own.values.insert(key, (own.version, Rc::from(value)));
        }
    }

    /// One gossip interval: one's own heartbeat rises, and what is long dead is dropped.
    ///
    /// # Panics
    /// Never: one's own entry is always there.
    pub fn tick(&mut self, now: Moment) {
        let (own, grace) = (self.own, self.grace);
        self.entries
            .retain(|id, entry| *id == own || entry.silence(now) < grace);
        self.entries
            .get_mut(&own)
            .expect("one's own entry")
            .heartbeat += 1;
    }

    /// How many others look alive.
    #[must_use]
    pub fn live(&self, now: Moment) -> usize {
        let others = self.entries.iter().filter(|(id, _)| **id != self.own);
        others.filter(|(_, entry)| entry.is_live(now)).count()
    }

    /// The addresses of the others, as far as `of` says.
    #[must_use]
    pub fn addresses(&self, of: impl Fn(NodeId) -> bool) -> Vec<SocketAddrV4> {
        let others = self.entries.keys().filter(|id| **id != self.own);
        others
            .filter(|(node, _)| of(*node))
            .map(|(_, at)| *at)
            .collect()
    }

    /// What begins a handshake.
    #[must_use]
    pub fn syn(&self, now: Moment) -> Message {
        Message::Syn(self.digest(now))
    }

    /// Takes a message in. Returns the answer, and whether any value changed.
    pub fn receive(
        &mut self,
        now: Moment,
        message: Message,
        room: usize,
        rng: &mut fastrand::Rng,
    ) -> (Option<Message>, bool) {
        match message {
            Message::Syn(digest) => {
                self.hear(now, &digest);
                let delta = self.delta(now, &digest, room, rng);
                (Some(Message::SynAck(self.digest(now), delta)), false)
            }
            Message::SynAck(digest, delta) => {
                self.hear(now, &digest);
                let changed = self.apply(now, delta);
                let back = self.delta(now, &digest, room, rng);
                (Some(Message::Ack(back)), changed)
            }
            Message::Ack(delta) => (None, self.apply(now, delta)),
        }
    }

    /// The blackboard as the agent reads it.
    pub fn read(&mut self, now: Moment) -> Vec<SignedEntry> {
        let own = self.own;
        let raw = |(id, entry): (&EntryId, &mut Entry)| SignedEntry {
            node: id.0,
            address: id.1,
            live: *id == own || entry.is_live(now),
            last_seen: entry.last_rise,
            values: entry.shown(),
        };
        self.entries.iter_mut().map(raw).collect()
    }

    fn digest(&self, now: Moment) -> Digest {
        self.shared(now)
            .map(|(id, entry)| (*id, (entry.heartbeat, entry.version)))
            .collect()
    }

    fn shared(&self, now: Moment) -> impl Iterator<Item = (&EntryId, &Entry)> {
        self.entries
            .iter()
            .filter(move |(id, entry)| **id == self.own || entry.silence(now) < self.grace / 2)
    }

    fn hear(&mut self, now: Moment, digest: &Digest) {
        for (id, (heartbeat, _)) in digest.iter().filter(|(id, _)| **id != self.own) {
            let entry = self
                .entries
                .entry(*id)
                .or_insert_with(|| Entry::unknown(now));
            if *heartbeat > entry.heartbeat {
                entry.rises += u32::from(entry.heartbeat > 0);
                entry.heartbeat = *heartbeat;
                entry.last_rise = Some(now);
            }
        }
    }

    /// What the reader of this digest lacks, as far as `room` values hold it: writer by writer,
    /// version by version.
    fn delta(
        &self,
        now: Moment,
        digest: &Digest,
        mut room: usize,
        rng: &mut fastrand::Rng,
    ) -> Delta {
        let mut shared: Vec<_> = self.shared(now).collect();
        rng.shuffle(&mut shared);
        let mut delta = Delta::new();
        for (id, entry) in shared {
            let from = digest.get(id).map_or(0, |(_, version)| *version);
            if from >= entry.version || room == 0 {
                continue;
            }
            let mut values: Vec<_> = entry
                .values
                .iter()
                .filter(|(_, (version, _))| *version > from)
                .map(|(key, (version, value))| (*key, *version, Rc::clone(value)))
                .collect();
            values.sort_by_key(|(_, version, _)| *version);
            let complete = values.len() <= room;
            values.truncate(room);
            room -= values.len();
            let last = values.last().map_or(from, |(_, version, _)| *version);
            delta.push(Patch {
                id: *id,
                from,
                to: if complete { entry.version } else { last },
                values,
            });
        }
        delta
    }

    fn apply(&mut self, now: Moment, delta: Delta) -> bool {
        let mut changed = false;
        for patch in delta {
            let own = patch.id == self.own;
            let entry = self
                .entries
                .entry(patch.id)
                .or_insert_with(|| Entry::unknown(now));
            if patch.from > entry.version || patch.to <= entry.version {
                continue;
            }
            for (key, version, value) in patch.values {
                if version > entry.version {
                    changed = true;
                    entry.values.insert(key, (version, value));
                    entry.shown = None;
                }
            }
            entry.version = patch.to;
            if own {
                changed = true;
                self.ahead = self.ahead.max(Some(patch.to >> 32));
            }
        }
        changed
    }
}

impl Entry {
    fn unknown(now: Moment) -> Self {
        Self {
            heartbeat: 0,
            rises: 0,
            last_rise: None,
            first_heard: now,
            version: 0,
            values: BTreeMap::new(),
            shown: None,
        }
    }

    /// The values, in the same allocation as before if none has changed.
    fn shown(&mut self) -> Arc<BTreeMap<Key, String>> {
        let values = &self.values;
        let read = || {
            let values = values.iter();
            let texts = values.map(|(key, (_, value))| (*key, value.to_string()));
            Arc::new(texts.collect())
        };
        Arc::clone(self.shown.get_or_insert_with(read))
    }
}
