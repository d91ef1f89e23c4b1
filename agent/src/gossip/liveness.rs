//! Which nodes are alive, known a little earlier and more exactly than by the failure detector alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podnet_core::time::Moment;

/// Follows the heartbeats of nodes `K`.
///
/// A first heartbeat proves nothing: it may be a dead node's, passed on by a third. A heartbeat that
/// rises does. The failure detector needs three heartbeats to call a node alive, and later judges when
/// they have stopped; the first rise bridges the time until it knows the node.
#[derive(Debug)]
pub(super) struct Liveness<K> {
    nodes: BTreeMap<K, Heartbeats>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Heartbeats {
    last: u64,
    rose: Option<Moment>,
    detected: bool,
    given_up: bool,
}

impl<K: Ord + Clone> Liveness<K> {
    /// No nodes yet. `patience` is how long a node that the detector does not know lives after its
    /// last heartbeat.
    pub(super) const fn new(patience: Duration) -> Self {
        Self {
            nodes: BTreeMap::new(),
            patience,
        }
    }

    /// Takes the present heartbeat of a node and the detector's opinion: whether it lives, and when
    /// its heartbeat was seen to rise last.
    pub(super) fn observe(
        &mut self,
        node: &K,
        heartbeat: u64,
        detected: bool,
        now: Moment,
    ) -> (bool, Option<Moment>) {
        let Some(known) = self.nodes.get_mut(node) else {
            let first = Heartbeats {
                last: heartbeat,
                ..Heartbeats::default()
            };
            self.nodes.insert(node.clone(), first);
            return (false, None);
        };
        known.given_up |= known.detected && !detected;
        known.detected = detected;
        // After the verdict: a heartbeat just before it would have put it off.
        if heartbeat > known.last {
            known.last = heartbeat;
            known.rose = Some(now);
            known.given_up = false;
        }
        let live = known
            .rose
            .is_some_and(|rose| detected || (!known.given_up && now.since(rose) < self.patience));
        (live, known.rose)
    }

    /// Forgets the nodes that are not among these.
    pub(super) fn retain(&mut self, nodes: &BTreeSet<K>) {
        self.nodes.retain(|node, _| nodes.contains(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(8);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_first_heartbeat_is_hearsay_and_a_rise_is_life() {
        let mut liveness = Liveness::new(PATIENCE);
        assert_eq!(liveness.observe(&1, 70, false, at(0)), (false, None));
        assert_eq!(liveness.observe(&1, 70, true, at(1)), (false, None));
        assert_eq!(liveness.observe(&1, 71, false, at(2)), (true, Some(at(2))));
    }

    #[test]
    fn a_newcomer_that_falls_silent_is_given_up() {
        let mut liveness = Liveness::new(PATIENCE);
        liveness.observe(&1, 1, false, at(0));
        assert!(liveness.observe(&1, 2, false, at(1)).0);
        assert!(liveness.observe(&1, 2, false, at(8)).0);
        assert!(!liveness.observe(&1, 2, false, at(9)).0);
    }

    #[test]
    fn the_detectors_verdict_holds_until_a_heartbeat_rises() {
        let mut liveness = Liveness::new(PATIENCE);
        liveness.observe(&1, 1, false, at(0));
        assert!(liveness.observe(&1, 2, true, at(1)).0);
        assert_eq!(liveness.observe(&1, 2, false, at(2)), (false, Some(at(1))));
        assert_eq!(liveness.observe(&1, 2, false, at(3)), (false, Some(at(1))));
        assert_eq!(liveness.observe(&1, 3, false, at(4)), (true, Some(at(4))));
        assert_eq!(liveness.observe(&1, 3, true, at(5)), (true, Some(at(4))));
        assert_eq!(liveness.observe(&1, 4, false, at(6)), (true, Some(at(6))));
    }

    #[test]
    fn a_forgotten_node_begins_anew() {
        let mut liveness = Liveness::new(PATIENCE);
        liveness.observe(&1, 1, false, at(0));
        liveness.retain(&BTreeSet::new());
        assert_eq!(liveness.observe(&1, 2, false, at(1)), (false, None));
    }
}
