//! What other programs do to the host, unseen by podnet.

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::pod::{Interface, Target};
use super::route::{Entry, Hop};
use super::{Backend, Kernel};
use crate::kernel::{
    IfIndex, IfName, LinkParameter, MacAddr, Mtu, ObservedInterface, ObservedPort, PROTOCOL,
    RouteKey,
};

/// Links.
impl Kernel {
    /// Adds a link of another program, which is up. A link of this name that is there already stays.
    pub fn add_link(&mut self, name: &IfName, mtu: Mtu) -> IfIndex {
        match self.links.get(name) {
            Some(link) => link.index,
            None => self.add_numbered_link(name, mtu, false),
        }
    }

    /// Adds a bridge of another program, which is up.
    pub fn add_other_bridge(&mut self, name: &IfName, mtu: Mtu) {
        self.add_link(name, mtu);
        if let Some(link) = self.links.get_mut(name) {
            link.bridge = true;
        }
    }

    /// Deletes a link, and all that depends on it.
    pub fn delete_link(&mut self, name: &IfName) {
        let Some(link) = self.links.remove(name) else {
            return;
        };
        self.drop_routes_by(link.index);
        self.drop_routes_without_source();
        for port in self.links.values_mut() {
            port.master = port.master.take().filter(|master| master != name);
        }
        for namespace in self.namespaces.values_mut() {
            let other_end = |interface: &Interface| interface.host_end == Some(link.index);
            namespace
                .interfaces
                .retain(|_, interface| !other_end(interface));
        }
    }

    /// Sets a link up.
    pub fn set_link_up(&mut self, name: &IfName) {
        if let Some(link) = self.links.get_mut(name) {
            link.up = true;
        }
    }

    /// Sets a link down: its routes and neighbours are gone.
    pub fn set_link_down(&mut self, name: &IfName) {
        if let Some(link) = self.links.get_mut(name) {
            link.up = false;
            link.neighbours.clear();
            let index = link.index;
            self.drop_routes_by(index);
        }
    }

    /// Gives a link another link-layer address: its neighbours are gone.
    pub fn set_link_mac(&mut self, name: &IfName, mac: MacAddr) {
        if let Some(link) = self.links.get_mut(name) {
            link.set_mac(mac);
        }
    }

    /// Gives a link another MTU.
    pub fn set_link_mtu(&mut self, name: &IfName, mtu: Mtu) {
        if let Some(link) = self.links.get_mut(name) {
            link.mtu = mtu;
        }
    }

    /// Lets the kernel give a link a link-local address.
    pub fn allow_link_local(&mut self, name: &IfName) {
        if let Some(link) = self.links.get_mut(name) {
            link.link_local = true;
        }
    }

    /// Gives a link another value of a parameter that it has.
    pub fn set_link_parameter(&mut self, name: &IfName, parameter: LinkParameter, value: i32) {
        let link = self.links.get_mut(name);
        if let Some(held) = link.and_then(|link| link.parameters.get_mut(&parameter)) {
            *held = value;
        }
    }

    /// Makes what comes in by a link forwarded, or not.
    pub fn set_link_forwarding(&mut self, name: &IfName, on: bool) {
        if let Some(link) = self.links.get_mut(name) {
            link.forwarding = on;
        }
    }

    /// Makes a link a port of no bridge.
    pub fn release_port(&mut self, name: &IfName) {
        if let Some(link) = self.links.get_mut(name) {
            link.master = None;
        }
    }

    /// Lets a bridge treat a port as it treats any.
    pub fn open_port(&mut self, name: &IfName) {
        if let Some(link) = self.links.get_mut(name) {
            link.port = ObservedPort {
                fixed: link.port.fixed.clone(),
                ..ObservedPort::default()
            };
        }
    }

    /// Lets a bridge forget which link-layer addresses are at a port.
    pub fn forget_port(&mut self, name: &IfName) {
        if let Some(link) = self.links.get_mut(name) {
            link.port.fixed.clear();
        }
    }

    /// Gives a link an address.
    pub fn add_address(&mut self, name: &IfName, address: IpNetwork) {
        if let Some(link) = self.links.get_mut(name) {
            link.addresses.insert(address);
        }
    }

    /// Removes an address from a link: the routes that have it as their source are gone.
    pub fn delete_address(&mut self, name: &IfName, address: IpNetwork) {
        if let Some(link) = self.links.get_mut(name) {
            link.addresses.remove(&address);
            self.drop_routes_without_source();
        }
    }

    /// Makes a permanent neighbour.
    pub fn add_neighbour(&mut self, name: &IfName, address: IpAddr, mac: MacAddr) {
        if let Some(link) = self.links.get_mut(name) {
            link.neighbours.insert(address, mac);
        }
    }

    /// Removes a neighbour.
    pub fn delete_neighbour(&mut self, name: &IfName, address: IpAddr) {
        if let Some(link) = self.links.get_mut(name) {
            link.neighbours.remove(&address);
        }
    }
}

/// Routes.
impl Kernel {
    /// Adds a route, or replaces the one that stands there.
    pub fn add_route(&mut self, key: RouteKey, protocol: u8, hop: Hop) {
        self.routes.insert(
            key,
            Entry {
                protocol,
                hop,
                source: None,
                mtu: None,
            },
        );
    }

    /// Removes a route, podnet's or not.
    pub fn delete_route(&mut self, key: &RouteKey) {
        self.routes.remove(key);
    }

    /// The keys of podnet's routes.
    pub fn own_routes(&self) -> impl Iterator<Item = RouteKey> {
        let own = self
            .routes
            .iter()
            .filter(|(_, entry)| entry.protocol == PROTOCOL);
        own.map(|(key, _)| *key)
    }
}

/// Namespaces.
impl Kernel {
    /// Makes a network namespace and mounts it; its inode number.
    pub fn add_netns(&mut self, path: &Path) -> u64 {
        match self.paths.get(path) {
            Some(Target::Namespace(inode)) => *inode,
            Some(Target::Host | Target::File) | None => self.new_namespace(path, false),
        }
    }

    /// Makes a plain file.
    pub fn add_file(&mut self, path: &Path) {
        self.paths.insert(path.to_owned(), Target::File);
    }

    /// Mounts the host's own network namespace.
    pub fn add_host_netns(&mut self, path: &Path) {
        self.paths.insert(path.to_owned(), Target::Host);
    }

    /// Removes what is at a path; with its last path a namespace is gone, and all that is in it.
    pub fn remove_path(&mut self, path: &Path) {
        let Some(Target::Namespace(inode)) = self.paths.remove(path) else {
            return;
        };
        if self
            .paths
            .values()
            .any(|target| *target == Target::Namespace(inode))
        {
            return;
        }
        let Some(namespace) = self.namespaces.remove(&inode) else {
            return;
        };
        let other_ends = namespace
            .interfaces
            .into_values()
            .filter_map(|inside| inside.host_end);
        for index in other_ends {
            if let Some(name) = self.link_of(index).map(|(name, _)| name.clone()) {
                self.delete_link(&name);
            }
        }
    }

    /// Adds an interface of another program inside of a namespace.
    pub fn add_interface(&mut self, path: &Path, ifname: &IfName) {
        let Some(Target::Namespace(inode)) = self.paths.get(path) else {
            return;
        };
        let Some(namespace) = self.namespaces.get_mut(inode) else {
            return;
        };
        let state = ObservedInterface {
            mac: MacAddr([2; 6]),
            mtu: Mtu(1500),
            up: true,
            addresses: Default::default(),
            gateways: Default::default(),
            neighbours: Default::default(),
            parameters: Default::default(),
        };
        namespace
            .interfaces
            .entry(ifname.clone())
            .or_insert(Interface {
                host_end: None,
                state,
            });
    }

    /// Changes an interface inside of a namespace.
    pub fn change_interface(
        &mut self,
        path: &Path,
        ifname: &IfName,
        change: impl FnOnce(&mut ObservedInterface),
    ) {
        if let Some(interface) = self.interface_mut(path, ifname) {
            change(interface);
        }
    }

    /// Deletes an interface inside of a namespace, and its other end.
    pub fn delete_interface(&mut self, path: &Path, ifname: &IfName) {
        let Some(Target::Namespace(inode)) = self.paths.get(path) else {
            return;
        };
        let Some(namespace) = self.namespaces.get_mut(inode) else {
            return;
        };
        let other_end = namespace
            .interfaces
            .remove(ifname)
            .and_then(|inside| inside.host_end);
        let name = other_end
            .and_then(|index| self.link_of(index))
            .map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.delete_link(&name);
        }
    }
}

/// The firewall.
impl Kernel {
    /// Flushes podnet's table of the bridge.
    pub fn flush_holding(&mut self) {
        if let Some(table) = &mut self.holding {
            table.ruled = false;
        }
    }

    /// Deletes podnet's table of the bridge.
    pub fn delete_holding(&mut self) {
        self.holding = None;
    }

    /// The firewall back ends.
    pub fn firewall_mut(&mut self) -> &mut Vec<Backend> {
        &mut self.firewall
    }
}
