//! Which changes put back what another program has changed, and what is known to be held.

use std::collections::BTreeSet;

use super::conflict::Conflict;
use super::desired::{Desired, PeerBlock};
use super::kinds::{Kind, Kinds};
use super::op::Op;
use super::route::RouteKey;
use super::{bridge, firewall, forwarding, holding, route};

/// Whether a change puts back what podnet had brought about before: `held` is what the kernel held
/// when it was last found to be right.
#[must_use]
pub fn is_drift(op: &Op, held: &Desired) -> bool {
    op.operation().is_drift(held)
}

/// Keeps what was known of an object before.
type Keep = fn(held: &mut Desired, before: &Desired);

/// For each kind that was not looked at, how to keep what was known of it. Pods have records of their own.
const KEPT: [(Kind, Keep); 5] = [
    (Kind::Bridge, bridge::keep),
    (Kind::Routes, route::keep),
    (Kind::Firewall, firewall::keep),
    (Kind::Holding, holding::keep),
    (Kind::Forwarding, forwarding::keep),
];

/// What a pass came to.
#[derive(Debug, Clone, Copy)]
pub struct Passed<'a> {
    /// What the kernel should hold.
    pub desired: &'a Desired,
    /// What was looked at.
    pub looked_at: &'a Kinds,
    /// The blocks of all other members.
    pub peers: &'a [PeerBlock],
    /// The changes that failed.
    pub failed: &'a [Op],
    /// The conflicts.
    pub conflicts: &'a BTreeSet<Conflict>,
}

/// What the kernel is known to hold after a pass, if `before` was known of it: what it should, except
/// for what was not looked at, failed, or is contested.
///
/// A route to a peer that cannot be reached for the time being is not wanted, and counts as held all
/// the same: it was removed with the underlay, and comes back with it.
#[must_use]
pub fn held(before: &Desired, passed: Passed<'_>) -> Desired {
    let Passed {
        desired, looked_at, ..
    } = passed;
    let mut held = desired.clone();
    for (kind, keep) in KEPT {
        if !looked_at.has(&kind) {
            keep(&mut held, before);
        }
    }
    if desired.bridge.is_some() {
        let peers = passed.peers.iter();
        let peers = peers.map(|peer| RouteKey::to(peer.block.into()));
        for lost in peers.filter(|key| !desired.routes.contains_key(key)) {
            route::keep_one(&mut held, before, lost);
        }
    }
    for op in passed.failed {
        op.operation().keep(&mut held, before);
    }
    for conflict in passed.conflicts {
        conflict.object.disputed().keep(&mut held, before);
    }
    held
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use podnet_proto::NodeId;

    use super::*;
    use crate::kernel::{Bridge, IfName, MacAddr, Mtu, NextHop, Route};

    #[test]
    fn only_what_was_there_before_has_drifted() {
        let route = Route {
            destination: "10.244.0.0/16".parse().unwrap(),
            next_hop: NextHop::Unreachable,
        };
        let held = Desired {
            routes: BTreeMap::from([(route.key(), route.clone())]),
            ..Desired::default()
        };
        assert!(is_drift(&Op::Route(route::Op::Add(route.clone())), &held));
        assert!(!is_drift(
            &Op::Route(route::Op::Add(route)),
            &Desired::default()
        ));
        let other = RouteKey::to("10.244.3.0/24".parse().unwrap());
        assert!(!is_drift(
            &Op::Route(route::Op::Delete(other)),
            &Desired::default()
        ));
    }

    fn to(block: &str) -> Route {
        Route {
            destination: block.parse().unwrap(),
            next_hop: NextHop::Unreachable,
        }
    }

    fn all() -> Kinds {
        Kinds::all()
    }

    fn routes(all: &[Route]) -> Desired {
        Desired {
            bridge: Some(Bridge {
                name: IfName::bridge(),
                mac: MacAddr([2; 6]),
                mtu: Mtu(1500),
                addresses: Vec::new(),
            }),
            routes: all
                .iter()
                .map(|route| (route.key(), route.clone()))
                .collect(),
            ..Desired::default()
        }
    }

    #[test]
    fn what_is_in_the_way_of_one_object_hides_no_other() {
        let (contested, failed, right) = (
            to("10.244.1.0/24"),
            to("10.244.2.0/24"),
            to("10.244.3.0/24"),
        );
        let desired = routes(&[contested.clone(), failed.clone(), right.clone()]);
        let conflicts = BTreeSet::from([Conflict::new(contested.clone(), "another")]);
        let passed = Passed {
            desired: &desired,
            looked_at: &all(),
            peers: &[],
            failed: &[Op::Route(route::Op::Add(failed))],
            conflicts: &conflicts,
        };
        let first = held(&Desired::default(), passed);
        assert_eq!(first.routes, routes(std::slice::from_ref(&right)).routes);
        assert!(is_drift(&Op::Route(route::Op::Add(right)), &first));
        // What was right before is remembered as such.
        assert!(is_drift(
            &Op::Route(route::Op::Add(contested)),
            &held(&desired, passed)
        ));
    }

    #[test]
    fn what_was_not_looked_at_is_not_known_to_be_right() {
        let (old, new) = (to("10.244.1.0/24"), to("10.244.2.0/24"));
        let passed = Passed {
            desired: &routes(&[old.clone(), new.clone()]),
            looked_at: &Kinds::default(),
            peers: &[],
            failed: &[],
            conflicts: &BTreeSet::new(),
        };
        let held = held(&routes(std::slice::from_ref(&old)), passed);
        assert!(is_drift(&Op::Route(route::Op::Add(old)), &held));
        assert!(!is_drift(&Op::Route(route::Op::Add(new)), &held));
    }

    #[test]
    fn a_route_that_went_with_the_underlay_is_put_back() {
        let (peers, leavers) = (to("10.244.1.0/24"), to("10.244.2.0/24"));
        let peer = PeerBlock {
            node: NodeId::from_bytes([1; 16]),
            block: "10.244.1.0/24".parse().unwrap(),
            address: None,
        };
        let passed = Passed {
            desired: &routes(&[]),
            looked_at: &all(),
            peers: &[peer],
            failed: &[],
            conflicts: &BTreeSet::new(),
        };
        let held = held(&routes(&[peers.clone(), leavers.clone()]), passed);
        assert!(is_drift(&Op::Route(route::Op::Add(peers)), &held));
        assert!(!is_drift(&Op::Route(route::Op::Add(leavers)), &held));
    }
}
