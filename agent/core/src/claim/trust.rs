//! Whom the machine believes: disks that were rolled back, clones, and liars.

use std::net::SocketAddrV4;

use podnet_proto::Boot;
use podnet_proto::gossip::{Key, SnapRecord, UseRecord, Want, WantKind, encode};
use podnet_proto::ledger::Decided;
use podnet_proto::network::BlockIndex;

use super::tests::{Host, at, genesis, node, settle, view};
use super::{ClaimState, Durable, Muted, Outcome};
use crate::view::{RawEntry, Reader, View};

/// An entry at another address, as of a clone or a liar.
fn elsewhere(mut entry: RawEntry, values: &[(Key, String)]) -> RawEntry {
    entry.address = SocketAddrV4::new([192, 0, 2, 99].into(), 1);
    entry.values = std::sync::Arc::new({
        let mut all = (*entry.values).clone();
        all.extend(values.iter().cloned());
        all
    });
    entry
}

fn usage(slot: u64, boot: u64, block: Option<u16>) -> (Key, String) {
    let usage = UseRecord {
        slot,
        boot: Boot(boot),
        block: block.map(BlockIndex),
    };
    (Key::Use, encode(&usage).unwrap())
}

fn snap(ledger: &Decided) -> (Key, String) {
    let ledger = ledger.clone();
    (Key::Snap, encode(&SnapRecord { ledger }).unwrap())
}

fn step(host: &mut Host, millis: u64, entries: Vec<RawEntry>) -> Outcome {
    host.step(millis, &Reader::default().read(at(millis), entries))
}

/// A founder with two members, and what was on its disk before the second came.
fn rolled_back() -> (Host, Host, Host) {
    let (mut founder, mut second, mut third) = (Host::founder(), Host::joiner(2), Host::joiner(3));
    settle(0, &mut [&mut founder, &mut second]);
    let mut wide = founder.machine.durable().clone();
    let networks = vec![podnet_proto::PodNetwork::parse("10.0.0.0/22", 24).unwrap()];
    let ledger = wide.ledger.as_mut().unwrap();
    *ledger = ledger.changed(|ledger| ledger.networks = networks);
    let mut founder = Host::new(1, 10, wide.clone());
    let mut second_wide = second.machine.durable().clone();
    second_wide.ledger.clone_from(&wide.ledger);
    second = Host::new(2, 20, second_wide);
    third = Host::new(3, 30, third.machine.durable().clone());
    settle(1, &mut [&mut founder, &mut second, &mut third]);
    settle(5000, &mut [&mut founder, &mut second, &mut third]);
    assert_eq!(founder.machine.ledger().unwrap().boots.len(), 3);
    (Host::new(1, 10, wide), second, third)
}

#[test]
fn a_voter_that_is_behind_decides_nothing_until_members_have_shown_what_it_has_forgotten() {
    let (mut founder, mut second, third) = rolled_back();
    let mut fourth = Host::joiner(4);
    fourth.step(0, &View::default());
    let outcome = founder.step(9000, &view(9000, &[&second, &third, &fourth]));
    let slot = second.machine.ledger().unwrap().slot;
    let behind = |member| {
        Some(Muted::Behind {
            node: node(member),
            slot,
        })
    };
    assert!(
        [behind(2), behind(3)].contains(&outcome.muted),
        "{:?}",
        outcome.muted
    );
    assert!(!outcome.persist);
    assert_eq!(outcome.state, ClaimState::Using, "its own block is its own");
    assert_eq!(founder.keys[&Key::Acc], "", "it votes for nothing");

    // A member that starts again has said nothing yet, for a moment.
    for silent in [vec![&fourth], vec![]] {
        let outcome = founder.step(9000, &view(9000, &silent));
        assert!(outcome.muted.is_some() && !outcome.persist);
    }

    // A majority of those that the rolled back ledger has as members is the second alone.
    second.step(9001, &view(9001, &[&founder]));
    assert!(!second.keys[&Key::Snap].is_empty());
    let outcome = founder.step(9002, &view(9002, &[&second, &third, &fourth]));
    assert!(
        outcome.persist && outcome.muted.is_none(),
        "{:?}",
        outcome.muted
    );
    let ledger = founder.machine.ledger().unwrap();
    assert!(ledger.slot >= slot && ledger.boots.contains_key(&node(3)));
    let owners: std::collections::BTreeSet<_> = ledger.blocks.values().collect();
    assert_eq!(owners.len(), ledger.blocks.len());
    second.step(9003, &view(9003, &[&founder]));
    assert_eq!(
        second.keys[&Key::Snap],
        "",
        "it shows it no longer than it has to"
    );
}

#[test]
fn a_founder_that_has_forgotten_its_first_member_learns_of_it_from_that_member() {
    let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut second]);
    let mut founder = Host::new(1, 10, Durable::founder(genesis()));
    let mut third = Host::joiner(3);
    third.step(0, &View::default());
    let outcome = founder.step(5000, &view(5000, &[&third]));
    assert_eq!(
        outcome.muted,
        Some(Muted::Listening),
        "it may have let somebody in before"
    );
    settle(5001, &mut [&mut founder, &mut second]);
    assert_eq!(founder.machine.ledger(), second.machine.ledger());
    assert_eq!(founder.machine.ledger().unwrap().slot, 1);
}

#[test]
fn a_founder_learns_what_it_has_forgotten_from_what_it_published_itself() {
    let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut second]);
    let own = founder.entry(true);
    let mut founder = Host::founder();
    let outcome = step(&mut founder, 1, vec![own]);
    assert!(outcome.persist);
    assert_eq!(founder.machine.ledger(), second.machine.ledger());
}

#[test]
fn what_a_liar_says_to_a_lone_founder_does_not_take_its_block() {
    let mut founder = Host::founder();
    let lie = genesis().changed(|lie| {
        lie.slot = 7;
        lie.blocks = [(BlockIndex(0), node(9))].into();
        lie.boots = [(node(9), Boot(9))].into();
    });
    let entry = elsewhere(
        RawEntry {
            values: std::sync::Arc::default(),
            node: node(9),
            address: "192.0.2.9:1".parse().unwrap(),
            live: true,
            last_seen: None,
        },
        &[usage(7, 9, Some(0)), snap(&lie)],
    );
    step(&mut founder, 1, vec![entry.clone()]);
    step(&mut founder, 2, vec![entry]);
    assert_eq!(founder.machine.ledger(), Some(&genesis()));
}

#[test]
fn a_clone_keeps_silent_while_the_original_is_alive_and_takes_its_place_when_it_is_gone() {
    for voter in [true, false] {
        let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
        settle(0, &mut [&mut founder, &mut second]);
        let original = if voter { &founder } else { &second };
        let (id, disk) = (1 + u8::from(!voter), original.machine.durable().clone());
        let mut clone = Host::new(id, 66, disk);
        let alive = original.entry(true);
        for millis in [10, 5000] {
            let outcome = step(&mut clone, millis, vec![elsewhere(alive.clone(), &[])]);
            let twin = matches!(outcome.muted, Some(Muted::Twin { .. }));
            assert!(twin, "{:?}", outcome.muted);
            assert_eq!((outcome.using, outcome.persist), (None, false));
            assert_eq!((clone.want(), clone.keys[&Key::Acc].as_str()), (None, ""));
        }
        // An original that starts again has said nothing yet, for a moment.
        let silent = RawEntry {
            values: std::sync::Arc::default(),
            ..elsewhere(alive.clone(), &[])
        };
        let outcome = step(&mut clone, 6000, vec![silent]);
        assert!(outcome.muted.is_some() && clone.want().is_none());
        // The same reader all along: else whatever it sees is new to it.
        let mut reader = Reader::default();
        let dead = || RawEntry {
            live: false,
            ..elsewhere(alive.clone(), &[])
        };
        reader.read(at(5000), vec![dead()]);
        let others = if voter {
            vec![]
        } else {
            vec![founder.entry(true)]
        };
        let seen = [vec![dead()], others].concat();
        let outcome = clone.step(9000, &reader.read(at(9000), seen));
        assert_eq!(outcome.muted, None);
        assert_eq!(outcome.using.is_some(), voter);
        assert_eq!(clone.want().is_some(), !voter);
    }
}

#[test]
fn no_voter_gives_a_boot_up_whose_instance_looks_alive() {
    let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut second]);
    let mut clone = Host::new(2, 29, second.machine.durable().clone());
    clone.step(0, &View::default());
    clone.step(4000, &View::default());
    assert!(clone.want().is_some());
    let both = vec![second.entry(true), elsewhere(clone.entry(true), &[])];
    // The second one has said nothing yet: its gossip has just started.
    let mut starting = both.clone();
    starting[0].values = std::sync::Arc::default();
    for seen in [both, starting] {
        step(&mut founder, 5000, seen);
        assert_eq!(founder.machine.ledger().unwrap().boots[&node(2)], Boot(20));
    }
    step(&mut founder, 9000, vec![elsewhere(clone.entry(true), &[])]);
    assert_eq!(founder.machine.ledger().unwrap().boots[&node(2)], Boot(29));
}

#[test]
fn of_two_clones_whose_boots_are_new_the_one_with_the_smaller_goes_first() {
    let disk = Durable::founder(genesis());
    let (mut small, mut great) = (Host::new(1, 11, disk.clone()), Host::new(1, 12, disk));
    for millis in [0, 3000] {
        let seen = vec![elsewhere(great.entry(true), &[])];
        step(&mut small, millis, seen);
        let seen = vec![elsewhere(small.entry(true), &[])];
        step(&mut great, millis, seen);
    }
    assert_eq!(small.machine.ledger().unwrap().boots[&node(1)], Boot(11));
    assert_eq!(great.machine.ledger().unwrap().boots[&node(1)], Boot(11));
    let seen = vec![elsewhere(small.entry(true), &[])];
    let outcome = step(&mut great, 9000, seen);
    assert!(matches!(outcome.muted, Some(Muted::Twin { .. })));
}

#[test]
fn a_release_is_heeded_from_whoever_runs_with_that_boot_and_uses_nothing() {
    let release = |boot| {
        let want = Want {
            boot: Boot(boot),
            want: WantKind::Release,
            replaces: None,
            released: 0,
        };
        (Key::Want, encode(&want).unwrap())
    };
    let forged = [
        vec![release(20)],
        vec![release(20), usage(1, 21, None)],
        vec![release(20), usage(1, 20, Some(1))],
        vec![release(20), usage(1, 20, None)],
    ];
    for (number, values) in forged.iter().enumerate() {
        let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
        settle(0, &mut [&mut founder, &mut second]);
        let honest = second.entry(true);
        let lie = RawEntry {
            values: std::sync::Arc::default(),
            ..honest.clone()
        };
        let lie = elsewhere(lie, values);
        step(&mut founder, 5000, vec![honest.clone(), lie.clone()]);
        let boots = &founder.machine.ledger().unwrap().boots;
        assert!(boots.contains_key(&node(2)), "{number}");
    }
    let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut second]);
    second.machine.leave();
    settle(5000, &mut [&mut founder, &mut second]);
    let boots = &founder.machine.ledger().unwrap().boots;
    assert!(!boots.contains_key(&node(2)));
}

#[test]
fn a_ledger_of_nobody_that_votes_or_beyond_all_reason_is_not_taken_over() {
    let (mut founder, mut second) = (Host::founder(), Host::joiner(2));
    settle(0, &mut [&mut founder, &mut second]);
    let known = second.machine.ledger().unwrap().clone();
    for (by, slot, refused) in [(9, 2, false), (9, u64::MAX, false), (1, u64::MAX, true)] {
        let lie = known.changed(|lie| {
            lie.slot = slot;
            lie.previous = known.hash();
            lie.blocks = [(BlockIndex(0), node(1)), (BlockIndex(1), node(9))].into();
            lie.boots = [(node(1), Boot(10)), (node(9), Boot(9))].into();
        });
        let entry = RawEntry {
            node: node(by),
            ..elsewhere(founder.entry(true), &[snap(&lie), usage(slot, 9, None)])
        };
        for host in [&mut founder, &mut second] {
            let outcome = step(host, 9000, vec![entry.clone()]);
            assert_eq!(host.machine.ledger(), Some(&known), "{by} {slot}");
            assert_eq!(outcome.refused.contains(&node(by)), refused, "{by} {slot}");
            assert_eq!(outcome.muted, None, "{by} {slot}");
        }
    }
}
