//! What a voter proposes: the wishes that it has seen, as one batch.

use std::time::Duration;

use podnet_proto::NodeId;
use podnet_proto::gossip::{Want, WantKind};
use podnet_proto::ledger::{Batch, Ledger, Operation};

use super::ledger::{apply_operation, choose_block};
use crate::time::Moment;
use crate::view::{Entry, View};

/// How long the wish of a node counts that looks dead: a newcomer looks so for its first three
/// heartbeats.
const FRESH: Duration = Duration::from_secs(30);

/// The wishes of the other nodes that count now, the oldest first.
///
/// A wish to be released always counts, for it says that this boot never uses a block again. A wish
/// to join counts while its node is alive or has just come. Of a node with several addresses only
/// the newest entry counts: what the others ask for is over.
pub(super) fn wishes(now: Moment, me: NodeId, view: &View) -> Vec<(NodeId, Want)> {
    let counts = |entry: &Entry, want: &Want| match want.want {
        WantKind::Release => true,
        WantKind::Join => entry.live || now.since(entry.want_first_seen) < FRESH,
    };
    let mut wishes: Vec<(Moment, NodeId, Want)> = view
        .newest()
        .filter(|entry| entry.node != me)
        .filter_map(|entry| {
            let want = entry.want.filter(|want| counts(entry, want))?;
            Some((entry.want_first_seen, entry.node, want))
        })
        .collect();
    wishes.sort_by_key(|(since, node, _)| (*since, *node));
    wishes
        .into_iter()
        .map(|(_, node, want)| (node, want))
        .collect()
}

/// Turns wishes into at most [`Batch::MAX`] operations, releases first. A wish that the ledger does
/// not match any more, or for which there is no block, is left out.
pub(super) fn next_batch(ledger: &Ledger, wishes: &[(NodeId, Want)]) -> Batch {
    if wishes.is_empty() {
        return Batch::default();
    }
    let mut scratch = ledger.clone();
    scratch.slot = ledger.next_slot();
    let of_kind = |kind| wishes.iter().filter(move |(_, want)| want.want == kind);
    let mut batch = Batch::default();
    for (node, want) in of_kind(WantKind::Release).chain(of_kind(WantKind::Join)) {
        if batch.0.len() == Batch::MAX {
            break;
        }
        let operation = operation(&scratch, *node, *want);
        batch
            .0
            .extend(operation.filter(|operation| apply_operation(&mut scratch, operation)));
    }
    batch
}

fn operation(
    ledger: &Ledger,
    node: NodeId,
    Want {
        boot,
        want,
        replaces,
    }: Want,
) -> Option<Operation> {
    match want {
        WantKind::Release => Some(Operation::Release { node, boot }),
        WantKind::Join => {
            if ledger.boots.get(&node) != replaces.as_ref() {
                return None;
            }
            let index = choose_block(ledger, node)?;
            Some(Operation::Join { node, boot, index })
        }
    }
}
