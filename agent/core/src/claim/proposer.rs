//! The voter as proposer: when it proposes, and what.

use std::time::Duration;

use podnet_proto::gossip::PropRecord;
use podnet_proto::ledger::{Ballot, Batch, Slot};
use podnet_proto::{Instance, NodeId};

use super::votes::Votes;
use crate::time::Moment;

/// How much later than the voter before it a voter proposes: so the first one has time to do it alone.
const RANK_DELAY: Duration = Duration::from_millis(1500);

/// The range from which a voter that was outbid draws its pause.
const BACK_OFF_MILLIS: std::ops::RangeInclusive<u64> = 200..=3000;

/// A voter's proposals. Nothing of it is durable: its ballots are unique to its process.
#[derive(Debug)]
pub(super) struct Proposer {
    node: NodeId,
    instance: Instance,
    rng: fastrand::Rng,
    open: Option<PropRecord>,
    /// The highest ballot ever seen, kept even if gossip forgets it: a ballot that was outbid
    /// is never used again.
    highest: Option<Ballot>,
    /// Since when there is work in a slot.
    waiting: Option<(Slot, Moment)>,
    back_off_until: Moment,
}

impl Proposer {
    pub(super) const fn new(node: NodeId, instance: Instance, rng: fastrand::Rng) -> Self {
        Self {
            node,
            instance,
            rng,
            open: None,
            highest: None,
            waiting: None,
            back_off_until: Moment::START,
        }
    }

    /// The open proposal.
    pub(super) fn open(&self) -> Option<&PropRecord> {
        self.open.as_ref()
    }

    /// Withdraws, since there is nothing to decide, or nothing for this node. Returns whether there
    /// was an open proposal.
    pub(super) fn stop(&mut self) -> bool {
        self.waiting = None;
        self.open.take().is_some()
    }

    /// When it will propose, if it waits for its turn.
    pub(super) fn turn(&self, rank: usize) -> Option<Moment> {
        let (_, since) = self.waiting.filter(|_| self.open.is_none())?;
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        Some(
            self.back_off_until
                .max(since + RANK_DELAY.saturating_mul(rank)),
        )
    }

    /// Moves the proposal on. `work` is what there is to decide; `rank` is how many live voters
    /// come before this one. Returns whether the open proposal changed.
    pub(super) fn advance(
        &mut self,
        now: Moment,
        slot: Slot,
        votes: &Votes<'_>,
        work: &Batch,
        rank: usize,
    ) -> bool {
        let before = self.open.clone();
        self.withdraw(now, slot, votes);
        if work.is_empty() && !votes.undecided() {
            self.stop();
        } else if self.waiting.is_none_or(|(waiting, _)| waiting != slot) {
            self.waiting = Some((slot, now));
        }
        if self.turn(rank).is_some_and(|turn| turn <= now) {
            self.open = Some(PropRecord {
                slot,
                ballot: self.next_ballot(),
                batch: None,
            });
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.batch.is_none())
            && votes.promised(open.ballot)
        {
            let batch = votes.last_accepted(open.ballot).unwrap_or(work);
            open.batch = Some(batch.clone());
        }
        self.open != before
    }

    /// Drops a proposal whose slot is decided or which was outbid; after the latter it pauses, so
    /// that two proposers do not outbid each other for ever.
    fn withdraw(&mut self, now: Moment, slot: Slot, votes: &Votes<'_>) {
        self.highest = self.highest.max(votes.highest());
        self.open.take_if(|open| open.slot != slot);
        let highest = self.highest;
        if self
            .open
            .take_if(|open| Some(open.ballot) < highest)
            .is_some()
        {
            self.back_off_until = now + Duration::from_millis(self.rng.u64(BACK_OFF_MILLIS));
        }
    }

    /// A ballot above every one seen. The voter's own is kept while it is the highest: the promises hold
    /// for later slots too, so that a slot takes one round. It had no batch in this slot yet, for a
    /// proposal with a batch stays open until its slot is decided or it is outbid.
    fn next_ballot(&mut self) -> Ballot {
        let ballot = self
            .highest
            .filter(|highest| (highest.node, highest.instance) == (self.node, self.instance))
            .unwrap_or(Ballot {
                round: self
                    .highest
                    .map_or(0, |highest| highest.round)
                    .saturating_add(1),
                node: self.node,
                instance: self.instance,
            });
        self.highest = Some(ballot);
        ballot
    }
}
