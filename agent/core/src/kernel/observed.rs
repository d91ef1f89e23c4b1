//! What the kernel holds, as far as it concerns podnet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::forwarding::Forwarding;
use super::holding::ObservedHolding;
use super::link::{IfIndex, IfName, MacAddr, Mtu};
use super::op::OpError;
use super::port::ObservedPort;
use super::route::{NextHop, RouteKey};
use super::sysctl::LinkParameters;
use super::way::{Packet, Policy, Way};
use crate::firewall::{Chain, Rule};
use crate::nft::Ruleset;

/// What was found where an object of podnet's belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<T> {
    /// Nothing.
    Absent,
    /// An object that podnet made.
    Ours(T),
    /// Something else, which podnet leaves alone; in words.
    Foreign(String),
}

/// What the kernel holds. A field is `None`, or its map lacks a key, where the [`super::Scope`] did
/// not ask for it: then nothing is known, and nothing is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The bridge.
    pub bridge: Option<Place<ObservedBridge>>,
    /// All links that are named as host ends.
    pub host_ends: Option<BTreeMap<IfName, Place<ObservedHostEnd>>>,
    /// The host ends of the pods that were asked for.
    pub pods: BTreeMap<IfName, Place<ObservedHostEnd>>,
    /// What is inside of the pods that were asked for, by host end; no entry where there is no
    /// such namespace.
    pub insides: BTreeMap<IfName, Inside>,
    /// Why some of the pods that were asked for could not be looked into, by host end.
    pub hidden: BTreeMap<IfName, OpError>,
    /// Podnet's routes, and foreign ones at the destinations that were asked for and inside of them. The kernel's own
    /// routes that come with the bridge's addresses are neither.
    pub routes: Option<BTreeMap<RouteKey, ObservedRoute>>,
    /// Podnet's firewall chains.
    pub firewall: Option<Vec<ObservedFirewall>>,
    /// Podnet's table of the bridge, beside its chains; `None` also where it could not be read.
    pub holding: Option<ObservedHolding>,
    /// The chains of all programs that pods' packets pass; `None` also where nothing can tell.
    pub chains: Option<Ruleset>,
    /// What of the host's packets is forwarded.
    pub forwarding: Option<Forwarding>,
    /// The addresses of the host, but for the bridge's.
    pub addresses: Option<Vec<HostAddress>>,
    /// The routes of the host, but for podnet's.
    pub host_routes: Option<Vec<HostRoute>>,
    /// How the addresses that were asked for are reached.
    pub underlay: BTreeMap<IpAddr, UnderlayPath>,
    /// Which ways the packets take that were asked for; no entry where nothing can tell.
    pub ways: BTreeMap<Packet, Way>,
    /// The rules of policy routing, and the routes that concern the addresses that were asked for.
    pub policy: Option<Policy>,
    /// What the paths that were asked for lead to.
    pub netns: BTreeMap<PathBuf, NetnsState>,
}

/// The bridge, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedBridge {
    /// Its number.
    pub index: IfIndex,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its addresses of global scope.
    pub addresses: BTreeSet<IpNetwork>,
    /// Whether the kernel gives it a link-local IPv6 address.
    pub link_local: bool,
    /// The permanent neighbours on it.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Its kernel parameters; one that this kernel does not have, or not at this MTU, is absent.
    pub parameters: LinkParameters,
}

/// The host end of a pod, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedHostEnd {
    /// Whether it is a port of podnet's bridge.
    pub on_bridge: bool,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the bridge keeps packets from it that any port should get.
    pub blocked: bool,
    /// Whether the kernel gives it a link-local IPv6 address.
    pub link_local: bool,
    /// What else the bridge does with it.
    pub port: ObservedPort,
}

/// The end of a pod's veth in its namespace, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// The namespace's inode number.
    pub inode: u64,
    /// The interface, if it is there.
    pub interface: Option<ObservedInterface>,
}

/// A pod's interface, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedInterface {
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its addresses of global scope.
    pub addresses: BTreeSet<IpNetwork>,
    /// The next hops of its default routes.
    pub gateways: BTreeSet<IpAddr>,
    /// Its permanent neighbours.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Its kernel parameters; one that this kernel does not have, or not at this MTU, is absent.
    pub parameters: LinkParameters,
}

/// A route in the main table, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedRoute {
    /// One with podnet's protocol number.
    Ours {
        /// What happens to packets on it; `None` for a kind of route that podnet never makes.
        next_hop: Option<NextHop>,
    },
    /// One of another program's at a destination that was asked for, or inside of it; in words.
    Foreign(String),
}

/// One firewall back end that must hold podnet's rules, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedFirewall {
    /// Its name, such as `iptables-legacy`.
    pub backend: String,
    /// Whether it holds all rules; else only those that let forwarded packets pass.
    pub primary: bool,
    /// Podnet's chains in it. A rule that podnet never makes is `None`.
    pub chains: BTreeMap<Chain, Vec<Option<Rule>>>,
    /// How often podnet's own jump to each chain stands in the built-in chain that it hooks into.
    pub jumps: BTreeMap<Chain, usize>,
    /// Podnet's chains that rules of others jump to: these can be emptied, and not removed.
    pub referenced: BTreeSet<Chain>,
    /// Chains of others that bear names like podnet's, as `TABLE/NAME`.
    pub namesakes: BTreeSet<String>,
    /// Podnet's chains whose table the back end cannot show, since something in it was made by other
    /// means: nothing is known of it, and nothing in it is changed.
    pub unreadable: BTreeSet<Chain>,
    /// Rules of others before podnet's jump that accept whatever is forwarded, or whatever comes in or leaves
    /// by a device, as the back end shows them.
    pub ahead: BTreeSet<String>,
}

/// What others have beside podnet's rules, and podnet leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bystander {
    /// What it is, in words.
    pub what: String,
    /// What to do about it.
    pub cure: &'static str,
}

impl ObservedFirewall {
    /// What podnet may have in tables that it cannot look at, and so cannot take back, in words with
    /// their cure.
    pub fn out_of_reach(&self) -> impl Iterator<Item = String> {
        let backend = &self.backend;
        self.unreadable.iter().map(move |chain| {
            let (table, name) = (chain.table(), chain.name());
            format!(
                "table {table} of {backend}: iptables cannot show it, so chain {name} and the jump to \
                 it may still be there; remove from the table what 'nft list table ip {table}' shows \
                 and iptables did not make, then run 'podnetd cleanup' while the agent is stopped"
            )
        })
    }

    /// What others keep under podnet's names, which is in nobody's way, and what opens devices to strangers
    /// that podnet has opened to pods.
    pub fn bystanders(&self) -> impl Iterator<Item = Bystander> {
        let named = self.namesakes().chain(self.relied_on());
        let named = named.map(|what| Bystander {
            what,
            cure: "give it another name; podnet leaves it alone, and chains that it leads to stay",
        });
        named.chain(self.bypasses())
    }

    /// Chains of others that bear names like podnet's, in words.
    pub fn namesakes(&self) -> impl Iterator<Item = String> {
        let backend = &self.backend;
        let namesakes = self.namesakes.iter();
        namesakes.map(move |chain| format!("chain {chain} in {backend}: podnet did not make it"))
    }

    /// Rules of others that open to strangers what podnet has opened to pods.
    fn bypasses(&self) -> impl Iterator<Item = Bystander> {
        let ahead = self
            .ahead
            .iter()
            .filter(|_| self.guarded().next().is_some());
        ahead.map(|rule| Bystander {
            what: format!(
                "rule '{rule}' in {}: it stands before podnet's jump, so strangers pass by devices that \
                 podnet has opened to pods alone",
                self.backend
            ),
            cure: "move the rule behind podnet's jump, or set net.ipv4.ip_forward to 1 if this host is to \
                   be a router",
        })
    }

    /// Podnet's chains that others rely on, in words.
    pub fn relied_on(&self) -> impl Iterator<Item = String> {
        let backend = &self.backend;
        self.referenced.iter().map(move |chain| {
            let (table, name) = (chain.table(), chain.name());
            format!("chain {table}/{name} in {backend}: rules of others jump to it")
        })
    }

    /// Chains of podnet's names with rules that podnet never makes, in words: where podnet has not made
    /// them yet, somebody else has.
    pub fn taken(&self) -> impl Iterator<Item = String> {
        let strange = self
            .chains
            .iter()
            .filter(|(_, rules)| rules.contains(&None));
        strange.map(|(chain, _)| {
            let (table, name) = (chain.table(), chain.name());
            format!("chain {table}/{name} in {}", self.backend)
        })
    }

    /// The devices by which only pods are to be reached: podnet has opened them.
    pub fn guarded(&self) -> impl Iterator<Item = &IfName> {
        let rules = self.chains.get(&Chain::Forward).into_iter().flatten();
        rules.flatten().filter_map(Rule::guarded)
    }

    /// Whether nothing is left of a chain but what cannot be removed.
    pub(super) fn is_husk(&self, chain: Chain) -> bool {
        let empty = self.chains.get(&chain).is_some_and(Vec::is_empty);
        empty && self.referenced.contains(&chain)
    }
}

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

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetnsState {
    /// Nothing.
    Missing,
    /// Something that is no network namespace.
    NotANetns,
    /// The network namespace of the agent.
    Host,
    /// A network namespace.
    Netns {
        /// Its inode number.
        inode: u64,
    },
}
