//! What somebody breaks is whole again after the next pass.

use podnet_core::kernel::{Desired, IfIndex, Observed, Place};
use proptest::prelude::*;

use crate::history::{settled_wish, tamper};
use crate::node::{Node, everything};

proptest! {
    #[test]
    fn a_single_change_by_others_is_repaired(wish in settled_wish(), tamper in tamper()) {
        let mut node = Node::new();
        node.live(&wish);
        prop_assert_eq!(node.plan(&node.desired(&wish)).ops, &[]);
        tamper.happen(&mut node);
        let foreign = node.kernel.foreign();
        let desired = node.desired(&wish);
        let plan = node.plan(&desired);
        prop_assert!(plan.conflicts.is_empty());
        prop_assert!(plan.gone.is_empty() || !tamper.is_curable());
        for op in &plan.ops {
            let result = node.kernel.apply(op);
            prop_assert!(result.is_ok(), "{op}: {result:?}");
        }
        prop_assert_eq!(node.plan(&desired).ops, &[]);
        prop_assert_eq!(node.kernel.foreign(), foreign);
    }

    /// What podnet holds after the repair is what it held before.
    #[test]
    fn the_repaired_is_as_it_was(
        wish in settled_wish(),
        tampers in prop::collection::vec(tamper().prop_filter("lasts", |t| !t.lasts()), 1..4),
    ) {
        let mut node = Node::new();
        node.live(&wish);
        let underlay = node.kernel.foreign();
        let desired = node.desired(&wish);
        let before = look(&node, &desired);
        for tamper in &tampers {
            tamper.happen(&mut node);
        }
        prop_assume!(node.kernel.foreign() == underlay);
        node.pass(&desired);
        prop_assert_eq!(look(&node, &desired), before);
    }
}

/// Looks at everything, but for the number of the bridge.
fn look(node: &Node, desired: &Desired) -> Observed {
    let mut observed = node.kernel.observe(&everything(desired));
    if let Some(Place::Ours(bridge)) = &mut observed.bridge {
        bridge.index = IfIndex(0);
    }
    observed
}
