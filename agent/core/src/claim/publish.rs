//! What a node publishes, and whom it hurries to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use podnet_proto::NodeId;
use podnet_proto::gossip::{AccRecord, Key, PropRecord, SnapRecord, UseRecord, encode};
use podnet_proto::ledger::Ledger;
use serde::Serialize;

use super::outcome::Nudge;
use super::standing::Standing;
use crate::time::Moment;
use crate::view::View;

/// How many peers hear of a change at once, be it one's own or news from another.
const RANDOM_PEERS: usize = 3;

/// How many nodes with open wishes a voter tells at once.
const MAX_WANTING: usize = 8;

/// How often a node with an open wish asks a voter.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// The keys of a node as it published them last.
#[derive(Debug)]
pub(super) struct Publisher {
    rng: fastrand::Rng,
    keys: BTreeMap<Key, String>,
    /// The place in the order of ledgers of the published snapshot, which is large.
    snap: Option<(u64, u64)>,
    asked: Option<Moment>,
}

impl Publisher {
    pub(super) const fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            keys: BTreeMap::new(),
            snap: None,
            asked: None,
        }
    }

    /// The keys to publish now, and whom to nudge.
    pub(super) fn publish(
        &mut self,
        now: Moment,
        node: Standing<'_>,
        open: Option<&PropRecord>,
        view: &View,
    ) -> (BTreeMap<Key, String>, Nudge) {
        let before = std::mem::take(&mut self.keys);
        self.keys = self.keys(&before, node, open);
        let changed = |key: &Key| self.keys.get(key) != before.get(key);
        let own_change = self.keys.keys().any(changed);
        let to_voters = [Key::Acc, Key::Prop, Key::Snap, Key::Want]
            .iter()
            .any(changed);

        let mut nudge = Nudge::default();
        if own_change || view.changed > 0 {
            nudge.random = RANDOM_PEERS;
        }
        let me = node.identity.node;
        let voters = node
            .durable
            .ledger
            .as_ref()
            .map_or(&[][..], |ledger| &ledger.voters);
        if to_voters {
            nudge.peers.extend(voters);
        }
        if own_change && voters.contains(&me) {
            nudge.peers.extend(
                wanting(view)
                    .filter(|wanting| *wanting != me)
                    .take(MAX_WANTING),
            );
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
        nudge.peers.remove(&me);
        (self.keys.clone(), nudge)
    }

    fn keys(
        &mut self,
        before: &BTreeMap<Key, String>,
        node: Standing<'_>,
        open: Option<&PropRecord>,
    ) -> BTreeMap<Key, String> {
        let ledger = node.durable.ledger.as_ref();
        let usage = UseRecord {
            slot: ledger.map_or(0, |ledger| ledger.slot),
            boot: node.identity.boot,
            block: node.using(),
        };
        let voter = ledger.filter(|ledger| ledger.voters.contains(&node.identity.node));
        let acc = voter.map(|_| AccRecord {
            acceptor: node.durable.acceptor.clone(),
        });
        let mut keys = BTreeMap::from([
            (Key::Use, value(Some(&usage))),
            (Key::Want, value(node.want().as_ref())),
            (Key::Acc, value(acc.as_ref())),
            (Key::Prop, value(open)),
        ]);
        keys.insert(Key::Snap, self.snap(before, voter));
        keys
    }

    fn snap(&mut self, before: &BTreeMap<Key, String>, ledger: Option<&Ledger>) -> String {
        let order = ledger.map(Ledger::order);
        match before.get(&Key::Snap) {
            Some(text) if order == self.snap => text.clone(),
            Some(_) | None => {
                self.snap = order;
                let snap = ledger.cloned().map(|ledger| SnapRecord { ledger });
                value(snap.as_ref())
            }
        }
    }
}

/// The nodes with open wishes.
fn wanting(view: &View) -> impl Iterator<Item = NodeId> {
    view.entries()
        .iter()
        .filter(|entry| entry.want.is_some())
        .map(|entry| entry.node)
}

/// A record as a gossip value. One that is too long is not published: nobody would ever see it,
/// nor any later value of this node. The ledger of a full cluster fits, and so does a full batch.
fn value<T: Serialize>(record: Option<&T>) -> String {
    record
        .and_then(|record| encode(record).ok())
        .unwrap_or_default()
}
