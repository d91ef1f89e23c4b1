//! What the pods of a node are held to by nftables: beside the bridge, which knows nothing of IP addresses.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::iter;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};

use super::desired::Desired;
use super::link::{IfName, MacAddr, PodLink};
use super::op::Op;

/// How many pods are held again one by one: more of them are missing only where the table as a whole is wrong.
const MOST_BY_ONE: usize = 32;

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

/// What has become of single pods of late. Whoever writes the table as a whole knows pods only as they were before
/// the look that showed that it has to be written, and may undo nothing that was done since.
///
/// What he knows is of some time after the look before that: so this goes back that far.
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

    /// What the table is to hold, where somebody who may not know of all this wants it to hold that.
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

/// Podnet's table of the bridge in nftables, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedHolding {
    /// There is none, and this host cannot hold pods by nftables; why.
    Impossible(String),
    /// What is there cannot be looked at; why.
    Unseen(String),
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
        let (ruled, found) = match self {
            Self::Absent => return vec![Op::SetHolding(wanted)],
            Self::Impossible(_) | Self::Unseen(_) => return Vec::new(),
            Self::Table { ruled, holding } => (*ruled, holding),
        };
        wanted.extend(&found.of_ports(|port| desired.in_flight.contains_key(port)));
        let (missing, extra) = (wanted.without(found), found.without(&wanted));
        let strays = extra.of_ports(|port| !desired.pods.contains_key(port));
        let release = strays
            .by_port()
            .map(|(host_ifname, holding)| Op::ReleasePod {
                host_ifname,
                holding,
            });
        let many = missing.by_port().nth(MOST_BY_ONE).is_some();
        // Nobody but another program lets a pod of this node send from more than it has.
        if !ruled || many || extra != strays {
            // A stray may be a pod that came after all pods were counted: whoever lets go of one asks again.
            wanted.extend(&strays);
            return iter::once(Op::SetHolding(wanted)).chain(release).collect();
        }
        let hold = missing.by_port().map(|(host_ifname, holding)| Op::HoldPod {
            host_ifname,
            holding,
        });
        hold.chain(release).collect()
    }

    /// Why nftables does not hold pods right now; `None` if it does.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        match self {
            Self::Impossible(why) => Some(why.clone()),
            Self::Unseen(why) => Some(format!("table bridge podnet cannot be looked at: {why}")),
            Self::Absent => Some("table bridge podnet is not there".to_owned()),
            Self::Table { ruled: false, .. } => {
                Some("table bridge podnet has other rules than podnet's".to_owned())
            }
            Self::Table { ruled: true, .. } => None,
        }
    }

    /// What is wrong with it, in words.
    pub(super) fn faults(&self, wanted: &Holding) -> Vec<String> {
        let (ruled, found) = match self {
            Self::Impossible(_) | Self::Unseen(_) => return Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str) -> Holding {
        Holding {
            ports: [name.parse().unwrap()].into(),
            sources: BTreeSet::from([Source {
                port: name.parse().unwrap(),
                mac: MacAddr([2; 6]),
                address: Ipv4Addr::new(10, 244, 0, 2),
            }]),
        }
    }

    fn of(names: &[&str]) -> Holding {
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
        // The last word counts.
        meanwhile.release(&port("pnc"));
        meanwhile.release(&port("pnd"));
        meanwhile.hold(&port("pna"));
        assert_eq!(meanwhile.upon(&knows), knows);
        // Whoever wants something after two looks knows of all that.
        meanwhile.look();
        meanwhile.look();
        assert_eq!(meanwhile, Meanwhile::default());
    }

    fn table(ruled: bool, holding: Holding) -> ObservedHolding {
        ObservedHolding::Table { ruled, holding }
    }

    fn release(name: &str) -> Op {
        Op::ReleasePod {
            host_ifname: name.parse().unwrap(),
            holding: port(name),
        }
    }

    #[test]
    fn a_port_that_is_not_known_is_let_go_of_by_itself() {
        let desired = Desired {
            holding: Some(Holding::default()),
            ..Desired::default()
        };
        let stray = of(&["pna"]);
        let changes = table(true, stray.clone()).changes(&desired);
        assert_eq!(changes, [release("pna")]);
        let changes = table(false, stray.clone()).changes(&desired);
        assert_eq!(changes, [Op::SetHolding(stray), release("pna")]);
    }

    #[test]
    fn many_pods_are_held_again_by_one_change() {
        let names: Vec<String> = (0..=MOST_BY_ONE).map(|n| format!("pn{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (count, changes) in [(MOST_BY_ONE, MOST_BY_ONE), (MOST_BY_ONE + 1, 1)] {
            let desired = Desired {
                holding: Some(of(&names[..count])),
                ..Desired::default()
            };
            let found = table(true, Holding::default());
            assert_eq!(found.changes(&desired).len(), changes);
        }
    }

    #[test]
    fn only_podnets_own_rules_hold() {
        let held = of(&["pna"]);
        assert_eq!(table(true, held.clone()).shortfall(), None);
        let why = || "no nft".to_owned();
        for lacking in [
            table(false, held),
            ObservedHolding::Absent,
            ObservedHolding::Unseen(why()),
            ObservedHolding::Impossible(why()),
        ] {
            assert!(lacking.shortfall().is_some(), "{lacking:?}");
        }
    }
}
