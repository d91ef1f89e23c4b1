//! A pass of the reconciler: what it is to do, and what it found and did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnetwork::Ipv4Network;
use jiff::Timestamp;
use podnet_proto::{NodeId, PodNetwork};

use crate::kernel::{
    Astray, Bystander, Conflict, Desired, Holding, HostAddress, IfName, Kinds, Mtu, ObserveError,
    Observed, ObservedHolding, Op, OpError, PeerBlock, PodLink, UnderlayPath, found, is_drift,
};

/// What the data path of a node that uses a block is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The cluster's pod networks.
    pub networks: Vec<PodNetwork>,
    /// Destinations outside of them whose traffic keeps the pod's source address.
    pub excluded: Vec<Ipv4Network>,
    /// The node's block.
    pub block: Ipv4Network,
    /// The blocks of all other members.
    pub peers: Vec<PeerBlock>,
    /// The pods that are attached.
    pub pods: Vec<PodLink>,
    /// The pods that are being attached or detached.
    pub in_flight: BTreeMap<IfName, BTreeSet<IpAddr>>,
}

/// What of the host's own network to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// The address that peers are told.
    pub address: Ipv4Addr,
    /// Where the peers are.
    pub peers: BTreeSet<IpAddr>,
    /// The MTU that was found last, for as long as no other can be found.
    pub mtu: Option<Mtu>,
}

/// What a pass is to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the kernel should hold is computed from this; if it is `None`, nothing of podnet's.
    pub target: Option<Target>,
    /// The underlay, which carries the data path.
    pub underlay: Underlay,
    /// What to look at.
    pub kinds: Kinds,
    /// What the kernel was last known to hold, except for pods.
    pub held: Desired,
}

/// What a pass found and did.
#[derive(Debug, Default)]
pub struct Report {
    /// What the kernel should hold.
    pub desired: Desired,
    /// The MTU of what carries the data path.
    pub mtu: Option<Mtu>,
    /// How the peers are reached.
    pub underlay: BTreeMap<IpAddr, UnderlayPath>,
    /// The host's addresses.
    pub addresses: Vec<HostAddress>,
    /// What was found, and how the change went that puts it right.
    pub applied: Vec<(Finding, Result<(), OpError>)>,
    /// What was found to be wrong with pods and their neighbour entries: the node puts it right, since it
    /// knows what has become of the pods since the pass began.
    pub pods: Vec<Finding>,
    /// What the kernel is known to hold now.
    pub held: Desired,
    /// Whether the bridge is up, or was brought up; `None` if there is to be none, or the pass did not look.
    pub bridge_up: Option<bool>,
    /// The conflicts.
    pub conflicts: BTreeSet<Conflict>,
    /// What leads packets astray between pods of this node and pods of these; `None` if the pass did not look.
    pub astray: Option<BTreeMap<NodeId, Astray>>,
    /// Why the ways of packets could not be looked at; the rest was.
    pub unseen_ways: Option<ObserveError>,
    /// How long it took to look at the ways of packets.
    pub ways_took: Duration,
    /// What other programs have beside podnet's rules; `None` if the pass did not look.
    pub bystanders: Option<BTreeSet<Bystander>>,
    /// Whether nftables holds pods, and how; `None` if the pass did not look.
    pub holding: Option<ObservedHolding>,
    /// How long it took to look at the firewall.
    pub firewall_took: Duration,
    /// Pods (by host end) whose namespace has vanished.
    pub gone: BTreeSet<IfName>,
    /// Why some pods (by host end) could not be looked into.
    pub hidden: BTreeMap<IfName, OpError>,
    /// Why the kernel could not be looked at; then nothing more was done.
    pub error: Option<ObserveError>,
    /// Why the firewall could not be looked at; the rest was.
    pub unread_firewall: Option<ObserveError>,
    /// How long the pass took.
    pub took: Duration,
    /// When the pass ended.
    pub ended_at: Timestamp,
}

impl Report {
    /// Whether the kernel holds what it should, as far as the pass has looked.
    #[must_use]
    pub fn converged(&self) -> bool {
        self.error.is_none()
            && self.unread_firewall.is_none()
            && self.unseen_ways.is_none()
            && self.conflicts.iter().all(Conflict::is_harmless)
            && self.hidden.is_empty()
            && self.pods.is_empty()
            && self.applied.iter().all(|(_, result)| result.is_ok())
    }
}

/// Something that the kernel does not hold as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What puts it right.
    pub op: Op,
    /// What was found, in words.
    pub found: String,
    /// Whether it was right before: then another program has changed it.
    pub drift: bool,
}

/// How findings are judged in a pass.
#[derive(Debug)]
pub struct Findings {
    /// What the kernel held before; `None` if podnet itself removes everything.
    held: Option<Desired>,
}

impl Findings {
    /// How they are judged in this pass.
    #[must_use]
    pub fn new(job: &Job) -> Self {
        let held = job.target.as_ref().map(|target| {
            let pods = target.pods.iter();
            Desired {
                // A pod that is attached was right, whether a pass has looked at it since or not.
                pods: pods
                    .map(|pod| (pod.host_ifname.clone(), pod.clone()))
                    .collect(),
                holding: job.held.holding.as_ref().map(|_| {
                    let in_flight = &target.in_flight;
                    let settled = target.pods.iter();
                    let settled = settled.filter(|pod| !in_flight.contains_key(&pod.host_ifname));
                    Holding::of_all(settled)
                }),
                ..job.held.clone()
            }
        });
        Self { held }
    }

    /// What these changes are for, and whether it is drift.
    #[must_use]
    pub fn of(&self, ops: Vec<Op>, desired: &Desired, observed: &Observed) -> Vec<Finding> {
        let finding = |op: Op| Finding {
            found: found(&op, desired, observed),
            drift: self.held.as_ref().is_some_and(|held| is_drift(&op, held)),
            op,
        };
        ops.into_iter().map(finding).collect()
    }
}
