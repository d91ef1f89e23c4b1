//! Changes of what the kernel holds, one object each.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::holding::Holding;
use super::link::{Bridge, IfName, MacAddr, PodLink};
use super::route::{NextHop, Route, RouteKey};
use super::sysctl::LinkParameter;
use crate::firewall::RuleSet;

/// One change. Each is idempotent: what is there already, or gone already, is no error; and each
/// touches podnet's own objects only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets whether IPv4 packets that come in by a device are forwarded.
    SetForwarding {
        /// The device.
        device: IfName,
        /// Whether.
        on: bool,
    },
    /// Makes the bridge, sets it up; its addresses come with [`Op::AddAddress`].
    CreateBridge(Bridge),
    /// Gives the bridge its link-layer address and MTU, sets it up.
    UpdateBridge(Bridge),
    /// Removes the bridge.
    DeleteBridge(IfName),
    /// Gives the bridge an address.
    AddAddress {
        /// The bridge.
        device: IfName,
        /// The address.
        address: IpNetwork,
    },
    /// Takes an address from the bridge.
    DeleteAddress {
        /// The bridge.
        device: IfName,
        /// The address.
        address: IpNetwork,
    },
    /// Attaches a pod, whole or not at all: namespace (where podnet makes it), veth, addresses,
    /// default route, neighbours.
    AttachPod(PodLink),
    /// Puts right what differs in an attached pod.
    RepairPod(PodLink),
    /// Removes a pod's veth, and its namespace where podnet made it.
    DetachPod {
        /// The host end.
        host_ifname: IfName,
        /// The namespace to remove.
        netns: Option<PathBuf>,
    },
    /// Makes a permanent neighbour on the bridge: exempt from the limits of the neighbour table,
    /// which all namespaces of a host share.
    SetNeighbour {
        /// The bridge.
        device: IfName,
        /// The pod's address.
        address: IpAddr,
        /// The pod's link-layer address.
        mac: MacAddr,
    },
    /// Removes a neighbour from the bridge.
    DeleteNeighbour {
        /// The bridge.
        device: IfName,
        /// The address.
        address: IpAddr,
    },
    /// Adds a route where none stands.
    AddRoute(Route),
    /// Changes a route of podnet's.
    ReplaceRoute(Route),
    /// Removes a route of podnet's.
    DeleteRoute(RouteKey),
    /// Makes podnet's firewall chains hold exactly these rules.
    SetFirewall(RuleSet),
    /// Removes podnet's firewall chains.
    RemoveFirewall,
    /// Makes podnet's table of the bridge hold pods to exactly this.
    SetHolding(Holding),
    /// Holds a pod in podnet's table of the bridge, if there is one.
    HoldPod {
        /// Its host end.
        host_ifname: IfName,
        /// What is missing of it.
        holding: Holding,
    },
    /// Takes what a pod was held to out of podnet's table of the bridge.
    ReleasePod {
        /// Its host end.
        host_ifname: IfName,
        /// What it was held to.
        holding: Holding,
    },
    /// Removes podnet's table of the bridge.
    RemoveHolding,
    /// Forgets the connections of an address that is about to change hands (conntrack).
    FlushConnections(IpAddr),
}

impl Op {
    /// How this attaches a pod; `None` for what attaches none.
    #[must_use]
    pub const fn pod_link(&self) -> Option<&PodLink> {
        if let Self::AttachPod(link) | Self::RepairPod(link) = self {
            Some(link)
        } else {
            None
        }
    }

    /// The host end of the pod that this changes; `None` for what is no pod.
    #[must_use]
    pub const fn host_end(&self) -> Option<&IfName> {
        if let Self::DetachPod { host_ifname, .. }
        | Self::HoldPod { host_ifname, .. }
        | Self::ReleasePod { host_ifname, .. } = self
        {
            Some(host_ifname)
        } else if let Some(link) = self.pod_link() {
            Some(&link.host_ifname)
        } else {
            None
        }
    }

    /// Whether the bridge is up after it.
    #[must_use]
    pub const fn brings_bridge_up(&self) -> bool {
        matches!(self, Self::CreateBridge(_) | Self::UpdateBridge(_))
    }

    /// Whether this opens a device to whatever comes in by it: rules that keep out everybody but pods
    /// have to be there first.
    #[must_use]
    pub const fn opens(&self) -> bool {
        matches!(self, Self::SetForwarding { on: true, .. })
    }

    /// The address of the neighbour that this changes; `None` for what is no neighbour.
    #[must_use]
    pub const fn neighbour(&self) -> Option<IpAddr> {
        if let Self::SetNeighbour { address, .. } | Self::DeleteNeighbour { address, .. } = self {
            Some(*address)
        } else {
            None
        }
    }

    /// The destination of the route that this changes; `None` for what is no route.
    #[must_use]
    pub const fn destination(&self) -> Option<IpNetwork> {
        if let Self::AddRoute(route) | Self::ReplaceRoute(route) = self {
            Some(route.destination)
        } else if let Self::DeleteRoute(key) = self {
            Some(key.destination)
        } else {
            None
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetForwarding { device, on } => {
                let parameter = LinkParameter::Forwarding.on(device);
                write!(f, "set {parameter} to {}", u8::from(*on))
            }
            Self::CreateBridge(bridge) => write!(f, "create bridge {}", bridge.name),
            Self::UpdateBridge(bridge) => write!(f, "update bridge {}", bridge.name),
            Self::DeleteBridge(name) => write!(f, "delete bridge {name}"),
            Self::AddAddress { device, address } => write!(f, "add address {address} to {device}"),
            Self::DeleteAddress { device, address } => {
                write!(f, "delete address {address} from {device}")
            }
            Self::AttachPod(link) => write!(f, "attach pod {}", link.pod),
            Self::RepairPod(link) => write!(f, "repair pod {}", link.pod),
            Self::DetachPod { host_ifname, .. } => write!(f, "detach {host_ifname}"),
            Self::SetNeighbour {
                device,
                address,
                mac,
            } => {
                write!(f, "set neighbour {address} to {mac} on {device}")
            }
            Self::DeleteNeighbour { device, address } => {
                write!(f, "delete neighbour {address} on {device}")
            }
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::ReplaceRoute(route) => write!(f, "replace route {route}"),
            Self::DeleteRoute(key) => write!(f, "delete route {}", key.destination),
            Self::SetFirewall(_) => f.write_str("set firewall rules"),
            Self::RemoveFirewall => f.write_str("remove firewall rules"),
            Self::SetHolding(_) => f.write_str("set table bridge podnet"),
            Self::HoldPod { host_ifname, .. } => write!(f, "hold {host_ifname}"),
            Self::ReleasePod { host_ifname, .. } => write!(f, "release {host_ifname}"),
            Self::RemoveHolding => f.write_str("remove table bridge podnet"),
            Self::FlushConnections(address) => write!(f, "flush connections of {address}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.next_hop {
            NextHop::Gateway { via, .. } => write!(f, "{} via {via}", self.destination),
            NextHop::Unreachable => write!(f, "unreachable {}", self.destination),
        }
    }
}

/// Why a change failed, in terms that a decision can be made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpErrorKind {
    /// Something foreign is in the way.
    Foreign,
    /// What the change builds on is not there (yet).
    NotFound,
    /// The kernel or a lock is busy.
    Busy,
    /// A capability is missing.
    NotPermitted,
    /// The kernel, or this host, cannot do it.
    Unsupported,
    /// No memory, no table space.
    Exhausted,
    /// The bridge has no port left.
    Full,
    /// The deadline passed.
    Timeout,
    /// A kernel parameter is to be set, and `/proc/sys` is read-only.
    ReadOnly,
    /// A program that is needed is not installed; its name.
    MissingBinary(String),
    /// Anything else that the kernel refused; its errno, 0 where there is none.
    Other(i32),
}

/// What to do about a failed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpErrorClass {
    /// Try again soon.
    Transient,
    /// Trying again helps only when something else has changed.
    Permanent,
}

/// A change that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OpError {
    /// Why.
    pub kind: OpErrorKind,
    /// The same in words, with the object's name.
    pub detail: String,
}

impl OpError {
    /// A failed change.
    pub fn new(kind: OpErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn class(&self) -> OpErrorClass {
        match self.kind {
            OpErrorKind::NotFound
            | OpErrorKind::Busy
            | OpErrorKind::Exhausted
            | OpErrorKind::Full
            | OpErrorKind::Timeout
            | OpErrorKind::ReadOnly
            | OpErrorKind::Other(_) => OpErrorClass::Transient,
            OpErrorKind::Foreign
            | OpErrorKind::NotPermitted
            | OpErrorKind::Unsupported
            | OpErrorKind::MissingBinary(_) => OpErrorClass::Permanent,
        }
    }
}
