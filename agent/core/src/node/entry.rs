//! `init` and `join`, until the node is a member: the host is looked at first, and nothing is changed.

use crate::claim::Durable;
use crate::node::Ticket;
use podnet_proto::{ApiError, ErrorCode};

use super::admission::{Admission, Founding};
use super::effect::{Effect, Write};
use super::event::HostSeen;
use super::host::{self, Host};
use super::join::Attempt;
use super::life::Life;
use super::machine::Node;
use super::member::{Joined, Member, PeerBook};
use crate::kernel::Kinds;

/// A node that is about to become a member.
pub(super) enum Entry {
    /// The host is being looked at.
    Looks(Look),
    /// The members of a cluster are being asked; nothing is on disk yet.
    Asks(Attempt),
    /// The membership is being written, and gossip started.
    Begins(Box<Beginning>),
    /// What is on disk of a membership is removed, since it could not begin, for this reason.
    Undoes(Why, Box<ApiError>),
}

/// A membership that begins.
pub(super) struct Beginning {
    pub(super) joined: Joined,
    pub(super) why: Why,
}

/// Why a membership begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// The node was a member when the last agent ended.
    Resumes,
    /// A cluster was founded, by this request.
    Founds(Ticket),
    /// A cluster was joined, by this request.
    Joins(Ticket),
}

/// The host is being looked at, for a command.
pub(super) struct Look {
    pub(super) command: Command,
    pub(super) allow_overlap: bool,
    pub(super) ticket: Ticket,
    /// No client waits for the answer any more.
    pub(super) abandoned: bool,
}

/// What the host is looked at for.
pub(super) enum Command {
    Found(Founding),
    Join(Admission),
}

impl Node {
    /// Looks whether this host can be a node, for a command.
    pub(super) fn look_at_host(&mut self, command: Command, allow_overlap: bool, ticket: Ticket) {
        self.effects.push(Effect::LookAtHost(host::kinds()));
        self.life = Life::Joining(Entry::Looks(Look {
            command,
            allow_overlap,
            ticket,
            abandoned: false,
        }));
    }

    /// Whether a command is at work whose outcome decides how other commands are answered.
    pub(super) const fn is_entering(&self) -> bool {
        self.removes_remains()
            || matches!(
                self.life.entry(),
                Some(Entry::Looks(_) | Entry::Begins(_) | Entry::Undoes(..))
            )
    }

    /// Makes the node a member: on disk first, then in gossip. All of it or nothing.
    pub(super) fn become_member(&mut self, member: Member, durable: Durable, why: Why) {
        let write = Write::Membership(Box::new((member.clone(), durable.clone())));
        self.effects.push(Effect::Store(write));
        let joined = Joined {
            member,
            durable,
            peers: PeerBook::new(),
        };
        // What was left on disk of another is written over.
        self.remains = None;
        self.life = Life::Joining(Entry::Begins(Box::new(Beginning { joined, why })));
    }

    /// Goes on with the membership that the last agent had.
    pub(super) fn resume_membership(&mut self, joined: Joined) {
        self.start_gossip_of(&joined);
        let why = Why::Resumes;
        self.life = Life::Joining(Entry::Begins(Box::new(Beginning { joined, why })));
    }

    /// The membership that begins is on disk, or not.
    pub(super) fn on_membership_stored(&mut self, result: Result<(), ApiError>) {
        let Some(beginning) = self.take_beginning() else {
            return;
        };
        match result {
            Ok(()) => {
                self.start_gossip_of(&beginning.joined);
                self.life = Life::Joining(Entry::Begins(Box::new(beginning)));
            }
            // A part of it may be there.
            Err(api_error) => self.not_entered(beginning.why, api_error),
        }
    }

    pub(super) fn take_beginning(&mut self) -> Option<Beginning> {
        let begins = |entry: &mut Entry| matches!(entry, Entry::Begins(_));
        match self.life.take_entry(begins) {
            Some(Entry::Begins(beginning)) => Some(*beginning),
            Some(Entry::Looks(_) | Entry::Asks(_) | Entry::Undoes(..)) | None => None,
        }
    }

    /// The node is a member.
    pub(super) fn entered(&mut self, why: Why) {
        self.reconciling.want(Kinds::all());
        self.step();
        match why {
            Why::Resumes => self.go_on_leaving(),
            // The answer follows when the data path is up.
            Why::Founds(ticket) => self.await_init(ticket),
            Why::Joins(ticket) => self.answer(ticket, Ok(self.status().into())),
        }
    }

    /// The node is no member, since the membership could not be written or gossip not be started. What is on disk of
    /// a membership that has just begun is removed.
    pub(super) fn not_entered(&mut self, why: Why, api_error: ApiError) {
        if matches!(why, Why::Resumes) {
            return self.refuse(why, api_error);
        }
        self.remove_membership();
        self.life = Life::Joining(Entry::Undoes(why, Box::new(api_error)));
    }

    pub(super) fn refuse(&mut self, why: Why, api_error: ApiError) {
        match why {
            Why::Resumes => {
                self.life = Life::Idle {
                    not_resumed: Some(api_error),
                };
            }
            Why::Founds(ticket) | Why::Joins(ticket) => self.answer(ticket, Err(api_error)),
        }
    }

    /// Goes on with the command that the host was looked at for.
    pub(super) fn on_host_seen(&mut self, seen: HostSeen) {
        self.setup.hostname = seen.hostname;
        let Some(Entry::Looks(look)) = self
            .life
            .take_entry(|entry| matches!(entry, Entry::Looks(_)))
        else {
            return;
        };
        let Look {
            command,
            allow_overlap,
            ticket,
            abandoned,
        } = look;
        let host = seen.observed;
        let host = host.and_then(|observed| Host::judge(observed, self.setup.advertise));
        match (host, command) {
            (Err(api_error), _) => self.answer(ticket, Err(api_error)),
            (Ok(host), Command::Found(founding)) => {
                self.found(&host, seen.fresh, founding, allow_overlap, ticket);
            }
            (Ok(_), Command::Join(_)) if abandoned => {
                tracing::info!("the join is given up: its client has gone");
            }
            (Ok(host), Command::Join(admission)) => {
                self.plan_join(host, admission, allow_overlap, ticket);
            }
        }
    }

    /// Gives up the attempt that is under way, if there is one, since the user wants the node to leave.
    pub(super) fn give_up_join(&mut self) {
        let asks = |entry: &mut Entry| matches!(entry, Entry::Asks(_));
        if let Some(Entry::Asks(attempt)) = self.life.take_entry(asks) {
            tracing::info!("the join is given up: the node is to leave");
            self.effects.push(Effect::StopAsking);
            let api_error = ApiError::new(
                ErrorCode::Unreachable,
                "join: given up before a member answered: this node was told to leave",
            );
            self.answer(attempt.ticket, Err(api_error));
        }
    }

    /// Gives up the attempt whose client has gone.
    pub(super) fn abandon_join(&mut self, ticket: Ticket) {
        match self.life.entry_mut() {
            Some(Entry::Looks(look)) if look.ticket == ticket => look.abandoned = true,
            Some(Entry::Asks(attempt)) if attempt.ticket == ticket => {
                tracing::info!("the join is given up: its client has gone");
                self.life = Life::IDLE;
                self.effects.push(Effect::StopAsking);
            }
            Some(Entry::Looks(_) | Entry::Asks(_) | Entry::Begins(_) | Entry::Undoes(..))
            | None => {}
        }
    }

    /// Refuses while the members of a cluster are being asked.
    pub(super) fn no_attempt(&self, command: &str) -> Result<(), ApiError> {
        match self.life.entry() {
            None => Ok(()),
            Some(_) => Err(ApiError::new(
                ErrorCode::Exists,
                format!("{command}: another join is under way on this node"),
            )
            .hint("wait until it has ended; it takes 10 s at most")),
        }
    }
}
