//! Any bytes as a datagram, and as what a member seals.

use chitchat::{ChitchatMessage, Deserializable};
use podnet_proto::gossip::Hello;

use super::hostile::{contradictory_delta, id, syn};
use super::*;
use crate::fuzz::{INPUTS, Sample, assert_corpus, damaged};
use crate::gossip::header::{MAX_DATAGRAM, SenderInstance};

const INSTANCE: SenderInstance = SenderInstance(*b"instance");

fn sealer() -> Sealer {
    let mut sealer = Sealer::new(keyring(1)).unwrap();
    sealer.instance = INSTANCE;
    sealer
}

fn opener() -> Opener {
    Opener::new(keyring(1), None, Arc::default()).unwrap()
}

fn hello() -> Payload {
    Payload::Hello {
        target: "192.0.2.1:7846".parse().unwrap(),
        hello: Hello {
            node: NodeId::from_bytes([2; 16]),
            name: "node2".parse().unwrap(),
        },
    }
}

fn chitchat(message: Vec<u8>) -> Payload {
    Payload::Chitchat {
        sender: "192.0.2.2:7846".parse().unwrap(),
        message,
    }
}

fn welcome() -> Payload {
    Payload::Welcome {
        answers: MessageId {
            sender: INSTANCE,
            counter: 7,
        },
        welcome: Welcome {
            node: NodeId::from_bytes([1; 16]),
            name_taken_by: None,
            slot: 5,
        },
    }
}

/// Bytes that no compressor makes shorter, and that are the same in every run.
fn noise() -> Vec<u8> {
    let id = |number: u8| KeyId::of(&GossipKey::from_bytes([number; 32]));
    (0..=u8::MAX)
        .flat_map(|number| *id(number).as_bytes())
        .take(1500)
        .collect()
}

/// Sealed datagrams, compressed messages and plain ones, of each kind.
fn samples() -> Vec<Sample> {
    let node = NodeId::from_bytes([1; 16]).to_string();
    let known = id(node.as_str(), 0, "192.0.2.1:7846");
    let syn = syn("cluster", std::slice::from_ref(&known));
    let delta = contradictory_delta(&known, 1 << 32);
    let mut sealer = sealer();
    let mut samples = Vec::new();
    for (name, payload) in [
        ("hello", hello()),
        ("welcome", welcome()),
        ("syn", chitchat(syn)),
        ("delta", chitchat(delta)),
    ] {
        let plain = payload.encode().unwrap();
        let packed = zstd::bulk::compress(&plain, 1).unwrap();
        let sealed = sealer.seal(&payload).unwrap();
        samples.push((format!("{name}-sealed"), sealed.datagrams[0].clone()));
        samples.push((format!("{name}-packed"), packed));
        samples.push((format!("{name}-plain"), plain));
    }
    let sealed = sealer.seal_packed(&noise()).unwrap();
    for (index, datagram) in sealed.datagrams.into_iter().enumerate() {
        samples.push((format!("fragment-{index}"), datagram));
    }
    samples
}

/// Nothing that arrives may panic, what is opened is bounded, and nothing is opened twice.
fn target(bytes: &[u8]) {
    let now = Instant::now();
    let mut opener = opener();
    if let Ok(Some(message)) = opener.open(bytes, now) {
        assert!(bytes.len() <= MAX_DATAGRAM);
        read(&message.payload);
    }
    assert!(opener.open(bytes, now).is_err());
    open_sealed(bytes);
    if let Ok(packed) = zstd::bulk::compress(bytes, 1) {
        open_sealed(&packed);
    }
}

/// What a member has sealed is opened, and then reads or does not.
fn open_sealed(packed: &[u8]) {
    let Ok(sealed) = sealer().seal_packed(packed) else {
        return;
    };
    let mut opener = opener();
    for datagram in &sealed.datagrams {
        assert!(datagram.len() <= MAX_DATAGRAM);
        match opener.open(datagram, Instant::now()) {
            Ok(None) => {}
            Ok(Some(message)) => read(&message.payload),
            Err(reason) => assert_eq!(reason, Dropped::Malformed),
        }
    }
}

/// What was read is written so that it reads as the same; a message of chitchat reads or is refused.
fn read(payload: &Payload) {
    let plain = payload.encode().unwrap();
    assert!(plain.len() <= 2 * MAX_MESSAGE);
    assert_eq!(Payload::decode(&plain).as_ref(), Ok(payload));
    if let Payload::Chitchat { message, .. } = payload {
        let _ = ChitchatMessage::deserialize(&mut message.as_slice());
    }
}

#[test]
fn datagrams() {
    assert_corpus(file!(), "datagrams", &samples());
    bolero::check!(name = "datagrams")
        .with_iterations(INPUTS)
        .for_each(target);
}

#[test]
fn damaged_datagrams() {
    bolero::check!(name = "damaged_datagrams")
        .with_iterations(INPUTS)
        .with_generator(damaged(samples()))
        .for_each(|bytes: &Vec<u8>| target(bytes));
}
