//! Opening devices to what comes back to pods, and closing them again.

use std::collections::BTreeSet;

use podnet_core::kernel::{Forwarding, IfName, Op, OpError, OpErrorKind};

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

/// Reads what is on record.
pub(super) fn on_record(job: &Job) -> Result<BTreeSet<IfName>, ObserveError> {
    job.opened.read().map_err(|detail| ObserveError::Failed {
        what: "the record of opened devices",
        detail,
    })
}

impl Devices {
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
            None => dataplane.apply(&ops(&openings)).await,
            Some(why) => openings.iter().map(|_| Err(why.clone())).collect(),
        };
        report.applied.extend(openings.into_iter().zip(results));
    }

    /// Why strangers could pass by a device that was opened now.
    fn unguarded(&self, report: &Report) -> Option<OpError> {
        let failed = |(finding, result): &(Finding, Result<(), OpError>)| {
            matches!(finding.op, Op::SetFirewall(_)) && result.is_err()
        };
        let guarded = report.unread_firewall.is_none() && !report.applied.iter().any(failed);
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
        if let Err(error) = job.opened.write(&rest) {
            tracing::warn!(%error, "the record of opened devices is out of date");
        }
    }
}

fn device(op: &Op) -> Option<IfName> {
    if let Op::SetForwarding { device, .. } = op {
        Some(device.clone())
    } else {
        None
    }
}

pub(super) fn ops(found: &[Finding]) -> Vec<Op> {
    found.iter().map(|finding| finding.op.clone()).collect()
}
