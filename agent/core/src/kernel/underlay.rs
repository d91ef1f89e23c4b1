//! The host's own network, which carries the data path: seen, and never changed.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::link::{IfIndex, IfName, MacAddr, Mtu};

/// An address of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// The address, with its prefix length.
    pub address: IpNetwork,
    /// The number of the interface that has it.
    pub index: IfIndex,
    /// The name of the interface.
    pub ifname: IfName,
    /// The interface's link-layer address, if it has one.
    pub mac: Option<MacAddr>,
    /// The interface's MTU.
    pub mtu: Mtu,
    /// Whether the interface is up.
    pub up: bool,
    /// Whether other hosts can use it: of global scope, not loopback.
    pub global: bool,
    /// Whether the interface is a bridge that leads off this host: a port of it is no container's or virtual
    /// machine's, or a default route leads out of it.
    pub uplink: bool,
}

/// A route of the host that is not podnet's, and leads somewhere: a route that refuses packets is in
/// the way of no more specific one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// Where it leads; a default route has prefix length 0.
    pub destination: IpNetwork,
    /// The device.
    pub device: Option<IfName>,
}

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnderlayPath {
    /// On the link of a device.
    OnLink {
        /// The device.
        ifname: IfName,
        /// How large packets may be: the device's MTU, or less if the route says so.
        mtu: Mtu,
        /// The address of this host that such packets come from.
        source: IpAddr,
    },
    /// By way of a router, so that packets with pod addresses would get lost.
    Routed {
        /// The router.
        via: IpAddr,
        /// The address of this host that such packets come from.
        source: IpAddr,
    },
    /// It is an address of this host.
    Local,
    /// It is not reached; why, in words.
    None(String),
}
