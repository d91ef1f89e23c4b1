//! Opening devices to what comes back to pods, and closing them again.

use std::collections::BTreeSet;

use podnet_core::kernel::firewall::{self, Chain, Unreadable};
use podnet_core::kernel::{
    Conflict, Contested, Forwarding, IfName, Kind, Kinds, ObserveError, Observed, ObservedFirewall,
    Op, OpError, OpErrorKind, forwarding,
};

use crate::dataplane::Dataplane;
use podnet_core::pass::{Finding, Job, Report};

/// The record of the devices that podnet has opened, and closes when the node leaves. The record has
/// to outlive the agent, but no boot.
pub trait OpenedDevices: Send + Sync {
    /// The devices on record.
    ///
    /// # Errors
    /// When the record cannot be read, in words.
    fn read(&self) -> Result<BTreeSet<IfName>, String>;

    /// Puts these on record, and no others.
    ///
    /// # Errors
    /// When the record cannot be written, in words.
    fn write(&self, opened: &BTreeSet<IfName>) -> Result<(), String>;
}

/// What is known of the host's devices in a pass.
#[derive(Default)]
pub(super) struct Devices {
    /// The devices that podnet has opened.
    pub(super) opened: BTreeSet<IfName>,
    /// What is forwarded.
    pub(super) forwarding: Forwarding,
}

/// Reads which devices are on record. If the record was removed, the devices are open all the same: podnet has
/// opened those that its rules keep strangers out of.
pub(super) fn on_record(
    record: &dyn OpenedDevices,
    job: &Job,
) -> Result<BTreeSet<IfName>, ObserveError> {
    let recorded = record.read().map_err(|detail| ObserveError::Failed {
        what: "the record of opened devices",
        detail,
    })?;
    let opened = recorded
        .union(&job.held.firewall.guarded())
        .cloned()
        .collect();
    update(record, &recorded, &opened);
    Ok(opened)
}

/// Brings the record up to date.
fn update(record: &dyn OpenedDevices, recorded: &BTreeSet<IfName>, opened: &BTreeSet<IfName>) {
    if recorded != opened
        && let Err(error) = record.write(opened)
    {
        tracing::warn!(%error, "the record of opened devices cannot be written");
    }
}

impl Devices {
    /// Learns from the rules that an earlier agent has left which devices podnet has opened. Returns whether
    /// that is more than was known.
    pub(super) async fn learn(
        &mut self,
        dataplane: &dyn Dataplane,
        record: &dyn OpenedDevices,
        job: &Job,
        observed: &Observed,
    ) -> Result<bool, ObserveError> {
        let backends = observed.firewall.iter().flatten();
        let guarded = backends.flat_map(ObservedFirewall::guarded).cloned();
        let opened: BTreeSet<IfName> = guarded.chain(self.opened.iter().cloned()).collect();
        let started = job.target.is_some() && job.held.firewall.chains.is_empty();
        if opened == self.opened || !started {
            return Ok(false);
        }
        update(record, &self.opened, &opened);
        let found = dataplane.observe(&forwarding_of(&opened)).await?;
        self.forwarding = found.forwarding.unwrap_or_default();
        self.opened = opened;
        Ok(true)
    }

    /// Opens devices, after all else was done: only if the rules are in place that keep strangers out,
    /// or the host is a router anyway; and only devices that are on record.
    pub(super) async fn open(
        &self,
        dataplane: &dyn Dataplane,
        record: &dyn OpenedDevices,
        openings: Vec<Finding>,
        report: &mut Report,
    ) {
        if openings.is_empty() {
            return;
        }
        let hindrance = self.unguarded(report).or_else(|| {
            let written = record.write(&self.with(&openings));
            written
                .err()
                .map(|why| OpError::new(OpErrorKind::Other(0), why))
        });
        let results = match hindrance {
            None => apply(dataplane, &openings).await,
            Some(why) => openings.iter().map(|_| Err(why.clone())).collect(),
        };
        report.applied.extend(openings.into_iter().zip(results));
    }

    /// Why strangers could pass a device if it were opened now.
    fn unguarded(&self, report: &Report) -> Option<OpError> {
        let failed = |(finding, result): &(Finding, Result<(), OpError>)| {
            matches!(finding.op, Op::Firewall(firewall::Op::Set(_))) && result.is_err()
        };
        let unreadable = |conflict: &Conflict| {
            let chain = Chain::Forward;
            matches!(&conflict.object, Contested::Rules(Unreadable { chain: of, .. }) if *of == chain)
        };
        let guarded = report.unread_firewall.is_none()
            && !report.applied.iter().any(failed)
            && !report.conflicts.iter().any(unreadable);
        (!self.forwarding.router && !guarded).then(|| {
            let why = "not before the firewall rules are there that let only pods pass";
            OpError::new(OpErrorKind::Busy, why)
        })
    }

    /// The devices that podnet will have opened then. The parameters of a device that is gone are gone too.
    fn with(&self, openings: &[Finding]) -> BTreeSet<IfName> {
        let there = |device: &&IfName| self.forwarding.devices.contains_key(*device);
        let opened = self.opened.iter().filter(there).cloned();
        opened
            .chain(openings.iter().filter_map(|finding| device(&finding.op)))
            .collect()
    }

    /// Removes from the record the devices that were closed.
    pub(super) fn forget_closed(&self, record: &dyn OpenedDevices, report: &Report) {
        let applied = report.applied.iter().filter(|(_, result)| result.is_ok());
        let closed: BTreeSet<_> = applied
            .filter_map(|(finding, _)| device(&finding.op).filter(|_| !finding.op.opens()))
            .collect();
        if closed.is_empty() {
            return;
        }
        let rest = self.opened.difference(&closed).cloned().collect();
        // If this cannot be written, a device that stays on record is closed once more.
        update(record, &self.opened, &rest);
    }
}

fn device(op: &Op) -> Option<IfName> {
    if let Op::Forwarding(forwarding::Op::Set { device, .. }) = op {
        Some(device.clone())
    } else {
        None
    }
}

/// What is forwarded, also from these devices.
pub(super) fn forwarding_of(devices: &BTreeSet<IfName>) -> Kinds {
    let devices = devices.iter().cloned().map(Kind::Ingress);
    devices.chain([Kind::Forwarding]).collect()
}

/// Puts right what was found.
pub(super) async fn apply(
    dataplane: &dyn Dataplane,
    found: &[Finding],
) -> Vec<Result<(), OpError>> {
    let ops: Vec<Op> = found.iter().map(|finding| finding.op.clone()).collect();
    let results = dataplane.apply(&ops).await.into_iter();
    results.map(|result| result.map(drop)).collect()
}
