//! Opening devices to what comes back to pods, and closing them again.

use std::collections::BTreeSet;

use podnet_core::kernel::firewall::{self, Chain, Unreadable};
use podnet_core::kernel::{
    Conflict, Contested, Forwarding, IfName, Kind, Kinds, Observed, ObservedFirewall, Op, OpError,
    OpErrorKind, forwarding,
};

use super::{Finding, Job, Report};
use crate::dataplane::{Dataplane, ObserveError};

/// The record of the devices that podnet has opened, which it closes when it goes. It has to outlive
/// the agent, and no boot.
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
    /// Those that podnet has opened.
    pub(super) opened: BTreeSet<IfName>,
    /// What is forwarded.
    pub(super) forwarding: Forwarding,
}

/// Reads what is on record. Whoever has removed the record has closed no device: what podnet's rules keep
/// strangers out of, it has opened.
pub(super) fn on_record(job: &Job) -> Result<BTreeSet<IfName>, ObserveError> {
    let recorded = job.opened.read().map_err(|detail| ObserveError::Failed {
        what: "the record of opened devices",
        detail,
    })?;
    let opened = recorded
        .union(&job.held.firewall.guarded())
        .cloned()
        .collect();
    record(job, &recorded, &opened);
    Ok(opened)
}

/// Brings the record up to date.
fn record(job: &Job, recorded: &BTreeSet<IfName>, opened: &BTreeSet<IfName>) {
    if recorded != opened
        && let Err(error) = job.opened.write(opened)
    {
        tracing::warn!(%error, "the record of opened devices is out of date");
    }
}

impl Devices {
    /// Takes from the rules that an earlier agent has left which devices podnet has opened; returns whether
    /// that is more than was known.
    pub(super) async fn learn(
        &mut self,
        dataplane: &dyn Dataplane,
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
        record(job, &self.opened, &opened);
        let found = dataplane.observe(&forwarding_of(&opened)).await?;
        self.forwarding = found.forwarding.unwrap_or_default();
        self.opened = opened;
        Ok(true)
    }

    /// Opens devices, after all else was done: only with the rules in place that keep strangers out,
    /// unless the host is a router anyway; and none that is not on record.
    pub(super) async fn open(
        &self,
        dataplane: &dyn Dataplane,
        job: &Job,
        openings: Vec<Finding>,
        report: &mut Report,
    ) {
        if openings.is_empty() {
            return;
        }
        let hindrance = self.unguarded(report).or_else(|| {
            let written = job.opened.write(&self.with(&openings));
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

    /// Why strangers could pass by a device that was opened now.
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

    /// What podnet will have opened then. A device that is gone has taken its parameters along.
    fn with(&self, openings: &[Finding]) -> BTreeSet<IfName> {
        let there = |device: &&IfName| self.forwarding.devices.contains_key(*device);
        let opened = self.opened.iter().filter(there).cloned();
        opened
            .chain(openings.iter().filter_map(|finding| device(&finding.op)))
            .collect()
    }

    /// Takes from the record what was closed.
    pub(super) fn forget_closed(&self, job: &Job, report: &Report) {
        let applied = report.applied.iter().filter(|(_, result)| result.is_ok());
        let closed: BTreeSet<_> = applied
            .filter_map(|(finding, _)| device(&finding.op).filter(|_| !finding.op.opens()))
            .collect();
        if closed.is_empty() {
            return;
        }
        let rest = self.opened.difference(&closed).cloned().collect();
        // What stays on record is closed once more.
        record(job, &self.opened, &rest);
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
