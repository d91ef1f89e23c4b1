//! What the kernel remembers of a pod that is no more.

use std::net::Ipv4Addr;

use podnet_lab::{Lab, Node};

use super::stage::{LIMIT, add, address, ask, first, idle, shell, text, until};

/// A cluster whose founder has room for five pods, and a node beside it.
fn two_nodes() -> Lab {
    let lab = idle(2).up().unwrap();
    let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let made = ask(
        node,
        &["init", "--pod-cidr", "10.9.0.0/24", "--block-prefix", "29"],
    );
    let token = [("PODNET_TOKEN", text(&made["token"]))];
    let joined = far
        .ctl_with(["join", "192.168.56.11"], &token, LIMIT)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    lab
}

fn connections(node: Node<'_>, address: Ipv4Addr) -> String {
    let all = shell(node, "conntrack -L 2> /dev/null");
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
    let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let red = address(&add(node, "red"));
    let green = address(&add(node, "green"));
    let blue = address(&add(far, "blue"));
    send(node, "red", lab.internet().address());
    send(node, "red", blue);
    send(far, "blue", red);
    send(node, "green", lab.internet().address());
    let before = connections(node, red);
    assert_eq!(before.lines().count(), 3, "{before}");
    ask(node, &["pod", "rm", "red"]);
    for name in ["c", "d", "e"] {
        add(node, name);
    }
    let again = add(node, "f");
    assert_eq!(address(&again), red, "the block was full but for this");
    assert_eq!(connections(node, red), "");
    assert_ne!(connections(node, green), "", "others keep theirs");
    node.pod("f").ping(lab.internet().address()).unwrap();
}

#[test]
fn a_gone_pod_leaves_no_connections_to_the_next() {
    let lab = two_nodes();
    let node = first(&lab);
    let red = address(&add(node, "red"));
    for name in ["b", "c", "d", "e"] {
        add(node, name);
    }
    send(node, "red", lab.internet().address());
    assert_ne!(connections(node, red), "");
    shell(node, "ip netns del red");
    until("a free address", &true, || {
        node.ctl(["pod", "add", "f"]).unwrap().ok()
    });
    assert_eq!(connections(node, red), "");
}
