//! The kinds of what the kernel holds: for what can change, and for what to look at.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::conflict::Conflict;
use super::desired::Desired;
use super::link::IfName;
use super::pod::PodView;
use super::way::Packet;

/// A part of what the kernel holds, as far as it concerns podnet.
///
/// The kernel reports a change of it, something is in its way, a pass is about it, or it is to be looked at. What
/// a look needs beside the name of a kind are kinds of their own, each about one thing: [`Kinds::aimed`] adds those
/// that follow from what should be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The bridge and its addresses, and what depends on them: its neighbours, and the routes that have
    /// its address as their source.
    Bridge,
    /// The permanent neighbours on the bridge; a look at the bridge shows them.
    Neighbours,
    /// The host ends of all pods.
    HostEnds,
    /// The host end of a pod, or what is at its other end.
    HostEnd(IfName),
    /// The insides of the namespaces of all pods.
    Insides,
    /// A pod to look at: its host end, and what is inside of its namespace.
    Pod(PodView),
    /// Podnet's routes.
    Routes,
    /// Routes of other programs at a destination of podnet's, and inside of it.
    RoutesIn(IpNetwork),
    /// Which ways packets of pods take, and podnet's routes.
    Ways,
    /// Which way a packet takes.
    Way(Packet),
    /// The rules of policy routing, and the routes of all tables that concern an address.
    Policy(IpAddr),
    /// Podnet's firewall chains, and the tables that they are in.
    Firewall,
    /// What nftables holds pods to.
    Holding,
    /// The chains of all programs that pods' packets pass.
    OtherChains,
    /// What of the host's packets is forwarded, and the firewall rules that go with it.
    Forwarding,
    /// What is forwarded from a device, also if no route leads out of it.
    Ingress(IfName),
    /// The host's other links and addresses: the way to the peers, on which podnet's routes depend.
    Underlay,
    /// How an address is reached.
    Path(IpAddr),
    /// The host's other routes: the way to the peers, and what may be in the way of podnet's.
    OtherRoutes,
    /// What the path of a namespace leads to.
    Namespace(PathBuf),
    /// Anything: changes were missed.
    Everything,
}

/// Several kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kinds(BTreeSet<Kind>);

impl Kinds {
    /// Everything of podnet's.
    #[must_use]
    pub fn all() -> Self {
        Self::from([
            Kind::Bridge,
            Kind::HostEnds,
            Kind::Insides,
            Kind::Routes,
            Kind::Ways,
            Kind::Firewall,
            Kind::Holding,
            Kind::Forwarding,
        ])
    }

    /// The routes, and the ways by them: what a change among the peers touches.
    #[must_use]
    pub fn routes() -> Self {
        Self::from([Kind::Routes, Kind::Ways])
    }

    /// Which of podnet's objects a change of some kind may have touched.
    #[must_use]
    pub fn touched_by(kind: &Kind) -> Self {
        match kind {
            // A bridge that was down has lost its neighbours, and the routes with its address. The
            // bridge and all pods have the MTU of the underlay.
            Kind::Bridge => Self::from([Kind::Bridge, Kind::HostEnds, Kind::Routes, Kind::Ways]),
            Kind::Underlay => Self::touched_by(&Kind::Bridge).and(Kind::Forwarding),
            Kind::Neighbours => Self::from([Kind::Bridge]),
            Kind::HostEnd(_) => Self::from([Kind::HostEnds, kind.clone()]),
            Kind::Routes => Self::routes(),
            // The packets that come back to pods may come in by another device now.
            Kind::OtherRoutes => Self::routes().and(Kind::Forwarding),
            // The kernel refuses what comes in by a device that forwards nothing.
            Kind::Forwarding => Self::from([Kind::Forwarding, Kind::Ways]),
            Kind::Everything => Self::all(),
            // No object of podnet's.
            Kind::OtherChains | Kind::Policy(_) | Kind::Path(_) | Kind::Namespace(_) => {
                Self::default()
            }
            Kind::HostEnds
            | Kind::Insides
            | Kind::Pod(_)
            | Kind::RoutesIn(_)
            | Kind::Ways
            | Kind::Way(_)
            | Kind::Firewall
            | Kind::Holding
            | Kind::Ingress(_) => Self::from([kind.clone()]),
        }
    }

    /// What to look at, to know whether these conflicts are still there.
    #[must_use]
    pub fn contested(conflicts: &BTreeSet<Conflict>) -> Self {
        let mut kinds = Self::default();
        for conflict in conflicts {
            kinds.merge(conflict.object.disputed().looks());
        }
        kinds
    }

    /// What to look at, to judge podnet's objects of these kinds, if `desired` should be there.
    #[must_use]
    pub fn aimed(&self, desired: &Desired) -> Self {
        let mut aimed = Self::default();
        let same = [Kind::Bridge, Kind::Firewall, Kind::Holding];
        aimed.extend(same.into_iter().filter(|kind| self.has(kind)));
        if self.has(&Kind::HostEnds) || self.has(&Kind::Insides) {
            aimed.add(Kind::HostEnds);
        }
        let looked_into = desired.pods.values().filter(|pod| {
            self.has(&Kind::Insides) || self.has(&Kind::HostEnd(pod.host_ifname.clone()))
        });
        aimed.extend(looked_into.map(|pod| Kind::Pod(PodView::of(pod))));
        if self.has(&Kind::Routes) || self.has(&Kind::Ways) {
            aimed.add(Kind::Routes);
            aimed.extend(desired.ranges().map(Kind::RoutesIn));
        }
        aimed
    }

    /// Whether a kind is among them.
    #[must_use]
    pub fn has(&self, kind: &Kind) -> bool {
        self.0.contains(kind)
    }

    /// Adds a kind.
    pub fn add(&mut self, kind: Kind) {
        self.0.insert(kind);
    }

    /// These kinds and another one.
    #[must_use]
    pub fn and(mut self, kind: Kind) -> Self {
        self.add(kind);
        self
    }

    /// Takes a kind out; returns whether it was among them.
    pub fn remove(&mut self, kind: &Kind) -> bool {
        self.0.remove(kind)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn each<T: Ord>(&self, pick: impl Fn(&Kind) -> Option<T>) -> BTreeSet<T> {
        self.0.iter().filter_map(pick).collect()
    }

    /// The pods to look at.
    #[must_use]
    pub fn pods(&self) -> BTreeSet<PodView> {
        self.each(|kind| {
            if let Kind::Pod(item) = kind {
                Some(item.clone())
            } else {
                None
            }
        })
    }

    /// The destinations of routes to look at.
    #[must_use]
    pub fn destinations(&self) -> BTreeSet<IpNetwork> {
        self.each(|kind| {
            if let Kind::RoutesIn(item) = kind {
                Some(*item)
            } else {
                None
            }
        })
    }

    /// The packets whose ways to look at.
    #[must_use]
    pub fn packets(&self) -> BTreeSet<Packet> {
        self.each(|kind| {
            if let Kind::Way(item) = kind {
                Some(item.clone())
            } else {
                None
            }
        })
    }

    /// The addresses that policy routing is to be looked at for.
    #[must_use]
    pub fn policy(&self) -> BTreeSet<IpAddr> {
        self.each(|kind| {
            if let Kind::Policy(item) = kind {
                Some(*item)
            } else {
                None
            }
        })
    }

    /// The devices to look at, beside those that routes lead out of.
    #[must_use]
    pub fn ingresses(&self) -> BTreeSet<IfName> {
        self.each(|kind| {
            if let Kind::Ingress(item) = kind {
                Some(item.clone())
            } else {
                None
            }
        })
    }

    /// The addresses whose paths to look at.
    #[must_use]
    pub fn paths(&self) -> BTreeSet<IpAddr> {
        self.each(|kind| {
            if let Kind::Path(item) = kind {
                Some(*item)
            } else {
                None
            }
        })
    }

    /// The paths of namespaces to look at.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<PathBuf> {
        self.each(|kind| {
            if let Kind::Namespace(item) = kind {
                Some(item.clone())
            } else {
                None
            }
        })
    }
}

impl<const N: usize> From<[Kind; N]> for Kinds {
    fn from(kinds: [Kind; N]) -> Self {
        Self(kinds.into())
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
    }
}

impl Extend<Kind> for Kinds {
    fn extend<I: IntoIterator<Item = Kind>>(&mut self, kinds: I) {
        self.0.extend(kinds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Intruder, Owner, pod};

    #[test]
    fn what_is_in_the_way_is_looked_at_again_and_nothing_else() {
        let host_end: IfName = "pnabc".parse().unwrap();
        let of_pod = pod::Contested::HostEnd {
            host_ifname: host_end.clone(),
            pod: "red".parse().unwrap(),
        };
        let addresses = Intruder {
            range: "10.244.7.0/24".parse().unwrap(),
            owner: Owner::Nobody,
        };
        let intruder = Conflict::new(addresses, "");
        let routes = Kinds::from([Kind::Routes]);
        assert_eq!(Kinds::contested(&[intruder.clone()].into()), routes);
        let both = Kinds::from([
            Kind::Bridge,
            Kind::HostEnds,
            Kind::HostEnd(host_end),
            Kind::Routes,
        ]);
        let conflicts = [intruder, Conflict::new(of_pod, "")].into();
        assert_eq!(Kinds::contested(&conflicts), both);
        assert!(Kinds::contested(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn ways_are_looked_at_after_what_may_lead_packets_elsewhere() {
        let looks = |kind: &Kind| Kinds::touched_by(kind).has(&Kind::Ways);
        for kind in [
            Kind::Bridge,
            Kind::Underlay,
            Kind::Routes,
            Kind::OtherRoutes,
            Kind::Forwarding,
            Kind::Everything,
        ] {
            assert!(looks(&kind), "{kind:?}");
        }
        let host_end = Kind::HostEnd("pnabc".parse().unwrap());
        for kind in [
            Kind::Neighbours,
            Kind::Firewall,
            Kind::OtherChains,
            host_end,
        ] {
            assert!(!looks(&kind), "{kind:?}");
        }
        assert!(Kinds::touched_by(&Kind::OtherChains).is_empty());
    }
}
