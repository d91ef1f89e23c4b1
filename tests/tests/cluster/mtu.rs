//! How large packets of pods may be.

use podnet_lab::prelude::*;

#[track_caller]
fn bridge_has(node: Node<'_>, mtu: u32) {
    let wanted = format!(" mtu {mtu} ");
    eventually(LIMIT, &wanted, || {
        let link = node.shell("ip -o link show podnet0 up");
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
        node.shell(&format!(
            "ip address add {address}/32 dev lo; ip link set eth0 mtu 1400"
        ));
    }
    for (node, far) in [(node1, 1), (node2, 0)] {
        node.shell(&format!("ip route add {}/32 dev eth0", addresses[far]));
    }
    let init = [
        "init",
        "--pod-cidr",
        "10.244.0.0/16",
        "--advertise",
        addresses[0],
    ];
    let token = node1.ask::<Invitation>(&init).token;
    bridge_has(node1, 1400);
    let join = [
        "join",
        addresses[0],
        "--advertise",
        addresses[1],
        "--token",
        &token,
    ];
    node2.tell(&join);
    for node in [node1, node2] {
        node.ready(1);
        bridge_has(node, 1400);
    }
    node1.add_pod("red");
    let blue = node2.add_pod("blue").address();
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
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.add_pod("red");
    let blue = node2.add_pod("blue").address().to_string();
    assert!(passes(node1, "red", &blue, 1500));
    node1.shell("ip route add 192.168.56.12 dev eth0 mtu 1400");
    bridge_has(node1, 1400);
    let route = || {
        let route = node1.shell("ip route show 10.244.1.0/24");
        if route.contains("mtu 1400") {
            Ok(())
        } else {
            Err(route)
        }
    };
    eventually(LIMIT, "the route's MTU", route).unwrap();
    let pod = || {
        let link = node1.shell("ip -n red -o link show eth0");
        if link.contains(" mtu 1400 ") {
            Ok(())
        } else {
            Err(link)
        }
    };
    eventually(LIMIT, "the pod's MTU", pod).unwrap();
    assert!(passes(node1, "red", &blue, 1400));
    assert!(!passes(node1, "red", &blue, 1401));
    node1.shell("ip route del 192.168.56.12 dev eth0");
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
    node2.shell(&format!("ip route add {route}"));
    let join = ["--timeout", "5s", "join", &node1.address().to_string()];
    let late = refused_with(node2, &join, &invitation.token, ErrorCode::Timeout);
    assert!(late.message.contains("bridge podnet0"), "{late:?}");
    node2.shell(&format!("ip route del {route}"));
    for node in [node1, node2, node3] {
        node.ready(2);
        bridge_has(node, 1500);
    }
}
