//! What stays on disk of a membership that could not begin, until it can be removed: an agent that starts before
//! that goes on with it.

use std::time::Duration;

use podnet_proto::ApiError;

use super::effect::{Effect, Write};
use super::entry::Entry;
use super::life::Life;
use super::machine::Node;
use crate::time::Moment;

/// How long to wait before the removal is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What stays on disk of a membership that could not begin.
pub(super) struct Remains {
    removal: Removal,
    /// Why it could not be removed.
    why: ApiError,
}

/// How far the removal is.
enum Removal {
    /// It is tried at this moment.
    Due(Moment),
    UnderWay,
}

impl Remains {
    /// When the removal is tried; `None` while it is under way.
    pub(super) const fn due(&self) -> Option<Moment> {
        match self.removal {
            Removal::Due(due) => Some(due),
            Removal::UnderWay => None,
        }
    }

    /// As a problem of the node.
    pub(super) fn problem(&self) -> ApiError {
        let message = format!(
            "the state directory: what was written of a membership that could not begin cannot be removed: {}",
            self.why.message
        );
        ApiError::new(self.why.code, message).hint(
            "let the disk take writes again: podnetd tries each second, and until it succeeds, a restart of podnetd \
             makes this node a member",
        )
    }
}

impl Node {
    /// Removes what is on disk of a membership that could not begin.
    pub(super) fn remove_membership(&mut self) {
        self.effects.push(Effect::Store(Write::NoMembership));
    }

    /// What was on disk of a membership that could not begin is removed, or cannot be.
    pub(super) fn on_membership_removed(&mut self, result: Result<(), ApiError>) {
        match result {
            Ok(()) => {
                if self.remains.take().is_some() {
                    tracing::info!(
                        "what was written of a membership that could not begin is removed"
                    );
                }
            }
            Err(why) => {
                if self.remains.is_none() {
                    tracing::error!(
                        error = why.message,
                        "what was written of a membership that could not begin cannot be removed yet"
                    );
                }
                let removal = Removal::Due(self.now() + PAUSE);
                self.remains = Some(Remains { removal, why });
            }
        }
        let undoes = |entry: &mut Entry| matches!(entry, Entry::Undoes(..));
        if let Some(Entry::Undoes(why, api_error)) = self.life.take_entry(undoes) {
            self.refuse(why, *api_error);
        }
    }

    /// Tries the removal again, if it is due. While the node is about to become a member, it is not.
    pub(super) fn remove_due_remains(&mut self, now: Moment) {
        let idle = matches!(self.life, Life::Idle { .. });
        if let Some(remains) = self.remains.as_mut().filter(|_| idle)
            && remains.due().is_some_and(|due| due <= now)
        {
            remains.removal = Removal::UnderWay;
            self.remove_membership();
        }
    }

    /// Whether the removal is under way: what is written after it must not be decided before its outcome.
    pub(super) const fn removes_remains(&self) -> bool {
        matches!(
            self.remains,
            Some(Remains {
                removal: Removal::UnderWay,
                ..
            })
        )
    }
}
