//! Gossip between instances, over loopback.

mod asking;
mod cluster;
mod fuzz;
mod hostile;
mod restart;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use podnet_core::signed::SignedEntry;
use podnet_proto::gossip::{Key, Welcome};
use podnet_proto::{ClusterId, GossipKey, NodeId, PodNetwork};

use super::*;

/// Far beyond what anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition.
async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let mut attempts = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        loop {
            attempts.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    match tokio::time::timeout(DEADLINE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// An address of the loopback network that no other test has: no port has to be guessed.
fn address() -> SocketAddrV4 {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_be_bytes();
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(host < u8::MAX, "out of addresses");
    SocketAddrV4::new(Ipv4Addr::new(127, process[2] | 1, process[3], host), 7846)
}

fn keyring(byte: u8) -> Keyring {
    Keyring::new(GossipKey::from_bytes([byte; 32]))
}

/// Fast rounds, on a machine that may be busy.
fn fast() -> Timing {
    Timing {
        interval: Duration::from_millis(30),
        initial_interval: Duration::from_millis(100),
        ..Timing::default()
    }
}

/// Rounds so slow that none comes while a test runs.
fn still() -> Timing {
    Timing {
        interval: Duration::from_hours(1),
        ..Timing::default()
    }
}

fn config(number: u8, seeds: &[SocketAddrV4]) -> GossipConfig {
    let (node, address) = (NodeId::from_bytes([number; 16]), address());
    GossipConfig {
        node,
        advertise: address,
        listen: address,
        cluster: ClusterId::from_bytes([9; 16]),
        networks: vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()],
        epoch: 1,
        generation: 0,
        timing: fast(),
        keyring: keyring(1),
        seeds: seeds.to_vec(),
        start: Instant::now(),
        welcomer: Arc::new(move |_| {
            Some(Welcome {
                node,
                name_taken_by: None,
                slot: 5,
            })
        }),
        counters: Arc::default(),
    }
}

fn value(key: Key, text: impl Into<String>) -> BTreeMap<Key, String> {
    BTreeMap::from([(key, text.into())])
}

async fn spawn(config: &GossipConfig, use_value: &str) -> Gossip {
    Gossip::spawn(config.clone(), value(Key::Use, use_value))
        .await
        .unwrap()
}

async fn entry(gossip: &Gossip, number: u8) -> Option<SignedEntry> {
    let node = NodeId::from_bytes([number; 16]);
    let entries = gossip.snapshot().await.entries;
    entries.into_iter().find(|entry| entry.node == node)
}

/// Waits until `gossip` reads this value of a living node.
async fn reads(gossip: &Gossip, number: u8, key: Key, text: &str) -> SignedEntry {
    eventually(&format!("{text:.20} of node {number}"), async || {
        entry(gossip, number)
            .await
            .filter(|entry| entry.live && entry.values.get(&key).is_some_and(|v| v == text))
    })
    .await
}
