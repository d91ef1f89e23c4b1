use std::collections::BTreeMap;

use podnet_core::kernel::firewall::{Chain, Guard, RuleSet, rules};
use podnet_core::kernel::{Kind, Kinds, ObservedFirewall, Op, firewall};

use super::harness::{apply, attempt, look, on_a_host, run};
use crate::dataplane::linux::Linux;

/// A device of the usual kind, and a bridge.
fn guards() -> [Guard; 2] {
    [("br-0a.7", true), ("eth0", false)].map(|(device, bridge)| Guard {
        device: device.parse().unwrap(),
        bridge,
    })
}

fn rule_set(excluded: &str) -> RuleSet {
    rules(
        &["10.244.0.0/16".parse().unwrap()],
        &["10.244.7.0/24".parse().unwrap()],
        &[excluded.parse().unwrap()],
        &guards(),
    )
}

async fn observed(linux: &Linux) -> Vec<ObservedFirewall> {
    look(linux, Kinds::from([Kind::Firewall]))
        .await
        .firewall
        .unwrap()
}

/// Asserts that a back end holds exactly these rules.
fn assert_holds(backend: &ObservedFirewall, rules: &RuleSet) {
    let chains: BTreeMap<_, Vec<_>> = rules
        .chains
        .iter()
        .map(|(chain, rules)| (*chain, rules.iter().cloned().map(Some).collect()))
        .collect();
    assert_eq!(backend.chains, chains);
    let jumps: BTreeMap<_, _> = rules.chains.keys().map(|chain| (*chain, 1)).collect();
    assert_eq!(backend.jumps, jumps);
}

#[test]
fn rules_are_read_back_as_they_were_set() {
    on_a_host(async |linux| {
        let found = observed(&linux).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_holds(&found[0], &RuleSet::default());
        assert!(
            !attempt("grep -q . /proc/net/ip_tables_names").0,
            "looking made a legacy table"
        );

        // A second set takes the first one's place, and neither touches what else is there.
        run("iptables -A FORWARD -i lo -j DROP");
        for excluded in ["10.9.0.0/16", "10.8.0.1/32"] {
            apply(&linux, Op::Firewall(firewall::Op::Set(rule_set(excluded))))
                .await
                .unwrap();
            let found = observed(&linux).await;
            assert!(found[0].primary);
            assert_holds(&found[0], &rule_set(excluded));
        }
        run("iptables -C FORWARD -i lo -j DROP");

        for _twice in 0..2 {
            apply(&linux, Op::Firewall(firewall::Op::Remove))
                .await
                .unwrap();
            assert_holds(&observed(&linux).await[0], &RuleSet::default());
        }
        run("iptables -C FORWARD -i lo -j DROP");
    });
}

#[test]
fn what_others_did_to_the_rules_is_seen_and_put_right() {
    on_a_host(async |linux| {
        let rules = rule_set("10.9.0.0/16");
        apply(&linux, Op::Firewall(firewall::Op::Set(rules.clone())))
            .await
            .unwrap();
        let tampering = [
            "iptables -A FORWARD -m comment --comment podnet -j PODNET-FORWARD",
            "iptables -D FORWARD -m comment --comment podnet -j PODNET-FORWARD",
            "iptables -A PODNET-FORWARD -i lo -j DROP",
            "iptables -t nat -F PODNET-POSTROUTING",
            "iptables -t nat -F",
            "iptables -t nat -F && iptables -t nat -X PODNET-POSTROUTING",
            "nft flush ruleset",
        ];
        for command in tampering {
            run(command);
            let found = observed(&linux).await;
            let untouched = found[0].chains.iter().all(|(chain, found)| {
                found
                    .iter()
                    .map(Option::as_ref)
                    .eq(rules.chains[chain].iter().map(Some))
            });
            let jumps = Chain::ALL
                .iter()
                .all(|chain| found[0].jumps.get(chain) == Some(&1));
            assert!(
                !(untouched && jumps && found[0].chains.len() == 2),
                "{command}: {found:?}"
            );
            apply(&linux, Op::Firewall(firewall::Op::Set(rules.clone())))
                .await
                .unwrap();
            assert_holds(&observed(&linux).await[0], &rules);
        }
    });
}

#[test]
fn the_other_variant_gets_the_forwarding_rules_where_it_is_used() {
    on_a_host(async |linux| {
        let (usable, _) = attempt("iptables-legacy -P FORWARD DROP");
        assert!(usable, "this kernel has no legacy iptables");
        let rules = rule_set("10.9.0.0/16");
        apply(&linux, Op::Firewall(firewall::Op::Set(rules.clone())))
            .await
            .unwrap();
        let found = observed(&linux).await;
        let [primary, secondary] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(primary.primary && !secondary.primary);
        assert_holds(primary, &rules);
        assert_eq!(secondary.backend, "iptables-legacy");
        assert_holds(secondary, &rules.forwarding());
        assert!(run("iptables-legacy -S FORWARD").contains("-P FORWARD DROP"));

        apply(&linux, Op::Firewall(firewall::Op::Remove))
            .await
            .unwrap();
        for backend in observed(&linux).await {
            assert_holds(&backend, &RuleSet::default());
        }
    });
}
