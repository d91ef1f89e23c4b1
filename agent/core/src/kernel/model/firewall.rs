//! Firewall back ends.

use std::collections::{BTreeMap, BTreeSet};

use super::Kernel;
use crate::kernel::firewall::{Chain, ObservedFirewall, Op, Rule, RuleSet};
use crate::kernel::{OpError, OpErrorKind};

/// A firewall back end, with what podnet and other programs keep in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    name: String,
    primary: bool,
    chains: BTreeMap<Chain, Vec<Option<Rule>>>,
    jumps: BTreeMap<Chain, usize>,
    foreign: Vec<String>,
}

impl Backend {
    /// A back end without rules. The primary one holds all of podnet's, another one those that let
    /// forwarded packets pass.
    #[must_use]
    pub fn new(name: &str, primary: bool) -> Self {
        Self {
            name: name.to_owned(),
            primary,
            chains: BTreeMap::new(),
            jumps: BTreeMap::new(),
            foreign: Vec::new(),
        }
    }

    /// Removes podnet's chains and the jumps to them.
    pub fn clear(&mut self) {
        self.chains.clear();
        self.jumps.clear();
    }

    /// Empties a chain of podnet's.
    pub fn flush(&mut self, chain: Chain) {
        if let Some(rules) = self.chains.get_mut(&chain) {
            rules.clear();
        }
    }

    /// Adds a rule that podnet never makes to a chain of podnet's.
    pub fn add_strange_rule(&mut self, chain: Chain) {
        if let Some(rules) = self.chains.get_mut(&chain) {
            rules.push(None);
        }
    }

    /// Sets how often a chain of podnet's is jumped to.
    pub fn set_jumps(&mut self, chain: Chain, count: usize) {
        if self.chains.contains_key(&chain) {
            self.jumps.insert(chain, count);
        }
    }

    /// Adds a rule of another program, outside of podnet's chains.
    pub fn add_foreign(&mut self, rule: &str) {
        self.foreign.push(rule.to_owned());
    }

    fn set(&mut self, rules: &RuleSet) {
        let part = if self.primary {
            rules.clone()
        } else {
            rules.forwarding()
        };
        self.jumps = part.chains.keys().map(|chain| (*chain, 1)).collect();
        self.chains = part
            .chains
            .into_iter()
            .map(|(chain, rules)| (chain, rules.into_iter().map(Some).collect()))
            .collect();
    }

    fn observed(&self) -> ObservedFirewall {
        ObservedFirewall {
            backend: self.name.clone(),
            primary: self.primary,
            chains: self.chains.clone(),
            jumps: self.jumps.clone(),
            referenced: BTreeSet::new(),
            namesakes: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            ahead: BTreeSet::new(),
        }
    }
}

impl Kernel {
    pub(super) fn apply_to_firewall(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::Set(rules) => self.put_rules(rules)?,
            Op::Remove => self.firewall.iter_mut().for_each(Backend::clear),
        }
        Ok(())
    }

    pub(super) fn observe_firewall(&self) -> Vec<ObservedFirewall> {
        self.firewall.iter().map(Backend::observed).collect()
    }

    fn put_rules(&mut self, rules: &RuleSet) -> Result<(), OpError> {
        if self.firewall.is_empty() {
            let kind = OpErrorKind::MissingBinary("iptables".to_owned());
            return Err(OpError::new(kind, "there is no firewall back end"));
        }
        self.firewall
            .iter_mut()
            .for_each(|backend| backend.set(rules));
        Ok(())
    }
}
