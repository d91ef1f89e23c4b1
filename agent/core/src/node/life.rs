//! Where a node stands in its membership.

use podnet_proto::ApiError;

use super::entry::Entry;
use super::membership::Membership;

/// Where a node stands in its membership. Each state holds what it has, and nothing else.
pub(super) enum Life {
    /// It is no member of a cluster.
    Idle {
        /// Why the membership that the last agent had could not be gone on with.
        not_resumed: Option<ApiError>,
    },
    /// It is about to become one.
    Joining(Entry),
    /// It is one.
    Member(Box<Membership>),
    /// It gives its block back: that it is to leave is on disk.
    Leaving(Box<Membership>, Closing),
}

/// How far a membership has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// There are still pods, or the block is not given back, or the data path still carries it.
    No,
    /// What podnet has opened is being closed.
    Devices,
    /// The membership is being ended on disk.
    Disk,
}

impl Life {
    /// The node is no member, and did not fail to be one.
    pub(super) const IDLE: Self = Self::Idle { not_resumed: None };

    /// The membership, if there is one: it may be about to end.
    pub(super) const fn member(&self) -> Option<&Membership> {
        match self {
            Self::Member(membership) | Self::Leaving(membership, _) => Some(membership),
            Self::Idle { .. } | Self::Joining(_) => None,
        }
    }

    /// The membership, to be changed.
    pub(super) const fn member_mut(&mut self) -> Option<&mut Membership> {
        match self {
            Self::Member(membership) | Self::Leaving(membership, _) => Some(membership),
            Self::Idle { .. } | Self::Joining(_) => None,
        }
    }

    /// How the node is about to become a member, if it is.
    pub(super) const fn entry(&self) -> Option<&Entry> {
        if let Self::Joining(entry) = self {
            Some(entry)
        } else {
            None
        }
    }

    /// The entry, to be changed.
    pub(super) const fn entry_mut(&mut self) -> Option<&mut Entry> {
        if let Self::Joining(entry) = self {
            Some(entry)
        } else {
            None
        }
    }

    /// Takes the entry out, if it is one that fits: the node is idle then.
    pub(super) fn take_entry(&mut self, fits: impl FnOnce(&mut Entry) -> bool) -> Option<Entry> {
        if !self.entry_mut().is_some_and(fits) {
            return None;
        }
        match std::mem::replace(self, Self::IDLE) {
            Self::Joining(entry) => Some(entry),
            Self::Idle { .. } | Self::Member(_) | Self::Leaving(..) => None,
        }
    }

    /// How far the membership has come to its end.
    pub(super) const fn closing(&self) -> Closing {
        if let Self::Leaving(_, closing) = self {
            *closing
        } else {
            Closing::No
        }
    }

    /// Notes how far the membership has come to its end.
    pub(super) const fn close(&mut self, so_far: Closing) {
        if let Self::Leaving(_, closing) = self {
            *closing = so_far;
        }
    }

    /// The life of a member that is to leave, which is on disk.
    pub(super) fn leave(self) -> Self {
        match self {
            Self::Member(membership) => Self::Leaving(membership, Closing::No),
            Self::Idle { .. } | Self::Joining(_) | Self::Leaving(..) => self,
        }
    }

    /// The life of a member that stays after all.
    pub(super) fn stay(self) -> Self {
        match self {
            Self::Leaving(membership, _) => Self::Member(membership),
            Self::Idle { .. } | Self::Joining(_) | Self::Member(_) => self,
        }
    }
}
