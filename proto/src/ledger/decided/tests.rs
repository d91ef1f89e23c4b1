//! What a version that does not know a field keeps of it.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::gossip::{SnapRecord, decode, encode};
use crate::id::{Boot, ClusterId, NodeId};
use crate::ledger::{EncapsulationMode, Settings};
use crate::network::{BlockIndex, PodNetwork};

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn genesis() -> Decided {
    Ledger::genesis(
        ClusterId::from_bytes([7; 16]),
        vec![PodNetwork::parse("10.0.0.0/16", 24).unwrap()],
        Settings::default(),
        node(1),
        Boot(1),
    )
}

/// A ledger as a later version writes it, with these fields at each level.
fn later(top: &Unknown, settings: &Unknown, network: &Unknown) -> Decided {
    let mut ledger: Value = serde_json::from_str(genesis().text()).unwrap();
    let add = |object: &mut Value, fields: &Unknown| {
        let object = object.as_object_mut().unwrap();
        object.extend(fields.clone());
    };
    add(&mut ledger, top);
    add(&mut ledger["settings"], settings);
    add(&mut ledger["networks"][0], network);
    Decided::read(&ledger.to_string()).unwrap()
}

/// Fields that this version does not know.
type Unknown = std::collections::BTreeMap<String, Value>;

fn unknown() -> impl Strategy<Value = Unknown> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    btree_map("x-[a-z]{1,8}", value, 0..4)
}

/// By gossip, and by disk.
fn carried(ledger: &Decided) -> Decided {
    let snap = SnapRecord {
        ledger: ledger.clone(),
    };
    let heard: SnapRecord = decode(&encode(&snap).unwrap()).unwrap().unwrap();
    let disk = serde_json::to_vec(&heard.ledger).unwrap();
    serde_json::from_slice(&disk).unwrap()
}

fn holds(object: &Value, fields: &Unknown) -> bool {
    fields.iter().all(|(name, value)| object[name] == *value)
}

proptest! {
    #[test]
    fn what_this_version_does_not_know_survives_any_path(
        top in unknown(),
        settings in unknown(),
        network in unknown(),
        path in vec(0..4_u8, 0..8),
    ) {
        let mut ledger = later(&top, &settings, &network);
        for (step, what) in path.into_iter().enumerate() {
            let before = ledger.clone();
            ledger = match what {
                0 | 1 => carried(&ledger),
                2 => ledger.changed(|next| {
                    next.slot += 1;
                    next.previous = before.hash();
                    next.blocks.insert(BlockIndex(step as u16 + 1), node(2));
                }),
                _ => ledger.changed(|next| {
                    next.settings.exclude_cidrs = vec!["10.9.0.0/16".parse().unwrap()];
                }),
            };
            if what < 2 {
                prop_assert_eq!(ledger.text(), before.text());
                prop_assert_eq!(ledger.hash(), before.hash());
            }
        }
        let said: Value = serde_json::from_str(ledger.text()).unwrap();
        prop_assert!(holds(&said, &top));
        prop_assert!(holds(&said["settings"], &settings));
        prop_assert!(holds(&said["networks"][0], &network));
        let names: Vec<&str> = ledger.settings.unknown().map(|(name, _)| name).collect();
        prop_assert_eq!(names, settings.keys().collect::<Vec<_>>());
    }
}

#[test]
fn a_text_that_is_written_otherwise_is_another_ledger_and_stays_as_it_is() {
    let spaced = genesis().text().replace(',', ", ");
    let read = Decided::read(&spaced).unwrap();
    assert_eq!(Ledger::clone(&read), Ledger::clone(&genesis()));
    assert_ne!(read.hash(), genesis().hash());
    assert_eq!(carried(&read).text(), spaced);
}

#[test]
fn numbers_beyond_those_of_this_version_stay_to_the_digit() {
    let number = "123456789012345678901234567890.10";
    let text = genesis()
        .text()
        .replacen('{', &format!("{{\"x\":{number},"), 1);
    let next = Decided::read(&text).unwrap().changed(|next| next.slot = 9);
    assert!(next.text().contains(number), "{next:?}");
}

#[test]
fn a_value_of_a_setting_that_this_version_cannot_read_stays() {
    for (name, value) in [
        ("encapsulation", "\"foo\""),
        ("exclude_cidrs", "[\"fd00::/8\"]"),
    ] {
        let known = match name {
            "encapsulation" => "\"encapsulation\":\"direct\"".to_owned(),
            _ => "\"exclude_cidrs\":[]".to_owned(),
        };
        let text = genesis()
            .text()
            .replacen(&known, &format!("\"{name}\":{value}"), 1);
        let read = Decided::read(&text).unwrap();
        assert_eq!(read.text(), text);
        let unknown: Vec<_> = read.settings.unknown().collect();
        assert_eq!(unknown, [(name, value)]);
        let next = read.changed(|next| next.slot = 9);
        assert_eq!(next.settings, read.settings);
        assert!(next.text().contains(value), "{next:?}");
    }
    let foo = genesis().text().replacen("direct", "foo", 1);
    let settings = Decided::read(&foo).unwrap().settings.clone();
    assert_eq!(settings.encapsulation_name(), "foo");
    assert_eq!(
        settings.encapsulation,
        EncapsulationMode::Direct,
        "a default"
    );
}

#[test]
fn what_is_no_ledger_of_this_version_is_named() {
    let text = genesis().text().to_owned();
    for (bad, named) in [
        (text.replacen("\"v\":1", "\"v\":2", 1), "version 2"),
        (text.replacen("\"slot\":0", "\"slot\":-1", 1), "'slot'"),
        (text.replacen("\"voters\"", "\"electors\"", 1), "'voters'"),
        ("[]".to_owned(), "no JSON object"),
    ] {
        let error = Decided::read(&bad).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
