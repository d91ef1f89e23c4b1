//! The difference between what the kernel should hold and what it holds.

use std::collections::BTreeSet;

use super::conflict::{Conflict, Contested};
use super::desired::Desired;
use super::link::IfName;
use super::observed::Observed;
use super::op::Op;
use super::{bridge, firewall, forwarding, holding, neighbour, pod, route};

/// What to do so that the kernel holds what it should.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The changes, in an order in which each finds what it builds on; additions come before
    /// removals.
    pub ops: Vec<Op>,
    /// The conflicts: what cannot be done, since something foreign is in the way.
    pub conflicts: BTreeSet<Conflict>,
    /// Pods (by host end) that need a look into their namespace before they can be judged.
    pub unclear: BTreeSet<IfName>,
    /// Pods (by host end) whose namespace has vanished, or is another by now.
    pub gone: BTreeSet<IfName>,
}

/// Compares what the kernel should hold with what it holds, as far as that was observed: what was
/// not looked at stays as it is. Walks both, so that nothing that should not be there is missed.
#[must_use]
pub fn diff(desired: &Desired, observed: &Observed) -> Plan {
    let mut draft = Draft::default();
    bridge::difference(desired, observed, &mut draft);
    // Before pods are attached: no pod may be without what holds it for a moment.
    holding::difference(desired, observed, &mut draft);
    pod::difference(desired, observed, &mut draft);
    neighbour::difference(desired, observed, &mut draft);
    firewall::difference(desired, observed, &mut draft);
    // After the rules that keep strangers out are added, and before they are removed.
    forwarding::difference(desired, observed, &mut draft);
    route::difference(desired, observed, &mut draft);
    draft.finish()
}

/// A plan that is being drawn up.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) plan: Plan,
    removals: Vec<Op>,
}

impl Draft {
    /// Adds a change that comes before all removals.
    pub(super) fn add(&mut self, op: impl Into<Op>) {
        self.plan.ops.push(op.into());
    }

    /// Adds the removal of an object.
    pub(super) fn remove(&mut self, op: impl Into<Op>) {
        self.removals.push(op.into());
    }

    /// Adds a foreign object that is in the way.
    pub(super) fn contest(&mut self, object: impl Into<Contested>, found: impl Into<String>) {
        self.plan.conflicts.insert(Conflict::new(object, found));
    }

    /// What was built last is removed first.
    fn finish(mut self) -> Plan {
        self.plan.ops.extend(self.removals.into_iter().rev());
        self.plan
    }
}
