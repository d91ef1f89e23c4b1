//! Faults of what drives a node, each of which breaks a promise. The simulator is worth something only if it finds
//! them.

use std::collections::BTreeSet;

use podnet_core::kernel::{Change, Kind};
use podnet_core::node::{Event, Kept, PodRecordState, Ticket, Why, Write};
use podnet_core::pass::{Job, Report};
use podnet_core::time::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// None: as it should be.
    Sound,
    /// What the claim machine must not forget counts as written before it is.
    Hasty,
    /// A write that has failed counts as one that has not.
    FailuresHidden,
    /// A pod counts as on record that is not.
    Unrecorded,
    /// The addresses that became free are not on record.
    FreedForgotten,
    /// A new agent does not know the pods of the last one.
    PodsForgotten,
    /// Some answers get lost.
    LostReplies,
    /// Some requests are answered twice.
    TwoReplies,
    /// A pass that did not put everything right is followed by the next at once.
    NoPause,
    /// The node is never woken up.
    Oversleeps,
    /// It is woken up only for the claim machine.
    PassesForgotten,
    /// What the node is woken up for comes half a minute late.
    Late,
    /// A pod counts as detached that is not.
    NotDetached,
    /// The data path counts as stopped before it is.
    StoppedTooEarly,
    /// Gossip starts under the same epoch each time.
    SameEpoch,
    /// Changes that other programs make are not heard of.
    ChangesUnheard,
    /// What has come of putting a pod right is not heard of.
    RepairsUnheard,
    /// What has come of detaching a pod is not heard of.
    DetachesUnheard,
    /// The membership ends as soon as the node is to leave.
    LeavesAtOnce,
}

pub(crate) fn everything() -> Change {
    Change {
        kind: Kind::Everything,
        what: "a fault".to_owned(),
        by: BTreeSet::new(),
    }
}

impl Mutant {
    /// What is read when the agent starts.
    pub(crate) fn read(self, kept: &mut Kept) {
        if self == Self::PodsForgotten {
            kept.pods.clear();
        }
    }

    /// Whether this is not written to the run directory.
    pub(crate) fn loses(self, write: &Write) -> bool {
        match write {
            Write::Pod(record) => self == Self::Unrecorded && record.state == PodRecordState::Ready,
            Write::Freed(_) => self == Self::FreedForgotten,
            Write::NoPod(_)
            | Write::Membership(_)
            | Write::NoMembership
            | Write::Member(_)
            | Write::Durable(_)
            | Write::Peers(_) => false,
        }
    }

    pub(crate) fn is_hasty(self, write: &Write) -> bool {
        self == Self::Hasty && matches!(write, Write::Durable(_))
    }

    pub(crate) fn hides_failures(self) -> bool {
        self == Self::FailuresHidden
    }

    /// Whether the membership ends with this write.
    pub(crate) fn ends_at(self, write: &Write) -> bool {
        let Write::Durable(durable) = write else {
            return false;
        };
        self == Self::LeavesAtOnce && durable.is_departing()
    }

    /// How often a request is answered.
    pub(crate) fn copies(self, ticket: Ticket) -> usize {
        match self {
            Self::LostReplies if ticket.0.is_multiple_of(5) => 0,
            Self::TwoReplies if ticket.0.is_multiple_of(5) => 2,
            _ => 1,
        }
    }

    /// Whether the next pass is to follow at once.
    pub(crate) fn hurries(self, report: &Report) -> bool {
        self == Self::NoPause && !report.converged()
    }

    /// When the node is woken up.
    pub(crate) fn deadline(self, due: Option<(Moment, Why)>) -> Option<Moment> {
        let (at, why) = due?;
        match self {
            Self::Oversleeps => None,
            Self::PassesForgotten if why == Why::Pass => None,
            Self::Late => Some(at + std::time::Duration::from_secs(30)),
            _ => Some(at),
        }
    }

    pub(crate) fn detaches(self) -> bool {
        self != Self::NotDetached
    }

    /// Whether a pass that is to stop the data path counts as done before it is.
    pub(crate) fn takes_for_stopped(self, job: &Job) -> bool {
        self == Self::StoppedTooEarly && job.target.is_none()
    }

    pub(crate) fn epoch(self, epoch: u64) -> u64 {
        if self == Self::SameEpoch { 1 } else { epoch }
    }

    pub(crate) fn hears_changes(self) -> bool {
        self != Self::ChangesUnheard
    }

    /// Whether the node hears of this.
    pub(crate) fn hears(self, event: &Event) -> bool {
        match event {
            Event::Repaired(..) => self != Self::RepairsUnheard,
            Event::Detached(..) => self != Self::DetachesUnheard,
            _ => true,
        }
    }
}
