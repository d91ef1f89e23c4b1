//! What a pass found to be wrong, and what may have led to it.

use std::slice;

use podnet_core::kernel::{Conflict, Contested, Desired, Holding, Observed, Op, found, is_drift};

use super::Job;
use crate::dataplane::{Change, ChangeScope, Changes};

/// Something that the kernel does not hold as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What puts it right.
    pub op: Op,
    /// What was found, in words.
    pub found: String,
    /// Whether it was right before: others have changed it.
    pub drift: bool,
}

/// How findings are judged in a pass.
pub(super) struct Findings {
    /// What the kernel held before; `None` where podnet itself takes everything away.
    held: Option<Desired>,
}

impl Findings {
    pub(super) fn new(job: &Job) -> Self {
        let held = job.target.as_ref().map(|target| {
            let pods = target.pods.iter();
            Desired {
                // One that is attached is right, whether a pass has looked at it since or not.
                pods: pods
                    .map(|pod| (pod.host_ifname.clone(), pod.clone()))
                    .collect(),
                holding: job.held.holding.as_ref().map(|_| {
                    let in_flight = &target.in_flight;
                    let settled = target.pods.iter();
                    let settled = settled.filter(|pod| !in_flight.contains_key(&pod.host_ifname));
                    Holding::of_all(settled)
                }),
                ..job.held.clone()
            }
        });
        Self { held }
    }

    pub(super) fn of(&self, ops: Vec<Op>, desired: &Desired, observed: &Observed) -> Vec<Finding> {
        let finding = |op: Op| Finding {
            found: found(&op, desired, observed),
            drift: self.held.as_ref().is_some_and(|held| is_drift(&op, held)),
            op,
        };
        ops.into_iter().map(finding).collect()
    }
}

/// The first of these changes that was told of, or else that changes were missed.
fn cause<'a>(told: &'a Changes, scopes: &[ChangeScope]) -> Option<&'a Change> {
    let missed = slice::from_ref(&ChangeScope::Everything);
    scopes
        .iter()
        .chain(missed)
        .find_map(|scope| told.get(scope))
}

/// What may have made a change necessary.
#[must_use]
pub fn cause_of_change<'a>(told: &'a Changes, op: &Op) -> Option<&'a Change> {
    cause(told, &scopes_of(op))
}

/// What may have led to something foreign being in the way.
#[must_use]
pub fn cause_of_conflict<'a>(told: &'a Changes, conflict: &Conflict) -> Option<&'a Change> {
    let scope = match &conflict.object {
        Contested::Bridge(_) => ChangeScope::Bridge,
        Contested::HostEnd(host_ifname, _) | Contested::Interface(_, host_ifname, _) => {
            ChangeScope::HostEnd(host_ifname.clone())
        }
        Contested::Route(_) | Contested::Addresses { .. } => ChangeScope::OtherRoutes,
        Contested::Rules(..) => ChangeScope::Firewall,
        Contested::Forwarding(_) => ChangeScope::OtherRoutes,
    };
    cause(told, &[scope])
}

/// Which changes may have made this one necessary, the likeliest first.
fn scopes_of(op: &Op) -> Vec<ChangeScope> {
    use ChangeScope::{
        Bridge, Everything, Firewall, Forwarding, Holding, HostEnd, Neighbours, OtherRoutes,
        Routes, Underlay,
    };
    match op {
        Op::SetForwarding { .. } => vec![Forwarding],
        Op::CreateBridge(_)
        | Op::UpdateBridge(_)
        | Op::DeleteBridge(_)
        | Op::AddAddress { .. }
        | Op::DeleteAddress { .. } => vec![Bridge],
        Op::AttachPod(pod) | Op::RepairPod(pod) => vec![HostEnd(pod.host_ifname.clone()), Bridge],
        Op::DetachPod { host_ifname, .. } => vec![HostEnd(host_ifname.clone())],
        Op::SetNeighbour { .. } | Op::DeleteNeighbour { .. } => vec![Neighbours, Bridge],
        Op::AddRoute(_) | Op::ReplaceRoute(_) | Op::DeleteRoute(_) => {
            vec![Routes, Bridge, Everything, Underlay, OtherRoutes]
        }
        Op::SetFirewall(_) | Op::RemoveFirewall => vec![Firewall],
        Op::SetHolding(_) | Op::HoldPod { .. } | Op::ReleasePod { .. } | Op::RemoveHolding => {
            vec![Holding]
        }
        Op::FlushConnections(_) => Vec::new(),
    }
}
