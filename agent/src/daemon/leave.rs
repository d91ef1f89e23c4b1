//! `leave`: giving the block back.

use std::sync::Arc;
use std::time::Duration;

use podnet_core::claim::ClaimState;
use podnet_core::kernel::{Kind, Kinds};
use podnet_proto::api::{LeaveRequest, Status};
use podnet_proto::{ApiError, ErrorCode, PodName};

use super::agent::{Agent, Event};
use super::error;
use super::forwarding::close_devices;
use super::membership::Membership;
use crate::dataplane::Dataplane;
use crate::probe::Targets;
use crate::store::new_boot;
use crate::vital;

/// How long a node listens, once gossip has started, before it takes silence for the lack of a
/// majority: a few rounds, since datagrams may be lost.
const LISTENING: Duration = Duration::from_secs(5);

impl Agent {
    /// Answers those who want the node to leave, unless it is too early to say whether a majority
    /// can be reached: a node that has just started has heard of nobody.
    pub(super) fn answer_leaves(&mut self) {
        let now = self.now();
        let early = self.membership.as_ref().is_some_and(|membership| {
            let lonely = membership.ledger().is_some() && !membership.quorum.is_live();
            let listening = now.since(membership.listening_since) < LISTENING;
            lonely && listening && !membership.is_departing()
        });
        if early {
            return;
        }
        for (request, answer) in std::mem::take(&mut self.early_leaves) {
            drop(answer.send(self.leave(request).map(Box::new)));
        }
    }

    /// Begins to leave. It goes on by itself, also through a restart: the pods, the data path, the
    /// block, the state.
    fn leave(&mut self, request: LeaveRequest) -> Result<Status, ApiError> {
        let Some(membership) = &self.membership else {
            return Ok(self.status());
        };
        if membership.machine.is_last_voter() && !membership.is_leaving() {
            return Err(ApiError::new(
                ErrorCode::NoQuorum,
                "leave: this node is the only voter, and other nodes are members",
            )
            .hint("let the other nodes leave first"));
        }
        if !self.is_leaving() {
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
            self.depart()?;
        }
        // Asked again, this also tries pods again that could not be removed.
        self.go_on_leaving();
        Ok(self.status())
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.membership
            .as_ref()
            .is_some_and(Membership::is_departing)
    }

    /// Puts on disk that the node is to leave, before the first pod goes.
    fn depart(&mut self) -> Result<(), ApiError> {
        let Some(membership) = &mut self.membership else {
            return Ok(());
        };
        membership.machine.depart();
        // A node that knows no ledger has no pods, and nothing to give back.
        if membership.ledger().is_none() {
            return Ok(());
        }
        let durable = membership.machine.durable();
        let saved = self.state_dir.save_durable(durable);
        saved.map_err(|store_error| {
            membership.machine.stay();
            error::store(&store_error)
        })
    }

    /// Removes the pods of a node that is to leave, and then gives its block back.
    pub(super) fn go_on_leaving(&mut self) {
        if !self.is_leaving() {
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
        if std::mem::replace(&mut membership.closing, true) {
            return;
        }
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        let run_dir = self.run_dir.clone();
        vital::spawn(async move {
            let mut left = close_devices(dataplane.as_ref(), Some(&run_dir)).await;
            left.extend(kept_chains(dataplane.as_ref()).await);
            // The loop ends only with the process.
            let _ = events.send(Event::Closed(left)).await;
        });
    }

    /// Ends the membership. If the node has heard of the ledger only meanwhile, it has to give back first what that
    /// gives it.
    pub(super) async fn on_closed(&mut self, left: Vec<String>) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        membership.closing = false;
        if !may_end(membership) {
            return;
        }
        if let Err(store_error) = self.state_dir.forget() {
            // Still a member on disk: the next step tries again.
            tracing::error!(
                error = error::chain(&store_error),
                "the state cannot be removed"
            );
            return;
        }
        if let Some(gossip) = self
            .membership
            .take()
            .and_then(|membership| membership.gossip)
        {
            gossip.shutdown().await;
        }
        // The boot that was released never uses a block again.
        let (run_dir, kernel) = (self.run_dir.path(), &self.config.boot_id_file);
        match new_boot(run_dir, kernel, self.identity.node()) {
            Ok(boot) => self.boot = boot,
            Err(store_error) => {
                tracing::error!(error = error::chain(&store_error), "no new boot number");
            }
        }
        self.left = left;
        self.forget_pods();
        self.paths.clear();
        self.reconciling.reset();
        self.suspicion.forget();
        self.forwarded.forget();
        self.prober.set_targets(Targets::default());
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
