//! Which changes put back what others have changed.

use std::collections::BTreeSet;

use super::conflict::{Conflict, Contested};
use super::desired::{Desired, PeerBlock};
use super::op::Op;
use super::route::RouteKey;
use super::scope::Scope;

/// Whether a change puts back what podnet had brought about before: `held` is what the kernel held
/// when it was last found to be right.
#[must_use]
pub fn is_drift(op: &Op, held: &Desired) -> bool {
    match op {
        Op::SetForwarding { device, on } => held.forwarding.get(device) == Some(on),
        Op::CreateBridge(bridge) | Op::UpdateBridge(bridge) => held.bridge.as_ref() == Some(bridge),
        Op::AddAddress { address, .. } => held
            .bridge
            .as_ref()
            .is_some_and(|bridge| bridge.addresses.contains(address)),
        Op::AttachPod(pod) | Op::RepairPod(pod) => held.pods.get(&pod.host_ifname) == Some(pod),
        Op::SetNeighbour { address, mac, .. } => held
            .pods
            .values()
            .any(|pod| pod.mac == *mac && pod.addresses.iter().any(|own| own.ip() == *address)),
        Op::AddRoute(route) | Op::ReplaceRoute(route) => {
            held.routes.get(&route.key()) == Some(route)
        }
        Op::SetFirewall(rules) => held.firewall == *rules,
        Op::SetHolding(holding) => {
            let held = held.holding.as_ref();
            held.is_some_and(|held| held.without(holding).is_empty())
        }
        Op::HoldPod { holding, .. } => {
            let held = held.holding.as_ref();
            held.is_some_and(|held| holding.without(held).is_empty())
        }
        // What should not be there, and was not there: others have added it.
        Op::DeleteRoute(key) => held.bridge.is_some() && !held.routes.contains_key(key),
        Op::DeleteAddress { address, .. } => held
            .bridge
            .as_ref()
            .is_some_and(|bridge| !bridge.addresses.contains(address)),
        Op::DeleteNeighbour { address, .. } => {
            held.bridge.is_some()
                && !held
                    .pods
                    .values()
                    .any(|pod| pod.addresses.iter().any(|own| own.ip() == *address))
        }
        Op::DetachPod { host_ifname, .. } | Op::ReleasePod { host_ifname, .. } => {
            held.bridge.is_some() && !held.pods.contains_key(host_ifname)
        }
        Op::DeleteBridge(_) | Op::RemoveFirewall | Op::RemoveHolding | Op::FlushConnections(_) => {
            false
        }
    }
}

/// What a pass came to.
#[derive(Debug, Clone, Copy)]
pub struct Passed<'a> {
    /// What the kernel should hold.
    pub desired: &'a Desired,
    /// What was looked at.
    pub looked_at: &'a Scope,
    /// The blocks of all other members.
    pub peers: &'a [PeerBlock],
    /// The changes that failed.
    pub failed: &'a [Op],
    /// What was in the way.
    pub conflicts: &'a BTreeSet<Conflict>,
}

/// What the kernel is known to hold after a pass, where `before` was known of it: what it should, but
/// for what was not looked at, failed, or is contested.
///
/// A route to a peer that cannot be reached for the time being is not wanted, and counts as held all
/// the same: it went with the underlay, and comes back with it.
#[must_use]
pub fn held(before: &Desired, passed: Passed<'_>) -> Desired {
    let Passed {
        desired, looked_at, ..
    } = passed;
    let mut held = desired.clone();
    if !looked_at.bridge {
        held.bridge.clone_from(&before.bridge);
    }
    if looked_at.routes.is_none() {
        held.routes.clone_from(&before.routes);
    }
    if !looked_at.firewall {
        held.firewall.clone_from(&before.firewall);
    }
    if !looked_at.holding {
        held.holding.clone_from(&before.holding);
    }
    if looked_at.forwarding.is_none() {
        held.forwarding.clone_from(&before.forwarding);
    }
    if desired.bridge.is_some() {
        let peers = passed.peers.iter();
        let peers = peers.map(|peer| RouteKey::to(peer.block.into()));
        for lost in peers.filter(|key| !desired.routes.contains_key(key)) {
            keep_route(&mut held, before, lost);
        }
    }
    for op in passed.failed {
        match op {
            Op::SetForwarding { device, .. } => match before.forwarding.get(device) {
                Some(on) => drop(held.forwarding.insert(device.clone(), *on)),
                None => drop(held.forwarding.remove(device)),
            },
            Op::CreateBridge(_)
            | Op::UpdateBridge(_)
            | Op::DeleteBridge(_)
            | Op::AddAddress { .. }
            | Op::DeleteAddress { .. } => held.bridge.clone_from(&before.bridge),
            Op::AddRoute(route) | Op::ReplaceRoute(route) => {
                keep_route(&mut held, before, route.key());
            }
            Op::DeleteRoute(key) => keep_route(&mut held, before, *key),
            Op::SetFirewall(_) | Op::RemoveFirewall => held.firewall.clone_from(&before.firewall),
            Op::SetHolding(_) | Op::RemoveHolding => held.holding.clone_from(&before.holding),
            // What became of the pods, their records tell.
            Op::AttachPod(_)
            | Op::RepairPod(_)
            | Op::DetachPod { .. }
            | Op::SetNeighbour { .. }
            | Op::DeleteNeighbour { .. }
            | Op::HoldPod { .. }
            | Op::ReleasePod { .. }
            | Op::FlushConnections(_) => {}
        }
    }
    for conflict in passed.conflicts {
        match &conflict.object {
            Contested::Bridge(_) => held.bridge.clone_from(&before.bridge),
            Contested::Route(route) => keep_route(&mut held, before, route.key()),
            Contested::Rules(..) => held.firewall.clone_from(&before.firewall),
            Contested::HostEnd(..)
            | Contested::Interface(..)
            | Contested::Forwarding(_)
            | Contested::Addresses { .. } => {}
        }
    }
    held
}

fn keep_route(held: &mut Desired, before: &Desired, key: RouteKey) {
    match before.routes.get(&key) {
        Some(route) => drop(held.routes.insert(key, *route)),
        None => drop(held.routes.remove(&key)),
    }
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
            routes: BTreeMap::from([(route.key(), route)]),
            ..Desired::default()
        };
        assert!(is_drift(&Op::AddRoute(route), &held));
        assert!(!is_drift(&Op::AddRoute(route), &Desired::default()));
        let other = RouteKey::to("10.244.3.0/24".parse().unwrap());
        assert!(!is_drift(&Op::DeleteRoute(other), &Desired::default()));
    }

    fn route(block: &str) -> Route {
        Route {
            destination: block.parse().unwrap(),
            next_hop: NextHop::Unreachable,
        }
    }

    fn all() -> Scope {
        Scope {
            bridge: true,
            routes: Some(BTreeSet::new()),
            firewall: true,
            holding: true,
            forwarding: Some(BTreeSet::new()),
            ..Scope::default()
        }
    }

    fn routes(all: &[Route]) -> Desired {
        Desired {
            bridge: Some(Bridge {
                name: IfName::bridge(),
                mac: MacAddr([2; 6]),
                mtu: Mtu(1500),
                addresses: Vec::new(),
            }),
            routes: all.iter().map(|route| (route.key(), *route)).collect(),
            ..Desired::default()
        }
    }

    #[test]
    fn what_is_in_the_way_of_one_object_hides_no_other() {
        let (contested, failed, right) = (
            route("10.244.1.0/24"),
            route("10.244.2.0/24"),
            route("10.244.3.0/24"),
        );
        let desired = routes(&[contested, failed, right]);
        let conflicts = BTreeSet::from([Conflict {
            object: Contested::Route(contested),
            found: "another".to_owned(),
        }]);
        let passed = Passed {
            desired: &desired,
            looked_at: &all(),
            peers: &[],
            failed: &[Op::AddRoute(failed)],
            conflicts: &conflicts,
        };
        let first = held(&Desired::default(), passed);
        assert_eq!(first.routes, routes(&[right]).routes);
        assert!(is_drift(&Op::AddRoute(right), &first));
        // What was right before is remembered as such.
        assert!(is_drift(&Op::AddRoute(contested), &held(&desired, passed)));
    }

    #[test]
    fn what_was_not_looked_at_is_not_known_to_be_right() {
        let (old, new) = (route("10.244.1.0/24"), route("10.244.2.0/24"));
        let passed = Passed {
            desired: &routes(&[old, new]),
            looked_at: &Scope::default(),
            peers: &[],
            failed: &[],
            conflicts: &BTreeSet::new(),
        };
        let held = held(&routes(&[old]), passed);
        assert!(is_drift(&Op::AddRoute(old), &held));
        assert!(!is_drift(&Op::AddRoute(new), &held));
    }

    #[test]
    fn a_route_that_went_with_the_underlay_is_put_back() {
        let (peers, leavers) = (route("10.244.1.0/24"), route("10.244.2.0/24"));
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
        let held = held(&routes(&[peers, leavers]), passed);
        assert!(is_drift(&Op::AddRoute(peers), &held));
        assert!(!is_drift(&Op::AddRoute(leavers), &held));
    }
}
