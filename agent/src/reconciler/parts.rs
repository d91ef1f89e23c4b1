//! What a pass looks at.

use std::collections::BTreeSet;

use podnet_core::kernel::{Conflict, Contested, Desired, IfName, PodView, Scope};

use crate::dataplane::ChangeScope;

/// Which parts of what podnet owns to look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// The bridge, its addresses and neighbours.
    pub bridge: bool,
    /// The host ends of all pods.
    pub host_ends: bool,
    /// Into the namespaces of all pods.
    pub insides: bool,
    /// Into these pods, by host end.
    pub pods: BTreeSet<IfName>,
    /// The routes.
    pub routes: bool,
    /// Which ways packets of pods take, and the routes.
    pub ways: bool,
    /// The firewall rules.
    pub firewall: bool,
    /// What nftables holds pods to.
    pub holding: bool,
    /// What is forwarded from the host's devices, and the firewall rules that go with it.
    pub forwarding: bool,
}

impl Parts {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self {
            bridge: true,
            host_ends: true,
            insides: true,
            pods: BTreeSet::new(),
            routes: true,
            ways: true,
            firewall: true,
            holding: true,
            forwarding: true,
        }
    }

    /// The routes, and the ways by them: what a change among the peers touches.
    #[must_use]
    pub fn routes() -> Self {
        Self {
            routes: true,
            ways: true,
            ..Self::default()
        }
    }

    /// What has to be looked at for it to be known whether this is still in the way.
    #[must_use]
    pub fn contested(conflicts: &BTreeSet<Conflict>) -> Self {
        let mut parts = Self::default();
        for conflict in conflicts {
            match &conflict.object {
                Contested::Bridge(_) => parts.bridge = true,
                Contested::HostEnd(host_ifname, _) | Contested::Interface(_, host_ifname, _) => {
                    parts.pods.insert(host_ifname.clone());
                    (parts.bridge, parts.host_ends) = (true, true);
                }
                Contested::Route(_) | Contested::Addresses { .. } => parts.routes = true,
                Contested::Rules(..) => parts.firewall = true,
                Contested::Forwarding(_) => parts.forwarding = true,
            }
        }
        parts
    }

    /// Adds what a change that the kernel told of may have touched.
    pub fn add(&mut self, change: &ChangeScope) {
        match change {
            // A bridge that was down has lost its neighbours, and the routes with its address. The
            // bridge and all pods have the MTU of the underlay.
            ChangeScope::Bridge | ChangeScope::Underlay => {
                (self.bridge, self.host_ends) = (true, true);
                (self.routes, self.ways) = (true, true);
                self.forwarding |= *change == ChangeScope::Underlay;
            }
            ChangeScope::Neighbours => self.bridge = true,
            ChangeScope::HostEnd(host_ifname) => {
                self.host_ends = true;
                self.pods.insert(host_ifname.clone());
            }
            ChangeScope::Routes => (self.routes, self.ways) = (true, true),
            // The traffic of pods may come back by another device now.
            ChangeScope::OtherRoutes => {
                (self.routes, self.ways, self.forwarding) = (true, true, true);
            }
            ChangeScope::Firewall => self.firewall = true,
            ChangeScope::Holding => self.holding = true,
            // Nothing of podnet's.
            ChangeScope::OtherChains => {}
            // The kernel refuses what comes in by a device that forwards nothing.
            ChangeScope::Forwarding => (self.forwarding, self.ways) = (true, true),
            ChangeScope::Everything => *self = Self::all(),
        }
    }

    /// Adds all that `other` names.
    pub fn merge(&mut self, other: Self) {
        self.bridge |= other.bridge;
        self.host_ends |= other.host_ends;
        self.insides |= other.insides;
        self.pods.extend(other.pods);
        self.routes |= other.routes;
        self.ways |= other.ways;
        self.firewall |= other.firewall;
        self.holding |= other.holding;
        self.forwarding |= other.forwarding;
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What has to be looked at for these parts to be judged.
pub(super) fn scope(parts: &Parts, desired: &Desired) -> Scope {
    let looked_into = desired
        .pods
        .values()
        .filter(|pod| parts.insides || parts.pods.contains(&pod.host_ifname));
    Scope {
        bridge: parts.bridge,
        host_ends: parts.host_ends || parts.insides,
        pods: looked_into.map(PodView::of).collect(),
        routes: (parts.routes || parts.ways).then(|| desired.ranges().collect()),
        firewall: parts.firewall,
        holding: parts.holding,
        ..Scope::default()
    }
}

#[cfg(test)]
mod tests {
    use podnet_core::kernel::Owner;

    use super::*;

    #[test]
    fn what_is_in_the_way_is_looked_at_again_and_nothing_else() {
        let conflict = |object| Conflict {
            object,
            found: String::new(),
        };
        let host_end: IfName = "pnabc".parse().unwrap();
        let of_pod = Contested::HostEnd(host_end.clone(), "red".parse().unwrap());
        let addresses = Contested::Addresses {
            range: "10.244.7.0/24".parse().unwrap(),
            owner: Owner::Nobody,
        };
        let routes = Parts {
            routes: true,
            ..Parts::default()
        };
        let intruder = conflict(addresses);
        assert_eq!(Parts::contested(&[intruder.clone()].into()), routes);
        let both = Parts {
            bridge: true,
            host_ends: true,
            pods: [host_end].into(),
            ..routes
        };
        assert_eq!(Parts::contested(&[intruder, conflict(of_pod)].into()), both);
        assert!(Parts::contested(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn ways_are_looked_at_after_what_may_lead_packets_elsewhere() {
        let looks = |scope: ChangeScope| {
            let mut parts = Parts::default();
            parts.add(&scope);
            parts.ways
        };
        use ChangeScope::{
            Bridge, Everything, Firewall, Forwarding, Neighbours, OtherChains, OtherRoutes, Routes,
            Underlay,
        };
        for scope in [
            Bridge,
            Underlay,
            Routes,
            OtherRoutes,
            Forwarding,
            Everything,
        ] {
            assert!(looks(scope.clone()), "{scope:?}");
        }
        let host_end = ChangeScope::HostEnd("pnabc".parse().unwrap());
        for scope in [Neighbours, Firewall, OtherChains, host_end] {
            assert!(!looks(scope.clone()), "{scope:?}");
        }
    }
}
