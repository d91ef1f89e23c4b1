//! What a member that has the key can send.

use chitchat::{ChitchatId, Serializable};
use tokio::net::UdpSocket;

use super::*;

/// The beginning of chitchat's messages: magic number, version, kind.
fn message(kind: u8) -> Vec<u8> {
    let mut bytes = 45_139_u16.to_le_bytes().to_vec();
    bytes.extend([0, kind]);
    bytes
}

/// A handshake that claims to know these nodes.
pub(super) fn syn(cluster: &str, ids: &[ChitchatId]) -> Vec<u8> {
    let mut bytes = message(0);
    (ids.len() as u16).serialize(&mut bytes);
    for id in ids {
        id.serialize(&mut bytes);
        for number in [1_u64, 0, 0] {
            number.serialize(&mut bytes);
        }
    }
    cluster.serialize(&mut bytes);
    bytes
}

/// A delta whose greatest version is below that of its value: chitchat asserts that it is not.
pub(super) fn contradictory_delta(id: &ChitchatId, known: u64) -> Vec<u8> {
    let mut operations = vec![0];
    id.serialize(&mut operations);
    0_u64.serialize(&mut operations);
    0_u64.serialize(&mut operations);
    operations.push(1);
    "use".serialize(&mut operations);
    "forged".serialize(&mut operations);
    (known + 1000).serialize(&mut operations);
    operations.push(0);
    operations.push(2);
    (known + 500).serialize(&mut operations);

    let mut bytes = message(2);
    bytes.push(2);
    (operations.len() as u16).serialize(&mut bytes);
    bytes.extend(operations);
    bytes.push(0);
    bytes
}

async fn send(payload: Vec<u8>, to: SocketAddrV4) -> UdpSocket {
    let sender = address();
    let socket = UdpSocket::bind(sender).await.unwrap();
    let mut sealer = Sealer::new(keyring(1)).unwrap();
    let payload = Payload::Chitchat {
        sender,
        message: payload,
    };
    let sealed = sealer.seal(&payload).unwrap();
    for datagram in sealed.datagrams {
        socket.send_to(&datagram, to).await.unwrap();
    }
    socket
}

pub(super) fn id(
    node: impl Into<std::sync::Arc<str>>,
    generation: u64,
    address: &str,
) -> ChitchatId {
    ChitchatId::new(node, generation, address.parse().unwrap())
}

#[tokio::test]
async fn a_digest_of_sixty_kilobytes_passes_both_ways() {
    let mut one = config(1, &[]);
    one.timing = still();
    let gossip = spawn(&one, "").await;
    let ids: Vec<_> = (0..900)
        .map(|_| {
            let node = NodeId::from_bytes(rand::random());
            id(node.to_string(), 0, "127.0.0.1:1")
        })
        .collect();
    let cluster = config::cluster_name(&one.cluster, &one.networks);
    let question = syn(&cluster, &ids);
    assert!(question.len() > 60_000);
    let socket = send(question, one.listen).await;
    eventually("all ids", async || {
        let snapshot = gossip.snapshot().await;
        let dead = snapshot.entries.iter().filter(|entry| !entry.live).count();
        (dead == 900).then_some(())
    })
    .await;

    let mut opener = Opener::new(keyring(1), None, Arc::default()).unwrap();
    let mut buffer = [0; 1500];
    let answer = eventually("the answer", async || {
        let len = socket.recv(&mut buffer).await.unwrap();
        opener.open(&buffer[..len], Instant::now()).unwrap()
    })
    .await;
    let Payload::Chitchat { message, .. } = answer.payload else {
        panic!("not gossip");
    };
    assert!(message.len() > 60_000);
}

#[tokio::test]
async fn ids_that_are_none_of_ours_are_left_out() {
    let mut one = config(1, &[]);
    one.timing = still();
    let gossip = spawn(&one, "").await;
    let sound = NodeId::from_bytes([5; 16]).to_string();
    let ids = [
        id("nobody", 0, "127.0.0.1:1"),
        id(sound.as_str(), 0, "[::1]:1"),
        // Two ids of one node at one address: signatures show what each of them says.
        id(sound.as_str(), 0, "127.0.0.1:1"),
        id(sound.as_str(), 1, "127.0.0.1:1"),
    ];
    let cluster = config::cluster_name(&one.cluster, &one.networks);
    send(syn(&cluster, &ids), one.listen).await;
    let snapshot = eventually("two strange entries", async || {
        let snapshot = gossip.snapshot().await;
        (snapshot.skipped == 2).then_some(snapshot)
    })
    .await;
    assert_eq!(snapshot.entries.len(), 3);
}

#[tokio::test]
async fn gossip_that_dies_says_so_and_starts_again_at_its_port() {
    let mut one = config(1, &[]);
    let gossip = spawn(&one, "first").await;
    let own = id(one.node.to_string(), 0, &one.listen.to_string());
    send(contradictory_delta(&own, (1 << 32) + 6), one.listen).await;
    tokio::time::timeout(DEADLINE, gossip.terminated())
        .await
        .unwrap();
    let dead = gossip.snapshot().await;
    assert_eq!(dead.own_version_ahead, Some(1), "what was forged shows");
    drop(gossip);

    one.epoch = 2;
    let again = spawn(&one, "second").await;
    let two = config(2, &[one.listen]);
    let other = spawn(&two, "").await;
    reads(&other, 1, Key::Use, "second").await;
    assert_eq!(again.snapshot().await.own_version_ahead, None);
}

#[tokio::test]
async fn authentic_nonsense_is_counted_and_survived() {
    let one = config(1, &[]);
    let gossip = spawn(&one, "").await;
    for nonsense in [vec![], message(9), message(0), message(2), vec![0xff; 5000]] {
        send(nonsense, one.listen).await;
    }
    eventually("five malformed messages", async || {
        (one.counters.dropped(Dropped::Malformed) == 5).then_some(())
    })
    .await;
    let alive = tokio::time::timeout(Duration::from_millis(50), gossip.terminated());
    assert!(alive.await.is_err());
}
