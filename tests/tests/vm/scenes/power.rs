//! Reboots and power cuts: each node is back with its block, and nobody types anything.

use crate::cluster::Cluster;
use crate::node::Node;

/// What has to be the same before and after.
fn identity(node: Node<'_>) -> (String, String) {
    let status = node.ctl("status");
    (status["node"]["id"].to_string(), node.block())
}

/// Pods die with their namespaces; new ones are added, and all paths tried.
fn assert_whole(cluster: &Cluster, rebooted: &[usize]) {
    let peers = cluster.all().len() as u64 - 1;
    cluster.each(|node| {
        node.wait_ready(peers);
        if rebooted.contains(&usize::from(node.number())) {
            let pods = node.ctl("pod list");
            assert_eq!(pods.as_array().map(Vec::len), Some(0), "{pods}");
            node.add_pod();
        }
    });
    cluster.assert_paths();
    cluster.assert_translated();
}

/// `reboot` on one node.
pub(crate) fn a_node_reboots(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    let before = identity(node2);
    node2.reboot();
    node2.wait_ready(2);
    assert_eq!(identity(node2), before);
    assert_whole(cluster, &[2]);
}

/// A power cut of one node, which is not the founder.
pub(crate) fn one_node_loses_power(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    let before = identity(node2);
    cut_power(cluster, &[2]);
    let [_, node2, _] = cluster.nodes();
    node2.wait_ready(2);
    assert_eq!(identity(node2), before);
    assert_whole(cluster, &[2]);
}

/// A power cut of all at once.
pub(crate) fn all_nodes_lose_power(cluster: &mut Cluster) {
    let before: Vec<_> = cluster.all().into_iter().map(identity).collect();
    cut_power(cluster, &[1, 2, 3]);
    cluster.each(|node| drop(node.wait_ready(2)));
    let after: Vec<_> = cluster.all().into_iter().map(identity).collect();
    assert_eq!(after, before);
    assert_whole(cluster, &[1, 2, 3]);
}

fn cut_power(cluster: &mut Cluster, numbers: &[usize]) {
    for &number in numbers {
        cluster.machine(number).cut_power();
    }
    for &number in numbers {
        cluster.machine(number).switch_on().unwrap();
    }
    cluster.each(|node| node.machine().wait().unwrap());
}
