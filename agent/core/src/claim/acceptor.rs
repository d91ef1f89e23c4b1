//! The voter as acceptor: what it promises and accepts.

use podnet_proto::gossip::PropRecord;
use podnet_proto::ledger::{Acceptor, Batch};

/// Hears a proposal of a voter: without a batch it asks for a promise, with one for acceptance.
/// Returns whether the acceptor changed; then it must be on disk before anything of it is published.
pub(super) fn hear(acceptor: &mut Acceptor, proposal: &PropRecord) -> bool {
    if proposal.slot != acceptor.slot || Some(proposal.ballot) < acceptor.promised {
        return false;
    }
    match &proposal.batch {
        None => {
            let rises = Some(proposal.ballot) > acceptor.promised;
            acceptor.promised = Some(proposal.ballot);
            rises
        }
        Some(batch) => {
            let last = acceptor.accepted.as_ref().map(|(ballot, _)| *ballot);
            if Some(proposal.ballot) <= last || batch.len() > Batch::MAX {
                return false;
            }
            acceptor.promised = Some(proposal.ballot);
            acceptor.accepted = Some((proposal.ballot, batch.clone()));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use podnet_proto::ledger::{Ballot, Operation};
    use podnet_proto::{Boot, Instance, NodeId};

    use super::*;

    fn ballot(round: u64) -> Ballot {
        Ballot {
            round,
            node: NodeId::from_bytes([1; 16]),
            instance: Instance(1),
        }
    }

    fn proposal(slot: u64, round: u64, batch: Option<Batch>) -> PropRecord {
        PropRecord {
            slot,
            ballot: ballot(round),
            batch,
        }
    }

    fn batch(n: u8) -> Batch {
        Batch::of(vec![release(n)])
    }

    fn release(n: u8) -> Operation {
        Operation::Release {
            node: NodeId::from_bytes([n; 16]),
            boot: Boot(0),
        }
    }

    fn acceptor() -> Acceptor {
        Acceptor {
            slot: 5,
            promised: None,
            accepted: None,
        }
    }

    #[test]
    fn promises_only_rise() {
        let mut acceptor = acceptor();
        assert!(hear(&mut acceptor, &proposal(5, 2, None)));
        assert!(!hear(&mut acceptor, &proposal(5, 2, None)));
        assert!(!hear(&mut acceptor, &proposal(5, 1, None)));
        assert!(!hear(&mut acceptor, &proposal(5, 1, Some(batch(1)))));
        assert_eq!(acceptor.promised, Some(ballot(2)));
        assert_eq!(acceptor.accepted, None);
    }

    #[test]
    fn a_batch_is_accepted_once_and_only_at_the_promise_or_above() {
        let mut acceptor = acceptor();
        assert!(hear(&mut acceptor, &proposal(5, 2, None)));
        assert!(hear(&mut acceptor, &proposal(5, 2, Some(batch(2)))));
        assert!(!hear(&mut acceptor, &proposal(5, 2, Some(batch(2)))));
        assert!(
            hear(&mut acceptor, &proposal(5, 3, Some(batch(3)))),
            "without phase 1"
        );
        assert_eq!(acceptor.promised, Some(ballot(3)));
        assert_eq!(acceptor.accepted, Some((ballot(3), batch(3))));
        assert!(hear(&mut acceptor, &proposal(5, 4, None)));
        assert_eq!(
            acceptor.accepted,
            Some((ballot(3), batch(3))),
            "kept until decided"
        );
    }

    #[test]
    fn other_slots_and_oversized_batches_are_not_heard() {
        let mut acceptor = acceptor();
        let long = Batch::of(vec![release(1); Batch::MAX + 1]);
        for proposal in [
            proposal(4, 9, None),
            proposal(6, 9, Some(batch(1))),
            proposal(5, 9, Some(long)),
        ] {
            assert!(!hear(&mut acceptor, &proposal));
        }
        assert_eq!(acceptor.promised, None);
    }
}
