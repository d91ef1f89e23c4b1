//! What reaches the port of gossip from whoever has no key.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::thread;

use fastrand::Rng;
use nix::sched::{CloneFlags, setns};
use podnet_lab::prelude::*;
use podnet_lab::scenario::pcap::GOSSIP_PORT;

use crate::unharmed::Unharmed;

/// The most that a UDP datagram over IPv4 carries, in bytes (RFC 791, RFC 768).
const MAX_UDP: usize = 65_507;

/// What begins every datagram of gossip.
const MAGIC: &[u8] = b"pdnt";

/// How many datagrams are sent before the agent is waited for: its socket's buffer holds them.
const BURST: usize = 256;

/// Somebody in the namespace of a node, with a socket of his own.
struct Sender<'lab> {
    node: Node<'lab>,
    socket: UdpSocket,
}

impl<'lab> Sender<'lab> {
    /// Stands in the network namespace of a node.
    fn on(node: Node<'lab>) -> Self {
        let path = format!("/proc/{}/ns/net", node.holder().unwrap().pid);
        let open = move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()
        };
        // The thread ends, and what it has opened stays where it was opened.
        let socket = thread::spawn(open).join().unwrap();
        Self { node, socket }
    }

    /// Sends datagrams to the agent of a node, no faster than it reads them.
    fn send<D: AsRef<[u8]>>(&self, target: Node<'_>, datagrams: impl IntoIterator<Item = D>) {
        let address = SocketAddrV4::new(target.address(), GOSSIP_PORT);
        let mut sent = 0;
        for datagram in datagrams {
            let result = self.socket.send_to(datagram.as_ref(), address);
            result.unwrap_or_else(|error| panic!("from {}: {error}", self.node.name()));
            sent += 1;
            if sent % BURST == 0 {
                read_all(target);
            }
        }
        read_all(target);
        assert!(sent > 0);
    }
}

/// Waits until the agent of a node has read all datagrams that were sent to it.
#[track_caller]
fn read_all(node: Node<'_>) {
    let waiting = || {
        let sockets = node.shell("ss -H -u -a -n sport = :7846");
        match sockets.split_whitespace().nth(1) {
            Some("0") => Ok(()),
            _ => Err(sockets),
        }
    };
    eventually(LIMIT, "an empty socket", waiting).unwrap();
}

fn random(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes
}

/// Datagrams that nobody sealed.
fn forged(rng: &mut Rng, real: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for length in [
        0, 1, 4, 5, 46, 47, 100, 1199, 1200, 1201, 1500, 9000, MAX_UDP,
    ] {
        all.push(random(rng, length));
        all.push(vec![0; length]);
        let mut ours = random(rng, length);
        let start = length.min(MAGIC.len());
        ours[..start].copy_from_slice(&MAGIC[..start]);
        all.push(ours);
    }
    for datagram in real {
        // A header that is known to be right before what is not.
        for length in [31, 47, 1200, 1201, MAX_UDP] {
            let mut longer = datagram.clone();
            longer.truncate(31);
            longer.extend(random(rng, length - 31));
            all.push(longer);
        }
        let mut padded = datagram.clone();
        padded.resize(MAX_UDP, 0);
        all.push(padded);
    }
    all
}

/// A few datagrams of different lengths.
fn some(real: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut some = real.to_vec();
    some.sort_by_key(Vec::len);
    some.dedup_by_key(|datagram| datagram.len());
    let step = some.len().div_ceil(4);
    let some: Vec<_> = some.into_iter().step_by(step).collect();
    assert!(some.len() > 2, "{}", some.len());
    some
}

fn truncated(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..datagram.len()).map(|length| &datagram[..length])
}

fn flipped(datagram: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..datagram.len() * 8).map(|bit| {
        let mut flipped = datagram.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

/// The datagrams of gossip among packets, as they were sent.
fn gossip(packets: &[Packet]) -> Vec<Vec<u8>> {
    let gossip = packets.iter().filter(|packet| packet.is_gossip());
    gossip.map(|packet| packet.datagram().to_vec()).collect()
}

/// A cluster of two with a pod on each, a node that is idle, and two that are another cluster; and
/// the datagrams of either cluster from its first on.
fn clusters() -> (Lab, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let lab = idle(5);
    let all: [Node<'_>; 5] = nodes(&lab);
    let recording = Recording::of(&lab);
    for pair in [[all[0], all[1]], [all[3], all[4]]] {
        let invitation = pair[0].init(None).unwrap();
        pair[1].join(&invitation, pair[0]).unwrap();
        for node in pair {
            node.ready(1);
            node.add_pod("red");
        }
    }
    let packets = recording.stop();
    let of = |pair: [Node<'_>; 2]| {
        let addresses = pair.map(|node| node.address());
        let of_pair = packets
            .iter()
            .filter(|packet| addresses.contains(&packet.source))
            .cloned();
        gossip(&of_pair.collect::<Vec<_>>())
    };
    let (ours, foreign) = (of([all[0], all[1]]), of([all[3], all[4]]));
    assert!(
        ours.len() > 10 && foreign.len() > 10,
        "{} {}",
        ours.len(),
        foreign.len()
    );
    (lab, ours, foreign)
}

#[test]
fn datagrams_of_whoever_has_no_key_change_nothing() {
    let (lab, ours, foreign) = clusters();
    let [one, two, outsider, _, _] = nodes(&lab);
    let unharmed = [one, two].map(Unharmed::watch);
    let mut rng = Rng::with_seed(0x706f_646e_6574);
    let some = some(&ours);
    // An outsider, and somebody on a member's own host.
    for (sender, target) in [(outsider, one), (outsider, two), (one, two), (two, two)] {
        let sender = Sender::on(sender);
        sender.send(target, forged(&mut rng, &some));
        sender.send(target, &foreign);
        sender.send(
            target,
            foreign.iter().flat_map(|datagram| truncated(datagram)),
        );
        for datagram in &some {
            sender.send(target, truncated(datagram));
            sender.send(target, flipped(datagram));
        }
        sender.send(target, (0..5_000).map(|_| random(&mut rng, 600)));
    }
    for unharmed in &unharmed {
        unharmed.assert("datagrams without a key");
    }
    let words = ["join", "192.168.56.11"];
    let joined = outsider.ctl_json(&words, &one.token().token).unwrap();
    assert!(joined.ok(), "{joined}");
}

/// Sends datagrams again in every order and number, from everywhere, to both.
fn send_again(targets: [Node<'_>; 2], outsider: Node<'_>, datagrams: &[Vec<u8>]) {
    let mut rng = Rng::with_seed(0x0070_6f64);
    let mut shuffled = datagrams.to_vec();
    for sender in [outsider, targets[0], targets[1]] {
        let sender = Sender::on(sender);
        for target in targets {
            sender.send(target, datagrams);
            sender.send(target, datagrams.iter().rev());
            for _ in 0..3 {
                rng.shuffle(&mut shuffled);
                sender.send(target, &shuffled);
            }
            sender.send(target, datagrams.iter().flat_map(|datagram| [datagram; 5]));
        }
    }
}

#[test]
fn datagrams_that_are_sent_again_change_nothing() {
    let (lab, ours, _) = clusters();
    let [one, two, outsider, _, _] = nodes(&lab);
    let unharmed = [one, two].map(Unharmed::watch);
    send_again([one, two], outsider, &ours);
    for unharmed in &unharmed {
        unharmed.assert("datagrams that were sent again");
    }
    // Agents that have just started know no datagram that was sent before.
    for node in [one, two] {
        node.kill().unwrap();
        node.start().unwrap();
    }
    for node in [one, two] {
        node.ready(1);
    }
    let unharmed = [one, two].map(Unharmed::watch);
    send_again([one, two], outsider, &ours);
    for unharmed in &unharmed {
        unharmed.assert("datagrams that were sent again to new agents");
    }
}

/// What goes over the underlay is of no use to whoever sends it to somebody else: the answer goes to
/// the one who has sealed it, and only who was asked answers a question.
#[test]
fn whoever_sends_datagrams_again_to_another_member_gets_no_answer() {
    let lab = idle(4);
    let [one, two, three, outsider] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    three.join(&invitation, one).unwrap();
    let recording = Recording::of(&lab);
    two.join(&invitation, one).unwrap();
    two.ready(2);
    let said = gossip(&recording.stop());
    assert!(said.len() > 10, "{}", said.len());
    let sender = Sender::on(outsider);
    sender.socket.set_nonblocking(true).unwrap();
    let assert_silent = |when: &str| {
        sender.send(three, &said);
        // It answers in the order in which it hears.
        three.ready(2);
        let answer = sender.socket.recv(&mut [0; 1500]).map_err(|e| e.kind());
        assert_eq!(answer, Err(std::io::ErrorKind::WouldBlock), "{when}");
    };
    assert_silent("to one that was not meant");
    three.kill().unwrap();
    three.start().unwrap();
    three.ready(2);
    assert_silent("to one that has just started");
}

/// An agent that has just started knows no datagram that was sent before.
#[test]
fn what_a_node_said_before_it_left_is_not_taken_for_a_wish_to_come_back() {
    let lab = idle(2);
    let [one, two] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    let recording = Recording::of(&lab);
    two.join(&invitation, one).unwrap();
    let said = gossip(&recording.stop());
    two.leave();
    assert!(said.len() > 10, "{}", said.len());
    two.term().unwrap();
    one.term().unwrap();
    one.start().unwrap();
    assert_eq!(one.ready(0).cluster.unwrap().nodes, 1);
    let unharmed = Unharmed::watch(one);
    let sender = Sender::on(two);
    for _ in 0..3 {
        sender.send(one, &said);
        sender.send(one, said.iter().rev());
    }
    unharmed.assert("what a node said before it left");
    // Where it does come back, nobody has taken its place.
    two.start().unwrap();
    two.join(&invitation, one).unwrap();
    assert_eq!(one.ready(1).cluster.unwrap().nodes, 2);
    two.ready(1);
    assert_eq!(two.block().to_string(), "10.244.2.0/24");
}
