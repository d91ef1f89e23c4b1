//! Hosts that reboot, and have everything back without anybody's doing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use podnet_lab::Mtu;
use podnet_lab::prelude::*;

use crate::flow::Ping;
use crate::underlay::users_cluster;

/// How long a node may take from the moment its power is gone.
const BACK: Duration = Duration::from_secs(10);

/// What a node has of podnet's without its pods.
const DATA_PATH: &str = "cat /sys/class/net/podnet0/address /sys/class/net/podnet0/mtu
    ip -4 -o address show dev podnet0 scope global | cut -d ' ' -f 2-
    ip -4 route show proto 112
    iptables-save | grep PODNET
    cd /proc/sys/net/ipv4/conf; cat all/forwarding podnet0/forwarding eth0/forwarding";

/// What is there once a node is back, or why it is not.
fn held(node: Node<'_>, peers: usize) -> Result<String, String> {
    let status = node.status();
    let ok = |peer: &&api::Node| peer.path == Some(PathState::Ok) && peer.live;
    let paths = status.peers.iter().filter(ok).count();
    if status.phase != Phase::Ready || paths != peers || !status.problems.is_empty() {
        return Err(format!("{status:?}"));
    }
    Ok(node.shell(DATA_PATH))
}

/// The addresses of two new pods.
fn two_pods(node: Node<'_>) -> BTreeSet<std::net::Ipv4Addr> {
    ["red", "pink"]
        .map(|name| node.add_pod(name).address())
        .into()
}

/// Reboots nodes at once and asserts that they have back within the limit what they had.
fn assert_back(lab: &Lab, rebooted: &[Node<'_>]) {
    let peers = lab.nodes().len() - 1;
    let settled = |node: &Node<'_>| {
        let what = format!("{} is settled", node.name());
        eventually(LIMIT, &what, || held(*node, peers)).unwrap()
    };
    let before: Vec<_> = rebooted
        .iter()
        .map(|node| (two_pods(*node), node.block(), settled(node)))
        .collect();
    let powered_off = Instant::now();
    lab.reboot(rebooted).unwrap();
    let back = || -> Result<Vec<_>, _> { rebooted.iter().map(|node| held(*node, peers)).collect() };
    let now = in_time(powered_off, BACK, "all are back", back).unwrap();
    for ((node, now), (pods, old_block, data_path)) in rebooted.iter().zip(now).zip(before) {
        assert_eq!(now, data_path, "{}", node.name());
        assert_eq!(node.block(), old_block);
        assert_eq!(node.pods(), []);
        assert_eq!(two_pods(*node), pods, "the addresses are free again");
    }
    let all = lab.nodes();
    for (from, to) in all.iter().zip(all.iter().cycle().skip(1)) {
        let address = to.show_pod("red").address();
        from.pod("red").ping(address).unwrap();
    }
}

#[test]
fn a_host_that_reboots_has_its_block_routes_and_rules_back() {
    let lab = users_cluster(3);
    let [node1, node2, node3] = nodes(&lab);
    let green = node3.add_pod("red").address();
    node1.add_pod("green");
    let flow = Ping::start(&node1.pod("green"), green);
    let rules = node2.shell("iptables-save | grep -c PODNET");
    assert!(rules.trim().parse::<u32>().unwrap() > 5, "{rules}");
    node1.add_pod("red");
    assert_back(&lab, &[node2]);
    flow.assert_lossless();
}

/// Without it nothing is decided, and its own new boot has to be.
#[test]
fn the_founder_that_reboots_has_everything_back() {
    let lab = users_cluster(3);
    let [node1, node2, node3] = nodes(&lab);
    for node in [node2, node3] {
        node.add_pod("red");
    }
    assert_back(&lab, &[node1]);
}

/// Scripts that come with the host add pods as soon as the agent answers.
#[test]
fn a_pod_that_is_added_at_once_is_whole() {
    let lab = users_cluster(2);
    let [founder, node2] = nodes(&lab);
    let blue = node2.add_pod("blue").address();
    founder.set_mtu(Mtu::new(1400).unwrap()).unwrap();
    for round in ["after a reboot", "after a restart"] {
        match round {
            "after a reboot" => lab.reboot(&[founder]).unwrap(),
            _ => {
                founder.remove_pod("red");
                founder.kill().unwrap();
                founder.start().unwrap();
            }
        }
        // After a reboot it listens first whether another host runs with its identity.
        if round == "after a reboot" {
            founder.status_where(round, |status| status.phase == Phase::Ready);
        }
        assert_eq!(founder.status().phase, Phase::Ready, "{round}");
        founder.add_pod("red");
        let pod = founder.pod("red");
        pod.ping(blue).unwrap();
        let mtu = founder.shell("ip netns exec red cat /sys/class/net/eth0/mtu");
        assert_eq!(mtu.trim(), "1400", "{round}");
    }
}

#[test]
fn a_cluster_that_reboots_at_once_has_everything_back() {
    let lab = users_cluster(3);
    assert_back(&lab, &lab.nodes());
}
