//! Leaves that something holds for a while.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;
use serde_json::Value;

use super::{found, standing};
use crate::rights::start_without;

/// How often agents look at what others may have changed.
const RESYNC: Duration = Duration::from_secs(1);

/// Waits until a node is idle, and stands as it did in an earlier process.
#[track_caller]
fn assert_becomes(node: Node<'_>, idle: &Value) {
    node.status_where("idle", |status| status.phase == Phase::Idle);
    let mut now = standing(node);
    now["node"]["instance"] = idle["node"]["instance"].clone();
    assert_eq!(now, *idle);
}

#[test]
fn a_leave_that_has_begun_goes_on_through_a_restart() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let (kernel, idle) = (Snapshot::kernel(node2), standing(node2));
    node2.join(&found(&lab), node1).unwrap();
    node2.add_pod("blue");
    node2.ready(1);
    // The founder is asked, and says nothing: it has only just been heard of.
    node1.stop().unwrap();
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node2, &words, ErrorCode::Timeout);
    assert_eq!(node2.status().phase, Phase::Leaving);
    node2.kill().unwrap();
    node2.start().unwrap();
    assert_eq!(node2.status().phase, Phase::Leaving);
    refused(node2, &["pod", "add", "red"], ErrorCode::NotMember);

    node1.cont().unwrap();
    assert_becomes(node2, &idle);
    kernel.assert_same(&Snapshot::kernel(node2), "leave through a restart");
    node1.ready(0);
}

/// Where a pod cannot be removed, the node is about to leave for as long. A cluster's only member
/// then takes nobody in, whom it would leave without a voter; and its next agent goes on.
#[test]
fn a_leave_that_waits_for_a_pod_goes_on_through_a_restart_and_takes_nobody_in() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let (kernel, idle) = (Snapshot::kernel(node1), standing(node1));
    let other = Snapshot::kernel(node2);
    let invitation = found(&lab);
    for pod in ["red", "green"] {
        node1.add_pod(pod);
    }
    node1.term().unwrap();
    let mut agent = start_without(&lab, node1, "sys_admin");
    node1.ready(0);
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node1, &words, ErrorCode::Timeout);
    let waiting = node1.status();
    assert_eq!(waiting.phase, Phase::Leaving);
    let problems = waiting.problems.iter();
    let told: Vec<_> = problems.map(|problem| &problem.message).collect();
    for pod in ["red", "green"] {
        let named = format!("pod {pod}: it cannot be removed: ");
        assert!(told.iter().any(|told| told.starts_with(&named)), "{told:?}");
    }
    let join = ["--timeout", "5s", "join", &node1.address().to_string()];
    refused_with(node2, &join, &invitation.token, ErrorCode::Timeout);
    assert_eq!(node1.status().cluster.unwrap().nodes, 1);
    // As long as the only voter is there: without it a node that knows the ledger does not leave.
    node2.leave();
    other.assert_same(&Snapshot::kernel(node2), "leave of a node never taken in");
    assert_eq!(node1.status().phase, Phase::Leaving);

    let process = ProcessId::of(agent.pid()).unwrap();
    process.signal(Signal::SIGKILL).unwrap();
    agent.wait(LIMIT).unwrap();
    node1.start().unwrap();
    assert_becomes(node1, &idle);
    kernel.assert_same(&Snapshot::kernel(node1), "leave through a restart");
}

/// What keeps a pod is named, and the leaving goes on once it is gone.
#[test]
fn a_leave_that_waits_for_a_pod_goes_on_when_nothing_is_in_its_way_any_more() {
    let lab = agents(1).timing("resync", RESYNC).up().unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    found(&lab);
    node.add_pod("red");
    let host_end = node.show_pod("red").host_ifname;
    node.term().unwrap();
    node.shell(&format!(
        "ip link del {host_end}; ip link add {host_end} type bridge"
    ));
    node.start().unwrap();
    node.ready(0);
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node, &words, ErrorCode::Timeout);
    let waiting = node.status();
    assert_eq!(waiting.phase, Phase::Leaving);
    let named = waiting.problems.iter().any(|problem| {
        problem.code == ErrorCode::ForeignObject && problem.message.contains("pod red: it")
    });
    assert!(named, "{waiting:?}");
    node.shell(&format!("ip link del {host_end}"));
    node.status_where("idle", |status| status.phase == Phase::Idle);
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn without_a_majority_nobody_leaves() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    node2.add_pod("blue");
    node2.ready(1);
    node1.kill().unwrap();
    node2.status_where("no quorum", |status| !status.quorum.ok);
    let before = Snapshot::whole(node2);
    refused(node2, &["--yes", "leave"], ErrorCode::NoQuorum);
    before.assert_same(&Snapshot::whole(node2), "refused leave");
    assert_eq!(node2.status().phase, Phase::Ready);
    assert_eq!(node2.pods().len(), 1);

    node1.start().unwrap();
    node2.status_where("quorum", |status| status.quorum.ok);
    let left = node2.ctl_json(&["--yes", "leave"], "").unwrap();
    assert!(left.ok(), "{left}");
}

/// An agent that has just started has heard of nobody, and waits for a moment before it says so.
#[test]
fn a_node_that_has_just_started_listens_before_it_speaks_of_a_majority() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    node2.add_pod("blue");
    node2.ready(1);
    let before = Snapshot::kernel(node2);
    let restart_unheard = || {
        node1.stop().unwrap();
        node2.kill().unwrap();
        node2.start().unwrap();
    };
    restart_unheard();
    refused(node2, &["--yes", "leave"], ErrorCode::NoQuorum);
    before.assert_same(&Snapshot::kernel(node2), "refused leave");
    assert_eq!(node2.pods().len(), 1);
    node1.cont().unwrap();
    node2.status_where("quorum", |status| status.quorum.ok);

    restart_unheard();
    thread::scope(|scope| {
        let leaving = scope.spawn(|| node2.leave());
        assert!(!node2.status().quorum.ok);
        node1.cont().unwrap();
        assert_eq!(leaving.join().unwrap().phase, Phase::Idle);
    });
}
