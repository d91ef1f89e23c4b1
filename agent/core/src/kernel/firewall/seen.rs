//! What is seen of podnet's chains, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Chain, Rule, RuleSet};
use crate::kernel::link::IfName;

/// A firewall back end that must hold podnet's rules, and what it holds.
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
    /// Podnet's chains that rules of other programs jump to: these can be emptied, but not removed.
    pub referenced: BTreeSet<Chain>,
    /// Chains of other programs with names like podnet's, as `TABLE/NAME`.
    pub namesakes: BTreeSet<String>,
    /// Podnet's chains whose table the back end cannot show, since something in it was made by other
    /// means: nothing is known of it, and nothing in it is changed.
    pub unreadable: BTreeSet<Chain>,
    /// Rules of other programs before podnet's jump that accept whatever is forwarded, or whatever comes in or leaves
    /// by a device, as the back end shows them.
    pub ahead: BTreeSet<String>,
}

/// Something that other programs have beside podnet's rules, and that podnet leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bystander {
    /// What it is, in words.
    pub what: String,
    /// What to do about it.
    pub cure: &'static str,
}

impl ObservedFirewall {
    /// What podnet may have in tables that it cannot look at, and so cannot remove, in words with the
    /// cure.
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

    /// Chains of other programs under podnet's names, which are harmless, and their rules that open to
    /// strangers the devices that podnet has opened to pods.
    pub fn bystanders(&self) -> impl Iterator<Item = Bystander> {
        let named = self.namesakes().chain(self.relied_on());
        let named = named.map(|what| Bystander {
            what,
            cure: "give it another name; podnet leaves it alone, and chains that it leads to stay",
        });
        named.chain(self.bypasses())
    }

    /// Chains of other programs with names like podnet's, in words.
    pub fn namesakes(&self) -> impl Iterator<Item = String> {
        let backend = &self.backend;
        let namesakes = self.namesakes.iter();
        namesakes.map(move |chain| format!("chain {chain} in {backend}: podnet did not make it"))
    }

    /// Rules of other programs that open to strangers what podnet has opened to pods.
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

    /// Podnet's chains that rules of other programs jump to, in words.
    pub fn relied_on(&self) -> impl Iterator<Item = String> {
        let backend = &self.backend;
        self.referenced.iter().map(move |chain| {
            let (table, name) = (chain.table(), chain.name());
            format!("chain {table}/{name} in {backend}: rules of another program jump to it")
        })
    }

    /// Chains of podnet's names with rules that podnet never makes, in words: as long as podnet has made no
    /// chain, another program has made these.
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

    /// Whether nothing is left of podnet's chain except what cannot be removed.
    fn is_husk(&self, chain: Chain) -> bool {
        let empty = self.chains.get(&chain).is_some_and(Vec::is_empty);
        empty && self.referenced.contains(&chain)
    }

    /// The part of the rules that this back end is to hold.
    pub(super) fn share(&self, wanted: &RuleSet) -> RuleSet {
        if self.primary {
            wanted.clone()
        } else {
            wanted.forwarding()
        }
    }

    /// What is wrong with the rules, in words: this back end is to hold exactly its share of these, and a single
    /// jump to each chain. Of a table that cannot be read nothing is known.
    pub(super) fn defects(&self, wanted: &RuleSet) -> Vec<String> {
        let wanted = self.share(wanted);
        let mut defects = Vec::new();
        let readable = |chain: &Chain| !self.unreadable.contains(chain);
        for chain in Chain::ALL.into_iter().filter(readable) {
            let (name, hook) = (chain.name(), chain.hook());
            let backend = &self.backend;
            match (wanted.chains.get(&chain), self.chains.get(&chain)) {
                (Some(_), None) => defects.push(format!("no chain {name} in {backend}")),
                (None, Some(_)) if self.is_husk(chain) => {}
                (None, Some(_)) => defects.push(format!("a chain {name} in {backend}")),
                (Some(rules), Some(held))
                    if !held.iter().map(Option::as_ref).eq(rules.iter().map(Some)) =>
                {
                    defects.push(format!("other rules in {name} of {backend}"));
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
            let jumps = self.jumps.get(&chain).copied().unwrap_or(0);
            if jumps != usize::from(wanted.chains.contains_key(&chain)) {
                defects.push(format!("{jumps} jumps from {hook} to {name} in {backend}"));
            }
        }
        defects
    }
}
