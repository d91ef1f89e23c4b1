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
    /// Whether others can use it: of global scope, not loopback.
    pub global: bool,
    /// Whether the interface is a bridge that leads off this host: a port of it is no container's or virtual
    /// machine's, or a default route leads out of it.
    pub uplink: bool,
}

/// A route of the host that is not podnet's, and leads somewhere: one that refuses packets is in
/// nobody's way who has a more specific one.
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
        /// The device's number.
        device: IfIndex,
        /// Its name.
        ifname: IfName,
        /// How large packets may be: the device's MTU, or less where the route says so.
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
    /// Not at all; in words.
    None(String),
}

/// Why no direct route can lead to a peer at `address`, in words; `None` where one can.
#[must_use]
pub fn path_problem(address: Option<IpAddr>, path: Option<&UnderlayPath>) -> Option<String> {
    let Some(address) = address else {
        return Some("its address is not known yet".to_owned());
    };
    match path {
        None => Some(format!("the way to {address} is not known yet")),
        Some(UnderlayPath::OnLink { .. }) => None,
        Some(UnderlayPath::Routed { via, .. }) => Some(format!(
            "{address} is not on the link but behind the router {via}, which knows no pod addresses"
        )),
        Some(UnderlayPath::Local) => Some(format!("{address} is an address of this host too")),
        Some(UnderlayPath::None(reason)) => Some(format!("no route to {address}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_peer_without_a_way_has_a_reason() {
        let address = Some(Ipv4Addr::new(192, 0, 2, 1).into());
        assert!(path_problem(None, None).is_some());
        assert!(path_problem(address, None).is_some());
        let routed = UnderlayPath::Routed {
            via: Ipv4Addr::new(192, 0, 2, 254).into(),
            source: Ipv4Addr::new(192, 0, 2, 9).into(),
        };
        assert!(
            path_problem(address, Some(&routed))
                .unwrap()
                .contains("192.0.2.254")
        );
    }
}
