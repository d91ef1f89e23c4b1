//! What to look at.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::link::{IfName, MacAddr, PodLink};
use super::way::Packet;

/// What of the kernel's state to look at. Looking at one pod costs the same however many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The bridge, its addresses, and the permanent neighbours on it.
    pub bridge: bool,
    /// The host ends of all pods.
    pub host_ends: bool,
    /// These pods, each by its host end: the host end, and what is inside of the namespace.
    pub pods: BTreeSet<PodView>,
    /// Podnet's routes, and what else stands at these destinations and inside of them.
    pub routes: Option<BTreeSet<IpNetwork>>,
    /// Podnet's firewall chains.
    pub firewall: bool,
    /// What nftables holds pods to.
    pub holding: bool,
    /// The chains of all programs that pods' packets pass.
    pub chains: bool,
    /// What of the host's packets is forwarded, also from these devices.
    pub forwarding: Option<BTreeSet<IfName>>,
    /// The addresses of the host, but for the bridge's.
    pub addresses: bool,
    /// The routes of the host, but for podnet's.
    pub host_routes: bool,
    /// How these addresses are reached.
    pub underlay: BTreeSet<IpAddr>,
    /// Which ways these packets take.
    pub ways: BTreeSet<Packet>,
    /// The rules of policy routing, and the routes of all tables that concern these addresses.
    pub policy: Option<BTreeSet<IpAddr>>,
    /// What these paths lead to.
    pub netns: BTreeSet<PathBuf>,
}

/// Which pod to look into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodView {
    /// Its host end.
    pub host_ifname: IfName,
    /// Its interface in the namespace.
    pub ifname: IfName,
    /// The path of its namespace.
    pub netns: PathBuf,
    /// Its link-layer address, by which the bridge forwards to it.
    pub mac: MacAddr,
}

impl PodView {
    /// The view of a pod.
    #[must_use]
    pub fn of(pod: &PodLink) -> Self {
        Self {
            host_ifname: pod.host_ifname.clone(),
            ifname: pod.ifname.clone(),
            netns: pod.netns.path.clone(),
            mac: pod.mac,
        }
    }
}

impl Scope {
    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
