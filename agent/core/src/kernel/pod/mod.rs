//! The attachment of a pod: a veth pair between its namespace and the bridge.

mod difference;
mod port;
mod seen;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use podnet_proto::PodName;
use serde::{Deserialize, Serialize};

pub(super) use self::difference::difference;
pub use self::port::ObservedPort;
pub use self::seen::{Inside, NetnsState, ObservedHostEnd, ObservedInterface};
use super::conflict::{self, Disputed};
use super::desired::Desired;
use super::kinds::{Kind, Kinds};
use super::link::{IfName, MacAddr, Mtu};
use super::observed::{Observed, Place};
use super::op::Operation;
use super::sysctl::{LinkParameter, LinkParameters};

/// The network namespace of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netns {
    /// Where it is mounted, or a process's `/proc/PID/ns/net`.
    pub path: PathBuf,
    /// Whether podnet made it, and removes it with the pod.
    pub made: bool,
    /// Its inode number, which shows whether the path still leads to the same namespace; `None`
    /// before podnet has made it.
    pub inode: Option<u64>,
}

/// The attachment of a pod, as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLink {
    /// The pod.
    pub pod: PodName,
    /// Its namespace.
    pub netns: Netns,
    /// The veth's end on the host, a port of the bridge.
    pub host_ifname: IfName,
    /// The veth's end in the namespace.
    pub ifname: IfName,
    /// The link-layer address of the end in the namespace.
    pub mac: MacAddr,
    /// The MTU of both ends.
    pub mtu: Mtu,
    /// The pod's addresses, with the block's prefix length.
    pub addresses: Vec<IpNetwork>,
    /// The next hop of its default route, for each family.
    pub gateways: Vec<IpAddr>,
    /// The link-layer address of the gateways: the bridge's.
    pub gateway_mac: MacAddr,
    /// Whether it may use other link-layer and IP addresses than its own.
    #[serde(default)]
    pub trusted: bool,
}

impl PodLink {
    /// Whether this is one of the pod's addresses.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.ip() == address)
    }

    /// What the kernel parameters of its interface should be.
    ///
    /// Off are addresses that wait for the detection of duplicates (podnet gives each address
    /// once), and advertisements that would give the pod addresses and routes that podnet knows
    /// nothing of. A pod without IPv6 does not speak it at all: what it would announce of itself
    /// the bridge would carry to each of the other pods. And no router redirects what a pod sends: podnet gives
    /// it the one way that there is.
    #[must_use]
    pub fn parameters(&self) -> LinkParameters {
        let ipv6 = self.addresses.iter().any(IpNetwork::is_ipv6);
        LinkParameters::from([
            (LinkParameter::AcceptDad, 0),
            (LinkParameter::AcceptRa, 0),
            (LinkParameter::DisableIpv6, i32::from(!ipv6)),
            (LinkParameter::AcceptRedirects, 0),
            (LinkParameter::AcceptRedirectsOfAll, 0),
        ])
    }
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

/// A change of a pod's attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Attaches a pod, whole or not at all: namespace (if podnet makes it), veth, addresses, default
    /// route, neighbours.
    Attach(PodLink),
    /// Puts right what differs in an attached pod.
    Repair(PodLink),
    /// Removes a pod's veth, and its namespace if podnet made it.
    Detach {
        /// The host end.
        host_ifname: IfName,
        /// The namespace to remove.
        netns: Option<PathBuf>,
    },
}

impl Op {
    /// How this attaches a pod; `None` if it attaches none.
    #[must_use]
    pub const fn pod_link(&self) -> Option<&PodLink> {
        match self {
            Self::Attach(pod) | Self::Repair(pod) => Some(pod),
            Self::Detach { .. } => None,
        }
    }

    /// The pod's host end.
    #[must_use]
    pub const fn host_end(&self) -> &IfName {
        match self {
            Self::Attach(pod) | Self::Repair(pod) => &pod.host_ifname,
            Self::Detach { host_ifname, .. } => host_ifname,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(link) => write!(f, "attach pod {}", link.pod),
            Self::Repair(link) => write!(f, "repair pod {}", link.pod),
            Self::Detach { host_ifname, .. } => write!(f, "detach {host_ifname}"),
        }
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, observed: &Observed) -> Vec<String> {
        match self {
            Self::Attach(_) => Vec::new(),
            Self::Repair(pod) => defects(pod, observed),
            Self::Detach { host_ifname, .. } => vec![format!("{host_ifname} of no pod")],
        }
    }

    fn is_drift(&self, held: &Desired) -> bool {
        match self {
            Self::Attach(pod) | Self::Repair(pod) => held.pods.get(&pod.host_ifname) == Some(pod),
            // A host end that should not be there, and was not there before: another program has added it.
            Self::Detach { host_ifname, .. } => held.is_stray(host_ifname),
        }
    }

    /// What became of the pods, their records tell.
    fn keep(&self, _held: &mut Desired, _before: &Desired) {}

    fn causes(&self) -> Vec<Kind> {
        let host_end = Kind::HostEnd(self.host_end().clone());
        match self {
            Self::Attach(_) | Self::Repair(_) => vec![host_end, Kind::Bridge],
            Self::Detach { .. } => vec![host_end],
        }
    }
}

/// What is wrong with both ends of a pod's veth, in words.
fn defects(pod: &PodLink, observed: &Observed) -> Vec<String> {
    let mut defects = Vec::new();
    if let Some(Place::Ours(found)) = seen::place(&pod.host_ifname, observed) {
        defects.extend(found.defects(pod));
    }
    let inside = observed.insides.get(&pod.host_ifname);
    if let Some(found) = inside.and_then(|inside| inside.interface.as_ref()) {
        defects.extend(found.defects(pod));
    }
    defects
}

/// The part of a pod in whose place something foreign stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contested {
    /// The host end of a pod.
    HostEnd {
        /// Its name.
        host_ifname: IfName,
        /// The pod.
        pod: PodName,
    },
    /// The interface of a pod.
    Interface {
        /// Its name.
        ifname: IfName,
        /// The pod's host end.
        host_ifname: IfName,
        /// The pod.
        pod: PodName,
    },
}

impl Contested {
    const fn host_end(&self) -> &IfName {
        match self {
            Self::HostEnd { host_ifname, .. } | Self::Interface { host_ifname, .. } => host_ifname,
        }
    }
}

impl fmt::Display for Contested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostEnd { host_ifname, pod } => {
                write!(f, "host end {host_ifname} of pod {pod}")
            }
            Self::Interface { ifname, pod, .. } => write!(f, "interface {ifname} of pod {pod}"),
        }
    }
}

impl Disputed for Contested {
    fn cure(&self) -> String {
        conflict::removal()
    }

    fn looks(&self) -> Kinds {
        let host_end = Kind::HostEnd(self.host_end().clone());
        Kinds::from([Kind::Bridge, Kind::HostEnds, host_end])
    }

    fn cause(&self) -> Kind {
        Kind::HostEnd(self.host_end().clone())
    }

    /// What became of the pods, their records tell.
    fn keep(&self, _held: &mut Desired, _before: &Desired) {}
}
