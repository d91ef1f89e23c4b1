//! Any bytes as a state file, and as the content of one.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::path::Path;

use podnet_core::claim::Durable;
use podnet_core::kernel::{IfName, MacAddr, Mtu, Netns, PodLink, host_ifname};
use podnet_proto::gossip::NodeRecord;
use podnet_proto::ledger::{Acceptor, Ballot, Batch, Decided, Ledger, Operation, Settings};
use podnet_proto::{Boot, ClusterId, GossipKey, Instance, NodeId, PodNetwork};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::boot::Content as BootContent;
use super::content::{DurableContent, PeersContent, peer_book, peers_content};
use super::file::{StoreError, decode, encode, framed};
use super::identity::{Content as IdentityContent, Identity};
use super::kind::Kind;
use super::member::{Member, MemberContent, PeerBook, member};
use super::run::{PodRecord, PodRecordState};
use crate::fuzz::{INPUTS, Sample, assert_corpus, damaged};

const NODE: NodeId = NodeId::from_bytes([1; 16]);

/// Where no file is.
const PATH: &str = "/no/such/state/file";

fn ledger() -> Decided {
    let networks = vec![PodNetwork::parse("10.244.0.0/16", 24).unwrap()];
    let cluster = ClusterId::from_bytes([9; 16]);
    Ledger::genesis(cluster, networks, Settings::default(), NODE, Boot(1))
}

fn membership() -> Member {
    Member {
        cluster: ledger().cluster,
        name: "node1".parse().unwrap(),
        advertise: "192.0.2.1:7846".parse().unwrap(),
        advertise_fixed: false,
        gossip_key: GossipKey::from_bytes([0xfb; 32]),
        networks: ledger().networks.clone(),
        checkpoint: ledger().checkpoint(),
        seeds: vec!["192.0.2.2:7846".parse().unwrap()],
    }
}

fn peers() -> PeerBook {
    let record = NodeRecord {
        name: "node2".parse().unwrap(),
        public_key: "AAAA".to_owned(),
        endpoints: vec!["192.0.2.2:7846".parse().unwrap()],
        counter: 3,
        agent_version: "0.1.0".to_owned(),
    };
    BTreeMap::from([(NodeId::from_bytes([2; 16]), record)])
}

fn pod() -> PodRecord {
    let name = "red".parse().unwrap();
    let gateway = Ipv4Addr::new(10, 244, 0, 1);
    PodRecord {
        state: PodRecordState::Ready,
        link: PodLink {
            host_ifname: host_ifname(&name, &IfName::pod()),
            pod: name,
            netns: Netns {
                path: "/run/netns/red".into(),
                made: true,
                inode: Some(4_026_532_000),
            },
            ifname: IfName::pod(),
            mac: MacAddr::of_address(Ipv4Addr::new(10, 244, 0, 2)),
            mtu: Mtu(1500),
            addresses: ["10.244.0.2/24".parse().unwrap()].into(),
            gateways: vec![gateway.into()],
            gateway_mac: MacAddr::of_address(gateway),
            trusted: false,
        },
        created_at: "2026-01-31T12:00:00Z".to_owned(),
        last_addresses: Vec::new(),
    }
}

fn boot() -> BootContent {
    BootContent {
        boot: Boot(7),
        kernel: "b3a5ff00-bdaf-4c3b-aa0a-2cc31e55699d".to_owned(),
    }
}

fn sysctls() -> BTreeMap<String, String> {
    BTreeMap::from([("net/ipv4/ip_forward".to_owned(), "0".to_owned())])
}

/// The content of a state file.
fn content<T: Serialize>(content: &T) -> Vec<u8> {
    serde_json::to_vec(content).unwrap()
}

/// A file of each kind, and its content alone.
fn samples() -> Vec<Sample> {
    let identity = IdentityContent::of_key(&[7; 32], Some("4c4c4544-0042".to_owned()));
    let freed = [Ipv4Addr::new(10, 244, 0, 3), Ipv4Addr::new(10, 244, 0, 2)];
    [
        (Kind::Identity, content(&identity)),
        (Kind::Epoch, content(&7_u64)),
        (
            Kind::Ledger,
            content(&DurableContent::of(&Durable::founder(ledger()))),
        ),
        (Kind::Cluster, content(&MemberContent::of(&membership()))),
        (Kind::Peers, content(&peers_content(&peers()))),
        (Kind::Boot, content(&boot())),
        (Kind::Pod, content(&pod())),
        (Kind::Freed, content(&freed)),
        (Kind::Sysctls, content(&sysctls())),
    ]
    .into_iter()
    .flat_map(|(kind, body)| {
        let name = kind.as_str();
        let file = framed(kind, NODE, &body).to_vec();
        [(name.to_owned(), file), (format!("{name}-content"), body)]
    })
    .collect()
}

/// Reads bytes as a file, and as the content of a file whose first line is right.
fn read<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Vec<T> {
    let file = framed(kind, NODE, bytes);
    [bytes, &file]
        .iter()
        .filter_map(|bytes| decode(Path::new(PATH), bytes, kind, Some(NODE)).ok())
        .collect()
}

/// What was read is written so that it reads as the same.
fn reads_back<T: DeserializeOwned + Serialize + PartialEq + Debug>(kind: Kind, bytes: &[u8]) {
    for value in read::<T>(kind, bytes) {
        let written = encode(kind, NODE, &value).unwrap();
        let again: T = decode(Path::new(PATH), &written, kind, Some(NODE)).unwrap();
        assert_eq!(again, value);
    }
}

/// A state file reads or is refused.
fn target(bytes: &[u8]) {
    let path = Path::new(PATH);
    reads_back::<u64>(Kind::Epoch, bytes);
    reads_back::<DurableContent>(Kind::Ledger, bytes);
    reads_back::<PeersContent>(Kind::Peers, bytes);
    reads_back::<PodRecord>(Kind::Pod, bytes);
    reads_back::<Vec<Ipv4Addr>>(Kind::Freed, bytes);
    reads_back::<BTreeMap<String, String>>(Kind::Sysctls, bytes);
    read::<BootContent>(Kind::Boot, bytes);
    for content in read::<MemberContent>(Kind::Cluster, bytes) {
        if let Ok(read) = member(path, &content) {
            assert_eq!(member(path, &MemberContent::of(&read)).unwrap(), read);
        }
    }
    for content in read::<IdentityContent>(Kind::Identity, bytes) {
        let _ = Identity::from_content(path, &content);
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let ballot = Ballot {
        round: 7,
        node: NODE,
        instance: Instance(3),
    };
    let release = Operation::Release {
        node: NODE,
        boot: Boot(1),
    };
    let durable = Durable {
        epoch: 4,
        acceptor: Acceptor {
            slot: 1,
            promised: Some(ballot),
            accepted: Some((ballot, Batch::of(vec![release]))),
        },
        departing: true,
        leaving: Some(Boot(1)),
        released: true,
        dup: true,
        ..Durable::founder(ledger())
    };
    for durable in [durable, Durable::founder(ledger())] {
        let written = content(&DurableContent::of(&durable));
        let read: DurableContent = serde_json::from_slice(&written).unwrap();
        assert_eq!(read.into_durable(), durable);
    }
    let read: PeersContent = serde_json::from_slice(&content(&peers_content(&peers()))).unwrap();
    assert_eq!(peer_book(read), peers());
    let written = MemberContent::of(&membership());
    assert_eq!(member(Path::new(PATH), &written).unwrap(), membership());
}

/// What the version before wrote is not taken for damaged.
#[test]
fn files_of_the_version_before_are_told_from_damage() {
    const LEDGER: &[u8] = include_bytes!("fixtures/ledger-1");
    const PEERS: &[u8] = include_bytes!("fixtures/peers-1");
    const CLUSTER: &[u8] = include_bytes!("fixtures/cluster-1");
    let is_older = |kind: Kind, bytes| {
        let read = decode::<serde_json::Value>(Path::new(PATH), bytes, kind, Some(NODE));
        matches!(read, Err(StoreError::Older { version: 1, kind: of, .. }) if of == kind)
    };
    assert!(is_older(Kind::Ledger, LEDGER));
    assert!(is_older(Kind::Peers, PEERS));
    assert!(is_older(Kind::Cluster, CLUSTER));
    assert!(!is_older(Kind::Cluster, PEERS), "another kind");
}

#[test]
fn state_files() {
    assert_corpus(file!(), "state_files", &samples());
    bolero::check!(name = "state_files")
        .with_iterations(INPUTS)
        .for_each(target);
}

#[test]
fn damaged_state_files() {
    bolero::check!(name = "damaged_state_files")
        .with_iterations(INPUTS)
        .with_generator(damaged(samples()))
        .for_each(|bytes: &Vec<u8>| target(bytes));
}
