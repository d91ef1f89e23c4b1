//! Which pods to hold, and which to let go of.

use std::{fmt, iter};

use super::{Holding, ObservedHolding};
use crate::kernel::desired::Desired;
use crate::kernel::diff::Draft;
use crate::kernel::kinds::Kind;
use crate::kernel::link::IfName;
use crate::kernel::observed::Observed;
use crate::kernel::op::Operation;

/// How many pods are held again one by one: if more are missing, the table as a whole is wrong.
const MOST_BY_ONE: usize = 32;

/// A change of what pods are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes podnet's table of the bridge hold exactly this.
    Set(Holding),
    /// Holds a pod in podnet's table of the bridge, if there is one.
    Hold {
        /// Its host end.
        host_ifname: IfName,
        /// What is missing of it.
        holding: Holding,
    },
    /// Removes what a pod was held to from podnet's table of the bridge.
    Release {
        /// Its host end.
        host_ifname: IfName,
        /// What it was held to.
        holding: Holding,
    },
    /// Removes podnet's table of the bridge.
    Remove,
}

impl Op {
    /// The host end of the pod that this is about; `None` for what is about the table as a whole.
    #[must_use]
    pub const fn host_end(&self) -> Option<&IfName> {
        match self {
            Self::Hold { host_ifname, .. } | Self::Release { host_ifname, .. } => Some(host_ifname),
            Self::Set(_) | Self::Remove => None,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(_) => f.write_str("set table bridge podnet"),
            Self::Hold { host_ifname, .. } => write!(f, "hold {host_ifname}"),
            Self::Release { host_ifname, .. } => write!(f, "release {host_ifname}"),
            Self::Remove => f.write_str("remove table bridge podnet"),
        }
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, observed: &Observed) -> Vec<String> {
        match self {
            Self::Set(wanted) => {
                let found = observed.holding.as_ref();
                found.map_or_else(Vec::new, |found| found.defects(wanted))
            }
            Self::Hold { holding, .. } => holding.missing().collect(),
            Self::Release { holding, .. } => holding.extra().collect(),
            Self::Remove => Vec::new(),
        }
    }

    fn is_drift(&self, held: &Desired) -> bool {
        let known = held.holding.as_ref();
        match self {
            Self::Set(holding) => known.is_some_and(|known| known.without(holding).is_empty()),
            Self::Hold { holding, .. } => {
                known.is_some_and(|known| holding.without(known).is_empty())
            }
            // An element that should not be there, and was not there before: another program has added it.
            Self::Release { host_ifname, .. } => held.is_stray(host_ifname),
            Self::Remove => false,
        }
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        match self {
            Self::Set(_) | Self::Remove => keep(held, before),
            // The records of pods say what became of them.
            Self::Hold { .. } | Self::Release { .. } => {}
        }
    }

    fn causes(&self) -> Vec<Kind> {
        vec![Kind::Holding]
    }
}

/// Keeps what was known of the table before.
pub(in crate::kernel) fn keep(held: &mut Desired, before: &Desired) {
    held.holding.clone_from(&before.holding);
}

pub(in crate::kernel) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    let Some(found) = &observed.holding else {
        return;
    };
    if desired.holding.is_some() {
        for op in found.changes(desired) {
            draft.add(op);
        }
    } else if matches!(
        found,
        ObservedHolding::Table { .. } | ObservedHolding::Unseen(_)
    ) {
        draft.remove(Op::Remove);
    }
}

impl ObservedHolding {
    /// The changes that make the table hold what it should. Pods that are being attached or detached right
    /// now stay as they are. A single pod has an operation of its own, since pods come and go meanwhile.
    fn changes(&self, desired: &Desired) -> Vec<Op> {
        let mut wanted = desired.holding.clone().unwrap_or_default();
        let (ruled, found) = match self {
            Self::Absent => return vec![Op::Set(wanted)],
            Self::Impossible(_) | Self::Unseen(_) => return Vec::new(),
            Self::Table { ruled, holding } => (*ruled, holding),
        };
        wanted.extend(&found.of_ports(|port| desired.in_flight.contains_key(port)));
        let (missing, extra) = (wanted.without(found), found.without(&wanted));
        let strays = extra.of_ports(|port| !desired.pods.contains_key(port));
        let release = strays.by_port().map(|(host_ifname, holding)| Op::Release {
            host_ifname,
            holding,
        });
        let many = missing.by_port().nth(MOST_BY_ONE).is_some();
        // Only another program lets a pod of this node send from addresses that it does not have.
        if !ruled || many || extra != strays {
            // A stray may be a pod that came after the pods were counted: the node checks that before it lets go.
            wanted.extend(&strays);
            return iter::once(Op::Set(wanted)).chain(release).collect();
        }
        let hold = missing.by_port().map(|(host_ifname, holding)| Op::Hold {
            host_ifname,
            holding,
        });
        hold.chain(release).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{of, port};
    use super::*;

    fn release(name: &str) -> Op {
        Op::Release {
            host_ifname: name.parse().unwrap(),
            holding: port(name),
        }
    }

    #[test]
    fn a_port_that_is_not_known_is_let_go_of_by_itself() {
        let desired = Desired {
            holding: Some(Holding::default()),
            ..Desired::default()
        };
        let stray = of(&["pna"]);
        let changes = ObservedHolding::table(true, stray.clone()).changes(&desired);
        assert_eq!(changes, [release("pna")]);
        let changes = ObservedHolding::table(false, stray.clone()).changes(&desired);
        assert_eq!(changes, [Op::Set(stray), release("pna")]);
    }

    #[test]
    fn many_pods_are_held_again_by_one_change() {
        let names: Vec<String> = (0..=MOST_BY_ONE).map(|n| format!("pn{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (count, changes) in [(MOST_BY_ONE, MOST_BY_ONE), (MOST_BY_ONE + 1, 1)] {
            let desired = Desired {
                holding: Some(of(&names[..count])),
                ..Desired::default()
            };
            let found = ObservedHolding::table(true, Holding::default());
            assert_eq!(found.changes(&desired).len(), changes);
        }
    }
}
