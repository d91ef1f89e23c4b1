//! What is heard, and what is not.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use podnet_proto::ClusterId;
use podnet_proto::gossip::{NodeRecord, Signed, Speaker, encode};
use proptest::prelude::*;

use super::*;
use crate::view::RawEntry;

const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

/// Counts the checks.
#[derive(Debug, Default)]
struct Counting(Cell<usize>);

impl Verify for Counting {
    fn has_signed(&self, key: &[u8; 32], payload: &[u8], signature: &[u8; 64]) -> bool {
        self.0.set(self.0.get() + 1);
        Ed25519.has_signed(key, payload, signature)
    }
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn node(n: u8) -> NodeId {
    NodeId::of_public_key(key(n).verifying_key().as_bytes())
}

fn address(n: u8) -> SocketAddrV4 {
    SocketAddrV4::new([192, 0, 2, n].into(), 7846)
}

/// The voice of somebody with the key of `by`, in the name of `node`, at an address.
fn voice(by: u8, node: NodeId, at: u8, epoch: u64) -> Voice {
    let key = key(by);
    let speaker = Speaker {
        cluster: CLUSTER,
        node,
        address: address(at),
    };
    Voice::new(
        speaker,
        epoch,
        Box::new(move |payload| key.sign(payload).to_bytes()),
    )
}

fn record(n: u8) -> String {
    encode(&NodeRecord {
        name: "node".parse().unwrap(),
        public_key: STANDARD.encode(key(n).verifying_key().as_bytes()),
        endpoints: Vec::new(),
        counter: 1,
        agent_version: String::new(),
    })
    .unwrap()
}

type Values = BTreeMap<Key, String>;

fn records(n: u8, others: &[(Key, &str)]) -> Values {
    let others = others.iter().map(|(key, text)| (*key, (*text).to_owned()));
    others.chain([(Key::Node, record(n))]).collect()
}

fn entry(node: NodeId, at: u8, values: Values) -> SignedEntry {
    SignedEntry {
        node,
        address: address(at),
        live: true,
        last_seen: None,
        values: Arc::new(values),
    }
}

fn ear() -> Ear {
    Ear::new(CLUSTER)
}

fn heard(entries: &[RawEntry], node: NodeId, key: Key) -> Option<&str> {
    let mut of = entries.iter().filter(|entry| entry.node == node);
    Some(of.next()?.values.get(&key)?.as_str())
}

#[test]
fn what_a_node_has_signed_is_heard_also_that_it_says_nothing() {
    let mut ear = ear();
    let said = voice(1, node(1), 1, 1).say_all(&records(1, &[(Key::Use, "here")]));
    assert_eq!(said.len(), Key::ALL.len());
    let hearing = ear.hear(vec![entry(node(1), 1, said)]);
    assert_eq!(hearing.unheard, []);
    assert_eq!(heard(&hearing.entries, node(1), Key::Use), Some("here"));
    assert_eq!(heard(&hearing.entries, node(1), Key::Want), Some(""));
}

#[test]
fn a_signature_is_checked_once_and_nothing_is_kept_of_who_is_gone() {
    let mut ear = Ear::with(CLUSTER, Counting::default());
    let mut speaks = voice(1, node(1), 1, 1);
    let mut said = speaks.say_all(&records(1, &[]));
    let first = entry(node(1), 1, said.clone());
    let before = ear.hear(vec![first.clone()]);
    assert_eq!(ear.verify.0.get(), Key::ALL.len());
    let copied = SignedEntry {
        values: Arc::new((*first.values).clone()),
        ..first.clone()
    };
    for again in [first, copied] {
        let hearing = ear.hear(vec![again]);
        let values = |hearing: &Hearing| Arc::clone(&hearing.entries[0].values);
        assert!(Arc::ptr_eq(&values(&hearing), &values(&before)));
    }
    assert_eq!(ear.verify.0.get(), Key::ALL.len(), "the same texts");
    said.extend(speaks.say(&[(Key::Use, "new".to_owned())].into()));
    let hearing = ear.hear(vec![entry(node(1), 1, said)]);
    assert_eq!(heard(&hearing.entries, node(1), Key::Use), Some("new"));
    assert_eq!(ear.verify.0.get(), Key::ALL.len() + 1);
    ear.hear(Vec::new());
    assert!(ear.heard.is_empty());
}

/// Gossip forgets what a dead node has said, and brings it back from others.
#[test]
fn what_gossip_has_forgotten_stands_and_may_come_again() {
    let mut ear = Ear::with(CLUSTER, Counting::default());
    let said = voice(1, node(1), 1, 1).say_all(&records(1, &[(Key::Use, "here")]));
    for now in [said.clone(), Values::new(), said] {
        let hearing = ear.hear(vec![entry(node(1), 1, now)]);
        assert_eq!(heard(&hearing.entries, node(1), Key::Use), Some("here"));
        assert_eq!(hearing.unheard, []);
    }
    assert_eq!(ear.verify.0.get(), Key::ALL.len());
}

/// Each kind of record, by somebody who has the token and a key, which is not the node's.
#[test]
fn nobody_says_anything_in_the_name_of_another() {
    for kind in Key::ALL {
        let mut ear = ear();
        let honest = voice(1, node(1), 1, 1).say_all(&records(1, &[(kind, &record(1))]));
        ear.hear(vec![entry(node(1), 1, honest.clone())]);
        let lie: Values = [(kind, record(2))].into();
        let forged = [
            voice(2, node(1), 1, 9).say(&lie),
            [(kind, record(2))].into(),
            [(kind, String::new())].into(),
            [(
                kind,
                honest[&Key::ALL[usize::from(kind == Key::Node)]].clone(),
            )]
            .into(),
        ];
        for forged in forged {
            let mut said = honest.clone();
            said.extend(forged);
            let hearing = ear.hear(vec![entry(node(1), 1, said)]);
            assert_eq!(hearing.unheard, [(node(1), address(1), kind)]);
            assert_eq!(
                heard(&hearing.entries, node(1), kind),
                Some(&*record(1)),
                "it stands"
            );
        }
        // Elsewhere, under the id of one that is not heard there.
        let elsewhere = voice(2, node(1), 2, 9).say_all(&records(2, &[(kind, &record(2))]));
        let replayed = entry(node(1), 2, honest.clone());
        let keyed = voice(2, node(1), 2, 9).say_all(&records(1, &[(kind, &record(1))]));
        for lie in [
            entry(node(1), 2, elsewhere),
            replayed,
            entry(node(1), 2, keyed),
        ] {
            let hearing = ear.hear(vec![lie, entry(node(1), 1, honest.clone())]);
            assert_eq!(hearing.entries.len(), 1);
            assert_eq!(hearing.entries[0].address, address(1));
        }
    }
}

#[test]
fn what_was_said_before_does_not_count_again() {
    let mut ear = ear();
    let mut speaks = voice(1, node(1), 1, 1);
    let old = speaks.say_all(&records(1, &[(Key::Want, "release")]));
    let mut new = old.clone();
    new.extend(speaks.say(&[(Key::Want, String::new())].into()));
    let next = voice(1, node(1), 1, 2).say_all(&records(1, &[]));
    ear.hear(vec![entry(node(1), 1, old.clone())]);
    for now in [new, next] {
        let hearing = ear.hear(vec![entry(node(1), 1, now.clone())]);
        assert_eq!(heard(&hearing.entries, node(1), Key::Want), Some(""));
        let mut replayed = now;
        replayed.insert(Key::Want, old[&Key::Want].clone());
        let hearing = ear.hear(vec![entry(node(1), 1, replayed)]);
        assert_eq!(heard(&hearing.entries, node(1), Key::Want), Some(""));
        assert_eq!(hearing.unheard, [(node(1), address(1), Key::Want)]);
    }
}

/// Gossip knows of a node before anything that it says, and may bring its key last.
#[test]
fn one_whose_key_is_not_known_yet_is_known_says_nothing_and_is_not_alive() {
    let mut ear = ear();
    let said = voice(1, node(1), 1, 1).say_all(&records(1, &[(Key::Use, "here")]));
    let mut keyless = said.clone();
    keyless.remove(&Key::Node);
    for said in [Values::new(), keyless] {
        let hearing = ear.hear(vec![entry(node(1), 1, said)]);
        assert!(!hearing.entries[0].live && hearing.entries[0].values.is_empty());
        assert_eq!(hearing.unheard, []);
    }
    let forged = voice(2, node(1), 1, 1).say_all(&records(2, &[]));
    let hearing = ear.hear(vec![entry(node(1), 1, forged)]);
    assert_eq!(hearing.entries, []);
    assert_eq!(hearing.unheard.len(), Key::ALL.len());
    let hearing = ear.hear(vec![entry(node(1), 1, said)]);
    assert_eq!(heard(&hearing.entries, node(1), Key::Use), Some("here"));
    assert!(hearing.entries[0].live);
}

/// Whoever has the token can put another id of gossip beside that of a node, and have it heard of later.
#[test]
fn what_others_put_beside_a_node_keeps_nothing_of_it_from_being_heard() {
    let mut speaks = voice(1, node(1), 1, 7);
    let old = speaks.say_all(&records(1, &[(Key::Use, "before")]));
    let mut now = old.clone();
    now.extend(speaks.say(&records(1, &[(Key::Use, "here")])));
    let forged = voice(2, node(1), 1, 9).say_all(&records(2, &[(Key::Use, "a lie")]));
    for beside in [Values::new(), old, forged] {
        let mut ear = ear();
        let live = |live, values: &Values| SignedEntry {
            live,
            last_seen: live.then_some(Moment::START),
            ..entry(node(1), 1, values.clone())
        };
        for (own, other) in [(true, true), (true, false), (false, true)] {
            for first in [true, false] {
                let mut ids = vec![live(own, &now), live(other, &beside)];
                if first {
                    ids.reverse();
                }
                let hearing = ear.hear(ids);
                assert_eq!(hearing.entries.len(), 1);
                let heard_of = &hearing.entries[0];
                assert_eq!(heard_of.values[&Key::Use], "here");
                assert_eq!((heard_of.live, heard_of.last_seen.is_some()), (own, own));
            }
        }
        assert_eq!(ear.latest_start(node(1)), 7, "that nobody else has signed");
        assert_eq!(ear.latest_start(node(2)), 0);
    }
}

#[test]
fn a_record_of_a_later_version_has_the_key_too() {
    let mut ear = ear();
    let mut records = records(1, &[(Key::Use, "here")]);
    let later = record(1).replacen('{', "{\"more\":[],", 1);
    records.insert(Key::Node, later.replacen("\"v\":1", "\"v\":99", 1));
    let said = voice(1, node(1), 1, 1).say_all(&records);
    let hearing = ear.hear(vec![entry(node(1), 1, said)]);
    assert_eq!(heard(&hearing.entries, node(1), Key::Use), Some("here"));
}

#[test]
fn a_signature_of_another_cluster_is_none() {
    let said = voice(1, node(1), 1, 1).say_all(&records(1, &[]));
    let mut ear = Ear::new(ClusterId::from_bytes([8; 16]));
    assert_eq!(ear.hear(vec![entry(node(1), 1, said)]).entries, []);
}

proptest! {
    #[test]
    fn any_text_is_survived(texts in proptest::collection::vec(any::<String>(), 6), cut in 0..200_usize) {
        let mut ear = ear();
        let said = voice(1, node(1), 1, 1).say_all(&records(1, &[]));
        let texts = Key::ALL.into_iter().zip(texts).map(|(key, text)| {
            let good = &said[&key];
            let cut = (cut..good.len()).find(|at| good.is_char_boundary(*at)).unwrap_or(0);
            (key, format!("{}{text}", &good[..cut]))
        });
        let hearing = ear.hear(vec![entry(node(1), 1, texts.collect())]);
        let signed = |values: &Values| values.values().all(|record| said.values().any(|text| {
            Signed::read(text).is_some_and(|signed| signed.record == record)
        }));
        prop_assert!(hearing.entries.iter().all(|entry| signed(&entry.values)));
    }
}
