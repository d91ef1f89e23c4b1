//! What a pass looks at.

use std::collections::BTreeSet;

use podnet_core::kernel::{Desired, IfName, PodView, Scope};

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
            firewall: true,
            holding: true,
            forwarding: true,
        }
    }

    /// The routes: what a change among the peers touches.
    #[must_use]
    pub fn routes() -> Self {
        Self {
            routes: true,
            ..Self::default()
        }
    }

    /// Adds what a change that the kernel told of may have touched.
    pub fn add(&mut self, change: &ChangeScope) {
        match change {
            // A bridge that was down has lost its neighbours, and the routes with its address. The
            // bridge and all pods have the MTU of the underlay.
            ChangeScope::Bridge | ChangeScope::Underlay => {
                (self.bridge, self.host_ends, self.routes) = (true, true, true);
                self.forwarding |= *change == ChangeScope::Underlay;
            }
            ChangeScope::Neighbours => self.bridge = true,
            ChangeScope::HostEnd(host_ifname) => {
                self.host_ends = true;
                self.pods.insert(host_ifname.clone());
            }
            ChangeScope::Routes => self.routes = true,
            // The traffic of pods may come back by another device now.
            ChangeScope::OtherRoutes => (self.routes, self.forwarding) = (true, true),
            ChangeScope::Firewall => self.firewall = true,
            ChangeScope::Holding => self.holding = true,
            // Nothing of podnet's.
            ChangeScope::OtherChains => {}
            ChangeScope::Forwarding => self.forwarding = true,
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
        routes: parts.routes.then(|| desired.ranges().collect()),
        firewall: parts.firewall,
        holding: parts.holding,
        ..Scope::default()
    }
}
