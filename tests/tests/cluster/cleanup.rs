//! `podnetd cleanup`: a host without anything of podnet's.

use podnet_lab::Node;
use podnet_lab::command::Output;

use crate::scene::{LIMIT, add_pod, ask, idle, nodes, ready, shell, status};
use crate::snapshot::Snapshot;

fn cleanup(node: Node<'_>, words: &[&str]) -> Output {
    let words = [&["podnetd", "cleanup"], words].concat();
    node.exec_with(words, "", LIMIT).unwrap()
}

#[test]
fn after_a_crash_cleanup_removes_all_that_podnet_owns() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let before = Snapshot::kernel(node2);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    add_pod(node2, "blue");
    shell(node2, "ip netns add green");
    ask(
        node2,
        &["pod", "add", "green", "--netns", "/run/netns/green"],
    );

    let member = Snapshot::whole(node2);
    let running = cleanup(node2, &["--yes"]);
    assert_eq!(running.code, 5, "{running}");
    member.assert_same(&Snapshot::whole(node2), "refused cleanup");

    node2.kill().unwrap();
    let unasked = cleanup(node2, &[]);
    assert_eq!(unasked.code, 2, "{unasked}");
    member.assert_same(&Snapshot::whole(node2), "a cleanup that nobody confirmed");

    let done = cleanup(node2, &["--yes"]);
    assert!(done.ok(), "{done}");
    let devices = shell(node2, "ip netns exec green ls /sys/class/net");
    assert_eq!(
        devices, "lo\n",
        "the user's namespace is there, without the pod's interface"
    );
    shell(node2, "ip netns del green");
    before.assert_same(&Snapshot::kernel(node2), "cleanup");
    let again = cleanup(node2, &["--yes"]);
    assert!(again.ok(), "nothing is there: {again}");

    // Its state is still there: the node comes back with its block, and without its pods.
    node2.start().unwrap();
    let back = ready(node2, 1);
    assert_eq!(back["pods"], 0);
    let pod = add_pod(node2, "blue");
    node1.place().ping(pod).unwrap();
}

#[test]
fn a_purge_removes_the_state_too() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    ask(node, &["init", "--pod-cidr", "10.244.0.0/16"]);
    let id = status(node)["node"]["id"].clone();
    node.term().unwrap();
    let done = cleanup(node, &["--yes", "--purge"]);
    assert!(done.ok(), "{done}");
    before.assert_same(&Snapshot::kernel(node), "purge");
    for name in ["identity", "cluster", "ledger", "peers"] {
        assert!(!node.state_dir().join(name).exists(), "{name}");
    }
    node.start().unwrap();
    let status = status(node);
    assert_eq!(status["phase"], "idle");
    assert_ne!(status["node"]["id"], id);
}

#[test]
fn where_podnet_never_ran_there_is_nothing_to_clean() {
    let lab = podnet_lab::Lab::builder()
        .nodes(1)
        .agents(false)
        .up()
        .unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    let done = cleanup(node, &["--yes"]);
    assert!(done.ok(), "{done}");
    before.assert_same(&Snapshot::kernel(node), "cleanup of a clean host");
}
