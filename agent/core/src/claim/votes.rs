//! What is known of the voters' acceptors.

use std::collections::BTreeSet;

use podnet_proto::NodeId;
use podnet_proto::ledger::{Acceptor, Ballot, Batch, Ledger, Slot};

use crate::view::View;

/// The voters' acceptors: this node's own from memory, the others' from gossip. A voter whose address
/// has changed may show two; both are facts, and the voter counts once.
pub(super) struct Votes<'a> {
    slot: Slot,
    majority: usize,
    acceptors: Vec<(NodeId, &'a Acceptor)>,
}

impl<'a> Votes<'a> {
    /// Gathers what is known about the slot after the ledger's.
    pub(super) fn gather(me: NodeId, own: &'a Acceptor, ledger: &Ledger, view: &'a View) -> Self {
        let mut acceptors = Vec::new();
        for voter in &ledger.voters {
            if *voter == me {
                acceptors.push((me, own));
            } else {
                let shown = view
                    .of(*voter)
                    .iter()
                    .filter_map(|entry| entry.acc.as_ref());
                acceptors.extend(shown.map(|acc| (*voter, &acc.acceptor)));
            }
        }
        Self {
            slot: ledger.next_slot(),
            majority: ledger.majority(),
            acceptors,
        }
    }

    /// The batch that a majority has accepted with one ballot: the decision.
    pub(super) fn decided(&self) -> Option<&'a Batch> {
        self.accepted()
            .find(|(_, candidate)| {
                let alike = self
                    .accepted()
                    .filter(|(_, accepted)| accepted == candidate);
                self.is_majority(alike.map(|(voter, _)| voter))
            })
            .map(|(_, (_, batch))| batch)
    }

    /// Whether some voter has accepted something.
    pub(super) fn undecided(&self) -> bool {
        self.accepted().next().is_some()
    }

    /// The highest ballot that any voter has promised, in whatever slot.
    pub(super) fn highest(&self) -> Option<Ballot> {
        self.acceptors
            .iter()
            .filter_map(|(_, acceptor)| acceptor.promised)
            .max()
    }

    /// Whether a majority has promised exactly this ballot.
    pub(super) fn promised(&self, ballot: Ballot) -> bool {
        self.is_majority(self.at_ballot(ballot).map(|(voter, _)| voter))
    }

    /// Of those that have promised exactly this ballot: the batch accepted with the highest ballot.
    pub(super) fn last_accepted(&self, ballot: Ballot) -> Option<&'a Batch> {
        self.at_ballot(ballot)
            .filter_map(|(_, acceptor)| acceptor.accepted.as_ref())
            .max_by_key(|(accepted, _)| *accepted)
            .map(|(_, batch)| batch)
    }

    fn in_slot(&self) -> impl Iterator<Item = (NodeId, &'a Acceptor)> {
        self.acceptors
            .iter()
            .copied()
            .filter(|(_, acceptor)| acceptor.slot == self.slot)
    }

    fn accepted(&self) -> impl Iterator<Item = (NodeId, &'a (Ballot, Batch))> {
        self.in_slot()
            .filter_map(|(voter, acceptor)| Some((voter, acceptor.accepted.as_ref()?)))
    }

    fn at_ballot(&self, ballot: Ballot) -> impl Iterator<Item = (NodeId, &'a Acceptor)> {
        self.in_slot()
            .filter(move |(_, acceptor)| acceptor.promised == Some(ballot))
    }

    fn is_majority(&self, voters: impl Iterator<Item = NodeId>) -> bool {
        voters.collect::<BTreeSet<_>>().len() >= self.majority
    }
}
