//! What the pods of a node are held to by nftables: beside the bridge, which knows nothing of IP addresses.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::desired::Desired;
use super::link::{IfName, MacAddr, PodLink};

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

    /// Takes out what another has.
    pub fn take(&mut self, other: &Self) {
        self.ports.retain(|port| !other.ports.contains(port));
        self.sources
            .retain(|source| !other.sources.contains(source));
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
    /// What it should hold. Pods that are being attached or detached right now stay as they are.
    pub(super) fn wanted(&self, desired: &Desired) -> Holding {
        let mut wanted = desired.holding.clone().unwrap_or_default();
        if let Self::Table { holding, .. } = self {
            let in_flight = holding.of_ports(|port| desired.in_flight.contains_key(port));
            wanted.ports.extend(in_flight.ports);
            wanted.sources.extend(in_flight.sources);
        }
        wanted
    }

    /// What is wrong with it, in words.
    pub(super) fn faults(&self, wanted: &Holding) -> Vec<String> {
        let (ruled, found) = match self {
            Self::Impossible(_) => return Vec::new(),
            Self::Absent => return vec!["no table".to_owned()],
            Self::Table { ruled, holding } => (*ruled, holding),
        };
        let mut faults = Vec::new();
        if !ruled {
            faults.push("other rules".to_owned());
        }
        let missing = wanted.ports.difference(&found.ports);
        faults.extend(missing.map(|port| format!("{port} not held")));
        let missing = wanted.sources.difference(&found.sources);
        faults.extend(missing.map(|source| format!("no source {}", source.address)));
        let extra = found.ports.difference(&wanted.ports);
        faults.extend(extra.map(|port| format!("{port} held")));
        let extra = found.sources.difference(&wanted.sources);
        faults.extend(extra.map(|source| format!("a source {}", source.address)));
        faults
    }
}
