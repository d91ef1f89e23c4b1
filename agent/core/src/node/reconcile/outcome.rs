//! What a pass, and a change beside it, has come to.

use crate::kernel::{
    Change, Changes, Conflict, Contested, Kind, Kinds, ObservedHolding, Op, OpError, holding,
};
use crate::time::Moment;

use super::Reconciling;
use crate::node::error;
use crate::node::retry::class_of_pass;
use crate::pass::{Finding, Report};

/// Something that is put right, and what may have led to it.
#[derive(Debug, Clone)]
pub struct Repair {
    /// What was found, and what puts it right.
    pub finding: Finding,
    cause: Option<Change>,
}

impl Repair {
    pub(super) fn new(finding: Finding, told: &Changes) -> Self {
        Self {
            cause: told.cause_of(&finding.op).cloned(),
            finding,
        }
    }
}

impl Reconciling {
    /// Takes over what a pass has found and done.
    pub(super) fn take(&mut self, mut report: Report, told: &Changes, now: Moment) {
        self.totals.passes += 1;
        self.totals.last_at = Some(report.ended_at.to_string());
        self.totals.last_duration_seconds = Some(report.took.as_secs_f64());
        self.converged = report.converged();
        self.allowance.spend(report.firewall_took, now);
        self.allowance_of_ways.spend(report.ways_took, now);
        self.left = class_of_pass(&report);
        self.held = report.held;
        self.blind = report.error.as_ref().map(error::observe);
        if report.error.is_some() {
            return;
        }
        self.unread_firewall = report.unread_firewall.as_ref().map(error::observe);
        // A table that was written as a whole is as it should be.
        let set = |(finding, result): &(Finding, Result<(), OpError>)| {
            if let (Op::Holding(holding::Op::Set(holding)), Ok(())) = (&finding.op, result) {
                Some(ObservedHolding::Table {
                    ruled: true,
                    holding: holding.clone(),
                })
            } else {
                None
            }
        };
        let set = report.applied.iter().find_map(set);
        self.holding = set.or(report.holding).or(self.holding.take());
        for (finding, result) in &report.applied {
            self.count(&Repair::new(finding.clone(), told), result);
        }
        self.failed = report
            .applied
            .into_iter()
            .filter_map(|(finding, result)| Some((finding.op, result.err()?)))
            .collect();
        let hidden: Vec<OpError> = report.hidden.into_values().collect();
        for op_error in hidden.iter().filter(|error| !self.hidden.contains(error)) {
            tracing::warn!(error = %op_error, "podnet cannot look into a pod");
        }
        self.hidden = hidden;
        // A conflict of rules stays until a pass looks at the rules.
        if report.bystanders.is_none() {
            let of_rules = |conflict: &&Conflict| matches!(conflict.object, Contested::Rules(..));
            let unseen = self.conflicts.iter().filter(of_rules).cloned();
            report.conflicts.extend(unseen);
        }
        let (named, counted) = Conflict::named(report.conflicts.difference(&self.conflicts));
        for conflict in named {
            let cause = told.cause_of_conflict(conflict);
            tracing::warn!(
                object = %conflict.object,
                found = conflict.found,
                told = cause.map(|change| change.what.as_str()),
                by = cause.and_then(Change::makers),
                "a foreign object is in the way of podnet's"
            );
        }
        if !counted.is_empty() {
            tracing::warn!(
                more = counted.len(),
                "more foreign routes or addresses are among those of pods"
            );
        }
        self.conflicts = report.conflicts;
        let unseen_ways = report.unseen_ways.as_ref().map(error::observe);
        // A pass that does not look at the ways of packets reports nothing of them.
        if report.astray.is_some() || unseen_ways.is_some() {
            if let Some(unseen) = unseen_ways
                .as_ref()
                .filter(|now| self.unseen_ways.as_ref() != Some(*now))
            {
                tracing::warn!(error = %unseen.message, "podnet cannot look at the ways of packets");
            }
            self.unseen_ways = unseen_ways;
        }
        if let Some(astray) = report.astray {
            for (node, found) in &astray {
                if self.astray.get(node) != Some(found) {
                    tracing::warn!(%node, found = found.what, "packets of pods to a peer go astray");
                }
            }
            for node in self.astray.keys().filter(|node| !astray.contains_key(node)) {
                tracing::info!(%node, "packets of pods to a peer no longer go astray");
            }
            self.astray = astray;
        }
        if let Some(bystanders) = report.bystanders {
            for found in bystanders.difference(&self.bystanders) {
                tracing::warn!(
                    found = found.what,
                    "something that podnet did not make is left as it is"
                );
            }
            self.bystanders = bystanders;
        }
        self.desired = report.desired;
        self.bridge_down = report.bridge_up.map_or(self.bridge_down, |up| !up);
        // What the pass did not look at, and pods that were attached meanwhile, have the old MTU.
        if self.mtu.is_some() && report.mtu.is_some_and(|mtu| self.mtu != Some(mtu)) {
            self.want(Kinds::routes().and(Kind::Bridge).and(Kind::HostEnds));
        }
        self.mtu = report.mtu.or(self.mtu);
        self.underlay = report.underlay;
        self.addresses = Some(report.addresses);
    }

    /// Counts a change that was made, and logs it.
    pub(in crate::node) fn count(&mut self, repair: &Repair, result: &Result<(), OpError>) {
        self.totals.operations_total += 1;
        let Repair { finding, cause } = repair;
        let op = &finding.op;
        match result {
            Ok(()) if finding.drift => {
                self.totals.drift_total += 1;
                let cause = cause.as_ref();
                tracing::warn!(
                    %op,
                    found = finding.found,
                    told = cause.map(|change| change.what.as_str()),
                    by = cause.and_then(Change::makers),
                    "podnet has put back what another program had changed"
                );
            }
            // Another program may have changed it while no agent ran.
            Ok(()) if self.totals.passes == 1 => {
                tracing::info!(%op, found = finding.found, "podnet has put something right at its first look");
            }
            Ok(()) => tracing::debug!(%op, "podnet has made a change"),
            Err(op_error) => {
                self.totals.failed_total += 1;
                tracing::warn!(%op, error = %op_error, "podnet could not make a change");
            }
        }
    }
}
