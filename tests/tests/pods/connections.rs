//! What the kernel remembers of a pod that is no more.

use std::net::Ipv4Addr;

use podnet_lab::prelude::*;

use crate::stage::found_small;

/// A cluster whose founder has room for five pods, and a node beside it.
fn two_nodes() -> Lab {
    let lab = looking_every(OFTEN, 2).up().unwrap();
    let [node, far] = nodes(&lab);
    found_small(node, 29);
    let invitation: Invitation = node.ask(&["token", "show"]);
    far.join(&invitation, node).unwrap();
    lab
}

fn connections(node: Node<'_>, address: Ipv4Addr) -> String {
    let all = node.shell("conntrack -L 2> /dev/null");
    let of_address = |line: &&str| {
        line.split_whitespace()
            .any(|word| word == format!("src={address}") || word == format!("dst={address}"))
    };
    all.lines()
        .filter(of_address)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Sends a UDP datagram, to a port where nobody listens.
fn send(node: Node<'_>, pod: &str, to: Ipv4Addr) {
    let script = format!("echo x > /dev/udp/{to}/9");
    let sent = node.pod(pod).exec(["bash", "-c", &script]).unwrap();
    assert!(sent.ok(), "{sent}");
}

#[test]
fn an_address_that_is_given_out_again_has_no_old_connections() {
    let lab = two_nodes();
    let [node, far] = nodes(&lab);
    let red = node.add_pod("red").address();
    let green = node.add_pod("green").address();
    let blue = far.add_pod("blue").address();
    send(node, "red", lab.internet().address());
    send(node, "red", blue);
    send(far, "blue", red);
    send(node, "green", lab.internet().address());
    let before = connections(node, red);
    assert_eq!(before.lines().count(), 3, "{before}");
    node.remove_pod("red");
    for name in ["c", "d", "e"] {
        node.add_pod(name);
    }
    let again = node.add_pod("f");
    assert_eq!(again.address(), red, "the block was full but for this");
    assert_eq!(connections(node, red), "");
    assert_ne!(connections(node, green), "", "others keep theirs");
    node.pod("f").ping(lab.internet().address()).unwrap();
}

#[test]
fn a_gone_pod_leaves_no_connections_to_the_next() {
    let lab = two_nodes();
    let node = first(&lab);
    let red = node.add_pod("red").address();
    for name in ["b", "c", "d", "e"] {
        node.add_pod(name);
    }
    send(node, "red", lab.internet().address());
    assert_ne!(connections(node, red), "");
    node.shell("ip netns del red");
    until("a free address", &true, || {
        node.ctl(["pod", "add", "f"]).unwrap().ok()
    });
    assert_eq!(connections(node, red), "");
}
