//! Links, with their addresses and neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Kernel;
use super::change::{foreign, missing};
use crate::kernel::{Bridge, IfIndex, IfName, LinkParameters, MacAddr, Mtu, ObservedPort, OpError};

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
    /// What a bridge does with it.
    pub(super) port: ObservedPort,
    pub(super) addresses: BTreeSet<IpNetwork>,
    /// The permanent ones.
    pub(super) neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Whether the kernel gives it a link-local address.
    pub(super) link_local: bool,
    /// Of podnet's own.
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
    pub(super) fn create_bridge(&mut self, bridge: &Bridge) -> Result<(), OpError> {
        if !self.links.contains_key(&bridge.name) {
            self.add_numbered_link(&bridge.name, bridge.mtu, true);
            if let Some(link) = self.links.get_mut(&bridge.name) {
                link.bridge = true;
            }
        }
        self.update_bridge(bridge)
    }

    pub(super) fn update_bridge(&mut self, bridge: &Bridge) -> Result<(), OpError> {
        let link = self.bridge_mut(&bridge.name)?;
        link.set_mac(bridge.mac);
        link.mtu = bridge.mtu;
        link.up = true;
        link.link_local = false;
        link.parameters = bridge.parameters();
        Ok(())
    }

    pub(super) fn delete_bridge(&mut self, name: &IfName) -> Result<(), OpError> {
        match self.links.get(name) {
            None => {}
            Some(link) if link.ours => self.delete_link(name),
            Some(_) => return Err(foreign(name)),
        }
        Ok(())
    }

    /// Takes an address from podnet's bridge; another link's is none of podnet's.
    pub(super) fn take_address(&mut self, name: &IfName, address: IpNetwork) {
        if self.bridge_mut(name).is_ok() {
            self.delete_address(name, address);
        }
    }

    /// Takes a neighbour from podnet's bridge; another link's is none of podnet's.
    pub(super) fn take_neighbour(&mut self, name: &IfName, address: IpAddr) {
        if let Ok(link) = self.bridge_mut(name) {
            link.neighbours.remove(&address);
        }
    }

    /// Podnet's bridge.
    pub(super) fn bridge_mut(&mut self, name: &IfName) -> Result<&mut Link, OpError> {
        match self.links.get_mut(name) {
            None => Err(missing(name)),
            Some(link) if link.ours && link.bridge => Ok(link),
            Some(_) => Err(foreign(name)),
        }
    }

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
