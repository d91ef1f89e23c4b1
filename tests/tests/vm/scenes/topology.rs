//! Other networks than one that all nodes share.

use crate::cluster::Cluster;
use crate::cluster::Internet;
use crate::driver::{INTERNET, Segment};
use crate::node::Node;

/// A network card's settings, as a file of systemd-networkd.
#[track_caller]
fn configure(node: Node<'_>, card: u8, settings: &str) {
    node.sh(&format!(
        "printf '[Match]\\nName=eth{card}\\n[Network]\\nIPv6AcceptRA=no\\n{settings}\\n' \
         > /etc/systemd/network/10-card{card}.network
         rm -f /etc/systemd/network/10-lan.network.off
         networkctl reload; networkctl reconfigure eth{card}"
    ));
}

/// A second network card has the default route, and the same address on every node, as Vagrant's
/// NAT has: nodes are told where peers reach them by the other one, and pods leave by this one.
pub(crate) fn a_second_card_has_the_default_route(cluster: &mut Cluster) {
    cluster.each(|node| {
        let lan = node.address();
        node.sh("rm /etc/systemd/network/10-lan.network");
        configure(node, 0, &format!("Address={lan}/24"));
        configure(node, 1, "Address=10.0.2.15/24\\nGateway=10.0.2.2");
        node.wait_sh("ip route show default | grep -q eth1");
        node.wait_sh("! ip route show default | grep -q eth0");
    });
    let [node1, node2, node3] = cluster.nodes();
    let refused = node1.try_ctl("init --pod-cidr 10.244.0.0/16");
    assert_eq!(refused.code, 2, "{refused}");
    for candidate in ["10.0.2.15", "192.168.56.11"] {
        assert!(refused.stdout.contains(candidate), "{refused}");
    }
    cluster.join();
    cluster.each(|node| {
        node.wait_ready(2);
        let status = node.ctl("status");
        let advertised = status["node"]["addresses"][0].as_str().unwrap();
        assert!(advertised.starts_with(&node.address()), "{status}");
        node.add_pod();
    });
    cluster.assert_paths();
    // One after another: they all have the same address there.
    for node in [node1, node2, node3] {
        let _internet = Internet::open(cluster.network()).unwrap();
        cluster
            .network()
            .run(&["ip", "neigh", "flush", "dev", "nat"])
            .unwrap();
        assert_eq!(node.pod_seen_as(INTERNET), "10.0.2.15", "{}", node.name());
    }
}

/// A node behind a router: this version has no way for its pods, and says so on both ends, with the
/// router's address. Nothing leaks to the router; the others are not disturbed.
pub(crate) fn a_node_behind_a_router_is_shown_with_the_reason(cluster: &mut Cluster) {
    let [node1, node2, node3] = cluster.nodes();
    node3.machine().plug(0, Segment::Far).unwrap();
    node3.sh("rm /etc/systemd/network/10-lan.network");
    configure(node3, 0, "Address=192.168.57.13/24\\nGateway=192.168.57.1");
    node3.wait_sh("ping -c1 -W1 192.168.56.11");
    let founded = node1.ctl("init --pod-cidr 10.244.0.0/16");
    let token = founded["token"].as_str().unwrap();
    for node in [node2, node3] {
        node.sh(&format!("printf %s {token} > /run/token"));
    }
    let join = "join 192.168.56.11 --token-file /run/token";
    node2.ctl(join);
    let late = node3.try_sh(&format!("podnetctl -o json --timeout 20s {join}"));
    assert_eq!(late.code, 124, "{late}");
    for (node, router) in [
        (node1, "192.168.56.1"),
        (node2, "192.168.56.1"),
        (node3, "192.168.57.1"),
    ] {
        let status = node.wait_status("the path is judged", |status| {
            let peers = status["peers"].as_array().into_iter().flatten();
            peers.filter(|peer| peer["path"] == "failed").count() > 0
        });
        let told = status["peers"].to_string();
        assert!(told.contains("router") && told.contains(router), "{told}");
    }
    for node in [node1, node2] {
        node.add_pod();
    }
    assert_eq!(node1.pod_seen_as(&node2.pod_address()), node1.pod_address());
}
