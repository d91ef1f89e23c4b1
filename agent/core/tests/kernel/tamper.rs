//! What somebody breaks is whole again after the next pass.

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
    fn the_repaired_is_as_it_was(wish in settled_wish(), tampers in prop::collection::vec(tamper(), 1..4)) {
        let mut node = Node::new();
        node.live(&wish);
        let underlay = node.kernel.foreign();
        let desired = node.desired(&wish);
        let scope = everything(&desired);
        let before = node.kernel.observe(&scope);
        for tamper in tampers.iter().filter(|tamper| tamper.is_curable()) {
            tamper.happen(&mut node);
        }
        prop_assume!(node.kernel.foreign() == underlay);
        node.pass(&desired);
        let after = node.kernel.observe(&scope);
        prop_assert_eq!(after.host_ends, before.host_ends);
        prop_assert_eq!(after.pods, before.pods);
        prop_assert_eq!(after.routes, before.routes);
        prop_assert_eq!(after.sysctls, before.sysctls);
    }
}
