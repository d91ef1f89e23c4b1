//! Which chains drop what pods send to each other, or change its source.

use std::collections::BTreeSet;
use std::fmt;

use ipnetwork::Ipv4Network;

use super::{ChainName, Condition, Hook, Names, NftChain, NftRule, NftVerdict, Ranges, Ruleset};
use crate::kernel::IfName;

/// How deep chains may lead to each other; the kernel allows no more (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: u32 = 16;

/// The packets by which some pods open connections to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The device that it comes in by.
    pub input: IfName,
    /// The device that it leaves by.
    pub output: IfName,
    /// Where it comes from.
    pub source: Ipv4Network,
    /// Where it goes.
    pub destination: Ipv4Network,
}

/// What pods of a block send to those of other nodes, by way of these devices, and what these send to them.
#[must_use]
pub fn flows(
    block: Ipv4Network,
    networks: &[Ipv4Network],
    devices: &BTreeSet<IfName>,
) -> Vec<Flow> {
    let mut flows = Vec::new();
    for (device, &network) in devices
        .iter()
        .flat_map(|device| networks.iter().map(move |network| (device, network)))
    {
        let (inside, outside) = (IfName::bridge(), device.clone());
        flows.push(Flow {
            input: inside.clone(),
            output: outside.clone(),
            source: block,
            destination: network,
        });
        flows.push(Flow {
            input: outside,
            output: inside,
            source: network,
            destination: block,
        });
    }
    flows
}

/// A chain that is in the way of pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// The chain that the kernel calls.
    pub chain: ChainName,
    /// What decides: a rule, or the chain's policy.
    pub by: Decider,
    /// Whether it changes the source of packets; else it drops them.
    pub translates: bool,
    /// Whether it does so to all of a flow for certain; else it depends on what podnet does not know.
    pub certain: bool,
}

/// The part of a chain that decides about a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decider {
    /// The policy of the chain.
    Policy,
    /// A rule.
    Rule {
        /// The chain that it is in.
        chain: ChainName,
        /// Its number.
        handle: u64,
    },
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Decider::Policy => write!(f, "the policy of {}", self.chain)?,
            Decider::Rule { chain, handle } => write!(f, "rule {handle} of {chain}")?,
        }
        f.write_str(match (self.translates, self.certain) {
            (false, true) => ": it drops what pods of different nodes send to each other",
            (false, false) => ": it may drop what pods of different nodes send to each other",
            (true, true) => {
                ": it gives what pods send to pods of other nodes another source address"
            }
            (true, false) => {
                ": it may give what pods send to pods of other nodes another source address"
            }
        })
    }
}

impl Suspect {
    /// The cure, for the user. Podnet cannot mend this: a packet has to pass the chains of all tables.
    #[must_use]
    pub fn cure(&self, networks: &[Ipv4Network]) -> String {
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let networks = networks.join(", ");
        let ChainName { family, table, .. } = &self.chain;
        let see = format!("see 'nft -a list table {family} {table}'");
        if self.translates {
            format!("{see}; let it leave out what goes from {networks} to {networks}")
        } else {
            format!(
                "{see}; let it accept what comes in or leaves by podnet0, from or to {networks}: what \
                 podnet accepts, chains of other tables still drop"
            )
        }
    }
}

/// The chains that are in the way of these flows.
#[must_use]
pub fn suspects(ruleset: &Ruleset, flows: &[Flow]) -> BTreeSet<Suspect> {
    let mut found = BTreeSet::new();
    for (name, chain) in &ruleset.chains {
        let Some(base) = chain.base else { continue };
        for flow in flows {
            let walk = Walk {
                ruleset,
                flow,
                translating: base.hook == Hook::SourceNat,
            };
            let mut course = Course::default();
            let end = walk.chain(name, chain, &mut course, DEEPEST);
            if end != End::Decided && base.drops {
                course.meets(Decider::Policy, end == End::Open);
            }
            found.extend(course.met.map(|(by, certain)| Suspect {
                chain: name.clone(),
                by,
                translates: walk.translating,
                certain,
            }));
        }
    }
    found
}

/// What has become of a packet on its way.
#[derive(Debug, Default)]
struct Course {
    /// Whether something may have let it pass before.
    may_have_passed: bool,
    /// What stops it, and whether that is certain.
    met: Option<(Decider, bool)>,
}

impl Course {
    /// It meets what stops it, for certain or perhaps. What stops it for certain counts for more.
    fn meets(&mut self, by: Decider, surely: bool) {
        let certain = surely && !self.may_have_passed;
        if self.met.is_none() || certain {
            self.met = Some((by, certain));
        }
    }
}

/// How packets leave a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing has decided about any.
    Open,
    /// Some may have been decided about, and about others nothing has.
    Either,
    /// They pass, or are lost.
    Decided,
}

impl End {
    /// The end of the packets that go on, if others may have left the chain before without a decision.
    fn beside(self, some_left: bool) -> Self {
        if some_left && self == Self::Decided {
            Self::Either
        } else {
            self
        }
    }
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    flow: &'a Flow,
    /// Whether to look for what changes the source of packets; else for what drops them.
    translating: bool,
}

impl Walk<'_> {
    fn chain(&self, name: &ChainName, chain: &NftChain, course: &mut Course, depth: u32) -> End {
        // Whether some may have left the chain without a decision.
        let mut some_left = false;
        for rule in &chain.rules {
            let Some(surely) = self.fits(rule) else {
                continue;
            };
            let by = || Decider::Rule {
                chain: name.clone(),
                handle: rule.handle,
            };
            match &rule.verdict {
                NftVerdict::None => {}
                NftVerdict::Return if surely => return End::Open,
                NftVerdict::Accept if surely => return End::Decided.beside(some_left),
                NftVerdict::Drop | NftVerdict::Translate => {
                    if self.translating == (rule.verdict == NftVerdict::Translate) {
                        course.meets(by(), surely);
                    }
                    if surely {
                        return End::Decided.beside(some_left);
                    }
                }
                NftVerdict::Jump(target) | NftVerdict::Goto(target) => {
                    course.may_have_passed |= !surely;
                    let end = self.target(name, target, course, depth);
                    let goes = matches!(rule.verdict, NftVerdict::Goto(_));
                    if surely && (goes || end == End::Decided) {
                        return end.beside(some_left);
                    }
                    some_left |= goes && end != End::Decided;
                    course.may_have_passed |= end == End::Either;
                }
                NftVerdict::Return => {
                    some_left = true;
                    course.may_have_passed = true;
                }
                NftVerdict::Accept | NftVerdict::Unknown => {
                    course.may_have_passed = true;
                }
            }
        }
        End::Open
    }

    fn target(&self, from: &ChainName, target: &str, course: &mut Course, depth: u32) -> End {
        let name = ChainName {
            chain: target.to_owned(),
            ..from.clone()
        };
        match (self.ruleset.chains.get(&name), depth.checked_sub(1)) {
            (Some(chain), Some(depth)) => self.chain(&name, chain, course, depth),
            (None, _) | (_, None) => {
                course.may_have_passed = true;
                End::Open
            }
        }
    }

    /// Whether a packet of the flow fits a rule: `Some(true)` if all do, `None` if none does.
    fn fits(&self, rule: &NftRule) -> Option<bool> {
        let mut surely = true;
        for condition in &rule.conditions {
            surely &= self.meets(condition)?;
        }
        Some(surely)
    }

    fn meets(&self, condition: &Condition) -> Option<bool> {
        let flow = self.flow;
        match condition {
            Condition::Input(names) => is_named(names, &flow.input),
            Condition::Output(names) => is_named(names, &flow.output),
            Condition::Source(ranges) => is_within(ranges, flow.source),
            Condition::Destination(ranges) => is_within(ranges, flow.destination),
            Condition::Opens(may) | Condition::Ipv4(may) => may.then_some(true),
            Condition::Unknown => Some(false),
        }
    }
}

fn is_named(names: &Names, device: &IfName) -> Option<bool> {
    let device = device.as_str();
    let named = names.names.iter().any(|name| match name.strip_suffix('*') {
        Some(beginning) => device.starts_with(beginning),
        None => device == name,
    });
    (named != names.all_but).then_some(true)
}

fn is_within(ranges: &Ranges, network: Ipv4Network) -> Option<bool> {
    let (first, last) = (network.network(), network.broadcast());
    let ranges_of = || ranges.ranges.iter();
    let all = ranges_of().any(|(from, to)| *from <= first && last <= *to);
    let none = !ranges_of().any(|(from, to)| *from <= last && first <= *to);
    match (all, none, ranges.all_but) {
        (true, _, false) | (_, true, true) => Some(true),
        (_, true, false) | (true, _, true) => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests;
