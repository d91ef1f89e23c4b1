//! What an agent may take of its host, whatever has happened: memory, threads, descriptors, disk, and bytes of
//! gossip. Nothing that came and went leaves something behind that adds up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use podnet_agent::gossip::{Gossip, GossipError};
use podnet_lab::prelude::*;
use podnet_lab::scenario::pcap::GOSSIP_PORT;
use podnet_proto::NodeId;
use podnet_proto::gossip::{Key, Speaker};
use podnet_proto::token::JoinToken;

use crate::inside::spawn_in;
use crate::liar::{settings, signed};

/// The most memory that is resident, in KiB. A quiet agent of a debug build has some 20 MiB.
const MEMORY: u64 = 48 * 1024;

/// The most threads: the loop, two workers, and those that wait for a file or a namespace.
const THREADS: usize = 16;

/// The most descriptors: sockets, and what is open for a moment.
const DESCRIPTORS: usize = 64;

/// The most on disk and in the run directory, in bytes.
const FILES: u64 = 64 * 1024;

/// The most gossip of a node of two, both ways, in bytes a second, at four rounds a second.
const GOSSIP: f64 = 16.0 * 1024.0;

/// How many packets of the underlay a rate is taken from.
const SAMPLE: u64 = 60;

/// How many come and go of each.
const IDENTITIES: u16 = 300;
const ROUTES: u32 = 100_000;
const CONNECTIONS: usize = 1000;
const PODS: usize = 2000;
const CRASHES: usize = 50;

/// How many pods there are at a time.
const PODS_AT_ONCE: usize = 200;

/// What an agent takes of its host.
#[derive(Debug)]
struct Taken {
    memory: u64,
    threads: usize,
    descriptors: usize,
    files: u64,
}

impl Taken {
    fn by_agent_of(node: Node<'_>) -> Self {
        let pid = node.agent().unwrap().unwrap().pid;
        let proc = |what: &str| format!("/proc/{pid}/{what}");
        let status = fs::read_to_string(proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let count = |what| fs::read_dir(proc(what)).unwrap().count();
        Self {
            memory: memory.unwrap().parse().unwrap(),
            threads: count("task"),
            descriptors: count("fd"),
            files: bytes_below(&node.state_dir()) + bytes_below(&node.run_dir()),
        }
    }

    fn is_bounded(&self, memory: u64) -> bool {
        self.memory <= memory
            && self.threads <= THREADS
            && self.descriptors <= DESCRIPTORS
            && self.files <= FILES
    }
}

/// The bytes of all files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().filter_map(Result::ok);
    let sizes = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(if found.is_dir() {
            bytes_below(&entry.path())
        } else {
            found.len()
        })
    });
    sizes.sum()
}

/// The packets and bytes that a node has sent and received on the underlay.
fn traffic(node: Node<'_>) -> (u64, u64) {
    let script = "cd /sys/class/net/eth0/statistics; cat rx_packets tx_packets rx_bytes tx_bytes";
    let shown = node.shell(script);
    let counts: Vec<u64> = shown.lines().map(|line| line.parse().unwrap()).collect();
    (counts[0] + counts[1], counts[2] + counts[3])
}

/// The bytes a second on the underlay of a node that has nothing but gossip.
fn gossip(node: Node<'_>) -> f64 {
    let (since, (packets, bytes)) = (Instant::now(), traffic(node));
    let more = || match traffic(node) {
        (now, sum) if now >= packets + SAMPLE => Ok(sum - bytes),
        (now, _) => Err(now - packets),
    };
    let sum = eventually(LIMIT, "gossip", more).unwrap();
    f64::from(u32::try_from(sum).unwrap()) / since.elapsed().as_secs_f64()
}

#[track_caller]
fn assert_bounded(node: Node<'_>, memory: u64, after: &str) {
    node.ready(1);
    let taken = || match Taken::by_agent_of(node) {
        taken if taken.is_bounded(memory) => Ok(taken),
        taken => Err(format!("{taken:?}")),
    };
    let taken = eventually(LIMIT, after, taken).unwrap();
    let quiet = || match gossip(node) {
        rate if rate <= GOSSIP => Ok(rate),
        rate => Err(format!("{rate:.0} bytes a second")),
    };
    let rate = eventually(LIMIT, after, quiet).unwrap();
    // Shown when the test fails.
    println!("after {after}: {taken:?}, {rate:.0} bytes of gossip a second");
}

/// Nodes of other identities gossip with a node, each for so long that it is heard.
fn come_and_go(from: Node<'_>, to: Node<'_>, token: &str) {
    let token: JoinToken = token.parse().unwrap();
    let here = SocketAddrV4::new(from.address(), GOSSIP_PORT);
    let seeds = vec![SocketAddrV4::new(to.address(), GOSSIP_PORT)];
    let identities = spawn_in(from, async move || {
        for number in 0..IDENTITIES {
            let mut secret = [7; 32];
            secret[..2].copy_from_slice(&number.to_be_bytes());
            let key = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
            let listen = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, GOSSIP_PORT);
            let node = NodeId::of_public_key(&key);
            let speaker = Speaker {
                cluster: token.cluster,
                node,
                address: here,
            };
            let record = format!("{{\"public_key\":\"{}\"}}", BASE64.encode(&key));
            let records = BTreeMap::from([(Key::Node, record), (Key::Want, "x".repeat(1000))]);
            let said = signed(&secret, speaker, 1, &records);
            let start = async {
                loop {
                    let settings = settings(&token, node, here, listen, 1, seeds.clone());
                    match Gossip::spawn(settings, said.clone()).await {
                        // The one before may have the port for a moment yet.
                        Err(GossipError::Bind(_)) => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        started => break started.unwrap(),
                    }
                }
            };
            let gossip = tokio::time::timeout(LIMIT, start).await.unwrap();
            // The second answer comes when the first was understood.
            let heard = async {
                while gossip.counters().datagrams_in() < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(LIMIT, heard).await.unwrap();
            gossip.shutdown().await;
        }
    });
    identities.join().unwrap();
}

/// Puts routes and neighbours into a pod, and lets the agent look into it.
fn fill(node: Node<'_>, pod: &str) {
    let mut batch = String::from("link add full type bridge\nlink set full up\n");
    for number in 0..ROUTES {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(batch, "route add 100.{}.{b}.{c}/32 dev full", 64 + a).unwrap();
        let mac = format!("02:00:00:{a:02x}:{b:02x}:{c:02x}");
        writeln!(
            batch,
            "neigh add 100.{}.{b}.{c} lladdr {mac} dev full nud permanent",
            64 + a
        )
        .unwrap();
    }
    let filled = node.exec_with(["ip", "-n", pod, "-batch", "-"], &batch, 4 * LIMIT);
    filled.unwrap().success("ip -batch").unwrap();
    node.shell(&format!(
        "ip -n {pod} link set eth0 down; ip -n {pod} link set eth0 up"
    ));
}

#[test]
fn whatever_came_and_went_an_agent_takes_no_more_of_its_host() {
    // Each connection has a descriptor in this process.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let lab = agents(3).timing("dead_grace", Duration::from_secs(2));
    let lab = lab.up().unwrap();
    let [node, peer, outsider] = nodes(&lab);
    let invitation = node.init(None).unwrap();
    peer.join(&invitation, node).unwrap();
    let red = node.add_pod("red").address();
    assert_bounded(node, MEMORY, "nothing");

    come_and_go(outsider, node, &invitation.token);
    assert_bounded(node, MEMORY, "300 identities");

    let held: Vec<UnixStream> = (0..CONNECTIONS)
        .map(|_| eventually(LIMIT, "a connection", || UnixStream::connect(node.socket())).unwrap())
        .collect();
    node.ready(1);
    drop(held);
    assert_bounded(node, MEMORY, "1,000 idle connections");

    for _ in 0..PODS / PODS_AT_ONCE {
        for change in ["add", "rm"] {
            let each = format!("xargs -P4 -I{{}} podnetctl -q pod {change} pod{{}}");
            node.shell(&format!("seq {PODS_AT_ONCE} | {each}"));
        }
    }
    assert_bounded(node, MEMORY, "2,000 pods");

    fill(node, "red");
    // Its default route went with its interface, and comes back.
    let reached = || peer.place().ping(red);
    eventually(LIMIT, "the pod answers", reached).unwrap();
    assert_bounded(node, MEMORY, "100,000 routes and neighbours in a pod");
    node.remove_pod("red");

    for _ in 0..CRASHES {
        node.kill().unwrap();
        node.start().unwrap();
    }
    assert_bounded(node, MEMORY, "50 crashes");
    assert_bounded(peer, MEMORY, "all that its peer has seen");
}
