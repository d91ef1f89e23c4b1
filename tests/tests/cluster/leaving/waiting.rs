//! Leaves that something holds for a while.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::Node;
use podnet_lab::process::ProcessId;
use podnet_lab::scenario::Snapshot;
use serde_json::Value;

use super::{found, standing};
use crate::rights::start_without;
use crate::scene::{
    LIMIT, add_pod, ask, builder, ctl, idle, list, nodes, ready, refused, refused_with, shell,
    status, status_where, text,
};

/// How often agents look at what others may have changed.
const RESYNC: Duration = Duration::from_secs(1);

/// Waits until a node is idle, and stands as it did in an earlier process.
#[track_caller]
fn assert_becomes(node: Node<'_>, idle: &Value) {
    status_where(node, "idle", |status| status["phase"] == "idle");
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
    add_pod(node2, "blue");
    ready(node2, 1);
    // The founder is asked, and says nothing: it has only just been heard of.
    node1.stop().unwrap();
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node2, &words, ("timeout", 124));
    assert_eq!(status(node2)["phase"], "leaving");
    node2.kill().unwrap();
    node2.start().unwrap();
    assert_eq!(status(node2)["phase"], "leaving");
    refused(node2, &["pod", "add", "red"], ("not_member", 5));

    node1.cont().unwrap();
    assert_becomes(node2, &idle);
    kernel.assert_same(&Snapshot::kernel(node2), "leave through a restart");
    ready(node1, 0);
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
        add_pod(node1, pod);
    }
    node1.term().unwrap();
    let mut agent = start_without(&lab, node1, "sys_admin");
    ready(node1, 0);
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node1, &words, ("timeout", 124));
    let waiting = status(node1);
    assert_eq!(waiting["phase"], "leaving");
    let problems = list(&waiting["problems"]).iter();
    let told: Vec<&str> = problems.map(|problem| text(&problem["message"])).collect();
    for pod in ["red", "green"] {
        let named = format!("pod {pod}: it cannot be removed: ");
        assert!(told.iter().any(|told| told.starts_with(&named)), "{told:?}");
    }
    let join = ["--timeout", "5s", "join", &node1.address().to_string()];
    refused_with(node2, &join, &invitation.token, ("timeout", 124));
    assert_eq!(status(node1)["cluster"]["nodes"], 1);

    let process = ProcessId::of(agent.pid()).unwrap();
    process.signal(Signal::SIGKILL).unwrap();
    agent.wait(LIMIT).unwrap();
    node1.start().unwrap();
    assert_becomes(node1, &idle);
    kernel.assert_same(&Snapshot::kernel(node1), "leave through a restart");
    ask(node2, &["--yes", "leave"]);
    other.assert_same(&Snapshot::kernel(node2), "leave of a node never taken in");
}

/// What keeps a pod is named, and the leaving goes on once it is gone.
#[test]
fn a_leave_that_waits_for_a_pod_goes_on_when_nothing_is_in_its_way_any_more() {
    let lab = builder(1).timing("resync", RESYNC).up().unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    found(&lab);
    add_pod(node, "red");
    let host_end = text(&ask(node, &["pod", "show", "red"])["host_ifname"]).to_owned();
    node.term().unwrap();
    shell(
        node,
        &format!("ip link del {host_end}; ip link add {host_end} type bridge"),
    );
    node.start().unwrap();
    ready(node, 0);
    let words = ["--yes", "--timeout", "2s", "leave"];
    refused(node, &words, ("timeout", 124));
    let waiting = status(node);
    assert_eq!(waiting["phase"], "leaving");
    let named = list(&waiting["problems"]).iter().any(|problem| {
        problem["code"] == "foreign_object" && text(&problem["message"]).contains("pod red: it")
    });
    assert!(named, "{waiting}");
    shell(node, &format!("ip link del {host_end}"));
    status_where(node, "idle", |status| status["phase"] == "idle");
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn without_a_majority_nobody_leaves() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    add_pod(node2, "blue");
    ready(node2, 1);
    node1.kill().unwrap();
    status_where(node2, "no quorum", |status| status["quorum"]["ok"] == false);
    let before = Snapshot::whole(node2);
    refused(node2, &["--yes", "leave"], ("no_quorum", 1));
    before.assert_same(&Snapshot::whole(node2), "refused leave");
    assert_eq!(status(node2)["phase"], "ready");
    assert_eq!(list(&ask(node2, &["pod", "list"])).len(), 1);

    node1.start().unwrap();
    status_where(node2, "quorum", |status| status["quorum"]["ok"] == true);
    let left = ctl(node2, &["--yes", "leave"], "").unwrap();
    assert!(left.ok(), "{left}");
}

/// An agent that has just started has heard of nobody, and waits for a moment before it says so.
#[test]
fn a_node_that_has_just_started_listens_before_it_speaks_of_a_majority() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.join(&found(&lab), node1).unwrap();
    add_pod(node2, "blue");
    ready(node2, 1);
    let before = Snapshot::kernel(node2);
    let restart_unheard = || {
        node1.stop().unwrap();
        node2.kill().unwrap();
        node2.start().unwrap();
    };
    restart_unheard();
    refused(node2, &["--yes", "leave"], ("no_quorum", 1));
    before.assert_same(&Snapshot::kernel(node2), "refused leave");
    assert_eq!(list(&ask(node2, &["pod", "list"])).len(), 1);
    node1.cont().unwrap();
    status_where(node2, "quorum", |status| status["quorum"]["ok"] == true);

    restart_unheard();
    thread::scope(|scope| {
        let leaving = scope.spawn(|| ask(node2, &["--yes", "leave"]));
        assert_eq!(status(node2)["quorum"]["ok"], false);
        node1.cont().unwrap();
        assert_eq!(leaving.join().unwrap()["phase"], "idle");
    });
}
