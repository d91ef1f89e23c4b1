//! Which chains to write and to remove.

use std::fmt;

use super::{Chain, ObservedFirewall, RuleSet};
use crate::kernel::conflict::{Conflict, Disputed};
use crate::kernel::desired::Desired;
use crate::kernel::diff::Draft;
use crate::kernel::kinds::{Kind, Kinds};
use crate::kernel::observed::Observed;
use crate::kernel::op::Operation;

/// A change of podnet's chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes podnet's firewall chains hold exactly these rules.
    Set(RuleSet),
    /// Removes podnet's firewall chains.
    Remove,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "set firewall rules",
            Self::Remove => "remove firewall rules",
        })
    }
}

impl Operation for Op {
    fn found(&self, desired: &Desired, observed: &Observed) -> Vec<String> {
        let backends = observed.firewall.iter().flatten();
        backends
            .flat_map(|backend| backend.defects(&desired.firewall))
            .collect()
    }

    fn is_drift(&self, held: &Desired) -> bool {
        match self {
            Self::Set(rules) => held.firewall == *rules,
            Self::Remove => false,
        }
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        keep(held, before);
    }

    fn causes(&self) -> Vec<Kind> {
        vec![Kind::Firewall]
    }
}

/// Keeps what was known of the rules before.
pub(in crate::kernel) fn keep(held: &mut Desired, before: &Desired) {
    held.firewall.clone_from(&before.firewall);
}

pub(in crate::kernel) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    let Some(backends) = &observed.firewall else {
        return;
    };
    let wanted = !desired.firewall.chains.is_empty();
    for backend in backends.iter().filter(|_| wanted) {
        let share = backend.share(&desired.firewall);
        let hidden = backend
            .hidden()
            .filter(|(chain, _)| share.chains.contains_key(chain));
        let conflicts = hidden.map(|(_, conflict)| conflict);
        draft.plan.conflicts.extend(conflicts);
    }
    // Rules that no back end can hold are tried as well, so that the failure is reported.
    let held = !wanted || backends.iter().any(|backend| backend.primary);
    let right = |backend: &ObservedFirewall| backend.defects(&desired.firewall).is_empty();
    if held && backends.iter().all(right) {
        return;
    }
    if wanted {
        draft.add(Op::Set(desired.firewall.clone()));
    } else {
        draft.remove(Op::Remove);
    }
}

/// The rules of a chain whose table a back end cannot show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    /// The chain.
    pub chain: Chain,
    /// The back end.
    pub backend: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, backend } = self;
        let (table, name) = (chain.table(), chain.name());
        write!(f, "chain {name} in table {table} of {backend}")
    }
}

impl Disputed for Unreadable {
    fn cure(&self) -> String {
        let table = self.chain.table();
        format!(
            "find it with 'nft list table ip {table}', and move what iptables did not make into \
             a table of its own; podnet leaves the whole table as it is until then"
        )
    }

    fn looks(&self) -> Kinds {
        Kinds::from([Kind::Firewall])
    }

    fn cause(&self) -> Kind {
        Kind::Firewall
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        keep(held, before);
    }
}

impl ObservedFirewall {
    /// The chains whose table the back end cannot show, and what is in the way of each.
    pub fn hidden(&self) -> impl Iterator<Item = (Chain, Conflict)> {
        self.unreadable.iter().map(|&chain| {
            let object = Unreadable {
                chain,
                backend: self.backend.clone(),
            };
            (
                chain,
                Conflict::new(object, "a rule that iptables cannot show"),
            )
        })
    }
}
