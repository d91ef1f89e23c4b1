//! What is read from gossip, and what is made of it.

use std::time::Duration;

use podnet_proto::Boot;
use podnet_proto::gossip::{WantKind, encode};

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn raw(n: u8, port: u16, live: bool, values: &[(Key, String)]) -> RawEntry {
    RawEntry {
        node: node(n),
        address: SocketAddrV4::new([192, 0, 2, n].into(), port),
        live,
        last_seen: None,
        values: Arc::new(values.iter().cloned().collect()),
    }
}

fn want(boot: u64) -> String {
    encode(&Want {
        boot: Boot(boot),
        want: WantKind::Join,
        replaces: None,
        released: 0,
    })
    .unwrap()
}

fn record(counter: u64) -> String {
    encode(&NodeRecord {
        name: "node1".parse().unwrap(),
        public_key: String::new(),
        endpoints: Vec::new(),
        counter,
        agent_version: String::new(),
    })
    .unwrap()
}

#[test]
fn first_seen_is_kept_per_entry_and_per_want() {
    let mut reader = Reader::default();
    let view = reader.read(at(1), vec![raw(1, 1, false, &[(Key::Want, want(1))])]);
    assert!(view.news.contains(&node(1)));
    let view = reader.read(at(5), vec![raw(1, 1, true, &[(Key::Want, want(2))])]);
    let entry = &view.entries()[0];
    assert_eq!((entry.first_seen, entry.want_first_seen), (at(1), at(5)));
    let view = reader.read(at(9), vec![raw(1, 1, true, &[(Key::Want, want(2))])]);
    assert!(view.news.is_empty());
    assert_eq!(view.entries()[0].want_first_seen, at(5));
    assert_eq!(reader.read(at(10), Vec::new()).entries(), []);
    let view = reader.read(at(11), vec![raw(1, 1, true, &[(Key::Want, want(2))])]);
    assert_eq!(view.entries()[0].first_seen, at(11));
}

#[test]
fn what_stays_the_same_is_no_change() {
    let mut reader = Reader::default();
    let mut changes = |raw: &[RawEntry]| reader.read(at(1), raw.to_vec()).changed;
    let (one, two) = (raw(1, 1, false, &[]), raw(2, 1, true, &[]));
    assert!(changes(std::slice::from_ref(&one)), "an entry came");
    assert!(!changes(std::slice::from_ref(&one)));
    assert!(changes(&[one.clone(), two.clone()]));
    assert!(!changes(&[two.clone(), one.clone()]));
    let live = RawEntry { live: true, ..one };
    assert!(changes(&[live.clone(), two.clone()]), "it lives");
    let wants = RawEntry {
        values: Arc::new([(Key::Want, want(1))].into()),
        ..live
    };
    assert!(changes(&[wants.clone(), two.clone()]), "a value changed");
    let again = RawEntry {
        values: Arc::new(BTreeMap::clone(&wants.values)),
        ..wants.clone()
    };
    assert!(!changes(&[again, two]), "the same values in another place");
    assert!(changes(&[wants]), "an entry went");
}

#[test]
fn an_unchanged_value_is_not_parsed_again() {
    let mut reader = Reader::default();
    let values = [(Key::Node, record(1))];
    let first = reader.read(at(1), vec![raw(1, 1, true, &values)]);
    let second = reader.read(at(2), vec![raw(1, 1, true, &values)]);
    let record = |view: &View| view.entries()[0].record.clone().unwrap();
    assert!(Arc::ptr_eq(&record(&first), &record(&second)));
}

#[test]
fn malformed_values_are_counted_and_absent() {
    let mut reader = Reader::default();
    let bad = [
        (Key::Want, "{".to_owned()),
        (Key::Snap, "[]".to_owned()),
        (Key::Use, String::new()),
    ];
    for _ in 0..2 {
        let view = reader.read(at(1), vec![raw(1, 1, true, &bad)]);
        assert_eq!(view.malformed, 2);
        assert_eq!(view.entries()[0].want, None);
    }
    let good = [(Key::Want, want(1))];
    let view = reader.read(at(2), vec![raw(1, 1, true, &good)]);
    assert_eq!(view.malformed, 0);
    assert!(view.entries()[0].want.is_some());
}

#[test]
fn an_instance_with_the_registered_boot_is_better_than_a_newer_one_as_long_as_it_looks_alive() {
    let uses = |boot, counter| {
        let usage = UseRecord {
            slot: 1,
            boot: Boot(boot),
            block: None,
        };
        [
            (Key::Node, record(counter)),
            (Key::Use, encode(&usage).unwrap()),
        ]
    };
    let registered = Registered::from([(node(1), Boot(7))]);
    let entries = |live| vec![raw(1, 1, live, &uses(7, 1)), raw(1, 2, true, &uses(8, 2))];
    let mut reader = Reader::default();
    for (seconds, live, best) in [(1, false, 1), (2, true, 1), (9, true, 1), (10, false, 2)] {
        let view = reader.read(at(seconds), entries(live));
        let port = view.best(node(1), &registered).unwrap().address.port();
        assert_eq!(port, best, "at {seconds} s");
        assert_eq!(view.may_run(node(1), Boot(7)), best == 1);
    }
}

#[test]
fn the_best_entry_has_the_newest_record_then_life() {
    let mut reader = Reader::default();
    let view = reader.read(
        at(1),
        vec![
            raw(2, 1, true, &[]),
            raw(1, 1, true, &[(Key::Node, record(1))]),
            raw(1, 2, false, &[(Key::Node, record(2))]),
            raw(1, 3, true, &[(Key::Node, record(2))]),
            raw(1, 4, false, &[]),
        ],
    );
    assert_eq!(view.of(node(1)).len(), 4);
    let registered = Registered::new();
    assert_eq!(view.best(node(1), &registered).unwrap().address.port(), 3);
    assert_eq!(view.best(node(3), &registered), None);
    assert!(view.is_live(node(2)) && !view.is_live(node(3)));
}
