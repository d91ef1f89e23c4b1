//! One pass: observe, diff, apply, report.

mod devices;
mod finding;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use podnet_core::host;
use podnet_core::kernel::{
    Astray, Bystander, Conflict, Desired, HostAddress, IfName, Input, Kind, Kinds, Mtu, Observed,
    ObservedBridge, ObservedFirewall, ObservedHolding, Op, OpError, Passed, PeerBlock, Place,
    PodLink, UnderlayPath, desired, diff, held, intruding_addresses,
};
use podnet_proto::{NodeId, PodNetwork};

pub use self::devices::OpenedDevices;
use self::devices::{Devices, apply, forwarding_of, on_record};
pub use self::finding::Finding;
use self::finding::Findings;
use crate::dataplane::{Dataplane, ObserveError};

/// The MTU of an underlay that nothing is known of: Ethernet's (RFC 894).
const DEFAULT_MTU: Mtu = Mtu(1500);

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

/// What of the host's own network to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// The address that peers are told.
    pub address: Ipv4Addr,
    /// Where the peers are.
    pub peers: BTreeSet<IpAddr>,
    /// The MTU that was found last, as long as nothing tells another.
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
    pub kinds: Kinds,
    /// What the kernel was last known to hold, but for pods.
    pub held: Desired,
    /// Which devices podnet has opened.
    pub opened: Arc<dyn OpenedDevices>,
}

/// What a pass found and did.
#[derive(Debug, Default)]
pub struct Report {
    /// What the kernel should hold.
    pub desired: Desired,
    /// The MTU of what carries the data path.
    pub mtu: Option<Mtu>,
    /// How the peers are reached.
    pub underlay: BTreeMap<IpAddr, UnderlayPath>,
    /// The host's addresses.
    pub addresses: Vec<HostAddress>,
    /// What was found, and how the change went that puts it right.
    pub applied: Vec<(Finding, Result<(), OpError>)>,
    /// What was found of pods and of their neighbour entries: for the owner of the pods to put right,
    /// who knows what has become of them since the pass began.
    pub pods: Vec<Finding>,
    /// What the kernel is known to hold now.
    pub held: Desired,
    /// Whether the bridge is up, or was brought up; `None` where there is to be none, or nobody looked.
    pub bridge_up: Option<bool>,
    /// What is in the way.
    pub conflicts: BTreeSet<Conflict>,
    /// What leads packets astray between pods of this node and of these; `None` where nobody looked.
    pub astray: Option<BTreeMap<NodeId, Astray>>,
    /// Why the ways of packets could not be looked at; the rest was.
    pub unseen_ways: Option<ObserveError>,
    /// How long it took to look at the ways of packets.
    pub ways_took: Duration,
    /// What others have beside podnet's rules; `None` where nobody looked.
    pub bystanders: Option<BTreeSet<Bystander>>,
    /// Whether nftables holds pods, and how; `None` where nobody looked.
    pub holding: Option<ObservedHolding>,
    /// How long it took to look at the firewall.
    pub firewall_took: Duration,
    /// Pods (by host end) whose namespace has vanished.
    pub gone: BTreeSet<IfName>,
    /// Why some pods (by host end) could not be looked into.
    pub hidden: BTreeMap<IfName, OpError>,
    /// Why the kernel could not be looked at; then nothing was done.
    pub error: Option<ObserveError>,
    /// Why the firewall could not be looked at; the rest was.
    pub unread_firewall: Option<ObserveError>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether the kernel holds what it should, as far as the pass has looked.
    #[must_use]
    pub fn converged(&self) -> bool {
        self.error.is_none()
            && self.unread_firewall.is_none()
            && self.unseen_ways.is_none()
            && self.conflicts.iter().all(Conflict::is_harmless)
            && self.hidden.is_empty()
            && self.pods.is_empty()
            && self.applied.iter().all(|(_, result)| result.is_ok())
    }
}

/// Makes one pass.
pub async fn pass(dataplane: &dyn Dataplane, job: &Job) -> Report {
    let started = Instant::now();
    let mut report = Report::default();
    if let Err(error) = try_pass(dataplane, job, &mut report).await {
        report.held = job.held.clone();
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
    let devices = look_at_underlay(dataplane, job, report).await?;
    let looks_at_devices = devices.is_some();
    let mut devices = devices.unwrap_or_default();
    report.desired = wanted(job, &devices, report);

    let mut looked_at = job.kinds.aimed(&report.desired);
    // Who opens a device needs the rules that keep strangers out.
    if looks_at_devices
        && (devices.forwarding.opens_under_guard() || report.desired.firewall != job.held.firewall)
    {
        looked_at.add(Kind::Firewall);
    }
    let mut observed = observe(dataplane, &mut looked_at, report).await?;
    if looks_at_devices {
        if devices.learn(dataplane, job, &observed).await? {
            report.desired = wanted(job, &devices, report);
        }
        looked_at.add(Kind::Forwarding);
        observed.forwarding = Some(devices.forwarding.clone());
    }
    let plan = diff(&report.desired, &observed);
    report.conflicts = plan.conflicts;
    let intruders = intruding_addresses(&report.desired, &report.addresses);
    report.conflicts.extend(intruders);
    report.gone = plan.gone;
    report.hidden.clone_from(&observed.hidden);
    report.holding.clone_from(&observed.holding);
    report.bystanders = observed.firewall.as_ref().map(|backends| {
        let bystanders = backends.iter().flat_map(ObservedFirewall::bystanders);
        bystanders.collect()
    });
    let (of_pods, of_host): (Vec<Op>, Vec<Op>) = plan
        .ops
        .into_iter()
        .partition(|op| op.host_end().is_some() || op.neighbour().is_some());
    let findings = Findings::new(job);
    report.pods = findings.of(of_pods, &report.desired, &observed);
    let found = findings.of(of_host, &report.desired, &observed);
    let (openings, found): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|finding| finding.op.opens());
    let results = apply(dataplane, &found).await;
    report.applied.extend(found.into_iter().zip(results));
    report.bridge_up = bridge_up(dataplane, report, &observed).await;
    devices.open(dataplane, job, openings, report).await;
    devices.forget_closed(job, report);

    if !plan.unclear.is_empty() {
        let unclear: Kinds = plan.unclear.into_iter().map(Kind::HostEnd).collect();
        let observed = dataplane.observe(&unclear.aimed(&report.desired)).await?;
        let plan = diff(&report.desired, &observed);
        report.conflicts.extend(plan.conflicts);
        report.gone.extend(plan.gone);
        report.hidden.extend(observed.hidden.clone());
        let found = findings.of(plan.ops, &report.desired, &observed);
        report.pods.extend(found);
    }
    report.held = known(job, report, &looked_at);
    if job.kinds.has(&Kind::Ways) {
        let started = Instant::now();
        match ways::look(dataplane, job, report).await {
            Ok(astray) => report.astray = Some(astray),
            Err(error) => report.unseen_ways = Some(error),
        }
        report.ways_took = started.elapsed();
    }
    Ok(())
}

/// Whether the bridge is up now. A change of it that fails may have brought it up all the same, so it is looked at.
async fn bridge_up(
    dataplane: &dyn Dataplane,
    report: &Report,
    observed: &Observed,
) -> Option<bool> {
    report.desired.bridge.as_ref()?;
    let found = observed.bridge.as_ref()?;
    let is_up = |place: &Place<_>| matches!(place, Place::Ours(ObservedBridge { up: true, .. }));
    let changes = report
        .applied
        .iter()
        .filter(|(finding, _)| finding.op.brings_bridge_up());
    let results: Vec<bool> = changes.map(|(_, result)| result.is_ok()).collect();
    if results.iter().all(|done| *done) {
        return Some(is_up(found) || !results.is_empty());
    }
    let now = dataplane.observe(&Kinds::from([Kind::Bridge])).await.ok();
    let now = now.and_then(|observed| observed.bridge);
    Some(is_up(now.as_ref().unwrap_or(found)))
}

/// What the kernel should hold.
fn wanted(job: &Job, devices: &Devices, report: &Report) -> Desired {
    let Some(target) = &job.target else {
        return Desired::nothing(&devices.forwarding, &devices.opened);
    };
    let mtu = report.mtu.unwrap_or(DEFAULT_MTU);
    let pods: Vec<PodLink> = target
        .pods
        .iter()
        .map(|pod| PodLink { mtu, ..pod.clone() })
        .collect();
    desired(&Input {
        networks: &target.networks,
        excluded: &target.excluded,
        block: target.block,
        mtu,
        peers: &target.peers,
        underlay: &report.underlay,
        pods: &pods,
        in_flight: &target.in_flight,
        forwarding: &devices.forwarding,
        opened: &devices.opened,
    })
}

/// Looks at what is named; where the firewall cannot be looked at, at the rest: routes and pods
/// do not have to wait for iptables.
async fn observe(
    dataplane: &dyn Dataplane,
    kinds: &mut Kinds,
    report: &mut Report,
) -> Result<Observed, ObserveError> {
    let started = Instant::now();
    let with_firewall = kinds.has(&Kind::Firewall);
    let observed = match dataplane.observe(kinds).await {
        Err(error) if kinds.remove(&Kind::Firewall) => {
            let observed = dataplane.observe(kinds).await?;
            report.unread_firewall = Some(error);
            Ok(observed)
        }
        observed => observed,
    };
    if with_firewall {
        report.firewall_took = started.elapsed();
    }
    observed
}

/// What the kernel is known to hold after a pass.
fn known(job: &Job, report: &Report, looked_at: &Kinds) -> Desired {
    let failed = report.applied.iter().filter(|(_, result)| result.is_err());
    let failed: Vec<Op> = failed.map(|(finding, _)| finding.op.clone()).collect();
    let passed = Passed {
        desired: &report.desired,
        looked_at,
        peers: job.target.as_ref().map_or(&[], |target| &target.peers),
        failed: &failed,
        conflicts: &report.conflicts,
    };
    held(&job.held, passed)
}

/// Looks at what carries the data path; also at what is forwarded, where the pass is about that or
/// about the rules that go with it.
async fn look_at_underlay(
    dataplane: &dyn Dataplane,
    job: &Job,
    report: &mut Report,
) -> Result<Option<Devices>, ObserveError> {
    let of_devices = [Kind::Forwarding, Kind::Firewall];
    let opened = if of_devices.iter().any(|kind| job.kinds.has(kind)) {
        Some(on_record(job)?)
    } else {
        None
    };
    let underlay = &job.underlay;
    let peers = underlay.peers.iter().copied();
    let mut kinds: Kinds = peers.map(Kind::Path).chain([Kind::Underlay]).collect();
    if let Some(opened) = &opened {
        kinds.merge(forwarding_of(opened));
    }
    let observed = dataplane.observe(&kinds).await?;
    report.addresses = observed.addresses.unwrap_or_default();
    report.underlay = observed.underlay;
    report.mtu = mtu(dataplane, underlay, report).await?;
    let found = opened.zip(observed.forwarding);
    Ok(found.map(|(opened, forwarding)| Devices { opened, forwarding }))
}

/// The MTU of what carries the data path; `None` where nothing tells.
async fn mtu(
    dataplane: &dyn Dataplane,
    underlay: &Underlay,
    report: &Report,
) -> Result<Option<Mtu>, ObserveError> {
    let known = host::mtu(underlay.address.into(), &report.addresses, &report.underlay);
    let told = |found: &HostAddress| found.address.ip() == IpAddr::V4(underlay.address);
    // An address that is gone may come back.
    let last = underlay.mtu.filter(|_| !report.addresses.iter().any(told));
    if let Some(mtu) = known.or(last) {
        return Ok(Some(mtu));
    }
    let other_routes = Kinds::from([Kind::OtherRoutes]);
    let routes = dataplane.observe(&other_routes).await?.host_routes;
    let default = host::default_mtu(&routes.unwrap_or_default(), &report.addresses);
    Ok(default.or(underlay.mtu))
}
