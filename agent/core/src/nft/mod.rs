//! Chains of nftables, as data, and which of them are in the way of pods.
//!
//! Of a rule, only as much is kept as decides what becomes of the packets that pods send to each other. A
//! condition on something else, or one that is not understood, is [`Condition::Unknown`]: then nothing is certain.

mod suspects;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

pub use self::suspects::{Decider, Flow, Suspect, flows, suspects};

/// The name of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainName {
    /// The family of its table, such as `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name in the table.
    pub chain: String,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            table,
            chain,
        } = self;
        write!(f, "chain {chain} in table {family} {table}")
    }
}

/// The hooks that pods' packets pass, from which the kernel calls chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Decides whether what is forwarded passes.
    Forward,
    /// Decides whether what leaves the host gets another source address.
    SourceNat,
}

/// A chain that the kernel itself calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// From which hook the kernel calls it.
    pub hook: Hook,
    /// Whether packets about which no rule decides are dropped.
    pub drops: bool,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NftChain {
    /// How the kernel calls it; `None` for a chain that only other chains lead to.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

/// The chains of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The chains, by name.
    pub chains: BTreeMap<ChainName, NftChain>,
}

/// A rule: a packet that meets all conditions meets the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftRule {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub verdict: NftVerdict,
    /// The number that the kernel has given the rule.
    pub handle: u64,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NftVerdict {
    /// Nothing: the next rule decides.
    None,
    /// It passes this chain and those that led here.
    Accept,
    /// It is dropped.
    Drop,
    /// It gets another source address.
    Translate,
    /// It goes back to the chain that led here.
    Return,
    /// It goes to another chain, and comes back.
    Jump(String),
    /// It goes to another chain, and does not come back.
    Goto(String),
    /// Something that is not understood.
    Unknown,
}

/// A condition on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The device that it came in by has one of these names.
    Input(Names),
    /// The device that it leaves by has one of these names.
    Output(Names),
    /// Its source is in one of these ranges.
    Source(Ranges),
    /// Its destination is in one of these ranges.
    Destination(Ranges),
    /// Whether it may be the first packet of a connection.
    Opens(bool),
    /// Whether it may be a packet of IPv4.
    Ipv4(bool),
    /// Anything else.
    Unknown,
}

/// Names of devices; one that ends in `*` stands for all with that beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The names.
    pub names: Vec<String>,
    /// Whether all names but these are meant.
    pub all_but: bool,
}

/// Ranges of addresses, from the first to the last of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// The ranges.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Whether all addresses but these are meant.
    pub all_but: bool,
}
