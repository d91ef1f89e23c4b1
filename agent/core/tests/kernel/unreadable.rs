//! Tables that a back end cannot show.

use std::collections::{BTreeMap, BTreeSet};

use podnet_core::kernel::firewall::{self, Chain, RuleSet, rules};
use podnet_core::kernel::{Desired, Observed, ObservedFirewall, Op, Plan, diff};

/// The rules of a node.
fn wanted() -> RuleSet {
    let pods = ["10.244.0.0/16".parse().unwrap()];
    rules(&pods, &["10.244.7.0/24".parse().unwrap()], &[], &[])
}

/// A back end with all rules in the nat table, and a filter table that it cannot show.
fn backend() -> ObservedFirewall {
    let nat = Chain::Postrouting;
    let rules = wanted().chains.remove(&nat).unwrap();
    ObservedFirewall {
        backend: "iptables-nft".to_owned(),
        primary: true,
        chains: BTreeMap::from([(nat, rules.into_iter().map(Some).collect())]),
        jumps: BTreeMap::from([(nat, 1)]),
        referenced: BTreeSet::new(),
        namesakes: BTreeSet::new(),
        unreadable: BTreeSet::from([Chain::Forward]),
        ahead: BTreeSet::new(),
    }
}

fn plan(firewall: RuleSet, backend: ObservedFirewall) -> Plan {
    let desired = Desired {
        firewall,
        ..Desired::default()
    };
    let observed = Observed {
        firewall: Some(vec![backend]),
        ..Observed::default()
    };
    diff(&desired, &observed)
}

#[test]
fn a_table_that_cannot_be_read_is_named_and_never_written() {
    let found = plan(wanted(), backend());
    assert_eq!(found.ops, []);
    let named: Vec<_> = found.conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        [
            "chain PODNET-FORWARD in table filter of iptables-nft: a rule that iptables cannot show is in the way"
        ]
    );
    let cure = found.conflicts.first().unwrap().cure();
    assert!(cure.contains("nft list table ip filter"), "{cure}");
}

#[test]
fn what_can_be_read_is_put_right_and_taken_away() {
    let mut tampered = backend();
    tampered.jumps.clear();
    assert_eq!(
        plan(wanted(), tampered).ops,
        [Op::Firewall(firewall::Op::Set(wanted()))]
    );
    let gone = plan(RuleSet::default(), backend());
    assert_eq!(gone.ops, [Op::Firewall(firewall::Op::Remove)]);
    assert!(gone.conflicts.is_empty(), "it can go without");
    let mut bare = backend();
    (bare.chains, bare.jumps) = Default::default();
    let done = plan(RuleSet::default(), bare.clone());
    assert_eq!((done.ops, done.conflicts.len()), (vec![], 0));
    let left: Vec<_> = bare.out_of_reach().collect();
    assert!(
        left[0].starts_with("table filter of iptables-nft"),
        "{left:?}"
    );
}
