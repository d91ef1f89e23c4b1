//! Nodes of this version in a cluster of a later one.

use podnet_proto::PodNetwork;
use podnet_proto::gossip::Key;
use podnet_proto::ledger::{Decided, Settings};
use podnet_proto::network::BlockIndex;
use proptest::prelude::*;

use super::super::tests::{Host, genesis, node, settle, view};
use super::super::{ClaimState, Durable};
use super::*;
use crate::view::View;

/// The ledger with a setting more.
fn with_setting(ledger: &Decided, setting: &str) -> Decided {
    let text = serde_json::to_string(&Settings::default()).unwrap();
    let text = text.replacen('{', &format!("{{{setting},"), 1);
    let settings: Settings = serde_json::from_str(&text).unwrap();
    ledger.changed(|next| {
        next.previous = ledger.hash();
        next.slot += 1;
        next.settings = settings;
    })
}

/// A founder and a member, and the founder's ledger with a setting of a later version.
fn upgraded() -> (Host, Host, Decided) {
    let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut second]);
    let ledger = with_setting(founder.machine.ledger().unwrap(), "\"mtu\":1400");
    let founder = Host::new(1, 10, Durable::founder(ledger.clone()));
    (founder, second, ledger)
}

#[test]
fn a_node_that_meets_a_setting_that_it_does_not_know_follows_and_decides_nothing() {
    let (_, mut second, ledger) = upgraded();
    let wide = ledger.changed(|ledger| {
        ledger.networks = vec![PodNetwork::parse("10.0.0.0/22", 24).unwrap()];
    });
    let mut founder = Host::new(1, 10, Durable::founder(wide.clone()));
    let mut third = Host::joiner(3);
    third.step(0, &View::default());
    for millis in [4000, 5000, 9000] {
        let outcome = founder.step(millis, &view(millis, &[&second, &third]));
        assert_eq!(outcome.unknown.len(), 1);
        assert_eq!(outcome.unknown[0].name, "mtu");
        assert_eq!(outcome.state, ClaimState::Using, "its pods stay");
        assert_eq!(founder.keys[&Key::Prop], "");
        second.step(millis, &view(millis, &[&founder, &third]));
        third.step(millis, &view(millis, &[&founder, &second]));
    }
    assert_eq!(founder.machine.ledger(), Some(&wide), "it decides nothing");
    let outcome = second.step(9001, &view(9001, &[&founder]));
    assert_eq!(second.machine.ledger(), Some(&wide), "a member follows");
    assert_eq!(
        (outcome.using, outcome.unknown.len()),
        (Some(BlockIndex(1)), 1)
    );
    assert!(third.want().is_some(), "a newcomer may ask");
}

#[test]
fn a_voter_that_does_not_know_a_setting_votes_on_what_others_propose_as_it_is_written() {
    let (_, _, ledger) = upgraded();
    let ledger = ledger.changed(|ledger| {
        ledger.networks = vec![PodNetwork::parse("10.0.0.0/22", 24).unwrap()];
        ledger.voters = vec![node(1), node(2), node(7)];
    });
    let mut voter = Host::new(2, 20, Durable::founder(ledger.clone()));
    let known = ledger.changed(|ledger| ledger.settings = Settings::default());
    let mut later = Host::new(1, 10, Durable::founder(known));
    let mut joiner = Host::joiner(3);
    joiner.step(0, &View::default());
    later.step(0, &View::default());
    voter.step(0, &View::default());
    later.step(4000, &view(4000, &[&voter, &joiner]));
    let shown = view(4000, &[&later]);
    let prop = shown.entries()[0].prop.clone();
    voter.step(4000, &shown);
    let promised = voter.machine.durable().acceptor.promised;
    assert_eq!(promised, prop.map(|prop| prop.ballot));
    assert!(promised.is_some());
    let after = voter.step(4001, &View::default());
    assert_eq!(after.keys[&Key::Prop], "");
}

proptest! {
    /// Whatever a later version has put beside the settings, one that does not know it proposes on.
    #[test]
    fn what_a_voter_does_not_know_is_in_what_it_proposes(name in "x-[a-z]{1,8}", value in any::<u64>()) {
        let field = format!("\"{name}\":{value}");
        let text = genesis().text().replacen('{', &format!("{{{field},"), 1);
        let ledger = Decided::read(&text).unwrap();
        let mut founder = Host::new(1, 10, Durable::founder(ledger.clone()));
        let mut second = Host::new(2, 20, Durable::joiner(ledger.cluster, ledger.checkpoint()));
        settle(0, &mut [&mut founder, &mut second]);
        settle(4000, &mut [&mut founder, &mut second]);
        let decided = founder.machine.ledger().unwrap();
        prop_assert_eq!(decided.slot, 1);
        prop_assert!(decided.text().contains(&field));
        prop_assert_eq!(second.machine.ledger(), Some(decided));
        prop_assert_eq!(decided.previous, ledger.hash());
    }
}

#[test]
fn encapsulations_without_tunnels_are_known_and_long_values_are_shortened() {
    let settings = |mode| Settings::new(mode, Vec::new());
    assert!(knows_all(&settings(EncapsulationMode::Direct)));
    for mode in [EncapsulationMode::Auto, EncapsulationMode::Wireguard] {
        assert!(!knows_all(&settings(mode)));
        let [unknown] = &unknown_settings(&settings(mode))[..] else {
            panic!("one setting");
        };
        assert_eq!(unknown.name, "encapsulation");
        assert_eq!(unknown.value, format!("\"{mode}\""));
    }
    let long = with_setting(&genesis(), &format!("\"x\":\"{}\"", "y".repeat(1000)));
    let unknown = unknown_settings(&long.settings);
    assert!(unknown[0].value.len() < 100, "{unknown:?}");
}
