//! `leave`: giving the block back.

use std::time::Duration;

use podnet_core::claim::ClaimState;
use podnet_core::kernel::{Kind, Kinds};
use podnet_core::node::Ticket;
use podnet_proto::api::LeaveRequest;
use podnet_proto::{ApiError, Boot, ErrorCode, PodName};

use super::effect::{Effect, Write};
use super::forwarding::close_devices;
use super::membership::{Closing, Membership, Roster, Saving};
use super::node::Node;
use crate::dataplane::Dataplane;
use crate::probe::Targets;
use crate::store::RunDir;

/// How long a node listens, once gossip has started, before it takes silence for the lack of a
/// majority: a few rounds, since datagrams may be lost.
const LISTENING: Duration = Duration::from_secs(5);

impl Node {
    /// Answers those who want the node to leave, unless it is too early to say whether a majority
    /// can be reached: a node that has just started has heard of nobody.
    pub(super) fn answer_leaves(&mut self) {
        let now = self.now();
        let early = self.membership.as_ref().is_some_and(|membership| {
            let lonely = membership.ledger().is_some() && !membership.quorum.is_live();
            let listening = now.since(membership.listening_since) < LISTENING;
            let undecided = lonely && listening && !membership.is_departing();
            undecided || membership.saving.is_some()
        });
        if early {
            return;
        }
        for (request, ticket) in std::mem::take(&mut self.early_leaves) {
            if let Err(api_error) = self.leave(request, ticket) {
                self.answer(ticket, Err(api_error));
            }
        }
    }

    /// Begins to leave. It goes on by itself, also through a restart: the pods, the data path, the
    /// block, the state.
    fn leave(&mut self, request: LeaveRequest, ticket: Ticket) -> Result<(), ApiError> {
        let Some(membership) = &mut self.membership else {
            self.answer(ticket, Ok(self.status().into()));
            return Ok(());
        };
        if membership.saving.is_some() {
            self.early_leaves.push((request, ticket));
            return Ok(());
        }
        if membership.machine.is_last_voter() && !membership.is_leaving() {
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
            // One that was just heard of may be dead for long.
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
            tracing::info!(pods = pods.len(), "leaving the cluster");
            membership.machine.depart();
            // A node that knows no ledger has no pods, and nothing to give back.
            if membership.ledger().is_some() {
                // On disk before the first pod goes.
                let durable = membership.machine.durable().clone();
                membership.saving = Some(Saving::Departure(ticket));
                membership.saving_since = self.now;
                let write = Write::Durable(Box::new(durable));
                self.effects.push(Effect::Store(write));
                return Ok(());
            }
        }
        // Asked again, this also tries pods again that could not be removed.
        self.go_on_leaving();
        self.answer(ticket, Ok(self.status().into()));
        Ok(())
    }

    /// It is on disk that the node is to leave, or it is not.
    pub(super) fn departed(&mut self, ticket: Ticket, result: Result<(), ApiError>) {
        if let Err(api_error) = result {
            if let Some(membership) = &mut self.membership {
                membership.machine.stay();
            }
            return self.answer(ticket, Err(api_error));
        }
        self.go_on_leaving();
        self.answer(ticket, Ok(self.status().into()));
        self.step_soon();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.membership
            .as_ref()
            .is_some_and(Membership::is_departing)
    }

    /// Whether the node is to leave, and that is on disk: pods may go.
    pub(super) fn may_leave(&self) -> bool {
        let member = self.membership.as_ref();
        member.is_some_and(|member| member.is_departing() && !member.is_departure_unsaved())
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
        let Some(membership) = &mut self.membership else {
            return;
        };
        if membership.is_departure_unsaved() {
            return;
        }
        let begun = membership.is_leaving();
        if membership.is_departing() && !begun && membership.machine.is_last_voter() {
            tracing::warn!("not leaving: others have joined, and this is the only voter");
            membership.machine.stay();
            self.step_soon();
        } else if membership.is_departing() && self.pods.records.is_empty() {
            membership.machine.leave();
            self.step_soon();
        }
    }

    /// Begins to end the membership, once the block is released and the data path is gone: what podnet has
    /// opened is closed, beside the loop, since iptables may take its time.
    pub(super) fn finish_leaving(&mut self) {
        let Some(membership) = self.membership.as_mut().filter(|m| may_end(m)) else {
            return;
        };
        if membership.closing != Closing::No {
            return;
        }
        membership.closing = Closing::Devices;
        self.effects.push(Effect::CloseDevices);
    }

    /// Ends the membership. If the node has heard of the ledger only meanwhile, it has to give back first what that
    /// gives it.
    pub(super) fn on_closed(&mut self, left: Vec<String>) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.closing = Closing::No;
        if !may_end(membership) || membership.saving.is_some() {
            return;
        }
        membership.closing = Closing::Disk;
        self.left = left;
        self.effects.push(Effect::EndMembership);
    }

    /// The membership is ended on disk, or not.
    pub(super) fn on_ended(&mut self, result: Result<Option<Boot>, ApiError>) {
        match result {
            Ok(Some(boot)) => self.boot = boot,
            Ok(None) => {}
            Err(api_error) => {
                // Still a member on disk: the next step tries again.
                tracing::error!(error = api_error.message, "the state cannot be removed");
                if let Some(membership) = &mut self.membership {
                    membership.closing = Closing::No;
                }
                return;
            }
        }
        self.membership = None;
        self.effects.push(Effect::StopGossip);
        self.effects.push(Effect::ShowRoster(Roster::default()));
        self.forget_pods();
        self.paths.clear();
        self.reconciling.reset(self.now);
        self.suspicion.forget();
        self.forwarded.forget();
        self.effects.push(Effect::Aim(Targets::default()));
        tracing::info!("this node has left its cluster");
    }
}

/// Whether nothing is left to give back, or to stop.
fn may_end(membership: &Membership) -> bool {
    // A node that never knew a ledger has nothing to give back.
    let nothing_to_release = membership.is_departing() && membership.ledger().is_none();
    let released = membership.state == ClaimState::Gone || nothing_to_release;
    released && !membership.stopping
}

/// Closes what podnet has opened. Returns what stays on the host, in words.
pub(super) async fn close(dataplane: &dyn Dataplane, run_dir: &RunDir) -> Vec<String> {
    let mut left = close_devices(dataplane, Some(run_dir)).await;
    left.extend(kept_chains(dataplane).await);
    left
}

/// The chains that stay: without rules, since others rely on them; or as they are, since iptables cannot
/// show them; in words.
async fn kept_chains(dataplane: &dyn Dataplane) -> Vec<String> {
    let backends = match dataplane.observe(&Kinds::from([Kind::Firewall])).await {
        Ok(observed) => observed.firewall.unwrap_or_default(),
        // The data path is gone, and so is the firewall as far as that was possible.
        Err(_) => Vec::new(),
    };
    let kept: Vec<String> = backends
        .iter()
        .flat_map(|backend| backend.relied_on().chain(backend.out_of_reach()))
        .collect();
    for what in &kept {
        tracing::warn!(what, "left as it is");
    }
    kept
}
