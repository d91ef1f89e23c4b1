//! What a voter proposes: the wishes that it has seen, as one batch.

use std::time::Duration;

use podnet_proto::gossip::{Want, WantKind};
use podnet_proto::ledger::{Batch, Ledger, Operation};
use podnet_proto::{Boot, NodeId};

use super::ledger::{apply_operation, choose_block};
use crate::time::Moment;
use crate::view::{Entry, View};

/// How long the wish of a node counts that looks dead: a newcomer looks dead for its first three
/// heartbeats.
const FRESH: Duration = Duration::from_secs(30);

/// The wishes of the other nodes that count now, the oldest first.
///
/// A wish to join counts while its node is alive or has just come, and while no instance of it with
/// the registered boot looks alive: that instance would lose its block to a clone. Until this node has
/// listened for long enough to know of such an instance, no member gets another boot. A wish to be
/// released counts from an instance that runs with that boot and uses no block, as long as no instance
/// with that boot uses one. Of a node with several addresses only the best entry counts: the wishes of
/// the others are over.
pub(super) fn wishes(
    now: Moment,
    me: NodeId,
    ledger: &Ledger,
    view: &View,
    listening: bool,
) -> Vec<(NodeId, Want)> {
    let counts = |entry: &Entry, want: &Want| match want.want {
        WantKind::Release => has_stopped(entry, want.boot, view),
        WantKind::Join => {
            let taken = ledger.boots.get(&entry.node).is_some_and(|registered| {
                *registered != want.boot && (listening || view.may_run(entry.node, *registered))
            });
            !taken && (entry.live || now.since(entry.want_first_seen) < FRESH)
        }
    };
    let mut wishes: Vec<(Moment, NodeId, Want)> = view
        .all_best(&ledger.boots)
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

/// Whether no instance with the boot that is to be released says that it uses a block.
fn has_stopped(entry: &Entry, boot: Boot, view: &View) -> bool {
    let uses = |entry: &Entry| {
        let usage = entry.usage.filter(|usage| usage.boot == boot);
        usage.is_some_and(|usage| usage.block.is_some())
    };
    let mut present = view.of(entry.node).iter().filter(|entry| entry.present);
    entry.boot() == Some(boot) && !uses(entry) && !present.any(uses)
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
    let mut operations = Vec::new();
    for (node, want) in of_kind(WantKind::Release).chain(of_kind(WantKind::Join)) {
        if operations.len() == Batch::MAX {
            break;
        }
        if !is_heeded(ledger, *node, want) {
            continue;
        }
        let operation = operation(&scratch, *node, *want);
        operations.extend(operation.filter(|operation| apply_operation(&mut scratch, operation)));
    }
    Batch::of(operations)
}

/// Whether a wish is of a node that knows the present ledger: else the wish may be over by now.
fn is_heeded(ledger: &Ledger, node: NodeId, want: &Want) -> bool {
    match (want.want, ledger.boots.get(&node)) {
        (WantKind::Release, _) => true,
        (WantKind::Join, registered @ Some(_)) => registered == want.replaces.as_ref(),
        (WantKind::Join, None) => want.replaces.is_none() && want.released >= ledger.released,
    }
}

fn operation(ledger: &Ledger, node: NodeId, want: Want) -> Option<Operation> {
    let boot = want.boot;
    match want.want {
        WantKind::Release => Some(Operation::Release { node, boot }),
        WantKind::Join => {
            let index = choose_block(ledger, node)?;
            Some(Operation::Join { node, boot, index })
        }
    }
}

#[cfg(test)]
mod tests {
    use podnet_proto::ledger::{Decided, Settings};
    use podnet_proto::{ClusterId, PodNetwork};

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn ledger() -> Decided {
        let network = PodNetwork::parse("10.0.0.0/22", 24).unwrap();
        let cluster = ClusterId::from_bytes([7; 16]);
        let genesis = Ledger::genesis(
            cluster,
            vec![network],
            Settings::default(),
            node(0),
            Boot(0),
        );
        genesis.changed(|ledger| {
            ledger.slot = 9;
            ledger.released = 5;
        })
    }

    fn wish(replaces: Option<Boot>, released: u64) -> Want {
        Want {
            boot: Boot(1),
            want: WantKind::Join,
            replaces,
            released,
        }
    }

    #[test]
    fn a_wish_from_before_the_last_release_does_not_count() {
        let granted = |node, want| !next_batch(&ledger(), &[(node, want)]).is_empty();
        assert!(granted(node(1), wish(None, 5)));
        assert!(granted(node(1), wish(None, 6)), "it knows more");
        assert!(!granted(node(1), wish(None, 4)));
        assert!(!granted(node(1), wish(Some(Boot(7)), 5)), "no member");
        assert!(
            granted(node(0), wish(Some(Boot(0)), 0)),
            "a member's reboot"
        );
        assert!(!granted(node(0), wish(Some(Boot(3)), 5)), "an earlier one");
        assert!(!granted(node(0), wish(None, 5)), "from before it joined");
    }
}
