//! One pass: observe, diff, apply, report.

mod devices;
mod ways;

use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;
use podnet_core::host;
use podnet_core::kernel::{
    Desired, HostAddress, Input, Kind, Kinds, Mtu, ObserveError, Observed, ObservedBridge,
    ObservedFirewall, Op, Passed, Place, PodLink, desired, diff, held, intruding_addresses,
};

pub use self::devices::OpenedDevices;
use self::devices::{Devices, apply, forwarding_of, on_record};
use crate::dataplane::Dataplane;
use podnet_core::pass::{Findings, Job, Report, Underlay};

/// The MTU of an underlay of which nothing is known: Ethernet's (RFC 894).
const DEFAULT_MTU: Mtu = Mtu(1500);

/// Makes one pass.
///
/// `opened` is the record of the devices that podnet has opened.
pub async fn pass(dataplane: &dyn Dataplane, opened: &dyn OpenedDevices, job: &Job) -> Report {
    let started = Instant::now();
    let mut report = Report::default();
    if let Err(error) = try_pass(dataplane, opened, job, &mut report).await {
        report.held = job.held.clone();
        report.error = Some(error);
    }
    report.took = started.elapsed();
    report.ended_at = Timestamp::now();
    report
}

async fn try_pass(
    dataplane: &dyn Dataplane,
    opened: &dyn OpenedDevices,
    job: &Job,
    report: &mut Report,
) -> Result<(), ObserveError> {
    let devices = look_at_underlay(dataplane, opened, job, report).await?;
    let looks_at_devices = devices.is_some();
    let mut devices = devices.unwrap_or_default();
    report.desired = wanted(job, &devices, report);

    let mut looked_at = job.kinds.aimed(&report.desired);
    // A device is opened only with the rules that keep strangers out.
    if looks_at_devices
        && (devices.forwarding.opens_under_guard() || report.desired.firewall != job.held.firewall)
    {
        looked_at.add(Kind::Firewall);
    }
    let mut observed = observe(dataplane, &mut looked_at, report).await?;
    if looks_at_devices {
        if devices.learn(dataplane, opened, job, &observed).await? {
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
    devices.open(dataplane, opened, openings, report).await;
    devices.forget_closed(opened, report);

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

/// Looks at these kinds; if the firewall cannot be looked at, at the others: routes and pods do not
/// have to wait for iptables.
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

/// Looks at what carries the data path; also at what is forwarded, if the pass is about that or
/// about the rules that go with it.
async fn look_at_underlay(
    dataplane: &dyn Dataplane,
    opened: &dyn OpenedDevices,
    job: &Job,
    report: &mut Report,
) -> Result<Option<Devices>, ObserveError> {
    let of_devices = [Kind::Forwarding, Kind::Firewall];
    let opened = if of_devices.iter().any(|kind| job.kinds.has(kind)) {
        Some(on_record(opened, job)?)
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

/// The MTU of what carries the data path; `None` if nothing shows it.
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
