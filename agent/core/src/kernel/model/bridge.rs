//! Podnet's bridge.

use ipnetwork::IpNetwork;

use super::Kernel;
use super::change::{foreign, missing};
use super::link::Link;
use crate::kernel::bridge::Op;
use crate::kernel::{Bridge, IfName, ObservedBridge, OpError, Place};

impl Kernel {
    pub(super) fn apply_to_bridge(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::Create(bridge) => self.create_bridge(bridge)?,
            Op::Update(bridge) => self.update_bridge(bridge)?,
            Op::Delete(name) => self.delete_bridge(name)?,
            Op::AddAddress { device, address } => {
                self.bridge_mut(device)?.addresses.insert(*address);
            }
            Op::DeleteAddress { device, address } => self.take_address(device, *address),
        }
        Ok(())
    }

    pub(super) fn observe_bridge(&self) -> Place<ObservedBridge> {
        match self.links.get(&IfName::bridge()) {
            None => Place::Absent,
            Some(link) if link.ours && link.bridge => Place::Ours(ObservedBridge {
                index: link.index,
                mac: link.mac,
                mtu: link.mtu,
                up: link.up,
                addresses: link.addresses.clone(),
                link_local: link.link_local,
                neighbours: link.neighbours.clone(),
                parameters: link.parameters.clone(),
            }),
            Some(_) => Place::Foreign("a link of somebody else's".to_owned()),
        }
    }

    fn create_bridge(&mut self, bridge: &Bridge) -> Result<(), OpError> {
        if !self.links.contains_key(&bridge.name) {
            self.add_numbered_link(&bridge.name, bridge.mtu, true);
            if let Some(link) = self.links.get_mut(&bridge.name) {
                link.bridge = true;
            }
        }
        self.update_bridge(bridge)
    }

    fn update_bridge(&mut self, bridge: &Bridge) -> Result<(), OpError> {
        let link = self.bridge_mut(&bridge.name)?;
        link.set_mac(bridge.mac);
        link.mtu = bridge.mtu;
        link.up = true;
        link.link_local = false;
        link.parameters = bridge.parameters();
        Ok(())
    }

    fn delete_bridge(&mut self, name: &IfName) -> Result<(), OpError> {
        match self.links.get(name) {
            None => {}
            Some(link) if link.ours => self.delete_link(name),
            Some(_) => return Err(foreign(name)),
        }
        Ok(())
    }

    /// Removes an address from podnet's bridge; an address of another link is not podnet's.
    fn take_address(&mut self, name: &IfName, address: IpNetwork) {
        if self.bridge_mut(name).is_ok() {
            self.delete_address(name, address);
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
}
