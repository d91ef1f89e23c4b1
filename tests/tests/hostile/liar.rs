//! Whoever holds the token and lies, in the name of whom it likes; and what no lie may change.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use podnet_agent::gossip::{Gossip, GossipConfig, Keyring, Timing};
use podnet_core::signed::{SignedEntry, Voice};
use podnet_lab::prelude::*;
use podnet_lab::scenario::pcap::GOSSIP_PORT;
use podnet_proto::gossip::{
    Key, NodeRecord, Signed, SnapRecord, Speaker, UseRecord, decode, encode,
};
use podnet_proto::ledger::Decided;
use podnet_proto::token::JoinToken;
use podnet_proto::{Boot, NodeId};

use crate::inside::spawn_in;
use crate::unharmed::assert_no_panic;

/// How many datagrams a liar has got from the others when they have heard it.
const HEARD: u64 = 30;

/// The secret key of the liar.
const SECRET: [u8; 32] = [66; 32];

/// The public key of the liar, whose node is the hash of it.
pub(crate) fn key() -> [u8; 32] {
    SigningKey::from_bytes(&SECRET).verifying_key().to_bytes()
}

pub(crate) fn liar() -> NodeId {
    NodeId::of_public_key(&key())
}

/// Signs records with a key, which need not be the speaker's.
pub(crate) fn signed(
    secret: &[u8; 32],
    speaker: Speaker,
    epoch: u64,
    records: &BTreeMap<Key, String>,
) -> BTreeMap<Key, String> {
    let key = SigningKey::from_bytes(secret);
    let sign = move |payload: &[u8]| key.sign(payload).to_bytes();
    Voice::new(speaker, epoch, Box::new(sign)).say_all(records)
}

/// What a liar says in the name of a node. It has the token, and no key but its own.
pub(crate) struct Lie {
    pub(crate) node: NodeId,
    /// Where the node is said to be.
    pub(crate) address: SocketAddrV4,
    pub(crate) epoch: u64,
    /// The records, which the liar signs.
    pub(crate) values: BTreeMap<Key, String>,
    /// Values that are published as they are.
    pub(crate) verbatim: BTreeMap<Key, String>,
}

/// What the cluster is, as gossip tells whoever has the token.
pub(crate) struct Truth {
    pub(crate) ledger: Decided,
    pub(crate) records: BTreeMap<NodeId, NodeRecord>,
    /// What each has said, with its signature.
    pub(crate) said: BTreeMap<NodeId, BTreeMap<Key, String>>,
}

impl Truth {
    fn read(entries: &[SignedEntry]) -> Option<Self> {
        let value = |entry: &SignedEntry, key| {
            let text = entry.values.get(&key)?;
            Some(Signed::read(text)?.record.to_owned())
        };
        let snaps = entries
            .iter()
            .filter_map(|entry| decode::<SnapRecord>(&value(entry, Key::Snap)?).ok()?);
        let ledger = snaps
            .map(|snap| snap.ledger)
            .max_by_key(|ledger| ledger.order())?;
        let records = entries.iter().filter_map(|entry| {
            let record = decode::<NodeRecord>(&value(entry, Key::Node)?).ok()??;
            Some((entry.node, record))
        });
        let records: BTreeMap<_, _> = records.collect();
        let complete = ledger.boots.keys().all(|node| records.contains_key(node));
        let said = entries.iter();
        let said = said.map(|entry| (entry.node, (*entry.values).clone()));
        complete.then(|| Self {
            ledger,
            records,
            said: said.collect(),
        })
    }

    /// The members: the founder first, the others by name.
    pub(crate) fn members(&self) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = self.ledger.boots.keys().copied().collect();
        members.sort_by_key(|node| self.records[node].name.clone());
        members
    }

    /// A record of a node that is said to be elsewhere.
    pub(crate) fn record(
        &self,
        node: NodeId,
        address: SocketAddrV4,
        counter: u64,
    ) -> (Key, String) {
        let record = NodeRecord {
            endpoints: vec![address],
            counter,
            ..self.records[&node].clone()
        };
        (Key::Node, encode(&record).unwrap())
    }

    /// What a node says of its data path.
    pub(crate) fn usage(&self, node: NodeId, slot: u64, uses: bool) -> (Key, String) {
        let usage = UseRecord {
            slot,
            boot: self.ledger.boots[&node],
            block: self.ledger.blocks_of(node).next().filter(|_| uses),
        };
        (Key::Use, encode(&usage).unwrap())
    }

    /// A later ledger in which the liar has the blocks of all but the founder.
    pub(crate) fn robbed(&self, slot: u64) -> (Key, String) {
        let thief = liar();
        let ledger = self.ledger.changed(|ledger| {
            ledger.previous = self.ledger.hash();
            ledger.slot = slot;
            for owner in ledger.blocks.values_mut() {
                if !ledger.voters.contains(owner) {
                    *owner = thief;
                }
            }
            ledger.boots.retain(|node, _| ledger.voters.contains(node));
            ledger.boots.insert(thief, Boot(66));
        });
        (Key::Snap, encode(&SnapRecord { ledger }).unwrap())
    }
}

/// Somebody with the token in the namespace of a node, who lies until this is dropped.
struct Liar {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the liar fails");
        }
    }
}

impl Liar {
    /// Learns the truth, lies, and returns when that is heard.
    fn tell(
        lab: &Lab,
        from: Node<'_>,
        token: &str,
        lies: impl FnOnce(&Truth, Ipv4Addr) -> Vec<Lie> + Send + 'static,
    ) -> Self {
        let token: JoinToken = token.parse().unwrap();
        let own = from.address();
        let members = lab.nodes().into_iter().take(3).map(|node| node.address());
        let members = members.map(|address| SocketAddrV4::new(address, GOSSIP_PORT));
        let members: Vec<_> = members.collect();
        let (stop, stopped) = channel();
        let (said, hears) = channel();
        let thread = spawn_in(from, async move || {
            let id = liar();
            let at = |ip, port| SocketAddrV4::new(ip, port);
            let here = at(own, GOSSIP_PORT);
            let mut seeds = members.clone();
            // Where those gossip who are said to be where somebody else is.
            let mask: Vec<_> = (2..12)
                .map(|n| at(Ipv4Addr::new(127, 0, 0, n), 7999))
                .collect();
            seeds.extend(mask.iter().copied());
            let any = Ipv4Addr::UNSPECIFIED;
            let scout = settings(&token, id, here, at(any, GOSSIP_PORT), 1, seeds);
            let scout = Gossip::spawn(scout, BTreeMap::new()).await.unwrap();
            let truth = loop {
                if let Some(truth) = Truth::read(&scout.snapshot().await.entries) {
                    break truth;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let mut liars = vec![];
            for (lie, mask) in lies(&truth, own).into_iter().zip(mask) {
                let listen = if *lie.address.ip() == own {
                    at(any, lie.address.port())
                } else {
                    mask
                };
                let seeds = [members.clone(), vec![here]].concat();
                let lying = settings(&token, lie.node, lie.address, listen, lie.epoch, seeds);
                let speaker = Speaker {
                    cluster: token.cluster,
                    node: lie.node,
                    address: lie.address,
                };
                let mut values = signed(&SECRET, speaker, lie.epoch, &lie.values);
                values.extend(lie.verbatim);
                liars.push(Gossip::spawn(lying, values).await.unwrap());
            }
            let before = scout.counters().datagrams_in();
            while stopped.try_recv().is_err() {
                if scout.counters().datagrams_in() - before > HEARD {
                    let _ = said.send(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let liar = Self {
            stop,
            thread: Some(thread),
        };
        hears.recv_timeout(LIMIT).unwrap();
        liar
    }
}

/// What somebody with the token needs to gossip.
pub(crate) fn settings(
    token: &JoinToken,
    node: NodeId,
    advertise: SocketAddrV4,
    listen: SocketAddrV4,
    epoch: u64,
    seeds: Vec<SocketAddrV4>,
) -> GossipConfig {
    GossipConfig {
        node,
        advertise,
        listen,
        cluster: token.cluster,
        networks: token.networks.clone(),
        epoch,
        generation: 0,
        timing: Timing {
            interval: Duration::from_millis(100),
            ..Timing::default()
        },
        keyring: Keyring::new(token.gossip_key.clone()),
        seeds,
        start: Instant::now(),
        welcomer: std::sync::Arc::new(|_| None),
        counters: std::sync::Arc::default(),
    }
}

/// What no lie may change: who owns what, and where packets to it go.
fn standing(node: Node<'_>) -> (Vec<api::Node>, String) {
    let mut shown = node.members();
    for node in &mut shown {
        node.last_seen_seconds = None;
        (node.path, node.path_reason, node.live) = (None, None, true);
    }
    (
        shown,
        node.shell("ip route show proto 112; ip -o neigh show nud permanent"),
    )
}

/// Three members with a pod each, and two that are none; lets the fourth lie, and looks all the
/// while. Then the fifth is let in, while the fourth goes on.
pub(crate) fn unmoved(
    what: &str,
    lies: impl FnOnce(&Truth, Ipv4Addr) -> Vec<Lie> + Send + 'static,
) {
    let lab = idle(5);
    let [one, two, three, liar, fifth] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    let members = [one, two, three];
    for node in [two, three] {
        node.join(&invitation, one).unwrap();
    }
    for node in members {
        node.ready(2);
    }
    let pods = members.map(|node| node.add_pod("pod").address());
    let before = members.map(standing);
    let agents = members.map(|node| node.agent().unwrap());

    let liar_at_work = Liar::tell(&lab, liar, &invitation.token, lies);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        for (node, before) in members.iter().zip(&before) {
            assert_eq!(&standing(*node), before, "{what}: {}", node.name());
        }
    }
    one.pod("pod").ping(pods[1]).unwrap();
    three.pod("pod").ping(pods[1]).unwrap();
    // Whoever has never heard of a member may take the liar for it, and find no path to it.
    let words = ["--timeout", "10s", "join", "192.168.56.11"];
    let joined = fifth.ctl_json(&words, &invitation.token).unwrap();
    assert!([0, 124].contains(&joined.code), "{what}: {joined}");
    let blocks = || {
        let shown = one.members();
        let blocks: Vec<_> = shown.iter().flat_map(|node| node.blocks.clone()).collect();
        if blocks.len() == 4 {
            Ok(blocks)
        } else {
            Err(format!("{shown:?}"))
        }
    };
    let mut blocks = eventually(LIMIT, "four members", blocks).unwrap();
    blocks.sort();
    blocks.dedup();
    assert_eq!(blocks.len(), 4, "{what}: {blocks:?}");
    drop(liar_at_work);
    for (node, agent) in members.iter().zip(agents) {
        assert_eq!(node.agent().unwrap(), agent, "{what}: {}", node.name());
        assert_no_panic(*node, what);
        node.ready(3);
    }
}

pub(crate) fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}
