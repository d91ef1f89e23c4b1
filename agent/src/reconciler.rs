//! One pass: observe, diff, apply, report.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use podnet_core::host;
use podnet_core::kernel::{
    Conflict, Desired, HostAddress, IfName, Input, Mtu, Observed, Op, OpError, OpErrorKind,
    PeerBlock, PodLink, PodView, Scope, Sysctl, SysctlValue, UnderlayPath, desired, diff,
};
use podnet_proto::PodNetwork;

use crate::dataplane::{ChangeScope, Dataplane, ObserveError};

/// The MTU of an underlay that nothing is known of: Ethernet's (RFC 894).
const DEFAULT_MTU: Mtu = Mtu(1500);

/// Which parts of what podnet owns to look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// The bridge, its addresses and neighbours.
    pub bridge: bool,
    /// The host ends of all pods.
    pub host_ends: bool,
    /// Into the namespaces of all pods.
    pub insides: bool,
    /// Into these pods, by host end.
    pub pods: BTreeSet<IfName>,
    /// The routes.
    pub routes: bool,
    /// The firewall rules.
    pub firewall: bool,
    /// The kernel parameters.
    pub sysctls: bool,
}

impl Parts {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self {
            bridge: true,
            host_ends: true,
            insides: true,
            pods: BTreeSet::new(),
            routes: true,
            firewall: true,
            sysctls: true,
        }
    }

    /// The routes: what a change among the peers touches.
    #[must_use]
    pub fn routes() -> Self {
        Self {
            routes: true,
            ..Self::default()
        }
    }

    /// Adds what a change that the kernel told of may have touched.
    pub fn add(&mut self, change: ChangeScope) {
        match change {
            // A bridge that was down has lost its neighbours, and the routes with its address.
            ChangeScope::Bridge => {
                (self.bridge, self.host_ends, self.routes) = (true, true, true);
            }
            ChangeScope::HostEnd(host_ifname) => {
                self.host_ends = true;
                self.pods.insert(host_ifname);
            }
            ChangeScope::Routes => self.routes = true,
            ChangeScope::Firewall => self.firewall = true,
            ChangeScope::Underlay => (self.bridge, self.routes) = (true, true),
            ChangeScope::Everything => *self = Self::all(),
        }
    }

    /// Adds all that `other` names.
    pub fn merge(&mut self, other: Self) {
        self.bridge |= other.bridge;
        self.host_ends |= other.host_ends;
        self.insides |= other.insides;
        self.pods.extend(other.pods);
        self.routes |= other.routes;
        self.firewall |= other.firewall;
        self.sysctls |= other.sysctls;
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the data path of a node that uses a block is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The cluster's pod networks.
    pub networks: Vec<PodNetwork>,
    /// Destinations outside of them whose traffic keeps the pod's source address.
    pub excluded: Vec<Ipv4Network>,
    /// The node's block.
    pub block: Ipv4Network,
    /// The blocks of all other members.
    pub peers: Vec<PeerBlock>,
    /// The pods that are attached.
    pub pods: Vec<PodLink>,
    /// The pods that are being attached or detached.
    pub in_flight: BTreeMap<IfName, BTreeSet<IpAddr>>,
}

/// Keeps the values that kernel parameters had before podnet changes them.
pub type RememberSysctls =
    Arc<dyn Fn(&BTreeMap<Sysctl, SysctlValue>) -> Result<(), String> + Send + Sync>;

/// What of the host's own network to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// The address that peers are told.
    pub address: Ipv4Addr,
    /// Where the peers are.
    pub peers: BTreeSet<IpAddr>,
    /// The MTU of the device that had the address last, as long as no other has it.
    pub mtu: Option<Mtu>,
}

/// What a pass is to do.
#[derive(Clone)]
pub struct Job {
    /// What the kernel should hold is made from this; nothing of podnet's where it is `None`.
    pub target: Option<Target>,
    /// What carries it.
    pub underlay: Underlay,
    /// What to look at.
    pub parts: Parts,
    /// Called before a kernel parameter is changed.
    pub remember: RememberSysctls,
}

/// What a pass found and did.
#[derive(Debug, Default)]
pub struct Report {
    /// What the kernel should hold.
    pub desired: Desired,
    /// The MTU of the underlay device.
    pub mtu: Option<Mtu>,
    /// How the peers are reached.
    pub underlay: BTreeMap<IpAddr, UnderlayPath>,
    /// The host's addresses.
    pub addresses: Vec<HostAddress>,
    /// The changes that were made, and how each went.
    pub applied: Vec<(Op, Result<(), OpError>)>,
    /// Changes of pods and of their neighbour entries: for the owner of the pods to make, who knows
    /// what has become of them since the pass began.
    pub pod_ops: Vec<Op>,
    /// What is in the way.
    pub conflicts: BTreeSet<Conflict>,
    /// Pods (by host end) whose namespace has vanished.
    pub gone: BTreeSet<IfName>,
    /// Why the kernel could not be looked at; then nothing was done.
    pub error: Option<ObserveError>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether the kernel holds what it should, as far as the pass has looked.
    #[must_use]
    pub fn converged(&self) -> bool {
        self.error.is_none()
            && self.conflicts.is_empty()
            && self.pod_ops.is_empty()
            && self.applied.iter().all(|(_, result)| result.is_ok())
    }
}

/// Makes one pass.
pub async fn pass(dataplane: &dyn Dataplane, job: &Job) -> Report {
    let started = Instant::now();
    let mut report = Report::default();
    if let Err(error) = try_pass(dataplane, job, &mut report).await {
        report.error = Some(error);
    }
    report.took = started.elapsed();
    report
}

async fn try_pass(
    dataplane: &dyn Dataplane,
    job: &Job,
    report: &mut Report,
) -> Result<(), ObserveError> {
    look_at_underlay(dataplane, &job.underlay, report).await?;
    if let Some(target) = &job.target {
        let mtu = report.mtu.unwrap_or(DEFAULT_MTU);
        let pods: Vec<PodLink> = target
            .pods
            .iter()
            .map(|pod| PodLink { mtu, ..pod.clone() })
            .collect();
        report.desired = desired(&Input {
            networks: &target.networks,
            excluded: &target.excluded,
            block: target.block,
            mtu,
            peers: &target.peers,
            underlay: &report.underlay,
            pods: &pods,
            in_flight: &target.in_flight,
        });
    }

    let observed = dataplane
        .observe(&scope(&job.parts, &report.desired))
        .await?;
    let plan = diff(&report.desired, &observed);
    report.conflicts = plan.conflicts;
    report.gone = plan.gone;
    let (pod_ops, ops): (Vec<Op>, Vec<Op>) = plan
        .ops
        .into_iter()
        .partition(|op| op.host_end().is_some() || op.neighbour().is_some());
    report.pod_ops = pod_ops;
    let ops = remember_sysctls(job, &observed, ops, report);
    let results = dataplane.apply(&ops).await;
    report.applied.extend(ops.into_iter().zip(results));

    if !plan.unclear.is_empty() {
        let parts = Parts {
            pods: plan.unclear,
            ..Parts::default()
        };
        let observed = dataplane.observe(&scope(&parts, &report.desired)).await?;
        let plan = diff(&report.desired, &observed);
        report.conflicts.extend(plan.conflicts);
        report.gone.extend(plan.gone);
        report.pod_ops.extend(plan.ops);
    }
    Ok(())
}

async fn look_at_underlay(
    dataplane: &dyn Dataplane,
    underlay: &Underlay,
    report: &mut Report,
) -> Result<(), ObserveError> {
    let scope = Scope {
        addresses: true,
        underlay: underlay.peers.clone(),
        ..Scope::default()
    };
    let observed = dataplane.observe(&scope).await?;
    report.addresses = observed.addresses.unwrap_or_default();
    report.mtu = host::mtu_of(underlay.address.into(), &report.addresses).or(underlay.mtu);
    report.underlay = observed.underlay;
    Ok(())
}

/// What has to be looked at for these parts to be judged.
fn scope(parts: &Parts, desired: &Desired) -> Scope {
    let looked_into = desired
        .pods
        .values()
        .filter(|pod| parts.insides || parts.pods.contains(&pod.host_ifname));
    Scope {
        bridge: parts.bridge,
        host_ends: parts.host_ends || parts.insides,
        pods: looked_into
            .map(|pod| PodView {
                host_ifname: pod.host_ifname.clone(),
                ifname: pod.ifname.clone(),
                netns: pod.netns.path.clone(),
            })
            .collect(),
        routes: parts
            .routes
            .then(|| desired.routes.keys().map(|key| key.destination).collect()),
        firewall: parts.firewall,
        sysctls: parts.sysctls,
        ..Scope::default()
    }
}

/// Keeps the old values where kernel parameters are about to change. A change whose old value cannot
/// be kept is not made.
fn remember_sysctls(job: &Job, observed: &Observed, ops: Vec<Op>, report: &mut Report) -> Vec<Op> {
    let mut kept = Vec::with_capacity(ops.len());
    for op in ops {
        let failed = if let (Op::SetSysctl { .. }, Some(old)) = (&op, &observed.sysctls) {
            (job.remember)(old).err()
        } else {
            None
        };
        match failed {
            None => kept.push(op),
            Some(why) => {
                let error = OpError::new(OpErrorKind::Other(0), why);
                report.applied.push((op, Err(error)));
            }
        }
    }
    kept
}
