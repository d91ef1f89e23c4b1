//! Which changes put back what others have changed.

use super::desired::Desired;
use super::op::Op;

/// Whether a change puts back what podnet had brought about before: `held` is what the kernel held
/// when it was last found to be right.
#[must_use]
pub fn is_drift(op: &Op, held: &Desired) -> bool {
    match op {
        Op::SetSysctl { sysctl, value } => held.sysctls.get(sysctl) == Some(value),
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
        Op::DetachPod { host_ifname, .. } => {
            held.bridge.is_some() && !held.pods.contains_key(host_ifname)
        }
        Op::DeleteBridge(_) | Op::RemoveFirewall | Op::FlushConnections(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kernel::{NextHop, Route, RouteKey};

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
}
