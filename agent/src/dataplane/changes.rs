//! What the kernel told of.

use std::collections::{BTreeMap, BTreeSet};

use podnet_core::kernel::IfName;

/// The kernel told of a change that podnet did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What to look at.
    pub scope: ChangeScope,
    /// What changed, in words, for the log.
    pub what: String,
    /// Who changed it, as far as the kernel tells; several where changes were merged.
    pub by: BTreeSet<String>,
}

impl Change {
    /// Who changed it, for the log.
    #[must_use]
    pub fn makers(&self) -> Option<String> {
        let makers: Vec<&str> = self.by.iter().map(String::as_str).collect();
        (!makers.is_empty()).then(|| makers.join(", "))
    }
}

/// Which part of what podnet owns, or builds on, may have changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeScope {
    /// The bridge or its addresses, and what goes with them: its neighbours, the routes that come
    /// from its addresses.
    Bridge,
    /// The neighbours on the bridge.
    Neighbours,
    /// The host end of a pod, or what is at its other end.
    HostEnd(IfName),
    /// Routes of podnet's.
    Routes,
    /// The firewall rules of the tables that podnet has chains in.
    Firewall,
    /// What nftables holds pods to.
    Holding,
    /// Rules in other tables that pods' packets may pass.
    OtherChains,
    /// What is forwarded.
    Forwarding,
    /// The host's other links or addresses: the way to the peers, and podnet's routes go with it.
    Underlay,
    /// Routes of others: the way to the peers, and what may be in the way of podnet's.
    OtherRoutes,
    /// Anything: changes were missed.
    Everything,
}

/// How many makers are named of the changes of one scope.
const MOST_MAKERS: usize = 4;

/// Changes, one per scope: the first that the kernel named a maker of, else the first, with the
/// makers of the others too: any of them may be who is looked for. What follows from a change by
/// itself comes later, and nobody is named for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes(BTreeMap<ChangeScope, Change>);

impl Changes {
    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        match self.0.get_mut(&change.scope) {
            Some(known) if !known.by.is_empty() => {
                let room = MOST_MAKERS.saturating_sub(known.by.len());
                known.by.extend(change.by.into_iter().take(room));
            }
            Some(_) if change.by.is_empty() => {}
            _ => drop(self.0.insert(change.scope.clone(), change)),
        }
    }

    /// Adds changes that came later.
    pub fn merge(&mut self, later: Self) {
        for change in later.0.into_values() {
            self.add(change);
        }
    }

    /// The change of this scope.
    #[must_use]
    pub fn get(&self, scope: &ChangeScope) -> Option<&Change> {
        self.0.get(scope)
    }

    /// Takes a change out.
    pub fn pop(&mut self) -> Option<Change> {
        Some(self.0.pop_first()?.1)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(what: &str, by: &[&str]) -> Change {
        Change {
            scope: ChangeScope::Routes,
            what: what.to_owned(),
            by: by.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_first_that_was_named_counts_and_all_are_named() {
        let mut changes = Changes::default();
        for (what, by, counts, makers) in [
            ("a", &[][..], "a", None),
            ("b", &[], "a", None),
            ("c", &["ip[7]"], "c", Some("ip[7]")),
            ("d", &[], "c", Some("ip[7]")),
            ("e", &["ip[7]"], "c", Some("ip[7]")),
            ("f", &["bird[9]"], "c", Some("bird[9], ip[7]")),
        ] {
            changes.add(change(what, by));
            let known = changes.get(&ChangeScope::Routes).unwrap();
            assert_eq!(
                (known.what.as_str(), known.makers().as_deref()),
                (counts, makers)
            );
        }
        assert_eq!(changes.len(), 1);
        assert_eq!(changes.pop().unwrap().what, "c");
        assert_eq!(changes.pop(), None);
    }

    #[test]
    fn a_crowd_is_not_listed() {
        let mut changes = Changes::default();
        for number in 0..1000 {
            changes.add(change("a", &[&format!("ip[{number}]")]));
        }
        assert_eq!(changes.pop().unwrap().by.len(), MOST_MAKERS);
    }
}
