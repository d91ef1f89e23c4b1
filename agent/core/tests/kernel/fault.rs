//! Each change fails in turn; the next pass puts everything right.

use std::collections::BTreeSet;

use podnet_core::kernel::{
    Desired, Holding, IfName, Kind, Kinds, ObservedHolding, Op, OpError, OpErrorKind, bridge,
    connections, firewall, forwarding, holding, neighbour, pod, route,
};
use proptest::prelude::*;

use crate::history::{after, history, settled_wish};
use crate::node::{Node, Whereabouts, Wish};

/// How a change fails.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing happens.
    Refused,
    /// It happens, but nobody hears of it.
    Unheard,
}

/// Applies a plan, one change of which fails.
fn faulty_pass(node: &mut Node, desired: &Desired, at: usize, fault: Fault) {
    for (index, op) in node.plan(desired).ops.iter().enumerate() {
        let result = match (index == at, fault) {
            (true, Fault::Refused) => Err(OpError::new(OpErrorKind::Busy, "fault")),
            (true, Fault::Unheard) => node
                .kernel
                .apply(op)
                .and(Err(OpError::new(OpErrorKind::Timeout, "fault"))),
            (false, _) => node.kernel.apply(op),
        };
        // What builds on the change may fail as well.
        drop(result);
    }
}

fn converges(node: &Node, wish: &Wish, at: usize, fault: Fault) -> Result<(), TestCaseError> {
    let mut node = node.clone();
    let foreign = node.kernel.foreign();
    let desired = node.desired(wish);
    faulty_pass(&mut node, &desired, at, fault);
    prop_assert_eq!(&node.kernel.foreign(), &foreign);
    for op in node.plan(&desired).ops {
        let result = node.kernel.apply(&op);
        prop_assert!(result.is_ok(), "{op}: {result:?}");
    }
    prop_assert_eq!(node.plan(&desired).ops, &[]);
    prop_assert_eq!(&node.kernel.foreign(), &foreign);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_failed_change_is_made_up_for(history in history(true), wish in settled_wish()) {
        let node = after(&history);
        let count = node.plan(&node.desired(&wish)).ops.len();
        for at in 0..count {
            for fault in [Fault::Refused, Fault::Unheard] {
                converges(&node, &wish, at, fault)?;
            }
        }
    }
}

/// A move to another block with all that goes along, forth and back to nothing: every kind of
/// change that a plan can hold fails once.
#[test]
fn every_kind_of_change_may_fail() {
    let wish = |block, pods: &[(u8, bool)], peers: &[(u8, Whereabouts)]| Wish {
        member: true,
        second_network: false,
        excluded: block == 1,
        block,
        mtu: 1500 - u32::from(block),
        peers: peers.iter().copied().collect(),
        pods: pods.iter().copied().collect(),
        in_flight: BTreeSet::new(),
    };
    let first = wish(
        0,
        &[(0, true), (1, false)],
        &[(2, Whereabouts::OnEth0), (3, Whereabouts::OnEth1)],
    );
    let second = wish(1, &[(0, true)], &[(2, Whereabouts::OnEth1)]);
    let nothing = Wish {
        member: false,
        ..first.clone()
    };

    let mut kinds = BTreeSet::new();
    let mut settled = Node::new();
    settled.live(&first);
    let mut broken = settled.clone();
    broken.kernel.delete_link(&crate::node::host_end(0));
    let mut strayed = settled.clone();
    strayed.kernel.add_neighbour(
        &podnet_core::kernel::IfName::bridge(),
        crate::node::pod_address(0, 9).into(),
        podnet_core::kernel::MacAddr([2; 6]),
    );
    let mut unheld = settled.clone();
    let table = unheld.kernel.observe(&Kinds::from([Kind::Holding]));
    let Some(ObservedHolding::Table { holding, .. }) = table.holding else {
        panic!("no table: {table:?}")
    };
    let release = |host_ifname: IfName| {
        Op::Holding(holding::Op::Release {
            host_ifname,
            holding: holding.clone(),
        })
    };
    unheld
        .kernel
        .apply(&release(crate::node::host_end(0)))
        .unwrap();
    let mut held_too_much = settled.clone();
    let stranger: IfName = "pnstranger".parse().unwrap();
    let hold = Op::Holding(holding::Op::Hold {
        host_ifname: stranger.clone(),
        holding: Holding {
            ports: [stranger].into(),
            ..Holding::default()
        },
    });
    held_too_much.kernel.apply(&hold).unwrap();
    for (node, wish) in [
        (Node::new(), &first),
        (settled.clone(), &second),
        (settled, &nothing),
        (broken, &first),
        (strayed, &first),
        (unheld, &first),
        (held_too_much, &first),
    ] {
        let ops = node.plan(&node.desired(wish)).ops;
        assert!(!ops.is_empty());
        for (at, op) in ops.iter().enumerate() {
            kinds.insert(kind(op));
            for fault in [Fault::Refused, Fault::Unheard] {
                converges(&node, wish, at, fault).unwrap();
            }
        }
    }
    let all: BTreeSet<_> = KINDS.into_iter().collect();
    assert_eq!(kinds, all);
}

/// What plans are made of.
const KINDS: [&str; 20] = [
    "SetForwarding",
    "CreateBridge",
    "UpdateBridge",
    "DeleteBridge",
    "AddAddress",
    "DeleteAddress",
    "AttachPod",
    "RepairPod",
    "DetachPod",
    "SetNeighbour",
    "DeleteNeighbour",
    "AddRoute",
    "ReplaceRoute",
    "DeleteRoute",
    "SetFirewall",
    "RemoveFirewall",
    "SetHolding",
    "HoldPod",
    "ReleasePod",
    "RemoveHolding",
];

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Forwarding(forwarding::Op::Set { .. }) => "SetForwarding",
        Op::Bridge(bridge::Op::Create(_)) => "CreateBridge",
        Op::Bridge(bridge::Op::Update(_)) => "UpdateBridge",
        Op::Bridge(bridge::Op::Delete(_)) => "DeleteBridge",
        Op::Bridge(bridge::Op::AddAddress { .. }) => "AddAddress",
        Op::Bridge(bridge::Op::DeleteAddress { .. }) => "DeleteAddress",
        Op::Pod(pod::Op::Attach(_)) => "AttachPod",
        Op::Pod(pod::Op::Repair(_)) => "RepairPod",
        Op::Pod(pod::Op::Detach { .. }) => "DetachPod",
        Op::Neighbour(neighbour::Op::Set { .. }) => "SetNeighbour",
        Op::Neighbour(neighbour::Op::Delete { .. }) => "DeleteNeighbour",
        Op::Route(route::Op::Add(_)) => "AddRoute",
        Op::Route(route::Op::Replace(_)) => "ReplaceRoute",
        Op::Route(route::Op::Delete(_)) => "DeleteRoute",
        Op::Firewall(firewall::Op::Set(_)) => "SetFirewall",
        Op::Firewall(firewall::Op::Remove) => "RemoveFirewall",
        Op::Holding(holding::Op::Set(_)) => "SetHolding",
        Op::Holding(holding::Op::Hold { .. }) => "HoldPod",
        Op::Holding(holding::Op::Release { .. }) => "ReleasePod",
        Op::Holding(holding::Op::Remove) => "RemoveHolding",
        Op::Connections(connections::Op::Flush(_)) => "FlushConnections",
    }
}
