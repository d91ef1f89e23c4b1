//! What is in /var/lib/podnet: lost, restored, copied to another machine.

use crate::cluster::Cluster;

/// A node whose disk was lost is a new one: it joins under another name, and gets another block.
pub(crate) fn a_node_that_lost_its_disk_joins_under_another_name(cluster: &mut Cluster) {
    let [node1, node2, node3] = cluster.nodes();
    let block = node2.block();
    node2.sh("systemctl stop podnetd; rm -r /var/lib/podnet; podnetd cleanup --yes --purge");
    node2.sh("ip netns del pod2 2>/dev/null; systemctl start podnetd");
    node2.wait_status("idle", |status| status["phase"] == "idle");
    let refused = node2.try_join(node1);
    assert_eq!(refused.code, 5, "{refused}");
    let seed = node1.address();
    node2.ctl(&format!(
        "join {seed} --token-file /run/token --node-name node2b"
    ));
    assert_ne!(node2.block(), block);
    node2.ctl("pod add pod2");
    node2.respond_in_pod();
    for (from, to) in [(node2, node3), (node3, node2), (node1, node2)] {
        assert_eq!(from.pod_seen_as(&to.pod_address()), from.pod_address());
    }
}

/// The state of a node that has not changed since may be put back.
pub(crate) fn a_state_that_is_restored_unchanged_is_as_before(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    let block = node2.block();
    node2.sh(
        "systemctl stop podnetd; tar -C /var/lib -cf /var/tmp/state.tar podnet; rm -r /var/lib/podnet
        tar -C /var/lib -xf /var/tmp/state.tar; systemctl start podnetd",
    );
    node2.wait_ready(2);
    assert_eq!(node2.block(), block);
    cluster.assert_paths();
}

/// The state of one machine on another: the agent refuses it and says what to do; the original is
/// not disturbed, and the machine joins as a node of its own.
pub(crate) fn a_copied_state_is_refused_until_it_is_reset(cluster: &mut Cluster) {
    let [node1, node2, node3] = cluster.nodes();
    node3.sh("podnetctl --yes leave");
    node3.sh("systemctl stop podnetd; rm -r /var/lib/podnet");
    let state = node2.sh("tar -C /var/lib -c podnet | base64 -w0");
    node3.sh(&format!("echo {state} | base64 -d | tar -C /var/lib -x"));
    node3.try_sh("systemctl start podnetd");
    node3.wait_sh("systemctl is-failed podnetd");
    assert_eq!(node3.sh("systemctl show -P ExecMainStatus podnetd"), "6");
    let told = node3.sh("journalctl -q -u podnetd -o cat | tail -5");
    assert!(told.contains("podnetd reset --new-identity"), "{told}");
    node2.wait_ready(1);
    assert_eq!(node1.pod_seen_as(&node2.pod_address()), node1.pod_address());
    node3.sh(
        "podnetd reset --new-identity; systemctl reset-failed podnetd; systemctl start podnetd",
    );
    node3.rejoin(node1);
    node3.add_pod();
    cluster.each(|node| drop(node.wait_ready(2)));
    cluster.assert_paths();
}

/// A node leaves: its block, data path and rules are gone, the others go on, and it can come back.
pub(crate) fn a_node_is_taken_out(cluster: &mut Cluster) {
    let [node1, node2, node3] = cluster.nodes();
    node3.sh("podnetctl --yes leave");
    for trace in [
        "ip link show podnet0",
        "ip route show proto 112 | grep .",
        "iptables-save | grep PODNET",
    ] {
        assert!(!node3.try_sh(trace).ok(), "{trace}");
    }
    for node in [node1, node2] {
        node.wait_ready(1);
    }
    assert_eq!(node1.pod_seen_as(&node2.pod_address()), node1.pod_address());
    node3.rejoin(node1);
    node3.wait_ready(2);
}
