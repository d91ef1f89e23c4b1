//! `leave`: giving the block back.

use std::time::Duration;

use crate::claim::ClaimState;
use crate::node::Ticket;
use crate::time::Moment;
use podnet_proto::api::LeaveRequest;
use podnet_proto::{ApiError, Boot, ErrorCode, PodName};

use super::effect::{Effect, Write};
use super::life::{Closing, Life};
use super::machine::Node;
use super::membership::{Membership, Roster, Saving};
use crate::node::echoes::Targets;

/// How long a node listens, once gossip has started, before it takes silence for the lack of a
/// majority: a few rounds, since datagrams may be lost.
const LISTENING: Duration = Duration::from_secs(5);

impl Node {
    /// Answers the requests to leave, unless it is too early to say whether a majority can be
    /// reached: a node that has just started has heard of no other.
    pub(super) fn answer_leaves(&mut self) {
        let now = self.now();
        let early = self.life.member().is_some_and(|membership| {
            let lonely = membership.ledger().is_some() && !membership.quorum.is_live();
            let listening = now.since(membership.listening_since) < LISTENING;
            let undecided = lonely && listening && !membership.is_departing();
            undecided || membership.saving.is_some()
        });
        if early {
            return;
        }
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        for (request, ticket) in std::mem::take(&mut membership.early_leaves) {
            if let Err(api_error) = self.leave(request, ticket) {
                self.answer(ticket, Err(api_error));
            }
        }
    }

    /// A user wants the node to leave. A node that is no member has left already.
    pub(super) fn on_leave(&mut self, request: LeaveRequest, ticket: Ticket) {
        match self.life.member_mut() {
            Some(membership) => {
                membership.early_leaves.push((request, ticket));
                self.answer_leaves();
            }
            None => self.answer(ticket, Ok(self.status().into())),
        }
    }

    /// Begins to leave. The node goes on by itself, also through a restart, with the pods, the data
    /// path, the block and the state.
    fn leave(&mut self, request: LeaveRequest, ticket: Ticket) -> Result<(), ApiError> {
        let Some(membership) = self.life.member_mut() else {
            self.answer(ticket, Ok(self.status().into()));
            return Ok(());
        };
        if membership.saving.is_some() {
            membership.early_leaves.push((request, ticket));
            return Ok(());
        }
        if membership.machine.is_last_voter() && !membership.gives_block_back() {
            return Err(ApiError::new(
                ErrorCode::NoQuorum,
                "leave: this node is the only voter, and other nodes are members",
            )
            .hint("let the other nodes leave first"));
        }
        if !membership.is_departing() {
            let pods: Vec<PodName> = self.pods.records.keys().cloned().collect();
            if !pods.is_empty() && !request.remove_pods {
                let names: Vec<&str> = pods.iter().map(PodName::as_str).collect();
                return Err(ApiError::new(
                    ErrorCode::Exists,
                    format!("leave: this node has pods: {}", names.join(", ")),
                )
                .hint("remove them with 'podnetctl pod rm', or leave with --yes, which does"));
            }
            let quorum = membership.quorum;
            // A voter that was just heard of may have been dead for long.
            if membership.ledger().is_some() && !quorum.is_live() {
                return Err(ApiError::new(
                    ErrorCode::NoQuorum,
                    format!(
                        "leave: {} of {} voters can be reached, which is no majority",
                        quorum.live, quorum.voters
                    ),
                )
                .hint(
                    "bring the voters back; this node keeps its block until then. If their disks \
                     are lost, stop podnetd and run 'podnetd cleanup --yes --purge'",
                ));
            }
            tracing::info!(pods = pods.len(), "this node begins to leave its cluster");
            membership.machine.depart();
            // A node that knows no ledger has no pods, and nothing to give back.
            if membership.ledger().is_some() {
                // On disk before the first pod goes.
                let durable = membership.machine.durable().clone();
                membership.saving = Some(Saving::Departure(ticket));
                membership.saving_since = self.now.moment;
                let write = Write::Durable(Box::new(durable));
                self.effects.push(Effect::Store(write));
                return Ok(());
            }
            self.change_life(Life::leave);
        }
        // If the user asks again, pods that could not be removed are tried again.
        self.go_on_leaving();
        self.answer(ticket, Ok(self.status().into()));
        Ok(())
    }

    /// That the node is to leave is on disk, or cannot be written.
    pub(super) fn departed(&mut self, ticket: Ticket, result: Result<(), ApiError>) {
        if let Err(api_error) = result {
            if let Some(membership) = self.life.member_mut() {
                membership.machine.stay();
            }
            return self.answer(ticket, Err(api_error));
        }
        self.change_life(Life::leave);
        self.go_on_leaving();
        self.answer(ticket, Ok(self.status().into()));
        self.step_soon();
    }

    /// Whether the node is to leave, be that on disk or not.
    pub(super) fn is_departing(&self) -> bool {
        let member = self.life.member();
        member.is_some_and(Membership::is_departing)
    }

    /// Whether the node is to leave, and that is on disk: pods may go.
    pub(super) const fn may_leave(&self) -> bool {
        matches!(self.life, Life::Leaving(..))
    }

    fn change_life(&mut self, change: impl FnOnce(Life) -> Life) {
        self.life = change(std::mem::replace(&mut self.life, Life::IDLE));
    }

    /// Removes the pods of a node that is to leave, and then gives its block back.
    pub(super) fn go_on_leaving(&mut self) {
        if !self.may_leave() {
            return;
        }
        for pod in self.pods.records.keys().cloned().collect::<Vec<_>>() {
            self.remove_pod(&pod, None);
        }
        self.leave_when_empty();
    }

    /// Gives the block back, once the last pod is gone.
    pub(super) fn leave_when_empty(&mut self) {
        let Some(membership) = self.life.member_mut() else {
            return;
        };
        if membership.is_departure_unsaved() {
            return;
        }
        let begun = membership.gives_block_back();
        if membership.is_departing() && !begun && membership.machine.is_last_voter() {
            tracing::warn!(
                "this node stays a member: it is the only voter, and other nodes have joined meanwhile"
            );
            membership.machine.stay();
            self.change_life(Life::stay);
            self.step_soon();
        } else if membership.is_departing() && self.pods.records.is_empty() {
            membership.machine.leave();
            self.step_soon();
        }
    }

    /// Begins to end the membership, once the block is released and the data path is gone: what podnet has
    /// opened is closed, beside the loop, since iptables may take its time.
    pub(super) fn finish_leaving(&mut self) {
        let now = self.now();
        let may_end = self
            .life
            .member()
            .is_some_and(|member| may_end(member, now));
        if !may_end || self.life.closing() != Closing::No {
            return;
        }
        self.life.close(Closing::Devices);
        self.effects.push(Effect::CloseDevices);
    }

    /// Ends the membership. If the node has heard of the ledger only meanwhile, it has to give back first what that
    /// gives it.
    pub(super) fn on_closed(&mut self, left: Vec<String>) {
        self.life.close(Closing::No);
        let now = self.now();
        let may_end =
            |membership: &Membership| may_end(membership, now) && membership.saving.is_none();
        if !self.life.member().is_some_and(may_end) {
            return;
        }
        self.life.close(Closing::Disk);
        self.left = left;
        self.effects.push(Effect::EndMembership);
    }

    /// The membership is ended on disk, or cannot be.
    pub(super) fn on_ended(&mut self, result: Result<Option<Boot>, ApiError>) {
        match result {
            Ok(Some(boot)) => self.setup.boot = boot,
            Ok(None) => {}
            Err(api_error) => {
                // On disk the node is still a member: the next step tries again.
                tracing::error!(
                    error = api_error.message,
                    "this node has left, but its state cannot be removed from disk yet"
                );
                self.life.close(Closing::No);
                return;
            }
        }
        if let Some(membership) = self.life.member_mut() {
            let waiting = std::mem::take(&mut membership.early_leaves);
            let founding = std::mem::take(&mut membership.awaiting_init);
            self.life = Life::IDLE;
            for ticket in founding {
                self.answer(ticket, Err(left_meanwhile()));
            }
            for (_, ticket) in waiting {
                self.answer(ticket, Ok(self.status().into()));
            }
        }
        self.effects.push(Effect::StopGossip);
        self.effects.push(Effect::ShowRoster(Roster::default()));
        self.forget_pods();
        self.paths.clear();
        self.reconciling.reset(self.now());
        self.suspicion.forget();
        self.forwarded.forget();
        self.effects.push(Effect::Aim(Targets::default()));
        tracing::info!("this node has left its cluster");
    }
}

/// The cluster whose foundation was waited for is none of this node's any more.
fn left_meanwhile() -> ApiError {
    let message = "init: this node has left its cluster meanwhile";
    ApiError::new(ErrorCode::NotMember, message)
        .hint("found another with 'podnetctl init', asked again")
}

/// Whether nothing is left to give back, or to stop.
fn may_end(membership: &Membership, now: Moment) -> bool {
    // A node that never knew a ledger has nothing to give back, but its wish for a block may be granted while it
    // leaves. Whoever hears of that gives the block back.
    let listening = now.since(membership.listening_since) < LISTENING;
    let nothing_to_release =
        membership.is_departing() && membership.ledger().is_none() && !listening;
    let released = membership.state == ClaimState::Gone || nothing_to_release;
    released && !membership.stopping
}
