//! What nftables holds the pods of a node to: the IP addresses, of which the bridge knows nothing.

mod difference;
mod seen;

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};

pub use self::difference::Op;
pub(super) use self::difference::{difference, keep};
pub use self::seen::ObservedHolding;
use super::desired::Input;
use super::link::{IfName, MacAddr};
use super::pod::PodLink;

/// A source that a pod may send from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its host end.
    pub port: IfName,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// One of its addresses.
    pub address: Ipv4Addr,
}

/// Which ports are held, and to what: only IPv4 and ARP from these sources come in by them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holding {
    /// The ports.
    pub ports: BTreeSet<IfName>,
    /// The sources.
    pub sources: BTreeSet<Source>,
}

impl Holding {
    /// What a pod is held to: a trusted pod to nothing.
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

    /// Adds all that another holds.
    pub fn extend(&mut self, other: &Self) {
        self.ports.extend(other.ports.iter().cloned());
        self.sources.extend(other.sources.iter().cloned());
    }

    /// What this holds, and another does not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            ports: self.ports.difference(&other.ports).cloned().collect(),
            sources: self.sources.difference(&other.sources).cloned().collect(),
        }
    }

    /// The part that is about these ports.
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

    /// Whether no pod is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.sources.is_empty()
    }

    /// In words, if it is missing.
    fn missing(&self) -> impl Iterator<Item = String> {
        let ports = self.ports.iter().map(|port| format!("{port} not held"));
        let sources = self.sources.iter();
        ports.chain(sources.map(|source| format!("no source {}", source.address)))
    }

    /// In words, if it should not be there.
    fn extra(&self) -> impl Iterator<Item = String> {
        let ports = self.ports.iter().map(|port| format!("{port} held"));
        let sources = self.sources.iter();
        ports.chain(sources.map(|source| format!("a source {}", source.address)))
    }
}

/// What the pods are held to that are attached for good.
pub(super) fn wanted(input: &Input<'_>) -> Holding {
    let settled = |pod: &&PodLink| !input.in_flight.contains_key(&pod.host_ifname);
    Holding::of_all(input.pods.iter().filter(settled))
}

/// What has become of single pods of late. A pass that writes the table as a whole knows pods only as they were
/// before its look showed that the table has to be written, and must undo nothing that was done since.
///
/// What a pass knows of pods is later than the look before its own: so this goes back that far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meanwhile {
    before_look: Changed,
    since_look: Changed,
}

/// What was held and let go of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Changed {
    held: Holding,
    released: Holding,
}

impl Meanwhile {
    /// A look at the table begins.
    pub fn look(&mut self) {
        self.before_look = mem::take(&mut self.since_look);
    }

    /// A pod is held.
    pub fn hold(&mut self, pod: &Holding) {
        let Changed { held, released } = &mut self.since_look;
        held.extend(pod);
        *released = released.without(pod);
    }

    /// A pod is let go.
    pub fn release(&mut self, pod: &Holding) {
        let Changed { held, released } = &mut self.since_look;
        released.extend(pod);
        *held = held.without(pod);
    }

    /// What the table is to hold, if a pass that may not know of all this wants it to hold `wanted`.
    #[must_use]
    pub fn upon(&self, wanted: &Holding) -> Holding {
        let changes = [&self.before_look, &self.since_look];
        changes.into_iter().fold(wanted.clone(), |wanted, changed| {
            let mut holding = wanted.without(&changed.released);
            holding.extend(&changed.held);
            holding
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::kernel::holding) fn port(name: &str) -> Holding {
        Holding {
            ports: [name.parse().unwrap()].into(),
            sources: BTreeSet::from([Source {
                port: name.parse().unwrap(),
                mac: MacAddr([2; 6]),
                address: Ipv4Addr::new(10, 244, 0, 2),
            }]),
        }
    }

    pub(in crate::kernel::holding) fn of(names: &[&str]) -> Holding {
        let mut all = Holding::default();
        names.iter().for_each(|name| all.extend(&port(name)));
        all
    }

    #[test]
    fn a_table_that_is_written_undoes_nothing_that_was_done_meanwhile() {
        let mut meanwhile = Meanwhile::default();
        let knows = of(&["pna", "pnb"]);
        assert_eq!(meanwhile.upon(&knows), knows);
        // After pods were counted and before the look, and after it.
        meanwhile.hold(&port("pnc"));
        meanwhile.look();
        meanwhile.release(&port("pna"));
        meanwhile.hold(&port("pnd"));
        assert_eq!(meanwhile.upon(&knows), of(&["pnb", "pnc", "pnd"]));
        // The last change counts.
        meanwhile.release(&port("pnc"));
        meanwhile.release(&port("pnd"));
        meanwhile.hold(&port("pna"));
        assert_eq!(meanwhile.upon(&knows), knows);
        // Whoever wants something after two looks knows of all that.
        meanwhile.look();
        meanwhile.look();
        assert_eq!(meanwhile, Meanwhile::default());
    }
}
