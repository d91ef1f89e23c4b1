//! Links, with their addresses and neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Kernel;
use crate::kernel::{IfIndex, IfName, LinkParameters, MacAddr, Mtu, ObservedPort};

/// A link in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: IfIndex,
    /// Whether it bears podnet's mark.
    pub(super) ours: bool,
    pub(super) bridge: bool,
    pub(super) mac: MacAddr,
    pub(super) mtu: Mtu,
    pub(super) up: bool,
    pub(super) master: Option<IfName>,
    /// How the bridge treats it, if it is a port of one.
    pub(super) port: ObservedPort,
    pub(super) addresses: BTreeSet<IpNetwork>,
    /// The permanent neighbours.
    pub(super) neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Whether the kernel gives it a link-local address.
    pub(super) link_local: bool,
    /// The kernel parameters of podnet's own links.
    pub(super) parameters: LinkParameters,
    /// Whether what comes in by it is forwarded.
    pub(super) forwarding: bool,
}

impl Link {
    pub(super) fn loopback(&self) -> bool {
        self.addresses.iter().any(|own| own.ip().is_loopback())
    }

    /// Makes it a port of a bridge.
    pub(super) fn plug_in(&mut self, bridge: IfName) {
        if self.master.as_ref() != Some(&bridge) {
            self.port = ObservedPort::default();
        }
        self.master = Some(bridge);
    }

    pub(super) fn set_mac(&mut self, mac: MacAddr) {
        if self.mac != mac {
            self.mac = mac;
            self.neighbours.clear();
        }
    }
}

impl Kernel {
    pub(super) fn link_of(&self, index: IfIndex) -> Option<(&IfName, &Link)> {
        self.links.iter().find(|(_, link)| link.index == index)
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.links
            .values()
            .flat_map(|link| &link.addresses)
            .any(|own| own.ip() == address)
    }
}
