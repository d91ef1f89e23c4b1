//! Firewall rules as data. A back end writes them into the kernel and reads them back.

mod difference;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use podnet_proto::PodNetwork;

pub use self::difference::{Op, Unreadable};
pub(super) use self::difference::{difference, keep};
pub use self::seen::{Bystander, ObservedFirewall};
use super::desired::Input;
use super::link::IfName;

/// A chain of podnet's own, at a stage of a packet's way. Each is jumped to from one built-in chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// For what leaves the host: source NAT.
    Postrouting,
    /// For what the host forwards.
    Forward,
}

impl Chain {
    /// All chains.
    pub const ALL: [Self; 2] = [Self::Postrouting, Self::Forward];

    /// The chain's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postrouting => "PODNET-POSTROUTING",
            Self::Forward => "PODNET-FORWARD",
        }
    }

    /// The built-in chain that jumps to it.
    #[must_use]
    pub const fn hook(self) -> &'static str {
        match self {
            Self::Postrouting => "POSTROUTING",
            Self::Forward => "FORWARD",
        }
    }

    /// The table that holds it, as iptables(8) names them.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Postrouting => "nat",
            Self::Forward => "filter",
        }
    }
}

/// What happens to a packet that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes back to the built-in chain.
    Return,
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
    /// It leaves with the address of the device that it leaves by, and with a port that is chosen
    /// wholly at random: two connections at once never race for one.
    Masquerade,
    /// It goes to this address instead, and to this port if one is named: a published port of a pod.
    Redirect(IpAddr, Option<u16>),
}

/// A transport protocol, of those that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Its name, as in /etc/protocols.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The service that packets are for: a protocol, and one of its ports or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The protocol.
    pub protocol: Protocol,
    /// The port that they go to.
    pub port: Option<u16>,
}

/// Some bits of the mark that the kernel keeps beside a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The values of the bits.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// Which devices a condition holds for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// This one.
    Is(IfName),
    /// All but this one.
    IsNot(IfName),
}

/// A rule: a packet that fits meets the verdict. `None` fits all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Where the packet comes from.
    pub source: Option<IpNetwork>,
    /// Where it goes.
    pub destination: Option<IpNetwork>,
    /// The device that it came in by.
    pub input: Option<Device>,
    /// The device that it leaves by.
    pub output: Option<Device>,
    /// What it is for.
    pub service: Option<Service>,
    /// Its mark.
    pub mark: Option<Mark>,
    /// What happens to it.
    pub verdict: Verdict,
}

impl Rule {
    /// A rule that all packets fit.
    #[must_use]
    pub const fn all(verdict: Verdict) -> Self {
        Self {
            source: None,
            destination: None,
            input: None,
            output: None,
            service: None,
            mark: None,
            verdict,
        }
    }

    /// Whether the rule is about IPv4, or about any family.
    #[must_use]
    pub fn is_of_ipv4(&self) -> bool {
        let mut networks = [self.source, self.destination].into_iter().flatten();
        let redirected = matches!(self.verdict, Verdict::Redirect(IpAddr::V6(_), _));
        networks.all(|network| network.is_ipv4()) && !redirected
    }

    /// The device that the rule guards, if it is the rule of a [`Guard`].
    #[must_use]
    pub fn guarded(&self) -> Option<&IfName> {
        if let (Some(Device::Is(device)), Some(Device::IsNot(pods))) = (&self.input, &self.output)
            && *pods == IfName::bridge()
            && self.verdict == Verdict::Drop
        {
            Some(device)
        } else {
            None
        }
    }
}

/// A device that podnet has opened on a host that is no router: what comes in by it reaches only pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The device.
    pub device: IfName,
    /// Whether it is a bridge.
    pub bridge: bool,
}

impl Guard {
    /// What a bridge passes on from port to port can meet the rules for what is forwarded
    /// (`bridge-nf-call-iptables`), with the bridge on both sides; it needs no forwarding, and podnet
    /// must not drop it.
    fn rules(&self) -> impl Iterator<Item = Rule> {
        let input = Some(Device::Is(self.device.clone()));
        let bridged = Rule {
            input: input.clone(),
            output: input.clone(),
            ..Rule::all(Verdict::Return)
        };
        let strange = Rule {
            input,
            output: Some(Device::IsNot(IfName::bridge())),
            ..Rule::all(Verdict::Drop)
        };
        self.bridge.then_some(bridged).into_iter().chain([strange])
    }
}

/// All of podnet's rules, for any back end; an empty set has no chains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSet {
    /// The rules of each chain, in order.
    pub chains: BTreeMap<Chain, Vec<Rule>>,
}

impl RuleSet {
    /// The devices by which only pods are reached.
    #[must_use]
    pub fn guarded(&self) -> BTreeSet<IfName> {
        let rules = self.chains.get(&Chain::Forward).into_iter().flatten();
        rules.filter_map(Rule::guarded).cloned().collect()
    }

    /// The part that a back end must hold which only has to let forwarded packets pass, beside the
    /// primary one that holds all.
    #[must_use]
    pub fn forwarding(&self) -> Self {
        let chains = &self.chains;
        Self {
            chains: chains
                .get(&Chain::Forward)
                .map(|rules| (Chain::Forward, rules.clone()))
                .into_iter()
                .collect(),
        }
    }
}

/// The rules of a node that uses a block.
pub(super) fn wanted(input: &Input<'_>) -> RuleSet {
    let networks = input.networks.iter().map(PodNetwork::cidr);
    let networks: Vec<IpNetwork> = networks.map(IpNetwork::V4).collect();
    let excluded: Vec<IpNetwork> = input.excluded.iter().copied().map(IpNetwork::V4).collect();
    let guards = input.forwarding.guards(input.opened);
    rules(&networks, &[IpNetwork::V4(input.block)], &excluded, &guards)
}

/// The multicast range, which is never translated (RFC 5771).
const MULTICAST: &str = "224.0.0.0/4";

/// How the kernel tells of a destination: without host bits, and nothing of all destinations, which
/// are no condition.
fn as_read_back(destination: IpNetwork) -> Option<IpNetwork> {
    let range = IpNetwork::new(destination.network(), destination.prefix()).unwrap_or(destination);
    (range.prefix() > 0).then_some(range)
}

/// The rules of a node which has `blocks`, and whose cluster's pods are in `pod_networks`.
///
/// What pods send, and what goes to pods, is forwarded whatever the policy of the built-in chain is;
/// nothing else that comes in by the `guards`. What the node's own pods send out of the pod networks gets
/// the node's address, unless it goes to one of the `excluded` ranges. What keeps its address is accepted,
/// so that no rule behind podnet's jump translates it; a frame from port to port of podnet's bridge is never
/// translated, whatever its destination.
#[must_use]
pub fn rules(
    pod_networks: &[IpNetwork],
    blocks: &[IpNetwork],
    excluded: &[IpNetwork],
    guards: &[Guard],
) -> RuleSet {
    if pod_networks.is_empty() {
        return RuleSet::default();
    }
    RuleSet {
        chains: BTreeMap::from([
            (
                Chain::Postrouting,
                translated(pod_networks, blocks, excluded),
            ),
            (Chain::Forward, forwarded(pod_networks, guards)),
        ]),
    }
}

/// The base rules of what leaves the host.
fn translated(
    pod_networks: &[IpNetwork],
    blocks: &[IpNetwork],
    excluded: &[IpNetwork],
) -> Vec<Rule> {
    let multicast: Option<IpNetwork> = MULTICAST.parse().ok();
    let mut rules = Vec::new();
    for &source in pod_networks {
        let same_family = |network: &&IpNetwork| network.is_ipv4() == source.is_ipv4();
        let pods = pod_networks.iter().filter(same_family);
        rules.extend(pods.map(|&destination| kept(source, destination)));
    }
    for &block in blocks {
        let same_family = |network: &&IpNetwork| network.is_ipv4() == block.is_ipv4();
        let others = excluded.iter().chain(&multicast).filter(same_family);
        rules.extend(others.map(|&destination| kept(block, destination)));
        rules.push(Rule {
            source: Some(block),
            output: Some(Device::IsNot(IfName::bridge())),
            ..Rule::all(Verdict::Masquerade)
        });
    }
    rules
}

/// The base rules of what the host forwards.
fn forwarded(pod_networks: &[IpNetwork], guards: &[Guard]) -> Vec<Rule> {
    let by_bridge = Some(Device::Is(IfName::bridge()));
    let mut rules = Vec::new();
    for &network in pod_networks {
        let from_pods = Rule {
            source: Some(network),
            input: by_bridge.clone(),
            ..Rule::all(Verdict::Accept)
        };
        let to_pods = Rule {
            destination: Some(network),
            output: by_bridge.clone(),
            ..Rule::all(Verdict::Accept)
        };
        rules.extend([from_pods, to_pods]);
    }
    rules.extend(guards.iter().flat_map(Guard::rules));
    rules
}

/// What goes from here to there keeps its address.
fn kept(source: IpNetwork, destination: IpNetwork) -> Rule {
    Rule {
        source: Some(source),
        destination: as_read_back(destination),
        ..Rule::all(Verdict::Accept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn pods_keep_their_address_inside_and_lose_it_outside() {
        let (pods, block) = (network("10.244.0.0/16"), network("10.244.7.0/24"));
        let excluded = network("10.9.0.0/16");
        let rules = rules(&[pods], &[block], &[excluded], &[]);
        let kept = |source, destination| Rule {
            source: Some(source),
            destination: Some(destination),
            ..Rule::all(Verdict::Accept)
        };
        assert_eq!(
            rules.chains[&Chain::Postrouting],
            [
                kept(pods, pods),
                kept(block, excluded),
                kept(block, network("224.0.0.0/4")),
                Rule {
                    source: Some(block),
                    output: Some(Device::IsNot(IfName::bridge())),
                    ..Rule::all(Verdict::Masquerade)
                },
            ]
        );
        assert_eq!(rules.chains[&Chain::Forward].len(), 2);
        assert_eq!(rules.forwarding().chains.len(), 1);
    }

    #[test]
    fn by_a_guarded_device_only_pods_are_reached() {
        let device = |name: &str| name.parse::<IfName>().unwrap();
        let guard = |name: &str, bridge| Guard {
            device: device(name),
            bridge,
        };
        let guards = [guard("br0", true), guard("eth0", false)];
        let pods = network("10.244.0.0/16");
        let rules = rules(&[pods], &[], &[], &guards);
        let is = |name: &str| Some(Device::Is(device(name)));
        let strange = |name: &str| Rule {
            input: is(name),
            output: Some(Device::IsNot(IfName::bridge())),
            ..Rule::all(Verdict::Drop)
        };
        let guarded: Vec<_> = rules.chains[&Chain::Forward]
            .iter()
            .filter_map(Rule::guarded)
            .collect();
        assert_eq!(guarded, [&device("br0"), &device("eth0")]);
        assert_eq!(
            rules.chains[&Chain::Forward],
            [
                Rule {
                    source: Some(pods),
                    input: is("podnet0"),
                    ..Rule::all(Verdict::Accept)
                },
                Rule {
                    destination: Some(pods),
                    output: is("podnet0"),
                    ..Rule::all(Verdict::Accept)
                },
                Rule {
                    input: is("br0"),
                    output: is("br0"),
                    ..Rule::all(Verdict::Return)
                },
                strange("br0"),
                strange("eth0"),
            ]
        );
    }

    #[test]
    fn to_exclude_everything_is_no_condition() {
        let pods = [network("10.244.0.0/16")];
        let rules = rules(&pods, &pods, &[network("0.0.0.0/0")], &[]);
        let destinations = rules.chains[&Chain::Postrouting]
            .iter()
            .map(|rule| rule.destination);
        assert_eq!(destinations.filter(Option::is_none).count(), 2);
    }

    #[test]
    fn a_range_is_written_as_the_kernel_tells_of_it() {
        let pods = [network("10.244.0.0/16")];
        let rules = rules(&pods, &pods, &[network("10.9.1.1/16")], &[]);
        let expected = Some(network("10.9.0.0/16"));
        assert_eq!(rules.chains[&Chain::Postrouting][1].destination, expected);
    }

    #[test]
    fn no_networks_no_rules() {
        let excluded = [network("10.9.0.0/16")];
        assert_eq!(rules(&[], &[], &excluded, &[]), RuleSet::default());
    }
}
