//! What the kernel told of.

use std::collections::BTreeMap;

use podnet_core::kernel::IfName;

/// The kernel told of a change that podnet did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What to look at.
    pub scope: ChangeScope,
    /// What changed, in words, for the log.
    pub what: String,
    /// Who changed it, as far as the kernel tells.
    pub by: Option<String>,
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
    /// Firewall rules.
    Firewall,
    /// Kernel parameters.
    Sysctls,
    /// The host's other links or addresses: the way to the peers, and podnet's routes go with it.
    Underlay,
    /// Routes of others: the way to the peers, and what may be in the way of podnet's.
    OtherRoutes,
    /// Anything: changes were missed.
    Everything,
}

/// Changes, one per scope: the first that the kernel named a maker of, else the first. What follows
/// from a change by itself comes later, and nobody is named for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes(BTreeMap<ChangeScope, Change>);

impl Changes {
    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        let known = self.0.get(&change.scope);
        if known.is_none_or(|known| known.by.is_none() && change.by.is_some()) {
            self.0.insert(change.scope.clone(), change);
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

    #[test]
    fn the_first_that_was_named_counts() {
        let change = |what: &str, by: Option<&str>| Change {
            scope: ChangeScope::Routes,
            what: what.to_owned(),
            by: by.map(ToOwned::to_owned),
        };
        let mut changes = Changes::default();
        for (what, by, counts) in [
            ("a", None, "a"),
            ("b", None, "a"),
            ("c", Some("ip[7]"), "c"),
            ("d", Some("bird[9]"), "c"),
        ] {
            changes.add(change(what, by));
            assert_eq!(changes.get(&ChangeScope::Routes).unwrap().what, counts);
        }
        assert_eq!(changes.len(), 1);
        assert_eq!(changes.pop().unwrap().by.as_deref(), Some("ip[7]"));
        assert_eq!(changes.pop(), None);
    }
}
