//! One pass makes the kernel hold what it should, and touches nothing else.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use podnet_core::kernel::model::Hop;
use podnet_core::kernel::{
    Conflict, Contested, Desired, IfName, Intruder, Kind, Kinds, Mtu, NextHop, Observed, Op,
    OpError, OpErrorKind, PROTOCOL, Place, Plan, Route, RouteKey, diff, firewall, pod, route,
};
use proptest::prelude::*;

use crate::history::{after, history, wish};
use crate::node::{Node, Whereabouts, Wish, everything, forwarding_of, host_end, net};

fn deleted_route(op: &Op) -> Option<IpNetwork> {
    if let Op::Route(route::Op::Delete(key)) = op {
        Some(key.destination)
    } else {
        None
    }
}

proptest! {
    /// Whatever happened before, and whatever foreign things there are: each change finds what it
    /// builds on, nothing foreign is touched, and the next pass has nothing to do.
    #[test]
    fn one_pass_is_enough(history in history(true), wish in wish()) {
        let mut node = after(&history);
        let foreign = node.kernel.foreign();
        let desired = node.desired(&wish);
        let plan = node.plan(&desired);
        for op in &plan.ops {
            node.remember(op);
            let result = node.kernel.apply(op);
            prop_assert!(result.is_ok(), "{op}: {result:?} in {:?}", plan.ops);
        }
        prop_assert_eq!(node.kernel.foreign(), foreign);
        let desired = node.desired(&wish);
        let again = node.plan(&desired);
        prop_assert_eq!(&again.ops, &[]);
        // What stood behind a route of podnet's that has gone is seen only now.
        let gone: BTreeSet<_> = plan.ops.iter().filter_map(deleted_route).collect();
        let hidden = |conflict: &Conflict| {
            matches!(&conflict.object, Contested::Addresses(Intruder { range, .. }) if gone.contains(range))
        };
        let mut conflicts = again.conflicts;
        conflicts.retain(|conflict| plan.conflicts.contains(conflict) || !hidden(conflict));
        prop_assert_eq!(conflicts, plan.conflicts);
        prop_assert_eq!(again.gone, plan.gone);
    }

    /// What holds already is left alone: an agent that starts anew changes nothing.
    #[test]
    fn adopting_changes_nothing(history in history(true), wish in wish()) {
        let mut node = after(&history);
        node.live(&wish);
        let restarted = node.plan(&node.desired(&wish));
        prop_assert_eq!(restarted.ops, &[]);
    }

    /// A node that is no member any more leaves nothing behind.
    #[test]
    fn nothing_desired_nothing_left(history in history(true)) {
        let mut node = after(&history);
        let nothing = Desired::default();
        node.pass(&nothing);
        let observed = node.kernel.observe(&everything(&nothing));
        prop_assert!(!matches!(observed.bridge, Some(Place::Ours(_))));
        let host_ends = observed.host_ends.unwrap();
        prop_assert!(!host_ends.values().any(|end| matches!(end, Place::Ours(_))));
        prop_assert!(observed.routes.unwrap().is_empty());
        prop_assert!(observed.firewall.unwrap().iter().all(|backend| backend.chains.is_empty()));
    }

    /// What nonsense is desired, nothing foreign is touched; and what fails does not make the
    /// agent do and undo things for ever.
    #[test]
    fn nonsense_harms_nobody(
        history in history(true),
        wish in wish(),
        no_addresses in any::<bool>(),
        device in prop::sample::select(vec!["eth0", "eth1", "podnet0", "none0"]),
        mtu in prop::sample::select(vec![1500, 9000]),
    ) {
        let mut node = after(&history);
        let foreign = node.kernel.foreign();
        let mut desired = node.desired(&wish);
        if let Some(bridge) = desired.bridge.as_mut().filter(|_| no_addresses) {
            bridge.addresses.clear();
        }
        let route = Route {
            destination: net("10.244.9.0/24"),
            next_hop: NextHop::Gateway {
                via: net("192.0.2.77/32").ip(),
                device: device.parse().unwrap(),
                source: net("10.244.0.1/32").ip(),
                mtu: Mtu(mtu),
            },
        };
        desired.routes.insert(route.key(), route);
        for _ in 0..2 {
            node.pass(&desired);
            prop_assert_eq!(&node.kernel.foreign(), &foreign);
        }
        let still = node.plan(&desired).ops;
        let before = node.kernel.clone();
        for op in &still {
            let result = node.kernel.apply(op);
            prop_assert!(result.is_err(), "{op} comes again and again");
        }
        prop_assert_eq!(node.kernel, before);
    }

    /// What was not looked at is left alone.
    #[test]
    fn the_scope_is_the_limit(
        history in history(true),
        wish in wish(),
        bridge in any::<bool>(),
        host_ends in any::<bool>(),
        routes in any::<bool>(),
        firewall in any::<bool>(),
        forwarding in any::<bool>(),
        pods in prop::collection::btree_set(0u8..4, 0..4),
    ) {
        let node = after(&history);
        let desired = node.desired(&wish);
        let all = everything(&desired);
        let looked_into: BTreeSet<_> = pods.into_iter().map(host_end).collect();
        let mut kinds = Kinds::default();
        for (looked_at, kind) in [
            (bridge, Kind::Bridge),
            (host_ends, Kind::HostEnds),
            (firewall, Kind::Firewall),
        ] {
            kinds.extend(looked_at.then_some(kind));
        }
        let views = all.pods().into_iter();
        let views = views.filter(|pod| looked_into.contains(&pod.host_ifname));
        kinds.extend(views.map(Kind::Pod));
        if routes {
            let destinations = all.destinations().into_iter();
            kinds.extend(destinations.map(Kind::RoutesIn).chain([Kind::Routes]));
        }
        if forwarding {
            kinds.merge(forwarding_of(&all.ingresses()));
        }
        let plan = diff(&desired, &node.kernel.observe(&kinds));
        for op in plan.ops {
            let covered = match &op {
                Op::Forwarding(_) => forwarding,
                Op::Bridge(_) | Op::Neighbour(_) => bridge,
                Op::Pod(pod::Op::Detach { .. }) => host_ends,
                Op::Pod(op) => looked_into.contains(op.host_end()),
                Op::Route(_) => routes,
                Op::Firewall(_) | Op::Holding(_) => firewall,
                Op::Connections(_) => false,
            };
            prop_assert!(covered, "{op} is outside of {kinds:?}");
        }
        let unseen = Observed::default();
        prop_assert_eq!(diff(&desired, &unseen), Plan::default());
    }

    /// Pods that are being attached or detached are somebody's who works on them right now.
    #[test]
    fn pods_in_flight_are_left_alone(history in history(true), wish in wish()) {
        let node = after(&history);
        let desired = node.desired(&wish);
        prop_assume!(wish.member);
        let ends: BTreeSet<_> = wish.in_flight.iter().copied().map(host_end).collect();
        let addresses: BTreeSet<_> =
            wish.in_flight.iter().flat_map(|pod| node.addresses(*pod, &wish)).collect();
        for op in node.plan(&desired).ops {
            let touched = match &op {
                Op::Neighbour(op) => addresses.contains(&op.address()),
                Op::Pod(_) | Op::Holding(_) => op.host_end().is_some_and(|end| ends.contains(end)),
                Op::Forwarding(_)
                | Op::Bridge(_)
                | Op::Route(_)
                | Op::Firewall(_)
                | Op::Connections(_) => false,
            };
            prop_assert!(!touched, "{op}");
        }
    }
}

/// A member with a peer and two pods.
pub(crate) fn plain_wish() -> Wish {
    Wish {
        member: true,
        second_network: false,
        excluded: false,
        block: 0,
        mtu: 1500,
        peers: [(1, Whereabouts::OnEth0)].into(),
        pods: [(0, true), (1, false)].into(),
        in_flight: BTreeSet::new(),
    }
}

/// A host end that was listed and looks wrong is not judged before its namespace was looked into.
#[test]
fn a_listed_pod_is_unclear_until_it_was_looked_into() {
    let mut node = Node::new();
    node.live(&plain_wish());
    node.kernel.set_link_down(&host_end(0));
    let desired = node.desired(&plain_wish());
    let listed = Kinds::from([Kind::HostEnds]);
    let plan = diff(&desired, &node.kernel.observe(&listed));
    assert_eq!(plan.unclear, BTreeSet::from([host_end(0)]));
    assert_eq!(plan.ops, []);
    let plan = node.plan(&desired);
    assert!(plan.unclear.is_empty(), "{plan:?}");
    assert!(
        matches!(&plan.ops[..], [Op::Pod(pod::Op::Repair(pod))] if pod.host_ifname == host_end(0))
    );
}

/// What cannot be looked at is not judged, and keeps nothing else from being put right.
#[test]
fn a_pod_that_cannot_be_looked_into_is_left_alone() {
    let mut node = Node::new();
    node.live(&plain_wish());
    node.kernel.set_link_down(&host_end(0));
    node.kernel.set_link_down(&host_end(1));
    let desired = node.desired(&plain_wish());
    let mut observed = node.kernel.observe(&everything(&desired));
    observed.insides.remove(&host_end(0));
    let why = OpError::new(OpErrorKind::NotPermitted, "namespace of pod 0");
    observed.hidden.insert(host_end(0), why);
    let plan = diff(&desired, &observed);
    assert!(
        matches!(&plan.ops[..], [Op::Pod(pod::Op::Repair(pod))] if pod.host_ifname == host_end(1))
    );
    assert!(plan.gone.is_empty() && plan.unclear.is_empty(), "{plan:?}");
}

/// A host end of no pod goes, also where it was looked at alone.
#[test]
fn a_stray_host_end_goes() {
    let mut node = Node::new();
    node.live(&plain_wish());
    let mut desired = node.desired(&plain_wish());
    let pods = everything(&desired).pods();
    let pods: Kinds = pods.into_iter().map(Kind::Pod).collect();
    desired.pods.remove(&host_end(1));
    let plan = diff(&desired, &node.kernel.observe(&pods));
    assert_eq!(
        plan.ops,
        [Op::Pod(pod::Op::Detach {
            host_ifname: host_end(1),
            netns: None
        })]
    );
}

/// With a foreign bridge of the name nothing can be built on it, but what is not wanted still goes.
#[test]
fn a_foreign_bridge_keeps_no_stale_route() {
    let mut node = Node::new();
    node.kernel.add_link(&IfName::bridge(), Mtu(1500));
    let stale = RouteKey::to(net("10.244.7.0/24"));
    node.kernel.add_route(stale, PROTOCOL, Hop::Unreachable);
    let plan = node.plan(&node.desired(&plain_wish()));
    assert_eq!(plan.conflicts.len(), 1);
    assert!(
        plan.ops.contains(&Op::Route(route::Op::Delete(stale))),
        "{plan:?}"
    );
    let routes = plan
        .ops
        .iter()
        .filter(|op| matches!(op, Op::Route(route::Op::Add(_))));
    let added: Vec<_> = routes.map(ToString::to_string).collect();
    assert_eq!(added, ["add route unreachable 10.244.0.0/16"]);
}

/// Rules that nothing can hold are tried all the same, so that somebody hears of it.
#[test]
fn no_firewall_is_not_passed_over() {
    let mut node = Node::new();
    node.kernel.firewall_mut().clear();
    let plan = node.plan(&node.desired(&plain_wish()));
    let set = plan
        .ops
        .iter()
        .find(|op| matches!(op, Op::Firewall(firewall::Op::Set(_))))
        .unwrap();
    let error = node.kernel.apply(set).unwrap_err();
    assert!(
        matches!(error.kind, OpErrorKind::MissingBinary(_)),
        "{error}"
    );
    assert!(
        !node
            .plan(&Desired::default())
            .ops
            .contains(&Op::Firewall(firewall::Op::Remove))
    );
}

/// What was built last goes first, so that no packet finds half of it.
#[test]
fn removals_go_backwards() {
    let mut node = Node::new();
    node.live(&plain_wish());
    let text: Vec<_> = node
        .plan(&Desired::default())
        .ops
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut ends = [host_end(0), host_end(1)];
    ends.sort();
    assert_eq!(
        text,
        [
            "delete route 10.244.1.0/24".to_owned(),
            "delete route 10.244.0.0/16".to_owned(),
            "remove firewall rules".to_owned(),
            format!("detach {}", ends[1]),
            format!("detach {}", ends[0]),
            "remove table bridge podnet".to_owned(),
            "delete bridge podnet0".to_owned(),
        ]
    );
}
