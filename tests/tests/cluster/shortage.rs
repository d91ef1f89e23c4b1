//! Hosts that lack something: room, a writable disk, a program, a right.

use nix::sys::signal::Signal;
use podnet_lab::process::ProcessId;
use podnet_lab::{Lab, Node, eventually};

use crate::idle::podnetd;
use crate::scene::{
    LIMIT, add_pod, ask, builder, ctl, idle, list, nodes, ready, refused, refused_with, shell,
    status, status_where, text,
};
use crate::snapshot::Snapshot;

const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

/// Puts the agent's state on a disk of 256 KiB. The agent is started on it.
fn small_disk(node: Node<'_>) {
    node.term().unwrap();
    shell(
        node,
        "mount -t tmpfs -o size=256k,mode=0700 tmpfs /var/lib/podnet",
    );
    node.start().unwrap();
}

fn fill(node: Node<'_>) {
    // It ends when nothing more fits.
    shell(
        node,
        "cat /dev/zero > /var/lib/podnet/ballast 2>/dev/null || true",
    );
}

fn make_room(node: Node<'_>) {
    shell(node, "rm /var/lib/podnet/ballast");
}

#[test]
fn a_full_disk_makes_no_member_and_costs_a_member_nothing() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    small_disk(node1);
    fill(node1);
    let before = Snapshot::whole(node1);
    let refusal = refused(node1, &INIT, ("internal", 1));
    assert!(refusal.message.contains("/var/lib/podnet"), "{refusal:?}");
    assert!(refusal.hint.contains("room"), "{refusal:?}");
    assert_eq!(status(node1)["phase"], "idle");
    before.assert_same(&Snapshot::whole(node1), "init on a full disk");
    make_room(node1);
    let token = text(&ask(node1, &INIT)["token"]).to_owned();

    small_disk(node2);
    fill(node2);
    let before = Snapshot::whole(node2);
    let words = ["join", &node1.address().to_string()];
    let refusal = refused_with(node2, &words, &token, ("internal", 1));
    assert!(refusal.hint.contains("room"), "{refusal:?}");
    before.assert_same(&Snapshot::whole(node2), "join on a full disk");
    make_room(node2);
    assert!(ctl(node2, &words, &token).unwrap().ok());

    // The founder cannot write down who joins; what runs goes on.
    let (red, blue) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    fill(node1);
    let words = ["--timeout", "2s", "join", &node1.address().to_string()];
    refused_with(node3, &words, &token, ("timeout", 124));
    let full = status_where(node1, "the full disk is a problem", |status| {
        !list(&status["problems"]).is_empty()
    });
    let problem = &full["problems"][0];
    assert!(
        text(&problem["message"]).contains("/var/lib/podnet"),
        "{problem}"
    );
    assert!(text(&problem["hint"]).contains("room"), "{problem}");
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    assert!(node1.agent().unwrap().is_some(), "the agent lives");
    make_room(node1);
    ready(node3, 2);
    status_where(node1, "no problem is left", |status| {
        list(&status["problems"]).is_empty()
    });
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    ask(node, &INIT);
    let red = add_pod(node, "red");
    node.term().unwrap();
    shell(node, "mount -o remount,bind,ro /var/lib/podnet");
    let before = Snapshot::whole(node);
    let failed = podnetd(node, &["run"]);
    assert_eq!(failed.code, 1, "{failed}");
    assert!(
        failed.stderr.contains("error: ") && failed.stderr.contains("/var/lib/podnet"),
        "{failed}"
    );
    assert!(
        failed
            .stderr
            .contains("hint: make the file system writable"),
        "{failed}"
    );
    before.assert_same(&Snapshot::whole(node), "an agent that could not start");
    node.place().ping(red).unwrap();

    shell(node, "mount -o remount,bind,rw /var/lib/podnet");
    node.start().unwrap();
    ready(node, 0);
}

#[test]
fn without_iptables_nothing_is_begun() {
    let lab = builder(1).env("PATH", "/nowhere").up().unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::whole(node);
    let refusal = refused(node, &INIT, ("missing_binary", 1));
    assert!(refusal.message.contains("'iptables'"), "{refusal:?}");
    assert!(refusal.hint.contains("install"), "{refusal:?}");
    before.assert_same(&Snapshot::whole(node), "init without iptables");
}

/// A member whose host lost iptables goes on, and says what it lacks.
#[test]
fn a_member_that_lost_iptables_says_so_and_goes_on() {
    let lab = idle(2);
    lab.init_join_all().unwrap();
    let [node1, node2] = nodes(&lab);
    let (red, blue) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    node1.term().unwrap();
    let mut agent = node1
        .spawn(["env", "PATH=/nowhere", &program(&lab)])
        .unwrap();
    let lacking = || {
        let output = ctl(node1, &["status"], "").map_err(|e| e.to_string())?;
        let status = output.json().map_err(|e| e.to_string())?;
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let wanted = problems
            .iter()
            .any(|p| p["code"] == "missing_binary" && text(&p["hint"]).contains("install"));
        if wanted {
            Ok(())
        } else {
            Err(status.to_string())
        }
    };
    eventually(LIMIT, "a problem that names iptables", lacking).unwrap();
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    let green = add_pod(node1, "green");
    node2.pod("blue").ping(green).unwrap();
    ProcessId::of(agent.pid())
        .and_then(|process| process.signal(Signal::SIGTERM))
        .unwrap();
    assert_eq!(agent.wait(LIMIT).unwrap(), 0);
}

fn program(lab: &Lab) -> String {
    lab.programs()
        .path("podnetd")
        .unwrap()
        .display()
        .to_string()
}

#[test]
fn without_the_right_to_change_the_network_no_agent_starts() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    let before = Snapshot::whole(node);
    let words = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        &program(&lab),
        "run",
    ];
    let refused = node.exec(words).unwrap();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("error: "), "{refused}");
    assert!(refused.stderr.contains("CAP_NET_ADMIN"), "{refused}");
    before.assert_same(&Snapshot::whole(node), "an agent that may change nothing");
}
