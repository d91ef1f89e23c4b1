//! A model of the part of Linux that podnet relies on.
//!
//! It holds what [`Op`]s change and [`Kinds`] ask for, and behaves like the kernel where podnet
//! would notice the difference: what needs what, and what is silently removed with what. Tests compare
//! it with the real kernel by one suite for both; where the two differ, the model is wrong.
//!
//! The side effects that it knows are the kernel's own (`net/ipv4/fib_frontend.c`,
//! `net/ipv4/devinet.c`, `net/core/neighbour.c`, `drivers/net/veth.c`):
//! - a route's source address must be one of the host's, its device up, its gateway on the link;
//! - with an address, the routes are removed that have it as their source;
//! - a link that goes down loses its routes and neighbours, also the permanent ones;
//! - a link that gets another link-layer address loses its neighbours, also the permanent ones;
//! - with one end of a veth the other is removed, and with a namespace all that is in it;
//! - writing `ip_forward` sets the forwarding of every link, and of those to come.

mod bridge;
mod change;
mod firewall;
mod forwarding;
mod holding;
mod link;
mod neighbour;
mod observe;
mod pod;
mod route;
mod tamper;
mod underlay;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use self::firewall::Backend;
pub use self::route::Hop;

use self::holding::Table;
use self::link::Link;
use self::pod::{Namespace, Target};
use self::route::Entry;
use super::{IfIndex, IfName, MacAddr, Made, Mtu, ObservedPort, Op, OpError, PROTOCOL, RouteKey};

#[cfg(doc)]
use super::Kinds;

/// The kernel of a host, as a value. Two are equal if they hold the same, including the numbers that
/// the kernel chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    links: BTreeMap<IfName, Link>,
    routes: BTreeMap<RouteKey, Entry>,
    namespaces: BTreeMap<u64, Namespace>,
    paths: BTreeMap<PathBuf, Target>,
    firewall: Vec<Backend>,
    /// Podnet's table of the bridge, if there is one.
    holding: Option<Table>,
    /// `net.ipv4.ip_forward`.
    router: bool,
    /// The number that the next link or namespace gets.
    next: u32,
}

impl Default for Kernel {
    /// A host with a loopback device, one firewall back end, and forwarding off.
    fn default() -> Self {
        let mut kernel = Self {
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            paths: BTreeMap::new(),
            firewall: vec![Backend::new("iptables-nft", true)],
            holding: None,
            router: false,
            next: 1,
        };
        if let (Ok(name), Ok(address)) = ("lo".parse::<IfName>(), "127.0.0.1/8".parse()) {
            kernel.add_link(&name, Mtu(65536));
            kernel.add_address(&name, address);
        }
        kernel
    }
}

impl Kernel {
    /// Applies one change, as [`Op`] says it.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing has changed.
    pub fn apply(&mut self, op: &Op) -> Result<Made, OpError> {
        match op {
            Op::Bridge(op) => self.apply_to_bridge(op)?,
            Op::Holding(op) => self.apply_to_holding(op),
            Op::Pod(op) => return self.apply_to_pod(op),
            Op::Neighbour(op) => self.apply_to_neighbour(op)?,
            Op::Firewall(op) => self.apply_to_firewall(op)?,
            Op::Forwarding(op) => self.apply_to_forwarding(op)?,
            Op::Route(op) => self.apply_to_route(op)?,
            // The model tracks no connections.
            Op::Connections(_) => {}
        }
        Ok(Made::Nothing)
    }

    /// What is left of the host without anything of podnet's: no change may touch it.
    #[must_use]
    pub fn foreign(&self) -> Self {
        let mut rest = self.clone();
        rest.links.retain(|_, link| !link.ours);
        for link in rest.links.values_mut() {
            link.master = link
                .master
                .take()
                .filter(|master| self.links.contains_key(master));
            link.master = link.master.take().filter(|master| !self.links[master].ours);
            // Podnet opens devices that are not its own, and closes what it opened.
            link.forwarding = false;
        }
        rest.routes.retain(|_, entry| entry.protocol != PROTOCOL);
        rest.namespaces.retain(|_, namespace| !namespace.made);
        for namespace in rest.namespaces.values_mut() {
            namespace
                .interfaces
                .retain(|_, interface| interface.host_end.is_none());
        }
        rest.paths.retain(|_, target| match target {
            Target::Namespace(inode) => rest.namespaces.contains_key(inode),
            Target::Host | Target::File => true,
        });
        rest.firewall.iter_mut().for_each(Backend::clear);
        rest.holding = None;
        rest.next = 0;
        rest
    }

    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn add_numbered_link(&mut self, name: &IfName, mtu: Mtu, ours: bool) -> IfIndex {
        let index = IfIndex(self.number());
        let [a, b, c, d] = index.0.to_be_bytes();
        let link = Link {
            index,
            ours,
            bridge: false,
            mac: MacAddr([0x02, 0, a, b, c, d]),
            mtu,
            up: true,
            master: None,
            port: ObservedPort::default(),
            addresses: Default::default(),
            neighbours: BTreeMap::new(),
            link_local: !ours,
            parameters: BTreeMap::new(),
            forwarding: self.router,
        };
        self.links.insert(name.clone(), link);
        index
    }
}
