//! Which of a host's addresses peers are told, and where gossip comes from.

use std::net::Ipv4Addr;

use podnet_lab::prelude::*;

/// A second address of a node, that its peers are told.
fn second(node: Node<'_>) -> Ipv4Addr {
    let [a, b, c, d] = node.address().octets();
    Ipv4Addr::new(a, b, c, d + 100)
}

/// Gives each of two nodes a second address, and lets the firewall of its peer drop gossip from the first.
fn only_second_ones(lab: &Lab) {
    let [node1, node2] = nodes(lab);
    for (node, peer) in [(node1, node2), (node2, node1)] {
        node.shell(&format!("ip address add {}/24 dev eth0", second(node)));
        let first = node.address();
        peer.shell(&format!("iptables -A INPUT -p udp -s {first} -j DROP"));
    }
}

#[track_caller]
fn assert_gossip(lab: &Lab) {
    for node in lab.nodes() {
        let status = node.ready(1);
        assert_eq!(status.problems, []);
        assert_eq!(status.node.addresses, [gossips_at(second(node))]);
    }
}

#[test]
fn gossip_comes_from_the_address_that_a_command_names() {
    let lab = idle(2);
    only_second_ones(&lab);
    let [node1, node2] = nodes(&lab);
    let [first, other] = [node1, node2].map(|node| second(node).to_string());
    let init = ["init", "--pod-cidr", "10.244.0.0/16", "--advertise", &first];
    let token = node1.ask::<Invitation>(&init).token;
    let joined = node2
        .ctl_json(&["join", &first, "--advertise", &other], &token)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    assert_gossip(&lab);
}

#[test]
fn gossip_comes_from_the_address_in_the_range_that_is_set() {
    let builder = agents(2).env("PODNET_ADVERTISE", "192.168.56.96/27");
    let lab = builder.up().unwrap();
    only_second_ones(&lab);
    let [node1, node2] = nodes(&lab);
    let init = ["init", "--pod-cidr", "10.244.0.0/16"];
    let token = node1.ask::<Invitation>(&init).token;
    let joined = node2
        .ctl_json(&["join", &second(node1).to_string()], &token)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    assert_gossip(&lab);
}

/// Moves the address of a node to a bridge with the network card as a port.
fn bridge(node: Node<'_>, name: &str) {
    let address = node.address();
    node.shell(&format!(
        "gateway=$(ip -4 route show default | cut -d' ' -f3); \
             ip link add {name} type bridge; ip address flush dev eth0; \
             ip link set eth0 master {name}; ip link set {name} up; \
             ip address add {address}/24 dev {name}; ip route add default via $gateway"
    ));
}

/// Gives a node what Docker makes for containers.
fn with_docker(node: Node<'_>) {
    for (number, name) in ["docker0", "br-fedcba987654"].iter().enumerate() {
        node.shell(&format!(
            "ip link add {name} type bridge; ip link set {name} up; \
                 ip address add 172.{}.0.1/16 dev {name}",
            17 + number
        ));
    }
}

#[test]
fn peers_are_told_the_address_of_the_bridge_that_leads_to_them() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    for (node, name) in [(node1, "br-lan"), (node2, "br-0123456789ab")] {
        bridge(node, name);
        with_docker(node);
    }
    let token = node1
        .ask::<Invitation>(&["init", "--pod-cidr", "10.244.0.0/16"])
        .token;
    let joined = node2
        .ctl_json(&["join", &node1.address().to_string()], &token)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    for node in [node1, node2] {
        assert_eq!(node.endpoint(), gossips_at(node.address()));
    }
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();

    // A founder is asked which one peers reach, where there are two.
    with_docker(node3);
    bridge(node3, "br-0123456789ab");
    node3.shell("ip route add default via 172.17.0.2 dev docker0 metric 500");
    let init = ["init", "--pod-cidr", "10.245.0.0/16"];
    let refusal = refused(node3, &init, ErrorCode::BadAddress);
    let own = node3.address();
    for named in [
        format!("{own} (br-0123456789ab)"),
        "172.17.0.1 (docker0)".to_owned(),
    ] {
        assert!(refusal.message.contains(&named), "{refusal:?}");
    }
    assert!(!refusal.message.contains("172.18.0.1"), "{refusal:?}");
}
