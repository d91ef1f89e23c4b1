//! Firewall rules.

use std::collections::BTreeMap;

use podnet_core::kernel::firewall::{Chain, Guard, RuleSet, rules};
use podnet_core::kernel::{ObservedFirewall, Op, firewall};

use crate::subject::{apply, name, net, seen_firewall};
use crate::world::World;

fn some_rules() -> RuleSet {
    rules(
        &[net("10.244.0.0/16"), net("10.9.0.0/24")],
        &[net("10.244.7.0/24")],
        &[net("172.16.0.0/12"), net("192.0.2.77/32")],
        &[("br0", true), ("eth0", false), ("tun0.7", false)].map(|(device, bridge)| Guard {
            device: name(device),
            bridge,
        }),
    )
}

/// Whether a back end holds these rules, and each of its chains is jumped to once.
fn holds(found: &ObservedFirewall, rules: &RuleSet) -> bool {
    let chains: BTreeMap<_, Vec<_>> = rules
        .chains
        .iter()
        .map(|(chain, rules)| (*chain, rules.iter().cloned().map(Some).collect()))
        .collect();
    let jumps = Chain::ALL.map(|chain| found.jumps.get(&chain).copied().unwrap_or(0));
    let right = Chain::ALL.map(|chain| usize::from(chains.contains_key(&chain)));
    found.chains == chains && jumps == right
}

async fn assert_holds(world: &dyn World, rules: &RuleSet) {
    let found = seen_firewall(world).await;
    let [primary] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(primary.primary && holds(primary, rules), "{primary:?}");
}

pub(crate) async fn rules_are_held_as_told(world: &dyn World) {
    assert_holds(world, &RuleSet::default()).await;
    for _ in 0..2 {
        apply(world, &[Op::Firewall(firewall::Op::Set(some_rules()))]).await;
        assert_holds(world, &some_rules()).await;
    }
}

pub(crate) async fn rules_are_replaced(world: &dyn World) {
    apply(world, &[Op::Firewall(firewall::Op::Set(some_rules()))]).await;
    let fewer = rules(&[net("10.244.0.0/16")], &[net("10.244.7.0/24")], &[], &[]);
    apply(world, &[Op::Firewall(firewall::Op::Set(fewer.clone()))]).await;
    assert_holds(world, &fewer).await;
    let one_chain = fewer.forwarding();
    apply(world, &[Op::Firewall(firewall::Op::Set(one_chain.clone()))]).await;
    assert_holds(world, &one_chain).await;
}

pub(crate) async fn rules_are_removed(world: &dyn World) {
    apply(world, &[Op::Firewall(firewall::Op::Remove)]).await;
    apply(
        world,
        &[
            Op::Firewall(firewall::Op::Set(some_rules())),
            Op::Firewall(firewall::Op::Remove),
            Op::Firewall(firewall::Op::Remove),
        ],
    )
    .await;
    assert_holds(world, &RuleSet::default()).await;
}

pub(crate) async fn tampered_rules_are_seen_and_set_right(world: &dyn World) {
    let tampers: [fn(&dyn World, Chain); 4] = [
        |world, chain| world.flush_chain(chain),
        |world, chain| world.add_strange_rule(chain),
        |world, chain| world.add_jump(chain),
        |world, chain| world.delete_jump(chain),
    ];
    apply(world, &[Op::Firewall(firewall::Op::Set(some_rules()))]).await;
    for (number, tamper) in tampers.iter().enumerate() {
        for chain in Chain::ALL {
            tamper(world, chain);
            let found = seen_firewall(world).await;
            assert!(
                !holds(&found[0], &some_rules()),
                "{number}, {chain:?} is seen: {found:?}"
            );
            apply(world, &[Op::Firewall(firewall::Op::Set(some_rules()))]).await;
            assert_holds(world, &some_rules()).await;
        }
    }
    world.add_jump(Chain::Forward);
    world.add_strange_rule(Chain::Forward);
    apply(world, &[Op::Firewall(firewall::Op::Remove)]).await;
    assert_holds(world, &RuleSet::default()).await;
}

pub(crate) async fn foreign_rules_survive(world: &dyn World) {
    world.add_foreign_rule();
    let before = world.foreign();
    let fewer = rules(&[net("10.244.0.0/16")], &[net("10.244.7.0/24")], &[], &[]);
    for op in [
        Op::Firewall(firewall::Op::Set(some_rules())),
        Op::Firewall(firewall::Op::Set(fewer)),
        Op::Firewall(firewall::Op::Remove),
    ] {
        apply(world, &[op]).await;
        assert_eq!(world.foreign(), before);
    }
    assert_holds(world, &RuleSet::default()).await;
}

/// A host may use both variants of iptables; what one lets pass the other can still drop.
pub(crate) async fn a_second_back_end_lets_packets_pass(world: &dyn World) {
    apply(world, &[Op::Firewall(firewall::Op::Set(some_rules()))]).await;
    world.add_second_backend();
    let found = seen_firewall(world).await;
    let [primary, second] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(
        primary.primary && !second.primary && primary.backend != second.backend,
        "{found:?}"
    );
    assert!(
        holds(primary, &some_rules()) && holds(second, &RuleSet::default()),
        "{found:?}"
    );
    apply(world, &[Op::Firewall(firewall::Op::Set(some_rules()))]).await;
    let found = seen_firewall(world).await;
    assert!(holds(&found[0], &some_rules()), "{found:?}");
    assert!(holds(&found[1], &some_rules().forwarding()), "{found:?}");
    apply(world, &[Op::Firewall(firewall::Op::Remove)]).await;
    let found = seen_firewall(world).await;
    assert!(
        found
            .iter()
            .all(|backend| holds(backend, &RuleSet::default())),
        "{found:?}"
    );
}
