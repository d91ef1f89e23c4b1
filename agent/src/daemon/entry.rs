//! `init` and `join`, until the node is a member: the host is looked at first, and nothing is changed.

use std::collections::VecDeque;

use podnet_core::kernel::Observed;
use podnet_core::node::{Request, Ticket};
use podnet_proto::{ApiError, ErrorCode};

use super::agent::Agent;
use super::effect::Effect;
use super::host::Host;
use super::join::Attempt;
use super::request::{Admission, Founding};

/// A node that is about to become a member.
pub(super) enum Entry {
    /// The host is being looked at.
    Looks(Look),
    /// The members of a cluster are being asked; nothing is on disk yet.
    Asks(Attempt),
}

/// The host is being looked at, for a command.
pub(super) struct Look {
    pub(super) command: Command,
    pub(super) allow_overlap: bool,
    pub(super) ticket: Ticket,
    /// What was asked meanwhile: its answer depends on what comes of this.
    pub(super) waiting: VecDeque<(Request, Ticket)>,
    /// Nobody waits for the answer any more.
    pub(super) abandoned: bool,
}

/// What the host is looked at for.
pub(super) enum Command {
    Found(Founding),
    Join(Admission),
}

impl Agent {
    /// Looks whether this host can be a node, for a command.
    pub(super) fn look_at_host(&mut self, command: Command, allow_overlap: bool, ticket: Ticket) {
        self.effects.push(Effect::LookAtHost);
        self.entry = Some(Entry::Looks(Look {
            command,
            allow_overlap,
            ticket,
            waiting: VecDeque::new(),
            abandoned: false,
        }));
    }

    /// Lets a request wait whose answer the outcome of the look at the host decides.
    pub(super) fn wait_for_look(&mut self, request: Request, ticket: Ticket) {
        if let Some(Entry::Looks(look)) = &mut self.entry {
            look.waiting.push_back((request, ticket));
        }
    }

    /// Goes on with the command that the host was looked at for, and with what was asked meanwhile.
    pub(super) async fn on_host_seen(&mut self, seen: Result<Observed, ApiError>) {
        let Some(Entry::Looks(look)) = self.entry.take_if(|entry| matches!(entry, Entry::Looks(_)))
        else {
            return;
        };
        let Look {
            command,
            allow_overlap,
            ticket,
            waiting,
            abandoned,
        } = look;
        let host = seen.and_then(|observed| Host::judge(observed, self.config.advertise));
        match (host, command) {
            (Err(api_error), _) => self.answer(ticket, Err(api_error)),
            (Ok(host), Command::Found(founding)) => {
                self.found(&host, founding, allow_overlap, ticket).await;
            }
            (Ok(_), Command::Join(_)) if abandoned => {
                tracing::info!("nobody waits for the join any more: it is given up");
            }
            (Ok(host), Command::Join(admission)) => {
                self.plan_join(host, admission, allow_overlap, ticket);
            }
        }
        for (request, ticket) in waiting {
            Box::pin(self.on_request(request, ticket)).await;
        }
    }

    /// Gives up the attempt that is under way, if there is one, since the node is told to leave.
    pub(super) fn give_up_join(&mut self) {
        if let Some(Entry::Asks(attempt)) = self.entry.take() {
            tracing::info!("the join that was under way is given up");
            self.effects.push(Effect::StopAsking);
            let api_error = ApiError::new(
                ErrorCode::Unreachable,
                "join: given up before a member answered: this node was told to leave",
            );
            self.answer(attempt.ticket, Err(api_error));
        }
    }

    /// Gives up the attempt for whose outcome nobody waits any more.
    pub(super) fn abandon_join(&mut self, ticket: Ticket) {
        match &mut self.entry {
            Some(Entry::Looks(look)) if look.ticket == ticket => look.abandoned = true,
            Some(Entry::Asks(attempt)) if attempt.ticket == ticket => {
                tracing::info!("nobody waits for the join any more: it is given up");
                self.entry = None;
                self.effects.push(Effect::StopAsking);
            }
            Some(Entry::Looks(_) | Entry::Asks(_)) | None => {}
        }
    }

    /// Refuses while the members of a cluster are being asked.
    pub(super) fn no_attempt(&self, command: &str) -> Result<(), ApiError> {
        match &self.entry {
            None => Ok(()),
            Some(_) => Err(ApiError::new(
                ErrorCode::Exists,
                format!("{command}: another join is under way on this node"),
            )
            .hint("wait until it has ended; it takes 10 s at most")),
        }
    }
}
