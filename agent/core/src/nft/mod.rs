//! Chains of nftables, as data, and which of them are in the way of pods.
//!
//! Of a rule only as much is kept as tells what becomes of what pods send to each other. A condition that
//! says nothing of that, or that is not understood, is [`Condition::Unknown`]: then nothing is certain.

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

/// Where the kernel calls a chain from, of those places that pods' packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What is forwarded is let through, or not.
    Forward,
    /// What leaves the host is given another source address, or not.
    SourceNat,
}

/// A chain that the kernel itself calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// From where.
    pub hook: Hook,
    /// Whether what no rule decides about is dropped.
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
    /// By name.
    pub chains: BTreeMap<ChainName, NftChain>,
}

/// A rule: a packet that meets all conditions meets the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftRule {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub verdict: NftVerdict,
    /// The number by which the kernel knows it.
    pub handle: u64,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NftVerdict {
    /// Nothing: the next rule.
    None,
    /// It passes this chain and those that led here.
    Accept,
    /// It is lost.
    Drop,
    /// It gets another source address.
    Translate,
    /// Back to the chain that led here.
    Return,
    /// On to a chain, and back.
    Jump(String),
    /// On to a chain, and not back.
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
    /// Whatever else.
    Unknown,
}

/// Names of devices; one that ends in `*` stands for all that begin so.
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
