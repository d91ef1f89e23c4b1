//! Network namespaces, and the veth pairs that lead into them.

use std::collections::BTreeMap;
use std::path::Path;

use super::Kernel;
use super::change::{foreign, missing};
use super::link::Link;
use crate::kernel::pod::Op;
use crate::kernel::{
    IfIndex, IfName, Inside, Made, NetnsState, ObservedHostEnd, ObservedInterface, ObservedPort,
    OpError, Place, PodLink, PodView,
};

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The host's own network namespace.
    Host,
    /// A network namespace, by its inode number.
    Namespace(u64),
    /// A plain file.
    File,
}

/// A network namespace other than the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Namespace {
    /// Whether podnet made it.
    pub(super) made: bool,
    pub(super) interfaces: BTreeMap<IfName, Interface>,
}

/// An interface in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// The other end, if the two are a pair of podnet's.
    pub(super) host_end: Option<IfIndex>,
    pub(super) state: ObservedInterface,
}

impl Kernel {
    pub(super) fn apply_to_pod(&mut self, op: &Op) -> Result<Made, OpError> {
        match op {
            Op::Attach(pod) => {
                self.attach(pod)?;
                if let Some(Target::Namespace(inode)) = self.paths.get(&pod.netns.path) {
                    return Ok(Made::Namespace(*inode));
                }
            }
            Op::Repair(pod) => self.repair(pod)?,
            Op::Detach { host_ifname, netns } => self.detach(host_ifname, netns.as_deref())?,
        }
        Ok(Made::Nothing)
    }

    pub(super) fn observe_host_ends(&self) -> BTreeMap<IfName, Place<ObservedHostEnd>> {
        let names = self.links.keys().filter(|name| name.is_host_end());
        names
            .map(|name| (name.clone(), self.observe_host_end(name)))
            .collect()
    }

    pub(super) fn observe_host_end(&self, name: &IfName) -> Place<ObservedHostEnd> {
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

    pub(super) fn observe_inside(&self, view: &PodView) -> Option<Inside> {
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

    pub(super) fn netns_state(&self, path: &Path) -> NetnsState {
        match self.paths.get(path) {
            None => NetnsState::Missing,
            Some(Target::Host) => NetnsState::Host,
            Some(Target::File) => NetnsState::NotANetns,
            Some(Target::Namespace(inode)) => NetnsState::Netns { inode: *inode },
        }
    }

    fn attach(&mut self, pod: &PodLink) -> Result<(), OpError> {
        self.bridge_mut(&IfName::bridge())?;
        if self
            .links
            .get(&pod.host_ifname)
            .is_some_and(|link| !link.ours)
        {
            return Err(foreign(&pod.host_ifname));
        }
        if self.is_pair(pod) {
            return self.repair(pod);
        }
        let inode = self.enter(pod)?;
        let taken = inode
            .and_then(|inode| self.namespaces.get(&inode))
            .is_some_and(|namespace| {
                let interface = namespace.interfaces.get(&pod.ifname);
                let host_end = self.links.get(&pod.host_ifname).map(|link| link.index);
                interface.is_some_and(|interface| {
                    interface.host_end.is_none() || interface.host_end != host_end
                })
            });
        if taken {
            return Err(foreign(format_args!(
                "{} in {}",
                pod.ifname,
                pod.netns.path.display()
            )));
        }
        let inode = inode.unwrap_or_else(|| self.new_namespace(&pod.netns.path, true));
        self.delete_link(&pod.host_ifname);
        let host_end = self.add_numbered_link(&pod.host_ifname, pod.mtu, true);
        let state = ObservedInterface {
            mac: pod.mac,
            mtu: pod.mtu,
            up: true,
            addresses: Default::default(),
            gateways: Default::default(),
            neighbours: BTreeMap::new(),
            parameters: BTreeMap::new(),
        };
        if let Some(namespace) = self.namespaces.get_mut(&inode) {
            let interface = Interface {
                host_end: Some(host_end),
                state,
            };
            namespace.interfaces.insert(pod.ifname.clone(), interface);
        }
        self.repair(pod)
    }

    /// The namespace to attach to; `None` if it is still to be made.
    fn enter(&self, pod: &PodLink) -> Result<Option<u64>, OpError> {
        let path = pod.netns.path.display();
        match (
            self.paths.get(&pod.netns.path),
            pod.netns.inode,
            pod.netns.made,
        ) {
            (None, None, true) => Ok(None),
            (None, _, _) | (Some(Target::File), _, false) => Err(missing(path)),
            (Some(Target::Host), _, _) | (Some(Target::File), _, true) => Err(foreign(path)),
            (Some(Target::Namespace(found)), Some(inode), _) if *found != inode => {
                Err(missing(format_args!("the namespace that was at {path}")))
            }
            (Some(Target::Namespace(_)), None, true) => Err(foreign(path)),
            (Some(Target::Namespace(found)), _, _) => Ok(Some(*found)),
        }
    }

    fn repair(&mut self, pod: &PodLink) -> Result<(), OpError> {
        let bridge = IfName::bridge();
        let neighbours = pod.addresses.iter().map(|address| (address.ip(), pod.mac));
        if !self.is_pair(pod) {
            return Err(missing(format_args!("the veth of pod {}", pod.pod)));
        }
        if self.has_other_gateway(pod) {
            return Err(foreign(format_args!(
                "the default route of pod {}",
                pod.pod
            )));
        }
        self.bridge_mut(&bridge)?.neighbours.extend(neighbours);
        if let Some(link) = self.links.get_mut(&pod.host_ifname) {
            link.plug_in(bridge);
            set_right(&mut link.port, pod);
            link.mtu = pod.mtu;
            link.up = true;
            link.link_local = false;
        }
        if let Some(table) = &mut self.holding {
            table.holding.add(pod);
        }
        if let Some(state) = self.interface_mut(&pod.netns.path, &pod.ifname) {
            if state.mac != pod.mac {
                state.mac = pod.mac;
                state.neighbours.clear();
            }
            state.mtu = pod.mtu;
            state.up = true;
            state.addresses.extend(&pod.addresses);
            state.gateways.extend(&pod.gateways);
            let neighbours = pod
                .gateways
                .iter()
                .map(|gateway| (*gateway, pod.gateway_mac));
            state.neighbours.extend(neighbours);
            state.parameters = pod.parameters();
        }
        Ok(())
    }

    /// Whether another default route stands where one of the pod's belongs.
    fn has_other_gateway(&self, pod: &PodLink) -> bool {
        let Some(state) = self.interface(&pod.netns.path, &pod.ifname) else {
            return false;
        };
        let mut lacking = pod
            .gateways
            .iter()
            .filter(|gateway| !state.gateways.contains(gateway));
        lacking.any(|gateway| {
            state
                .gateways
                .iter()
                .any(|other| other.is_ipv4() == gateway.is_ipv4())
        })
    }

    fn detach(&mut self, name: &IfName, netns: Option<&Path>) -> Result<(), OpError> {
        if self.links.get(name).is_some_and(|link| !link.ours) {
            return Err(foreign(name));
        }
        if let Some(path) = netns {
            match self.paths.get(path) {
                Some(Target::Host | Target::File) => return Err(foreign(path.display())),
                Some(Target::Namespace(_)) | None => self.remove_path(path),
            }
        }
        self.delete_link(name);
        Ok(())
    }

    pub(super) fn new_namespace(&mut self, path: &Path, made: bool) -> u64 {
        let inode = u64::from(self.number());
        self.namespaces.insert(
            inode,
            Namespace {
                made,
                interfaces: BTreeMap::new(),
            },
        );
        self.paths.insert(path.to_owned(), Target::Namespace(inode));
        inode
    }

    fn interface(&self, path: &Path, ifname: &IfName) -> Option<&ObservedInterface> {
        let Some(Target::Namespace(inode)) = self.paths.get(path) else {
            return None;
        };
        let interface = self.namespaces.get(inode)?.interfaces.get(ifname)?;
        Some(&interface.state)
    }

    pub(super) fn interface_mut(
        &mut self,
        path: &Path,
        ifname: &IfName,
    ) -> Option<&mut ObservedInterface> {
        let Some(Target::Namespace(inode)) = self.paths.get(path) else {
            return None;
        };
        let interfaces = &mut self.namespaces.get_mut(inode)?.interfaces;
        interfaces
            .get_mut(ifname)
            .map(|interface| &mut interface.state)
    }

    /// Whether the two ends of a pod's veth are there, and belong to each other.
    fn is_pair(&self, pod: &PodLink) -> bool {
        let Some(Target::Namespace(inode)) = self.paths.get(&pod.netns.path) else {
            return false;
        };
        let host_end = self.links.get(&pod.host_ifname).filter(|link| link.ours);
        let namespace = self.namespaces.get(inode);
        let interface = namespace.and_then(|namespace| namespace.interfaces.get(&pod.ifname));
        match (host_end, interface) {
            (Some(link), Some(interface)) => interface.host_end == Some(link.index),
            (Some(_), None) | (None, Some(_)) | (None, None) => false,
        }
    }
}

/// Sets a port right.
fn set_right(port: &mut ObservedPort, pod: &PodLink) {
    port.fixed.insert(pod.mac);
    port.flooded = pod.trusted;
    if !pod.trusted {
        port.learning = false;
        port.locked = port.locked.map(|_| true);
        port.bypassed = false;
    }
}
