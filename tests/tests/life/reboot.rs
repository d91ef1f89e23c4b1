//! Hosts that reboot, and have everything back without anybody's doing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use podnet_lab::{Lab, Mtu, Node, eventually, in_time};
use serde_json::{Value, json};

use crate::flow::Ping;
use crate::scene::{LIMIT, add_pod, ask, block, nodes, shell, status, status_where};
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
    let status = status(node);
    let ok = |peer: &&Value| peer["path"] == "ok" && peer["live"] == true;
    let paths = status["peers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(ok)
        .count();
    if status["phase"] != "ready" || paths != peers || status["problems"] != json!([]) {
        return Err(status.to_string());
    }
    Ok(shell(node, DATA_PATH))
}

/// The addresses of two new pods.
fn two_pods(node: Node<'_>) -> BTreeSet<std::net::Ipv4Addr> {
    ["red", "pink"].map(|name| add_pod(node, name)).into()
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
        .map(|node| (two_pods(*node), block(*node), settled(node)))
        .collect();
    let powered_off = Instant::now();
    lab.reboot(rebooted).unwrap();
    let back = || -> Result<Vec<_>, _> { rebooted.iter().map(|node| held(*node, peers)).collect() };
    let now = in_time(powered_off, BACK, "all are back", back).unwrap();
    for ((node, now), (pods, old_block, data_path)) in rebooted.iter().zip(now).zip(before) {
        assert_eq!(now, data_path, "{}", node.name());
        assert_eq!(block(*node), old_block);
        assert_eq!(ask(*node, &["pod", "list"]), json!([]));
        assert_eq!(two_pods(*node), pods, "the addresses are free again");
    }
    let all = lab.nodes();
    for (from, to) in all.iter().zip(all.iter().cycle().skip(1)) {
        let address = ask(*to, &["pod", "show", "red"])["addresses"][0].clone();
        let (address, _) = address.as_str().unwrap().split_once('/').unwrap();
        from.pod("red").ping(address.parse().unwrap()).unwrap();
    }
}

#[test]
fn a_host_that_reboots_has_its_block_routes_and_rules_back() {
    let lab = users_cluster(3);
    let [node1, node2, node3] = nodes(&lab);
    let green = add_pod(node3, "red");
    add_pod(node1, "green");
    let flow = Ping::start(&node1.pod("green"), green);
    let rules = shell(node2, "iptables-save | grep -c PODNET");
    assert!(rules.trim().parse::<u32>().unwrap() > 5, "{rules}");
    add_pod(node1, "red");
    assert_back(&lab, &[node2]);
    flow.assert_lossless();
}

/// Without it nothing is decided, and its own new boot has to be.
#[test]
fn the_founder_that_reboots_has_everything_back() {
    let lab = users_cluster(3);
    let [node1, node2, node3] = nodes(&lab);
    for node in [node2, node3] {
        add_pod(node, "red");
    }
    assert_back(&lab, &[node1]);
}

/// Scripts that come with the host add pods as soon as the agent answers.
#[test]
fn a_pod_that_is_added_at_once_is_whole() {
    let lab = users_cluster(2);
    let [founder, node2] = nodes(&lab);
    let blue = add_pod(node2, "blue");
    founder.set_mtu(Mtu::new(1400).unwrap()).unwrap();
    for round in ["after a reboot", "after a restart"] {
        match round {
            "after a reboot" => lab.reboot(&[founder]).unwrap(),
            _ => {
                ask(founder, &["pod", "rm", "red"]);
                founder.kill().unwrap();
                founder.start().unwrap();
            }
        }
        // After a reboot it listens first whether another host runs with its identity.
        if round == "after a reboot" {
            status_where(founder, round, |status| status["phase"] == "ready");
        }
        assert_eq!(status(founder)["phase"], "ready", "{round}");
        add_pod(founder, "red");
        let pod = founder.pod("red");
        pod.ping(blue).unwrap();
        let mtu = shell(founder, "ip netns exec red cat /sys/class/net/eth0/mtu");
        assert_eq!(mtu.trim(), "1400", "{round}");
    }
}

#[test]
fn a_cluster_that_reboots_at_once_has_everything_back() {
    let lab = users_cluster(3);
    assert_back(&lab, &lab.nodes());
}
