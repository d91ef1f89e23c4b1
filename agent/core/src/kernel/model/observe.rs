//! Looking at the kernel.

use std::path::Path;

use super::Kernel;
use super::firewall::Table;
use super::link::Link;
use super::pod::Target;
use super::route::Entry;
use crate::kernel::{
    HostAddress, HostRoute, IfName, Inside, NetnsState, Observed, ObservedBridge, ObservedHolding,
    ObservedHostEnd, ObservedPort, PROTOCOL, Place, PodView, RouteKey, Scope, is_inside,
};

impl Kernel {
    /// Looks at what `scope` names.
    #[must_use]
    pub fn observe(&self, scope: &Scope) -> Observed {
        let mut observed = Observed {
            bridge: scope.bridge.then(|| self.observe_bridge()),
            host_ends: scope.host_ends.then(|| {
                let names = self.links.keys().filter(|name| name.is_host_end());
                names
                    .map(|name| (name.clone(), self.observe_host_end(name)))
                    .collect()
            }),
            firewall: scope
                .firewall
                .then(|| self.firewall.iter().map(super::Backend::observed).collect()),
            holding: scope.holding.then(|| match self.holding.clone() {
                Some(Table { ruled, holding }) => ObservedHolding::Table { ruled, holding },
                None => ObservedHolding::Absent,
            }),
            forwarding: scope
                .forwarding
                .as_ref()
                .map(|asked| self.observe_forwarding(asked)),
            addresses: scope.addresses.then(|| self.host_addresses()),
            host_routes: scope.host_routes.then(|| self.host_routes()),
            underlay: scope
                .underlay
                .iter()
                .map(|address| (*address, self.path(*address)))
                .collect(),
            netns: scope
                .netns
                .iter()
                .map(|path| (path.clone(), self.netns_state(path)))
                .collect(),
            ..Observed::default()
        };
        for view in &scope.pods {
            let host_end = self.observe_host_end(&view.host_ifname);
            observed.pods.insert(view.host_ifname.clone(), host_end);
            if let Some(inside) = self.observe_inside(view) {
                observed.insides.insert(view.host_ifname.clone(), inside);
            }
        }
        if let Some(destinations) = &scope.routes {
            let wanted = |key: &RouteKey, protocol: u8| {
                let destination = key.destination;
                protocol == PROTOCOL
                    || destinations
                        .iter()
                        .any(|whole| *whole == destination || is_inside(destination, *whole))
            };
            // Those in the table come last: they stood there first.
            let by_bridge = |entry: &Entry| self.leaves_by_own_link(entry);
            let connected = self
                .table()
                .skip(self.routes.len())
                .filter(|(_, e)| !by_bridge(e));
            let in_table = self.routes.iter().map(|(key, entry)| (*key, entry.clone()));
            let all = connected
                .chain(in_table)
                .filter(|(key, entry)| wanted(key, entry.protocol));
            observed.routes = Some(all.map(|(key, entry)| (key, entry.observed())).collect());
        }
        observed
    }

    fn observe_bridge(&self) -> Place<ObservedBridge> {
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

    fn observe_host_end(&self, name: &IfName) -> Place<ObservedHostEnd> {
        match self.links.get(name) {
            None => Place::Absent,
            Some(Link {
                ours: true,
                master,
                mtu,
                up,
                link_local,
                port,
                ..
            }) => Place::Ours(ObservedHostEnd {
                on_bridge: master.as_ref() == Some(&IfName::bridge()),
                mtu: *mtu,
                up: *up,
                blocked: false,
                link_local: *link_local,
                port: if master.is_some() {
                    port.clone()
                } else {
                    ObservedPort::default()
                },
            }),
            Some(_) => Place::Foreign("a link of somebody else's".to_owned()),
        }
    }

    fn observe_inside(&self, view: &PodView) -> Option<Inside> {
        let Some(Target::Namespace(inode)) = self.paths.get(&view.netns) else {
            return None;
        };
        let interfaces = &self.namespaces.get(inode)?.interfaces;
        let interface = interfaces
            .get(&view.ifname)
            .map(|interface| interface.state.clone());
        Some(Inside {
            inode: *inode,
            interface,
        })
    }

    fn netns_state(&self, path: &Path) -> NetnsState {
        match self.paths.get(path) {
            None => NetnsState::Missing,
            Some(Target::Host) => NetnsState::Host,
            Some(Target::File) => NetnsState::NotANetns,
            Some(Target::Namespace(inode)) => NetnsState::Netns { inode: *inode },
        }
    }

    fn host_addresses(&self) -> Vec<HostAddress> {
        let others = self.links.iter().filter(|(_, link)| !link.ours);
        others
            .flat_map(|(name, link)| link.addresses.iter().map(move |own| (name, link, own)))
            .map(|(name, link, address)| HostAddress {
                address: *address,
                index: link.index,
                ifname: name.clone(),
                mac: Some(link.mac),
                mtu: link.mtu,
                up: link.up,
                global: !address.ip().is_loopback(),
                uplink: false,
            })
            .collect()
    }

    fn host_routes(&self) -> Vec<HostRoute> {
        self.table()
            .filter(|(_, entry)| entry.protocol != PROTOCOL && !self.leaves_by_own_link(entry))
            .filter_map(|(key, entry)| {
                let (device, _) = self.link_of(entry.hop.device()?)?;
                Some(HostRoute {
                    destination: key.destination,
                    device: Some(device.clone()),
                })
            })
            .collect()
    }

    fn leaves_by_own_link(&self, entry: &Entry) -> bool {
        let device = entry.hop.device().and_then(|index| self.link_of(index));
        device.is_some_and(|(_, link)| link.ours)
    }
}
