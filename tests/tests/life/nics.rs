//! Hosts with several interfaces: the address that peers are told is right, or the user is asked.

use std::time::Duration;

use podnet_lab::prelude::*;

use crate::underlay::{plug, underlay, users_lab};

const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

/// How often the agents judge their addresses, and how many times without a move show that none is
/// about to come: one is waited with for less than that.
const OFTEN: Duration = Duration::from_millis(200);
const LOOKS: u64 = 10;

/// A network for something else, where the way out leads through, as on many virtual machines.
fn give_another(node: Node<'_>) {
    let script = "ip link set eth1 up
        ip address add 198.51.100.7/24 dev eth1
        ip route replace default via 198.51.100.1";
    node.shell(script);
}

#[test]
fn a_node_tells_the_address_from_which_it_reaches_the_member_that_answered() {
    let lab = users_lab(2).up().unwrap();
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    plug(&lab, node2, "eth1");
    give_another(node2);
    let words = ["join", "192.168.56.11"];
    let joined = node2
        .ctl_with(words, &[("PODNET_TOKEN", &token)], LIMIT)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    assert_eq!(node2.endpoint(), gossips_at(underlay(12)));
    for node in [node1, node2] {
        node.ready(1);
    }
}

/// Neither follows the other from one link to the other.
#[test]
fn two_nodes_with_two_links_between_them_stay_where_they_are() {
    let lab = users_lab(2).timing("resync", OFTEN).up().unwrap();
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    for (node, last) in [(node1, 6), (node2, 7)] {
        plug(&lab, node, "eth1");
        let address = format!("ip address add 198.51.100.{last}/24 dev eth1");
        node.shell(&format!("ip link set eth1 up; {address}"));
    }
    let words = ["join", "198.51.100.6"];
    let joined = node2
        .ctl_with(words, &[("PODNET_TOKEN", &token)], LIMIT)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    for node in [node1, node2] {
        node.ready(1);
    }
    let green = node1.add_pod("green").address();
    node2.add_pod("blue");
    node2.pod("blue").ping(green).unwrap();
    for node in [node1, node2] {
        let looks = || node.status().reconcile.passes;
        let before = looks();
        until("looks at the addresses", &true, || {
            looks() >= before + LOOKS
        });
    }
    assert_eq!(node1.endpoint(), gossips_at(underlay(11)));
    assert_eq!(node2.endpoint(), gossips_at([198, 51, 100, 7]));
    for node in [node1, node2] {
        assert!(!node.log().contains("peers are told the new one"));
        node.ready(1);
    }
}

#[test]
fn a_founder_with_several_interfaces_is_asked_which_one_peers_reach() {
    let lab = users_lab(1).up().unwrap();
    let [node] = nodes(&lab);
    plug(&lab, node, "eth1");
    give_another(node);
    let before = Snapshot::whole(node);
    let refusal = refused(node, &INIT, ErrorCode::BadAddress);
    let told_so = format!("{} {}", refusal.message, refusal.hint);
    for word in ["192.168.56.11 (eth0)", "198.51.100.7 (eth1)", "--advertise"] {
        assert!(told_so.contains(word), "no word of {word}: {told_so}");
    }
    before.assert_same(&Snapshot::whole(node), "init");
    // One that is down is no choice.
    node.shell("ip link set eth1 down");
    node.init(None).unwrap();
    assert_eq!(node.endpoint(), gossips_at(underlay(11)));
}
