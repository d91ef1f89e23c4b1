//! `podnetd cleanup`: a host without anything of podnet's.

use podnet_lab::command::Output;
use podnet_lab::prelude::*;

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
    node2.add_pod("blue");
    node2.shell("ip netns add green");
    node2.tell(&["pod", "add", "green", "--netns", "/run/netns/green"]);

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
    let devices = node2.shell("ip netns exec green ls /sys/class/net");
    assert_eq!(
        devices, "lo\n",
        "the user's namespace is there, without the pod's interface"
    );
    node2.shell("ip netns del green");
    before.assert_same(&Snapshot::kernel(node2), "cleanup");
    let again = cleanup(node2, &["--yes"]);
    assert!(again.ok(), "nothing is there: {again}");

    // Its state is still there: the node comes back with its block, and without its pods.
    node2.start().unwrap();
    let back = node2.ready(1);
    assert_eq!(back.pods, 0);
    let pod = node2.add_pod("blue").address();
    node1.place().ping(pod).unwrap();
}

#[test]
fn a_purge_removes_the_state_too() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    let id = node.status().node.id;
    node.term().unwrap();
    let done = cleanup(node, &["--yes", "--purge"]);
    assert!(done.ok(), "{done}");
    before.assert_same(&Snapshot::kernel(node), "purge");
    for name in ["identity", "cluster", "ledger", "peers"] {
        assert!(!node.state_dir().join(name).exists(), "{name}");
    }
    node.start().unwrap();
    let status = node.status();
    assert_eq!(status.phase, Phase::Idle);
    assert_ne!(status.node.id, id);
}

#[test]
fn where_podnet_never_ran_there_is_nothing_to_clean() {
    let lab = Lab::builder().nodes(1).agents(false).up().unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    for words in [&["--yes"][..], &["--yes", "--purge"]] {
        let done = cleanup(node, words);
        assert!(done.ok(), "{done}");
        assert_eq!(done.stdout, "nothing of podnet's was there to remove\n");
        before.assert_same(&Snapshot::kernel(node), "cleanup of a clean host");
    }
    let made = node.state_dir().join("identity").exists();
    assert!(!made, "nobody needs an identity there");
}

#[test]
fn what_others_rely_on_by_now_stays_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.shell("ip link add other0 type bridge");
    let before = Snapshot::kernel(node);
    for value in ["1", "2"] {
        node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
        node.kill().unwrap();
        let forwarding = "sysctl -n net.ipv4.ip_forward net.ipv4.conf.eth0.forwarding";
        node.shell(&format!("sysctl -w net.ipv4.ip_forward={value}"));
        let expected = node.shell(forwarding);
        let done = cleanup(node, &["--yes", "--purge"]);
        assert!(done.ok(), "{done}");
        let named = format!("it stays {value}, since net.ipv4.ip_forward is {value}");
        let left = format!("left: net.ipv4.conf.eth0.forwarding: {named}\n");
        assert!(done.stdout.contains(&left), "{done}");
        assert_eq!(node.shell(forwarding), expected);
        node.shell("sysctl -w net.ipv4.ip_forward=0");
        before.assert_same(&Snapshot::kernel(node), &named);
        node.start().unwrap();
    }
}

/// The rules say what was opened, where no record does.
#[test]
fn what_was_opened_is_closed_though_the_record_is_lost() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    node.kill().unwrap();
    node.shell("rm /run/podnet/sysctls");
    let done = cleanup(node, &["--yes", "--purge"]);
    assert!(done.ok() && !done.stdout.contains("left:"), "{done}");
    before.assert_same(&Snapshot::kernel(node), "cleanup without a record");
}

#[test]
fn a_host_that_was_cleaned_up_joins_again() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let before = Snapshot::kernel(node2);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    let block = node2.ready(1).blocks;
    // With its state, it is the member that it was.
    node2.term().unwrap();
    assert!(cleanup(node2, &["--yes"]).ok());
    before.assert_same(&Snapshot::kernel(node2), "cleanup");
    node2.start().unwrap();
    assert_eq!(node2.ready(1).blocks, block);
    node2.leave();
    before.assert_same(&Snapshot::kernel(node2), "leave");

    // Without, it is another node.
    node2.join(&invitation, node1).unwrap();
    node2.leave();
    node2.term().unwrap();
    assert!(cleanup(node2, &["--yes", "--purge"]).ok());
    before.assert_same(&Snapshot::kernel(node2), "purge");
    node2.start().unwrap();
    node2.join(&invitation, node1).unwrap();
    let pod = node2.add_pod("blue").address();
    node1.place().ping(pod).unwrap();
    node2.leave();
    before.assert_same(&Snapshot::kernel(node2), "leave of another");
}
