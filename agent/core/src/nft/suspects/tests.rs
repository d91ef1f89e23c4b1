use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::Base;
use super::*;

fn named(chain: &str) -> ChainName {
    ChainName {
        family: "inet".to_owned(),
        table: "fw".to_owned(),
        chain: chain.to_owned(),
    }
}

fn network(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}

fn flow() -> Flow {
    Flow {
        input: IfName::bridge(),
        output: "eth0".parse().unwrap(),
        source: network("10.244.0.0/24"),
        destination: network("10.244.1.0/24"),
    }
}

fn rule(conditions: &[Condition], verdict: NftVerdict) -> NftRule {
    NftRule {
        conditions: conditions.to_vec(),
        verdict,
        handle: 7,
    }
}

fn input(name: &str) -> Condition {
    Condition::Input(Names {
        names: vec![name.to_owned()],
        all_but: false,
    })
}

fn source(range: &str) -> Condition {
    let range = network(range);
    Condition::Source(Ranges {
        ranges: vec![(range.network(), range.broadcast())],
        all_but: false,
    })
}

fn base(hook: Hook, drops: bool, rules: Vec<NftRule>) -> NftChain {
    NftChain {
        base: Some(Base { hook, drops }),
        rules,
    }
}

fn judged(chain: NftChain, other: Vec<NftRule>) -> Vec<(bool, bool)> {
    let other = NftChain {
        base: None,
        rules: other,
    };
    let ruleset = Ruleset {
        chains: [(named("base"), chain), (named("other"), other)].into(),
    };
    let found = suspects(&ruleset, &[flow()]);
    let verdicts = found.iter().map(|found| (found.translates, found.certain));
    verdicts.collect()
}

fn forward(drops: bool, rules: &[NftRule]) -> Vec<(bool, bool)> {
    judged(base(Hook::Forward, drops, rules.to_vec()), Vec::new())
}

const CERTAIN: [(bool, bool); 1] = [(false, true)];
const PERHAPS: [(bool, bool); 1] = [(false, false)];
const NONE: [(bool, bool); 0] = [];

#[test]
fn what_drops_all_that_pods_send_is_named() {
    use NftVerdict::{Accept, Drop, Return};
    let drop = || rule(&[], Drop);
    assert_eq!(forward(true, &[]), CERTAIN, "the policy");
    assert_eq!(forward(false, &[drop()]), CERTAIN, "a last rule");
    assert_eq!(forward(true, &[rule(&[], Return)]), CERTAIN);
    assert_eq!(forward(false, &[]), NONE);
    let answers = rule(&[Condition::Opens(false)], Accept);
    assert_eq!(forward(true, &[answers]), CERTAIN, "answers alone pass");
    assert_eq!(forward(true, &[rule(&[input("lo")], Accept)]), CERTAIN);
    assert_eq!(
        forward(true, &[rule(&[source("10.0.0.0/8")], Accept)]),
        NONE
    );
    assert_eq!(forward(true, &[rule(&[input("pod*")], Accept)]), NONE);
    assert_eq!(forward(false, &[rule(&[input("podnet0")], Drop)]), CERTAIN);
    assert_eq!(
        forward(false, &[rule(&[Condition::Ipv4(false)], Drop)]),
        NONE
    );
}

#[test]
fn what_podnet_does_not_know_is_never_certain() {
    use NftVerdict::{Accept, Drop, Unknown};
    let perhaps = |verdict| rule(&[Condition::Unknown], verdict);
    assert_eq!(forward(true, &[perhaps(Accept)]), PERHAPS);
    assert_eq!(forward(false, &[perhaps(Drop)]), PERHAPS);
    assert_eq!(forward(true, &[perhaps(Drop)]), CERTAIN);
    assert_eq!(forward(true, &[rule(&[], Unknown)]), PERHAPS);
    let half = rule(&[source("10.244.0.0/25")], Accept);
    assert_eq!(forward(true, &[half]), PERHAPS);
    let nowhere = rule(&[], NftVerdict::Jump("nowhere".to_owned()));
    assert_eq!(forward(true, &[nowhere]), PERHAPS);
}

#[test]
fn chains_are_followed_to_where_they_lead() {
    use NftVerdict::{Accept, Drop, Return};
    for (other, policy, expected) in [
        (rule(&[], Accept), true, &NONE[..]),
        (rule(&[], Return), true, &CERTAIN),
        (rule(&[], Drop), false, &CERTAIN),
        (rule(&[input("lo")], Drop), false, &NONE),
        (rule(&[Condition::Unknown], Accept), true, &PERHAPS),
    ] {
        let to = "other".to_owned();
        for verdict in [NftVerdict::Jump(to.clone()), NftVerdict::Goto(to)] {
            let chain = base(Hook::Forward, policy, vec![rule(&[], verdict)]);
            assert_eq!(judged(chain, vec![other.clone()]), expected, "{other:?}");
        }
    }
    let endless = rule(&[], NftVerdict::Jump("other".to_owned()));
    let chain = base(Hook::Forward, true, vec![endless.clone()]);
    assert_eq!(judged(chain, vec![endless]), PERHAPS);
}

#[test]
fn what_leaves_a_chain_without_a_decision_meets_what_follows() {
    use NftVerdict::{Accept, Goto, Jump, Return};
    let half = |verdict| rule(&[source("10.244.0.0/25")], verdict);
    let all = |verdict| rule(&[], verdict);
    let (to, accept) = (|| "other".to_owned(), || rule(&[], Accept));
    for (rules, other) in [
        (vec![half(Goto(to())), accept()], vec![]),
        (vec![half(Return), accept()], vec![]),
        (vec![all(Jump(to()))], vec![half(Return), accept()]),
        (vec![all(Goto(to()))], vec![half(Return), accept()]),
    ] {
        for (drops, expected) in [(true, &PERHAPS[..]), (false, &NONE)] {
            let chain = base(Hook::Forward, drops, rules.clone());
            assert_eq!(judged(chain, other.clone()), expected, "{rules:?}");
        }
    }
}

#[test]
fn what_changes_the_source_of_pods_is_named() {
    use NftVerdict::{Return, Translate};
    let nat = |rules: &[NftRule]| judged(base(Hook::SourceNat, false, rules.to_vec()), Vec::new());
    assert_eq!(nat(&[rule(&[], Translate)]), [(true, true)]);
    assert_eq!(
        nat(&[rule(&[Condition::Unknown], Translate)]),
        [(true, false)]
    );
    assert_eq!(nat(&[rule(&[source("10.9.0.0/16")], Translate)]), NONE);
    let left_out = rule(&[source("10.244.0.0/16")], Return);
    assert_eq!(nat(&[left_out, rule(&[], Translate)]), NONE);
    assert_eq!(
        nat(&[rule(&[], NftVerdict::Drop)]),
        NONE,
        "a matter of other chains"
    );
}

fn any_rule() -> impl Strategy<Value = NftRule> {
    let condition = prop::sample::select(vec![
        input("podnet0"),
        input("lo"),
        source("10.244.0.0/24"),
        source("10.244.0.0/25"),
        source("192.0.2.0/24"),
        Condition::Opens(false),
        Condition::Unknown,
    ]);
    let verdict = prop::sample::select(vec![
        NftVerdict::None,
        NftVerdict::Accept,
        NftVerdict::Drop,
        NftVerdict::Return,
        NftVerdict::Jump("other".to_owned()),
        NftVerdict::Goto("other".to_owned()),
        NftVerdict::Unknown,
    ]);
    (prop::collection::vec(condition, 0..2), verdict)
        .prop_map(|(conditions, verdict)| rule(&conditions, verdict))
}

/// Answers to what is unknown, in turn.
struct Oracle<'a> {
    ruleset: &'a Ruleset,
    packet: Ipv4Addr,
    known: &'a [bool],
    at: usize,
}

impl Oracle<'_> {
    fn next(&mut self) -> bool {
        self.at += 1;
        self.known[self.at % self.known.len()]
    }

    fn fits(&mut self, condition: &Condition) -> bool {
        match condition {
            Condition::Input(names) => names.names == ["podnet0"],
            Condition::Source(ranges) => {
                let (from, to) = ranges.ranges[0];
                from <= self.packet && self.packet <= to
            }
            Condition::Opens(may) => *may,
            Condition::Output(_)
            | Condition::Destination(_)
            | Condition::Ipv4(_)
            | Condition::Unknown => self.next(),
        }
    }

    /// Whether the packet passes; `None` where nothing decides about it.
    fn passes(&mut self, chain: &NftChain) -> Option<bool> {
        for rule in &chain.rules {
            if !rule.conditions.iter().all(|condition| self.fits(condition)) {
                continue;
            }
            match &rule.verdict {
                NftVerdict::Accept => return Some(true),
                NftVerdict::Drop => return Some(false),
                NftVerdict::Unknown => {
                    if self.next() {
                        return Some(self.next());
                    }
                }
                NftVerdict::Return => return None,
                NftVerdict::Jump(to) | NftVerdict::Goto(to) => {
                    let ruleset = self.ruleset;
                    let end = self.passes(&ruleset.chains[&named(to)]);
                    if end.is_some() || matches!(rule.verdict, NftVerdict::Goto(_)) {
                        return end;
                    }
                }
                NftVerdict::None | NftVerdict::Translate => {}
            }
        }
        None
    }
}

proptest! {
    /// Whatever the unknown comes to: no packet of the flow passes what is certain to drop it.
    #[test]
    fn nothing_passes_what_certainly_drops(
        rules in prop::collection::vec(any_rule(), 0..6),
        other in prop::collection::vec(
            any_rule().prop_filter("no loops", |rule| {
                !matches!(rule.verdict, NftVerdict::Jump(_) | NftVerdict::Goto(_))
            }),
            0..4,
        ),
        drops: bool,
        known in prop::collection::vec(any::<bool>(), 1..8),
        host: u8,
    ) {
        let chain = base(Hook::Forward, drops, rules);
        let other = NftChain { base: None, rules: other };
        let ruleset = Ruleset {
            chains: [(named("base"), chain.clone()), (named("other"), other)].into(),
        };
        let found = suspects(&ruleset, &[flow()]);
        let packet = Ipv4Addr::new(10, 244, 0, host);
        let mut oracle = Oracle { ruleset: &ruleset, packet, known: &known, at: 0 };
        let passes = oracle.passes(&chain).unwrap_or(!drops);
        if found.iter().any(|found| found.certain) {
            prop_assert!(!passes);
        }
        let mut rules = ruleset.chains.values().flat_map(|chain| &chain.rules);
        let unknown = rules.any(|rule| rule.verdict == NftVerdict::Unknown);
        if found.is_empty() && !unknown {
            prop_assert!(passes);
        }
    }
}
