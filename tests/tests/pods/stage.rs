//! What the tests of pods begin with, and what they look at.

use std::collections::BTreeSet;

use podnet_lab::prelude::*;

/// A lab whose nodes form a cluster, and look at everything often.
pub(crate) fn cluster(nodes: u8) -> Cluster {
    Cluster::made_of(looking_every(OFTEN, nodes))
}

/// A lab of one node, whose block has this many addresses for pods: 2^(32 - `prefix`) - 3.
pub(crate) fn small_block(prefix: u8) -> Lab {
    let lab = looking_every(OFTEN, 1).up().unwrap();
    found_small(first(&lab), prefix);
    lab
}

/// Founds a cluster with blocks of this size.
pub(crate) fn found_small(node: Node<'_>, prefix: u8) {
    let prefix = prefix.to_string();
    node.tell(&[
        "init",
        "--pod-cidr",
        "10.9.0.0/24",
        "--block-prefix",
        &prefix,
    ]);
}

/// Adds a pod, for which no address must be left. The refusal has to say what to do about it.
#[track_caller]
pub(crate) fn assert_full(node: Node<'_>, name: &str) {
    let refusal = refused(node, &["pod", "add", name], ErrorCode::Full);
    assert!(refusal.hint.contains("podnetctl pod rm"), "{refusal:?}");
}

/// All of a node that a pod could leave something in, line by line.
#[track_caller]
pub(crate) fn everything(node: Node<'_>) -> BTreeSet<String> {
    let script = "ip -o link; ip -o -4 address; ip -4 route show table all; \
        ip neighbour show nud permanent; ls /run/netns /run/podnet/pods; \
        iptables-save | grep -v '^[#:]'";
    node.shell(script).lines().map(str::to_owned).collect()
}

/// Waits until a node holds what it held before, no more and no less: a look that was under way knew
/// nothing of the last change.
#[track_caller]
pub(crate) fn until_again(node: Node<'_>, before: &BTreeSet<String>) {
    let nothing = [BTreeSet::new(), BTreeSet::new()];
    until("nothing more or less", &nothing, || {
        let now = everything(node);
        let less = before.difference(&now).cloned().collect();
        [less, now.difference(before).cloned().collect()]
    });
}
