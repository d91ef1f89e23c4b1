//! How large packets of pods may be.

use podnet_lab::{Node, eventually};

use crate::scene::{LIMIT, add_pod, ask, cluster, idle, nodes, ready, refused_with, shell};

#[track_caller]
fn bridge_has(node: Node<'_>, mtu: u32) {
    let wanted = format!(" mtu {mtu} ");
    eventually(LIMIT, &wanted, || {
        let link = shell(node, "ip -o link show podnet0 up");
        if link.contains(&wanted) {
            Ok(())
        } else {
            Err(link)
        }
    })
    .unwrap();
}

/// As on hosts that speak BGP. The loopback interface takes packets that no bridge does.
#[test]
fn an_address_on_loopback_may_be_what_peers_are_told() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let addresses = ["198.51.100.11", "198.51.100.12"];
    for (node, address) in [node1, node2].into_iter().zip(addresses) {
        shell(
            node,
            &format!("ip address add {address}/32 dev lo; ip link set eth0 mtu 1400"),
        );
    }
    for (node, far) in [(node1, 1), (node2, 0)] {
        shell(
            node,
            &format!("ip route add {}/32 dev eth0", addresses[far]),
        );
    }
    let init = [
        "init",
        "--pod-cidr",
        "10.244.0.0/16",
        "--advertise",
        addresses[0],
    ];
    let token = ask(node1, &init)["token"].as_str().unwrap().to_owned();
    bridge_has(node1, 1400);
    let join = [
        "join",
        addresses[0],
        "--advertise",
        addresses[1],
        "--token",
        &token,
    ];
    ask(node2, &join);
    for node in [node1, node2] {
        ready(node, 1);
        bridge_has(node, 1400);
    }
    add_pod(node1, "red");
    let blue = add_pod(node2, "blue");
    node1.pod("red").ping(blue).unwrap();
}

/// Whether a packet of this size passes whole from the pod to an address.
fn passes(node: Node<'_>, pod: &str, to: &str, size: u32) -> bool {
    // Less the headers of IPv4 and ICMP.
    let data = (size - 28).to_string();
    let words = ["ping", "-n", "-c1", "-W2", "-M", "do", "-s", &data, to];
    node.pod(pod).exec(words).unwrap().ok()
}

/// As where a peer is behind a tunnel of the operator's.
#[test]
fn the_mtu_of_the_operators_own_route_to_a_peer_counts() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    add_pod(node1, "red");
    let blue = add_pod(node2, "blue").to_string();
    assert!(passes(node1, "red", &blue, 1500));
    shell(node1, "ip route add 192.168.56.12 dev eth0 mtu 1400");
    bridge_has(node1, 1400);
    let route = || {
        let route = shell(node1, "ip route show 10.244.1.0/24");
        if route.contains("mtu 1400") {
            Ok(())
        } else {
            Err(route)
        }
    };
    eventually(LIMIT, "the route's MTU", route).unwrap();
    let pod = || {
        let link = shell(node1, "ip -n red -o link show eth0");
        if link.contains(" mtu 1400 ") {
            Ok(())
        } else {
            Err(link)
        }
    };
    eventually(LIMIT, "the pod's MTU", pod).unwrap();
    assert!(passes(node1, "red", &blue, 1400));
    assert!(!passes(node1, "red", &blue, 1401));
    shell(node1, "ip route del 192.168.56.12 dev eth0");
    bridge_has(node1, 1500);
    eventually(LIMIT, "large packets", || {
        passes(node1, "red", &blue, 1500)
            .then_some(())
            .ok_or("lost")
    })
    .unwrap();
}

/// No bridge takes so small an MTU.
#[test]
fn no_join_succeeds_without_a_bridge() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    node3.join(&invitation, node1).unwrap();
    let route = format!("{} dev eth0 mtu 60", node3.address());
    shell(node2, &format!("ip route add {route}"));
    let join = ["--timeout", "5s", "join", &node1.address().to_string()];
    let late = refused_with(node2, &join, &invitation.token, ("timeout", 124));
    assert!(late.message.contains("bridge podnet0"), "{late:?}");
    shell(node2, &format!("ip route del {route}"));
    for node in [node1, node2, node3] {
        ready(node, 2);
        bridge_has(node, 1500);
    }
}
