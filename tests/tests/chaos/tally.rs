//! What has happened so far: bad times in which nothing does would show nothing.

use std::collections::BTreeMap;

use crate::action::{Action, Tampering};

/// After so many attempts without a success it is no chance any more, once there were several bad
/// times: in the first of them there is little to remove.
const ATTEMPTS: usize = 5;
const SEVERAL: usize = 5;

/// How often each kind of action was tried, and how often there was something to change.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kinds: BTreeMap<String, (usize, usize)>,
}

impl Tally {
    pub(crate) fn count(&mut self, action: &Action, happened: bool) {
        let (tried, succeeded) = self.kinds.entry(action.kind()).or_default();
        *tried += 1;
        *succeeded += usize::from(happened);
    }

    /// Prints all, and asserts that pods came to be, and after so many bad times that no kind of
    /// action was always in vain.
    #[track_caller]
    pub(crate) fn assert_eventful(&self, bad_times: usize) {
        for (kind, (tried, succeeded)) in &self.kinds {
            println!("{kind:18} {succeeded:5} of {tried:5}");
        }
        let pods = self.kinds.get("AddPod");
        assert!(pods.is_some_and(|(_, added)| *added > 0), "no pod at all");
        let in_vain = self.in_vain();
        assert!(
            bad_times <= SEVERAL || in_vain.is_empty(),
            "always in vain: {in_vain:?}"
        );
    }

    /// The kinds that were tried often and never succeeded.
    fn in_vain(&self) -> Vec<&str> {
        let kinds = self.kinds.iter();
        let in_vain = kinds.filter(|(_, (tried, succeeded))| *tried >= ATTEMPTS && *succeeded == 0);
        in_vain.map(|(kind, _)| kind.as_str()).collect()
    }
}

#[test]
fn what_is_tried_often_and_always_in_vain_is_told() {
    let mut tally = Tally::default();
    let [kill, flush] = [Action::Kill(0), Action::Tamper(0, Tampering::RulesFlushed)];
    for _ in 1..ATTEMPTS {
        tally.count(&kill, false);
        tally.count(&flush, false);
    }
    assert_eq!(tally.in_vain(), [""; 0]);
    tally.count(&kill, true);
    tally.count(&flush, false);
    assert_eq!(tally.in_vain(), ["RulesFlushed"]);
}
