//! How a decision changes the ledger, and which ledgers are sound.

use std::collections::BTreeSet;

use podnet_proto::ledger::{Batch, Decided, Ledger, Operation};
use podnet_proto::network::BlockIndex;
use podnet_proto::{NodeId, PodNetwork};

/// The ledger after one more decision. Operations that do not match are ignored, so that every
/// batch leads to exactly one ledger on every node. `None` if this version does not understand
/// all of the batch.
pub(super) fn apply(ledger: &Decided, batch: &Batch) -> Option<Decided> {
    let operations = batch.operations()?;
    Some(ledger.changed(|next| {
        next.previous = ledger.hash();
        next.slot = ledger.next_slot();
        for operation in operations.iter().take(Batch::MAX) {
            apply_operation(next, operation);
        }
    }))
}

/// One operation of the slot that `ledger` is to become. Returns whether it changes anything.
pub(super) fn apply_operation(ledger: &mut Ledger, operation: &Operation) -> bool {
    match operation {
        Operation::Join { node, boot, index } => {
            if ledger.blocks_of(*node).next().is_none() {
                if index.0 >= block_count(ledger) || ledger.blocks.contains_key(index) {
                    return false;
                }
                ledger.blocks.insert(*index, *node);
                ledger.freed.remove(index);
            }
            ledger.boots.insert(*node, *boot) != Some(*boot)
        }
        Operation::Release { node, boot } => {
            if ledger.boots.get(node) != Some(boot) {
                return false;
            }
            let blocks: Vec<BlockIndex> = ledger.blocks_of(*node).collect();
            for block in blocks {
                ledger.blocks.remove(&block);
                ledger.freed.insert(block, ledger.slot);
            }
            ledger.boots.remove(node);
            ledger.released = ledger.slot;
            true
        }
        Operation::Set { settings } => {
            let changes = ledger.settings != *settings;
            ledger.settings = settings.clone();
            changes
        }
    }
}

/// The block that a node gets: its own, else the lowest that no node ever had, else the one that
/// was freed longest ago, so that a block rests before it changes hands. `None` when all are taken.
pub(super) fn choose_block(ledger: &Ledger, node: NodeId) -> Option<BlockIndex> {
    let own = ledger.blocks_of(node).next();
    let unused = || {
        (0..block_count(ledger))
            .map(BlockIndex)
            .find(|index| !ledger.blocks.contains_key(index) && !ledger.freed.contains_key(index))
    };
    let rested = || {
        ledger
            .freed
            .iter()
            .filter(|(index, _)| index.0 < block_count(ledger))
            .filter(|(index, _)| !ledger.blocks.contains_key(index))
            .min_by_key(|(index, slot)| (**slot, **index))
            .map(|(index, _)| *index)
    };
    own.or_else(unused).or_else(rested)
}

/// Whether a ledger from gossip is one that decisions can lead to: an odd number of voters, each
/// once; blocks inside the pod network; and exactly the owners of blocks have a boot.
pub(super) fn is_sound(ledger: &Ledger) -> bool {
    let voters: BTreeSet<NodeId> = ledger.voters.iter().copied().collect();
    let owners: BTreeSet<NodeId> = ledger.blocks.values().copied().collect();
    let in_range = |index: &BlockIndex| index.0 < block_count(ledger);
    voters.len() == ledger.voters.len()
        && voters.len() % 2 == 1
        && ledger.blocks.keys().all(in_range)
        && ledger.freed.keys().all(in_range)
        && owners.iter().eq(ledger.boots.keys())
        && ledger.released <= ledger.slot
}

/// How many blocks there are to give out: those of the first pod network.
fn block_count(ledger: &Ledger) -> u16 {
    ledger.networks.first().map_or(0, PodNetwork::block_count)
}

#[cfg(test)]
mod tests {
    use podnet_proto::ledger::{EncapsulationMode, LedgerHash, Settings};
    use podnet_proto::{Boot, ClusterId};

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    /// Four blocks; node 0 has the first.
    fn genesis() -> Decided {
        Ledger::genesis(
            ClusterId::from_bytes([7; 16]),
            vec![PodNetwork::parse("10.0.0.0/22", 24).unwrap()],
            Settings::default(),
            node(0),
            Boot(100),
        )
    }

    fn join(n: u8, boot: u64, index: u16) -> Operation {
        Operation::Join {
            node: node(n),
            boot: Boot(boot),
            index: BlockIndex(index),
        }
    }

    fn release(n: u8, boot: u64) -> Operation {
        Operation::Release {
            node: node(n),
            boot: Boot(boot),
        }
    }

    fn after(ledger: &Decided, operations: &[Operation]) -> Decided {
        apply(ledger, &Batch::of(operations.to_vec())).unwrap()
    }

    #[test]
    fn each_decision_is_chained_to_the_one_before() {
        let first = after(&genesis(), &[]);
        assert_eq!((first.slot, first.previous), (1, genesis().hash()));
        assert_eq!(genesis().previous, LedgerHash::NONE);
        assert_eq!(first.blocks, genesis().blocks);
    }

    #[test]
    fn a_newcomer_gets_the_block_and_a_member_only_a_new_boot() {
        let ledger = after(&genesis(), &[join(1, 1, 2), join(0, 101, 3)]);
        assert_eq!(ledger.blocks.get(&BlockIndex(2)), Some(&node(1)));
        assert_eq!(ledger.blocks.get(&BlockIndex(3)), None);
        assert_eq!(
            ledger.blocks_of(node(0)).collect::<Vec<_>>(),
            [BlockIndex(0)]
        );
        assert_eq!(ledger.boots[&node(0)], Boot(101));
        assert_eq!(ledger.boots[&node(1)], Boot(1));
        assert!(is_sound(&ledger));
    }

    #[test]
    fn what_does_not_match_is_ignored() {
        let ledger = after(
            &genesis(),
            &[join(1, 1, 0), join(2, 2, 4), release(0, 99), release(3, 0)],
        );
        assert_eq!(
            (&ledger.blocks, &ledger.boots),
            (&genesis().blocks, &genesis().boots)
        );
        assert_eq!(ledger.freed, genesis().freed);
    }

    #[test]
    fn a_release_frees_the_block_and_the_next_owner_takes_it_out_of_the_freed() {
        let ledger = after(&genesis(), &[join(1, 1, 1)]);
        let ledger = after(&ledger, &[release(1, 1)]);
        assert_eq!(ledger.freed.get(&BlockIndex(1)), Some(&2));
        assert_eq!(ledger.released, 2);
        assert!(!ledger.boots.contains_key(&node(1)) && is_sound(&ledger));
        let ledger = after(&ledger, &[join(2, 2, 1)]);
        assert!(ledger.freed.is_empty() && is_sound(&ledger));
        assert_eq!(
            ledger.released, 2,
            "a release is not forgotten with its block"
        );
    }

    #[test]
    fn at_most_one_batch_of_operations_counts() {
        let mut operations = vec![release(9, 9); Batch::MAX];
        operations.push(join(1, 1, 1));
        assert_eq!(after(&genesis(), &operations).blocks, genesis().blocks);
    }

    #[test]
    fn settings_change() {
        let settings = Settings::new(EncapsulationMode::Wireguard, Vec::new());
        let set = Operation::Set {
            settings: settings.clone(),
        };
        assert_eq!(after(&genesis(), &[set]).settings, settings);
    }

    #[test]
    fn blocks_are_chosen_own_then_unused_then_rested() {
        let mut ledger = Ledger::clone(&genesis());
        assert_eq!(
            choose_block(&ledger, node(0)),
            Some(BlockIndex(0)),
            "its own"
        );
        assert_eq!(
            choose_block(&ledger, node(1)),
            Some(BlockIndex(1)),
            "the lowest"
        );
        ledger.freed = [(BlockIndex(1), 5), (BlockIndex(2), 4)].into();
        assert_eq!(
            choose_block(&ledger, node(1)),
            Some(BlockIndex(3)),
            "never used"
        );
        ledger.blocks.insert(BlockIndex(3), node(3));
        assert_eq!(
            choose_block(&ledger, node(1)),
            Some(BlockIndex(2)),
            "freed first"
        );
        ledger.freed.clear();
        ledger.blocks.insert(BlockIndex(1), node(4));
        ledger.blocks.insert(BlockIndex(2), node(4));
        assert_eq!(choose_block(&ledger, node(1)), None, "full");
    }

    #[test]
    fn unsound_ledgers_are_known() {
        assert!(is_sound(&genesis()));
        let unsound: [fn(&mut Ledger); 8] = [
            |l| l.voters.clear(),
            |l| l.voters.push(node(1)),
            |l| l.voters = vec![node(0); 3],
            |l| l.networks.clear(),
            |l| _ = l.blocks.insert(BlockIndex(4), node(0)),
            |l| _ = l.freed.insert(BlockIndex(4), 0),
            |l| l.boots.clear(),
            |l| _ = l.boots.insert(node(1), Boot(1)),
        ];
        for (number, spoil) in unsound.into_iter().enumerate() {
            assert!(!is_sound(&genesis().changed(spoil)), "{number}");
        }
    }
}
