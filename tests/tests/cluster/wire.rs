//! What an observer of the underlay sees.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use podnet_lab::prelude::*;

use podnet_lab::scenario::pcap::{GOSSIP_PORT, ICMP, MAX_DATAGRAM, Packet, Recording};

/// Names of what agents tell each other, in JSON or in any other readable form.
const FIELDS: &[&str] = &[
    "name",
    "boot",
    "slot",
    "voters",
    "blocks",
    "block",
    "join",
    "release",
    "endpoints",
    "public_key",
    "agent_version",
    "counter",
    "cluster",
    "networks",
    "podnet",
    "chitchat",
];

/// A cluster of three whose every step was recorded, with a ping from pod to pod.
fn recorded() -> (Lab, Vec<Packet>, Ipv4Addr, Ipv4Addr) {
    let lab = idle(3);
    let recording = Recording::of(&lab);
    lab.init_join_all().unwrap();
    let [node1, node2, node3] = nodes(&lab);
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    node1.pod("red").ping(blue).unwrap();
    node3.leave();
    node1.ready(1);
    let packets = recording.stop();
    (lab, packets, red, blue)
}

#[test]
fn gossip_is_sealed_and_pod_traffic_is_plain() {
    let (lab, packets, red, blue) = recorded();
    let underlay: BTreeSet<Ipv4Addr> = lab.nodes().iter().map(Node::address).collect();
    let (gossip, other): (Vec<_>, Vec<_>) = packets.iter().partition(|packet| packet.is_gossip());

    let secrets = secrets(&lab);
    assert!(gossip.len() > 50, "{} datagrams of gossip", gossip.len());
    for packet in gossip {
        assert_eq!(packet.ports().0, GOSSIP_PORT, "{packet:?}");
        assert!(underlay.contains(&packet.source), "{packet:?}");
        assert!(underlay.contains(&packet.destination), "{packet:?}");
        let datagram = packet.datagram();
        assert!(datagram.len() <= MAX_DATAGRAM, "{} bytes", datagram.len());
        for (what, secret) in &secrets {
            let readable = datagram
                .windows(secret.len())
                .any(|window| window == secret);
            assert!(
                !readable,
                "{what} can be read in {}",
                datagram.escape_ascii()
            );
        }
    }

    // All else is echoes: of the pods, and of the nodes that try their paths, both with addresses
    // of the pod network. Nothing is translated, and agents have no other connection.
    let gateways: BTreeSet<Ipv4Addr> = ["10.244.0.1", "10.244.1.1", "10.244.2.1"]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    let router = lab.router().address();
    for packet in other.iter().filter(|packet| packet.source != router) {
        if is_closed_port(packet) {
            // Of a node that has left, or has not joined yet.
            continue;
        }
        let (from, to) = (packet.source, packet.destination);
        let of_pods = [(red, blue), (blue, red)].contains(&(from, to));
        let of_nodes = gateways.contains(&from) && gateways.contains(&to);
        assert!(
            packet.protocol == ICMP && (of_pods || of_nodes),
            "{packet:?}"
        );
    }
    for (from, to) in [(red, blue), (blue, red)] {
        let seen = other
            .iter()
            .any(|packet| (packet.source, packet.destination) == (from, to));
        assert!(seen, "{from} to {to}");
    }
    assert_eq!(
        lab.node("node1").unwrap().gateway(),
        Ipv4Addr::new(10, 244, 0, 1)
    );
}

/// Whether it is an ICMP error that says that nobody listens on the port of gossip.
fn is_closed_port(packet: &Packet) -> bool {
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    // The datagram that was refused follows the ICMP header of eight bytes.
    const DESTINATION_PORT: std::ops::Range<usize> = 30..32;
    packet.protocol == ICMP
        && packet.body.starts_with(&PORT_UNREACHABLE)
        && packet.body.get(DESTINATION_PORT) == Some(&GOSSIP_PORT.to_be_bytes()[..])
}

/// What must not be readable, with its name.
fn secrets(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let [node1, node2, node3] = nodes(lab);
    let status1 = node1.status();
    let cluster = status1.cluster.unwrap().id.to_string();
    let token = node1.token().token;
    let (_, token) = token.split_once('.').unwrap();
    let mut words: Vec<String> = ["node1", "node2", "node3", "10.244.", "192.168.56."]
        .iter()
        .chain(FIELDS)
        .map(|word| (*word).to_owned())
        .collect();
    words.extend([cluster.clone(), token[..16].to_owned()]);
    words.extend([node1, node2, node3].map(|node| {
        let status = node.status();
        status.node.id.to_string()
    }));
    let pairs = cluster.as_bytes().chunks(2);
    let raw = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let raw = ("the bytes of the cluster's id".to_owned(), raw.collect());
    words
        .into_iter()
        .map(|word| (word.clone(), word.into_bytes()))
        .chain([raw])
        .collect()
}
