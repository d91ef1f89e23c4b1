//! Learning ledgers from snapshots.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use podnet_proto::NodeId;
use podnet_proto::ledger::{Checkpoint, Decided, Ledger, Slot};

use super::durable::Durable;
use super::ledger::is_sound;
use super::mute::ahead;
use crate::view::{Entry, View};

/// The most decisions that a ledger may be ahead of this node's own and still be believed: more than any
/// cluster comes to, and no more than leaves room for all that follow.
const MOST_DECISIONS: Slot = 1 << 20;

/// Whether a ledger at `slot` may be a later one than that at `own`.
pub(super) const fn is_plausible(own: Slot, slot: Slot) -> bool {
    slot <= own.saturating_add(MOST_DECISIONS)
}

/// What the snapshots in the view are good for.
pub(super) struct Snapshots<'a> {
    /// The latest ledger that is later than this node's own.
    pub(super) newest: Option<&'a Decided>,
    /// The nodes whose snapshots cannot be true: of another cluster, unsound, or at odds with this
    /// node's ledger or with another snapshot.
    pub(super) refused: BTreeSet<NodeId>,
}

/// What a snapshot is good for.
enum Worth {
    /// There is nothing new in it.
    Known,
    /// It has a later ledger.
    Newer,
    /// It cannot be true.
    Refused,
}

/// Judges the voters' snapshots, among them this node's own from before its disk was rolled back. No
/// other node's count; a node that knows no ledger yet takes a node for a voter if its ledger says so.
pub(super) fn snapshots<'a>(durable: &Durable, view: &'a View) -> Snapshots<'a> {
    let mut newer: Vec<(NodeId, &Decided)> = Vec::new();
    let mut refused = BTreeSet::new();
    for entry in view.entries() {
        let Some(snap) = &entry.snap else { continue };
        let by = durable.ledger.as_ref().unwrap_or(&snap.ledger);
        if !by.voters.contains(&entry.node) {
            continue;
        }
        match judge(durable, &snap.ledger) {
            Worth::Known => {}
            Worth::Newer => newer.push((entry.node, &snap.ledger)),
            Worth::Refused => _ = refused.insert(entry.node),
        }
    }
    newer.sort_by_key(|(_, ledger)| std::cmp::Reverse(ledger.order()));
    let mut newest = None;
    for rivals in newer.chunk_by(|(_, a), (_, b)| a.order() == b.order()) {
        let (_, first) = rivals[0];
        if rivals.iter().any(|(_, rival)| *rival != first) {
            refused.extend(rivals.iter().map(|(node, _)| *node));
        } else if newest.is_none() {
            newest = Some(first);
        }
    }
    Snapshots { newest, refused }
}

/// What a voter that is behind may take over from members: the latest ledger that a majority of the
/// members that are alive show alike. Whatever it says, it does not take this node's own block.
pub(super) fn shown_by_members<'a>(
    me: NodeId,
    durable: &'a Durable,
    view: &'a View,
) -> Option<&'a Decided> {
    let own = durable.ledger.as_ref()?;
    let mut asked: BTreeSet<NodeId> = ahead(me, own, view).map(|(entry, _)| entry.node).collect();
    asked.extend(own.boots.keys().filter(|member| view.is_live(**member)));
    asked.remove(&me);
    let keeps_mine = |ledger: &Ledger| {
        ledger.voters == own.voters
            && ledger.blocks_of(me).eq(own.blocks_of(me))
            && ledger.boots.contains_key(&me)
    };
    let mut shown: BTreeMap<(u64, Slot), Vec<(NodeId, &Decided)>> = BTreeMap::new();
    let entries = asked.iter().flat_map(|member| view.of(*member));
    for (node, snap) in entries.filter_map(|entry: &Entry| Some((entry.node, entry.snap.as_ref()?)))
    {
        if matches!(judge(durable, &snap.ledger), Worth::Newer) && keeps_mine(&snap.ledger) {
            let at = shown.entry(snap.ledger.order()).or_default();
            at.push((node, &snap.ledger));
        }
    }
    let is_majority = |alike: &BTreeSet<NodeId>| alike.len() > asked.len() / 2;
    shown
        .values()
        .rev()
        .flatten()
        .map(|(_, ledger)| *ledger)
        .find(|ledger| {
            let same = shown[&ledger.order()]
                .iter()
                .filter(|(_, other)| other == ledger);
            is_majority(&same.map(|(node, _)| *node).collect())
        })
}

fn judge(durable: &Durable, ledger: &Decided) -> Worth {
    let newer = match &durable.ledger {
        Some(own) => judge_after(own, ledger),
        None => judge_first(durable.checkpoint, ledger),
    };
    match newer {
        Worth::Newer if !may_follow(durable, ledger) => Worth::Refused,
        Worth::Newer | Worth::Known | Worth::Refused => newer,
    }
}

/// Whether a later ledger may be one of this cluster at all.
fn may_follow(durable: &Durable, ledger: &Ledger) -> bool {
    let (recovery, slot) = match &durable.ledger {
        Some(own) => own.order(),
        None => (durable.checkpoint.recovery, durable.checkpoint.slot),
    };
    ledger.cluster == durable.cluster
        && is_plausible(recovery, ledger.recovery)
        && is_plausible(slot, ledger.slot)
        && is_sound(ledger)
}

fn judge_after(own: &Decided, ledger: &Decided) -> Worth {
    let follows = (own.recovery, own.next_slot()) == ledger.order();
    match ledger.order().cmp(&own.order()) {
        Ordering::Less => Worth::Known,
        Ordering::Equal if ledger == own => Worth::Known,
        Ordering::Equal => Worth::Refused,
        Ordering::Greater if follows && ledger.previous != own.hash() => Worth::Refused,
        Ordering::Greater => Worth::Newer,
    }
}

fn judge_first(checkpoint: Checkpoint, ledger: &Decided) -> Worth {
    match ledger.order().cmp(&(checkpoint.recovery, checkpoint.slot)) {
        Ordering::Less => Worth::Known,
        Ordering::Equal if ledger.hash() != checkpoint.hash => Worth::Refused,
        Ordering::Equal | Ordering::Greater => Worth::Newer,
    }
}
