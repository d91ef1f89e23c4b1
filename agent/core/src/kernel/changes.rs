//! Changes that the kernel has reported.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use super::conflict::Conflict;
use super::kinds::Kind;
use super::op::Op;

/// A change that the kernel has reported, and podnet did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What may have changed.
    pub kind: Kind,
    /// What changed, in words, for the log.
    pub what: String,
    /// The ports or processes that changed it, as far as the kernel names them; several if changes were merged.
    pub by: BTreeSet<String>,
}

impl Change {
    /// What changed it, for the log.
    #[must_use]
    pub fn makers(&self) -> Option<String> {
        let makers: Vec<&str> = self.by.iter().map(String::as_str).collect();
        (!makers.is_empty()).then(|| makers.join(", "))
    }
}

/// How many makers are named of the changes of one kind.
const MOST_MAKERS: usize = 4;

/// Changes, one per kind: the first of which the kernel names a maker, else the first; with the
/// makers of the later ones too, since any of them may be the cause. A change that only follows from
/// another is reported later, without a maker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes(BTreeMap<Kind, Change>);

impl Changes {
    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        match self.0.get_mut(&change.kind) {
            Some(known) if !known.by.is_empty() => {
                let room = MOST_MAKERS.saturating_sub(known.by.len());
                known.by.extend(change.by.into_iter().take(room));
            }
            Some(_) if change.by.is_empty() => {}
            _ => drop(self.0.insert(change.kind.clone(), change)),
        }
    }

    /// Adds changes that came later.
    pub fn merge(&mut self, later: Self) {
        for change in later.0.into_values() {
            self.add(change);
        }
    }

    /// The change of this kind.
    #[must_use]
    pub fn get(&self, kind: &Kind) -> Option<&Change> {
        self.0.get(kind)
    }

    /// The change that may have made an operation necessary.
    #[must_use]
    pub fn cause_of(&self, op: &Op) -> Option<&Change> {
        self.cause(&op.operation().causes())
    }

    /// The change that may have put something foreign in the way.
    #[must_use]
    pub fn cause_of_conflict(&self, conflict: &Conflict) -> Option<&Change> {
        self.cause(&[conflict.object.disputed().cause()])
    }

    /// The first of these changes that was reported, or else the report that changes were missed.
    fn cause(&self, kinds: &[Kind]) -> Option<&Change> {
        let missed = slice::from_ref(&Kind::Everything);
        kinds.iter().chain(missed).find_map(|kind| self.get(kind))
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
            kind: Kind::Routes,
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
            let known = changes.get(&Kind::Routes).unwrap();
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
