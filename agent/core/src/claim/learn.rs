//! Learning ledgers from other nodes' snapshots.

use std::cmp::Ordering;

use podnet_proto::NodeId;
use podnet_proto::ledger::{Checkpoint, Ledger};

use super::durable::Durable;
use super::ledger::is_sound;
use crate::view::View;

/// What the snapshots in the view are good for.
pub(super) struct Snapshots<'a> {
    /// The latest ledger that is later than one's own.
    pub(super) newest: Option<&'a Ledger>,
    /// How many snapshots cannot be true: of another cluster, unsound, or at odds with one's own
    /// ledger or with another snapshot.
    pub(super) refused: usize,
}

enum Verdict {
    /// Nothing new in it.
    Known,
    Newer,
    Refused,
}

/// Judges the other nodes' snapshots.
pub(super) fn snapshots<'a>(me: NodeId, durable: &Durable, view: &'a View) -> Snapshots<'a> {
    let mut newer: Vec<&Ledger> = Vec::new();
    let mut refused = 0;
    for entry in view.entries().iter().filter(|entry| entry.node != me) {
        let Some(snap) = &entry.snap else { continue };
        match judge(durable, &snap.ledger) {
            Verdict::Known => {}
            Verdict::Newer => newer.push(&snap.ledger),
            Verdict::Refused => refused += 1,
        }
    }
    newer.sort_by_key(|ledger| std::cmp::Reverse(ledger.order()));
    let mut newest = None;
    for rivals in newer.chunk_by(|a, b| a.order() == b.order()) {
        let first = rivals[0];
        if rivals.iter().any(|rival| *rival != first) {
            refused += rivals.len();
        } else if newest.is_none() {
            newest = Some(first);
        }
    }
    Snapshots { newest, refused }
}

fn judge(durable: &Durable, ledger: &Ledger) -> Verdict {
    let newer = match &durable.ledger {
        Some(own) => judge_after(own, ledger),
        None => judge_first(durable.checkpoint, ledger),
    };
    match newer {
        Verdict::Newer if ledger.cluster != durable.cluster || !is_sound(ledger) => {
            Verdict::Refused
        }
        Verdict::Newer | Verdict::Known | Verdict::Refused => newer,
    }
}

fn judge_after(own: &Ledger, ledger: &Ledger) -> Verdict {
    let follows = (own.recovery, own.next_slot()) == ledger.order();
    match ledger.order().cmp(&own.order()) {
        Ordering::Less => Verdict::Known,
        Ordering::Equal if ledger == own => Verdict::Known,
        Ordering::Equal => Verdict::Refused,
        Ordering::Greater if follows && ledger.previous != own.hash() => Verdict::Refused,
        Ordering::Greater => Verdict::Newer,
    }
}

fn judge_first(checkpoint: Checkpoint, ledger: &Ledger) -> Verdict {
    match ledger.order().cmp(&(checkpoint.recovery, checkpoint.slot)) {
        Ordering::Less => Verdict::Known,
        Ordering::Equal if ledger.hash() != checkpoint.hash => Verdict::Refused,
        Ordering::Equal | Ordering::Greater => Verdict::Newer,
    }
}
