//! What a node publishes, and which peers it gossips with at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podnet_proto::NodeId;
use podnet_proto::gossip::{AccRecord, Key, PropRecord, Record, SnapRecord, UseRecord, encode};
use podnet_proto::ledger::{Decided, Slot};

use super::outcome::Nudge;
use super::standing::Standing;
use crate::time::Moment;
use crate::view::View;

/// How many peers hear of a change at once, be it the node's own or another's.
const RANDOM_PEERS: usize = 3;

/// How many nodes with open wishes a voter gossips with at once.
const MAX_WANTING: usize = 8;

/// How often a node with an open wish asks a voter.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// The keys of a node as they are to be published.
#[derive(Debug)]
pub(super) struct Publisher {
    rng: fastrand::Rng,
    keys: BTreeMap<Key, String>,
    /// Why records are not published: their keys keep the values that they had.
    unsaid: BTreeMap<Key, String>,
    /// The keys that changed since they were last given out.
    changed: BTreeSet<Key>,
    /// The place in the order of ledgers of the snapshot, which is large.
    snap: Option<(u64, Slot)>,
    asked: Option<Moment>,
}

impl Publisher {
    pub(super) const fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            keys: BTreeMap::new(),
            unsaid: BTreeMap::new(),
            changed: BTreeSet::new(),
            snap: None,
            asked: None,
        }
    }

    /// Writes the keys anew. `shows`: a member shows its ledger, as voters always do.
    pub(super) fn renew(&mut self, node: Standing<'_>, open: Option<&PropRecord>, shows: bool) {
        let before = self.keys.clone();
        self.write(node, open, shows);
        let changed = self
            .keys
            .iter()
            .filter(|(key, value)| before.get(key) != Some(value));
        self.changed.extend(changed.map(|(key, _)| *key));
    }

    /// Why records are not published.
    pub(super) const fn unsaid(&self) -> &BTreeMap<Key, String> {
        &self.unsaid
    }

    /// The keys to publish now, and whom to nudge.
    pub(super) fn publish(
        &mut self,
        now: Moment,
        node: Standing<'_>,
        view: &View,
    ) -> (BTreeMap<Key, String>, Nudge) {
        let changed = std::mem::take(&mut self.changed);
        let for_voters = [Key::Acc, Key::Prop, Key::Snap, Key::Want];
        let me = node.identity.node;
        let voters = node.voters();
        let mut nudge = Nudge::default();
        if !changed.is_empty() || view.news.iter().any(|node| *node != me) {
            nudge.random = RANDOM_PEERS;
        }
        if for_voters.iter().any(|key| changed.contains(key)) {
            nudge.peers.extend(voters);
        }
        if !changed.is_empty() && voters.contains(&me) {
            nudge.peers.extend(wanting(view, me).take(MAX_WANTING));
        }
        if node.want().is_some()
            && self
                .asked
                .is_none_or(|last| now.since(last) >= ASK_INTERVAL)
        {
            self.asked = Some(now);
            let others = voters.iter().filter(|voter| **voter != me);
            match self.rng.choice(others.collect::<Vec<_>>()) {
                Some(voter) => _ = nudge.peers.insert(*voter),
                None => nudge.random = nudge.random.max(1),
            }
        }
        // The way back from a peer begins when it hears of the block. In a small cluster that need
        // not be left to chance.
        if changed.contains(&Key::Use) && view.entries().len() <= RANDOM_PEERS {
            nudge
                .peers
                .extend(view.entries().iter().map(|entry| entry.node));
        }
        nudge.peers.remove(&me);
        (self.keys.clone(), nudge)
    }

    fn write(&mut self, node: Standing<'_>, open: Option<&PropRecord>, shows: bool) {
        let ledger = node.durable.ledger.as_ref();
        let usage = UseRecord {
            slot: ledger.map_or(0, |ledger| ledger.slot),
            boot: node.identity.boot,
            block: node.using(),
        };
        let voter = ledger.filter(|ledger| ledger.voters.contains(&node.identity.node));
        let acc = node.voting().map(|_| AccRecord {
            acceptor: node.durable.acceptor.clone(),
        });
        self.say(Key::Use, Some(&usage));
        self.say(Key::Want, node.want().as_ref());
        self.say(Key::Acc, acc.as_ref());
        self.say(Key::Prop, open);
        let shown = voter.or(ledger.filter(|_| shows));
        let order = shown.map(|ledger: &Decided| ledger.order());
        if order != self.snap || !self.keys.contains_key(&Key::Snap) {
            self.snap = order;
            let snap = shown.cloned().map(|ledger| SnapRecord { ledger });
            self.say(Key::Snap, snap.as_ref());
        }
    }

    /// Takes a record for the value of a key; `None` for the empty value. A record that is too long is
    /// not published: no node would ever see it, nor any later value of this node. To the peers its key
    /// is as it would be if they had not heard of the change yet.
    fn say<T: Record>(&mut self, key: Key, record: Option<&T>) {
        match record.map_or_else(|| Ok(String::new()), encode) {
            Ok(value) => {
                self.unsaid.remove(&key);
                self.keys.insert(key, value);
            }
            Err(why) => {
                self.unsaid.insert(key, why.to_string());
                self.keys.entry(key).or_default();
            }
        }
    }
}

/// The other nodes with open wishes.
fn wanting(view: &View, me: NodeId) -> impl Iterator<Item = NodeId> {
    view.entries()
        .iter()
        .filter(move |entry| entry.want.is_some() && entry.node != me)
        .map(|entry| entry.node)
}
