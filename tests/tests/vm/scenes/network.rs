//! The machines' networks, and what else changes them.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::scenes::agent::pinged;

/// From pod to pod and from node to pod with the sender's own address; to the internet with the
/// node's. What udev knows of links leaves podnet's MAC addresses alone.
pub(crate) fn every_pod_reaches_every_pod(cluster: &mut Cluster) {
    cluster.assert_paths();
    cluster.assert_translated();
    for node in cluster.all() {
        let gateway = node.gateway();
        let bytes: Vec<u8> = gateway
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        let [a, b, c, d] = bytes[..] else {
            panic!("no IPv4 address: {gateway}");
        };
        let expected = format!("0a:70:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        let bridge = node.sh("cat /sys/class/net/podnet0/address");
        assert_eq!(bridge, expected, "{}", node.name());
    }
}

/// A restart of systemd-networkd takes none of podnet's links and routes: the package's drop-ins see
/// to it. Debian's networkd also takes a static address off at its start and puts it on again, unless
/// it is told to keep it, and the kernel lets all routes by that device go with it: podnet's are back
/// as soon as the address is.
pub(crate) fn a_restart_of_networkd_loses_nothing(cluster: &mut Cluster) {
    let [node1, node2, _] = cluster.nodes();
    let restart = |node: Node<'_>| {
        node.sh("systemctl restart systemd-networkd");
        node.wait_sh("networkctl status eth0 | grep -q '(configured)'");
    };
    restart(node2);
    node2.wait_ready(2);
    cluster.assert_paths();
    node2.sh(
        "echo KeepConfiguration=static >> /etc/systemd/network/10-lan.network
        networkctl reload",
    );
    node2.wait_sh("networkctl status eth0 | grep -q '(configured)'");
    let repairs = drift(node2);
    let count = pinged(node1, node2, restart);
    assert_eq!(count.lost, 0, "{count:?}");
    assert_eq!(drift(node2), repairs, "nothing had to be repaired");
}

fn drift(node: Node<'_>) -> Value {
    node.ctl("status")["reconcile"]["drift_total"].clone()
}

/// The cable of one node is pulled and plugged in again, and its link set down and up: routes that
/// went with the link come back.
pub(crate) fn a_link_flaps(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    node2.machine().carrier(0, false).unwrap();
    node2.wait_sh("ip link show dev eth0 | grep -q NO-CARRIER");
    node2.machine().carrier(0, true).unwrap();
    cluster.each(|node| drop(node.wait_ready(2)));
    cluster.assert_paths();
    node2.sh("ip link set eth0 down; ip link set eth0 up");
    cluster.each(|node| drop(node.wait_ready(2)));
    cluster.assert_paths();
    cluster.assert_translated();
}

/// How long it takes on the node, in milliseconds, to read all rules and to write none: what an emulated
/// machine cannot do faster.
#[track_caller]
fn least(node: Node<'_>) -> u64 {
    let took = node.sh(
        "begun=$(date +%s%3N); iptables-save > /dev/null; iptables-restore -n < /dev/null
        nft list ruleset > /dev/null; nft -f - < /dev/null
        echo $(($(date +%s%3N) - begun))",
    );
    took.parse().unwrap()
}

/// How long it takes on the node until its rules are back after something, in milliseconds.
#[track_caller]
fn back_after(node: Node<'_>, happens: &str) -> u64 {
    // By `nft`, which is a fraction of the work that `iptables-save` is, and now and then: the
    // machine has one processor, which the agent needs.
    let took = node.sh(&format!(
        "nft list ruleset | grep -q PODNET-FORWARD || exit 1
        {happens}; begun=$(date +%s%3N)
        n=0; until nft list ruleset | grep -c 'jump PODNET-' | grep -q 2; do
            n=$((n+1)); [ $n -lt 300 ] || exit 1
            sleep 0.1
        done
        echo $(($(date +%s%3N) - begun))"
    ));
    took.lines().last().unwrap().parse().unwrap()
}

/// Whoever flushes all rules, flushes podnet's: they are back within a second. On a machine that is so slow
/// that this says more of it than of podnet, they are back in thirty times what it takes to look at them:
/// looks take one part in twenty of podnet's time at most.
pub(crate) fn flushed_rules_are_back_within_a_second(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    for happens in [
        "nft flush ruleset",
        "iptables -F; iptables -t nat -F",
        "iptables -F FORWARD",
    ] {
        let limit = (30 * least(node2)).max(1000);
        let took = back_after(node2, happens);
        assert!(
            took <= limit,
            "{happens}: back after {took} ms, not {limit}"
        );
        node2.wait_ready(2);
        cluster.assert_paths();
        cluster.assert_translated();
    }
}

/// A node gets another address: its peers follow, and nobody types anything.
pub(crate) fn an_address_changes(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    node2.sh(
        "sed -i s/192.168.56.12/192.168.56.112/ /etc/systemd/network/10-lan.network
        networkctl reload; networkctl reconfigure eth0",
    );
    node2.wait_status("the new address is told", |status| {
        status["node"]["addresses"][0] == "192.168.56.112:7846"
    });
    cluster.each(|node| drop(node.wait_ready(2)));
    cluster.assert_paths();
}
