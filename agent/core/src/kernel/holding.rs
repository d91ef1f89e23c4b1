//! What the pods of a node are held to by nftables: beside the bridge, which knows nothing of IP addresses.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::desired::Desired;
use super::link::{IfName, MacAddr, PodLink};
use super::op::Op;

/// What a pod may send from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its host end.
    pub port: IfName,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// One of its addresses.
    pub address: Ipv4Addr,
}

/// Which ports are held, and to what: nothing comes in by them but IPv4 and ARP from these sources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holding {
    /// The ports.
    pub ports: BTreeSet<IfName>,
    /// The sources.
    pub sources: BTreeSet<Source>,
}

impl Holding {
    /// What a pod is held to: a trusted one to nothing.
    #[must_use]
    pub fn of(pod: &PodLink) -> Self {
        Self::of_all([pod])
    }

    /// What several pods are held to.
    pub fn of_all(pods: impl IntoIterator<Item: Borrow<PodLink>>) -> Self {
        let mut holding = Self::default();
        pods.into_iter().for_each(|pod| holding.add(pod.borrow()));
        holding
    }

    /// Holds another pod.
    pub fn add(&mut self, pod: &PodLink) {
        if pod.trusted {
            return;
        }
        self.ports.insert(pod.host_ifname.clone());
        let addresses = pod.addresses.iter().filter_map(|address| {
            if let IpAddr::V4(address) = address.ip() {
                Some(address)
            } else {
                None
            }
        });
        self.sources.extend(addresses.map(|address| Source {
            port: pod.host_ifname.clone(),
            mac: pod.mac,
            address,
        }));
    }

    /// Holds what another does, too.
    pub fn extend(&mut self, other: &Self) {
        self.ports.extend(other.ports.iter().cloned());
        self.sources.extend(other.sources.iter().cloned());
    }

    /// What is held here and not by another.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            ports: self.ports.difference(&other.ports).cloned().collect(),
            sources: self.sources.difference(&other.sources).cloned().collect(),
        }
    }

    /// What is held of these ports.
    fn of_ports(&self, wanted: impl Fn(&IfName) -> bool) -> Self {
        let ports = self.ports.iter().filter(|port| wanted(port));
        let sources = self.sources.iter().filter(|source| wanted(&source.port));
        Self {
            ports: ports.cloned().collect(),
            sources: sources.cloned().collect(),
        }
    }

    /// All ports that this is about, each with what is held of it.
    fn by_port(&self) -> impl Iterator<Item = (IfName, Self)> {
        let of_sources = self.sources.iter().map(|source| &source.port);
        let ports: BTreeSet<&IfName> = self.ports.iter().chain(of_sources).collect();
        ports
            .into_iter()
            .map(|port| (port.clone(), self.of_ports(|other| other == port)))
    }

    /// Whether nobody is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.sources.is_empty()
    }

    /// In words, where it is missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = String> {
        let ports = self.ports.iter().map(|port| format!("{port} not held"));
        let sources = self.sources.iter();
        ports.chain(sources.map(|source| format!("no source {}", source.address)))
    }

    /// In words, where it should not be.
    pub(super) fn extra(&self) -> impl Iterator<Item = String> {
        let ports = self.ports.iter().map(|port| format!("{port} held"));
        let sources = self.sources.iter();
        ports.chain(sources.map(|source| format!("a source {}", source.address)))
    }
}

/// Podnet's table of the bridge in nftables, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedHolding {
    /// This host cannot hold pods by nftables; why.
    Impossible(String),
    /// There is no table.
    Absent,
    /// There is one.
    Table {
        /// Whether its rules are podnet's.
        ruled: bool,
        /// What the rules are about.
        holding: Holding,
    },
}

impl ObservedHolding {
    /// What makes it hold what it should. Pods that are being attached or detached right now stay as they
    /// are. What is about a single pod is an operation of its own, since pods come and go meanwhile.
    pub(super) fn changes(&self, desired: &Desired) -> Vec<Op> {
        let mut wanted = desired.holding.clone().unwrap_or_default();
        let Self::Table { ruled, holding } = self else {
            return match self {
                Self::Absent => vec![Op::SetHolding(wanted)],
                Self::Impossible(_) | Self::Table { .. } => Vec::new(),
            };
        };
        wanted.extend(&holding.of_ports(|port| desired.in_flight.contains_key(port)));
        let (missing, extra) = (wanted.without(holding), holding.without(&wanted));
        let known = |port: &IfName| desired.pods.contains_key(port);
        // Nobody but another program lets a pod of this node send from more than it has.
        if !ruled || !extra.of_ports(known).is_empty() {
            return vec![Op::SetHolding(wanted)];
        }
        let hold = missing.by_port().map(|(host_ifname, holding)| Op::HoldPod {
            host_ifname,
            holding,
        });
        let release = extra
            .by_port()
            .map(|(host_ifname, holding)| Op::ReleasePod {
                host_ifname,
                holding,
            });
        hold.chain(release).collect()
    }

    /// What is wrong with it, in words.
    pub(super) fn faults(&self, wanted: &Holding) -> Vec<String> {
        let (ruled, found) = match self {
            Self::Impossible(_) => return Vec::new(),
            Self::Absent => return vec!["no table".to_owned()],
            Self::Table { ruled, holding } => (*ruled, holding),
        };
        let rules = (!ruled).then(|| "other rules".to_owned());
        let missing = wanted.without(found);
        let extra = found.without(wanted);
        let faults = rules.into_iter().chain(missing.missing());
        faults.chain(extra.extra()).collect()
    }
}
