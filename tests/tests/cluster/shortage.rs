//! Hosts that lack something: room, a writable disk, a program, a right.

use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;

use crate::idle::podnetd;

const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

const STATE: &str = "/var/lib/podnet";
const RUN: &str = "/run/podnet";

/// Puts a directory of the agent's on a disk of 256 KiB. The agent is started on it.
fn small_disk(node: Node<'_>, dir: &str) {
    node.term().unwrap();
    let copy = format!("mkdir /run/copy; cp -a {dir}/. /run/copy");
    let mount = format!("mount -t tmpfs -o size=256k,mode=0700 tmpfs {dir}");
    node.shell(&format!(
        "{copy}; {mount}; mv /run/copy/* {dir}; rm -r /run/copy"
    ));
    if dir == RUN {
        // Where the lab looks for the socket.
        let root = format!("/proc/{}/root", node.holder().unwrap().pid);
        symlink(format!("{root}{RUN}/podnet.sock"), node.socket()).unwrap();
    }
    node.start().unwrap();
}

fn fill(node: Node<'_>, dir: &str) {
    // It ends when nothing more fits.
    node.shell(&format!(
        "cat /dev/zero > {dir}/ballast 2>/dev/null || true"
    ));
}

fn make_room(node: Node<'_>, dir: &str) {
    node.shell(&format!("rm {dir}/ballast"));
}

#[test]
fn a_full_disk_makes_no_member_and_costs_a_member_nothing() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    small_disk(node1, STATE);
    fill(node1, STATE);
    let before = Snapshot::whole(node1);
    let refusal = refused(node1, &INIT, ErrorCode::Internal);
    assert!(refusal.message.contains("/var/lib/podnet"), "{refusal:?}");
    assert!(refusal.hint.contains("room"), "{refusal:?}");
    assert_eq!(node1.status().phase, Phase::Idle);
    before.assert_same(&Snapshot::whole(node1), "init on a full disk");
    make_room(node1, STATE);
    let token = node1.ask::<Invitation>(&INIT).token;

    small_disk(node2, STATE);
    fill(node2, STATE);
    let before = Snapshot::whole(node2);
    let words = ["join", &node1.address().to_string()];
    let refusal = refused_with(node2, &words, &token, ErrorCode::Internal);
    assert!(refusal.hint.contains("room"), "{refusal:?}");
    before.assert_same(&Snapshot::whole(node2), "join on a full disk");
    make_room(node2, STATE);
    assert!(node2.ctl_json(&words, &token).unwrap().ok());

    // The founder cannot write down who joins; what runs goes on.
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    fill(node1, STATE);
    let words = ["--timeout", "2s", "join", &node1.address().to_string()];
    refused_with(node3, &words, &token, ErrorCode::Timeout);
    let full = node1.status_where("the full disk is a problem", |status| {
        !status.problems.is_empty()
    });
    let problem = &full.problems[0];
    let hint = problem.hint.as_deref().unwrap_or_default();
    assert!(problem.message.contains("/var/lib/podnet"), "{problem:?}");
    assert!(hint.contains("room"), "{problem:?}");
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    assert!(node1.agent().unwrap().is_some(), "the agent lives");
    make_room(node1, STATE);
    node3.ready(2);
    node1.status_where("no problem is left", |status| status.problems.is_empty());
}

#[test]
fn a_full_run_directory_makes_no_pod_and_no_half_of_one() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    small_disk(node, RUN);
    node.tell(&INIT);
    let (red, blue) = (
        node.add_pod("red").address(),
        node.add_pod("blue").address(),
    );
    fill(node, RUN);
    let before = Snapshot::whole(node);
    for words in [
        &["pod", "add", "green"][..],
        &["pod", "add", "green", "--netns", "/run/netns/mine"],
    ] {
        node.shell("ip netns add mine");
        let refusal = refused(node, words, ErrorCode::Internal);
        assert!(refusal.message.contains("/run/podnet/pods/"), "{refusal:?}");
        assert!(refusal.hint.contains("room"), "{refusal:?}");
        refused(node, &["pod", "show", "green"], ErrorCode::NotFound);
        node.shell("ip netns del mine");
        before.assert_same(&Snapshot::whole(node), "pod add on a full disk");
    }
    node.pod("red").ping(blue).unwrap();

    // What takes no room works, and leaves nothing behind.
    node.remove_pod("blue");
    refused(node, &["pod", "show", "blue"], ErrorCode::NotFound);
    assert_eq!(node.shell("ls /run/netns"), "red\n");
    assert_eq!(node.shell("ls /run/podnet/pods"), "red\n");
    assert_eq!(node.shell("ip -o link show group 113 | wc -l"), "1\n");
    node.place().ping(red).unwrap();

    // The next agent finds what the last one left.
    fill(node, RUN);
    node.kill().unwrap();
    node.start().unwrap();
    node.ready(0);
    node.place().ping(red).unwrap();
    make_room(node, RUN);
    let green = node.add_pod("green").address();
    node.pod("red").ping(green).unwrap();
}

#[test]
fn a_full_block_makes_no_pod_and_no_half_of_one() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let words = "init --pod-cidr 10.9.0.0/24 --block-prefix 30";
    node.tell(&words.split(' ').collect::<Vec<_>>());
    node.add_pod("red");
    node.shell("ip netns add mine");
    let before = Snapshot::whole(node);
    for words in [
        &["pod", "add", "green"][..],
        &["pod", "add", "green", "--netns", "/run/netns/mine"],
    ] {
        let refusal = refused(node, words, ErrorCode::Full);
        assert!(refusal.hint.contains("podnetctl pod rm"), "{refusal:?}");
        before.assert_same(&Snapshot::whole(node), "pod add in a full block");
    }
}

/// A member that cannot write down who it is does not start, or does all that a member does.
#[test]
fn a_member_that_starts_on_a_full_disk_keeps_its_block() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    small_disk(node2, STATE);
    lab.init_join_all().unwrap();
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    let own = node2.block();
    fill(node2, STATE);
    node2.term().unwrap();
    let before = Snapshot::whole(node2);
    let failed = podnetd(node2, &["run"]);
    assert_eq!(failed.code, 1, "{failed}");
    let told = |label: &str| {
        let mut lines = failed.stderr.lines();
        let line = lines.find_map(|line| line.strip_prefix(label));
        line.unwrap_or_default().to_owned()
    };
    assert!(told("error: ").contains("/var/lib/podnet/"), "{failed}");
    assert!(told("hint: ").contains("room"), "{failed}");
    before.assert_same(&Snapshot::whole(node2), "a start on a full disk");
    node1.pod("red").ping(blue).unwrap();

    make_room(node2, STATE);
    node2.start().unwrap();
    node2.ready(1);
    assert_eq!(node2.block(), own);
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
}

/// Makes the agent's state directory one that cannot be written any more, as a disk with errors is.
fn set_read_only(node: Node<'_>) {
    // A mount of its own: there may be files that are open for writing.
    node.shell(
        "mount --bind /var/lib/podnet /var/lib/podnet; mount -o remount,bind,ro /var/lib/podnet",
    );
}

fn set_writable(node: Node<'_>) {
    node.shell("umount /var/lib/podnet");
}

#[test]
fn a_state_directory_that_turns_read_only_under_an_agent_is_named() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let join = ["join", &node1.address().to_string()];
    let assert_cure = |refusal: &Refusal| {
        let cure = "make the file system writable";
        assert!(refusal.message.contains(STATE), "{refusal:?}");
        assert!(refusal.hint.contains(cure), "{refusal:?}");
    };
    set_read_only(node1);
    let before = Snapshot::whole(node1);
    assert_cure(&refused(node1, &INIT, ErrorCode::Internal));
    assert_eq!(node1.status().phase, Phase::Idle);
    assert_eq!(node1.status().problems, [], "nothing is left to be removed");
    before.assert_same(&Snapshot::whole(node1), "init on a read-only disk");
    set_writable(node1);
    let token = node1.ask::<Invitation>(&INIT).token;

    set_read_only(node2);
    let before = Snapshot::whole(node2);
    assert_cure(&refused_with(node2, &join, &token, ErrorCode::Internal));
    assert_eq!(node2.status().phase, Phase::Idle);
    assert_eq!(node2.status().problems, [], "nothing is left to be removed");
    before.assert_same(&Snapshot::whole(node2), "join on a read-only disk");
    set_writable(node2);
    assert!(node2.ctl_json(&join, &token).unwrap().ok());

    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    node2.ready(1);
    set_read_only(node2);
    let before = Snapshot::whole(node2);
    assert_cure(&refused(node2, &["--yes", "leave"], ErrorCode::Internal));
    assert_eq!(node2.status().phase, Phase::Ready);
    before.assert_same(&Snapshot::whole(node2), "leave on a read-only disk");
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    // Pods are not on that disk.
    let green = node2.add_pod("green").address();
    node1.pod("red").ping(green).unwrap();

    set_writable(node2);
    node2.leave();
    assert_eq!(node2.status().phase, Phase::Idle);
    assert!(node2.ctl_json(&join, &token).unwrap().ok());
    let blue = node2.add_pod("blue").address();
    node1.pod("red").ping(blue).unwrap();
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.tell(&INIT);
    let red = node.add_pod("red").address();
    node.term().unwrap();
    node.shell("mount -o remount,bind,ro /var/lib/podnet");
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

    node.shell("mount -o remount,bind,rw /var/lib/podnet");
    node.start().unwrap();
    node.ready(0);
}

#[test]
fn without_iptables_nothing_is_begun() {
    let lab = agents(1).env("PATH", "/nowhere").up().unwrap();
    let [node] = nodes(&lab);
    let before = Snapshot::whole(node);
    let refusal = refused(node, &INIT, ErrorCode::MissingBinary);
    assert!(refusal.message.contains("'iptables'"), "{refusal:?}");
    assert!(refusal.hint.contains("install"), "{refusal:?}");
    before.assert_same(&Snapshot::whole(node), "init without iptables");
}

/// A member whose host lost iptables goes on, and says what it lacks.
#[test]
fn a_member_that_lost_iptables_says_so_and_goes_on() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    node1.term().unwrap();
    let mut agent = node1
        .spawn(["env", "PATH=/nowhere", &program(&lab)])
        .unwrap();
    let lacking = || {
        let status: Status = node1.try_ask(&["status"])?;
        let wanted = status.problems.iter().any(|problem| {
            let hint = problem.hint.as_deref().unwrap_or_default();
            problem.code == ErrorCode::MissingBinary && hint.contains("install")
        });
        if wanted {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    };
    eventually(LIMIT, "a problem that names iptables", lacking).unwrap();
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    let green = node1.add_pod("green").address();
    node2.pod("blue").ping(green).unwrap();
    // What needs no iptables is kept right.
    node1.shell("ip route del 10.244.1.0/24 proto 112");
    let back = || node1.pod("green").ping(blue);
    eventually(LIMIT, "the route again", back).unwrap();
    node3.join(&invitation, node1).unwrap();
    let pink = node3.add_pod("pink").address();
    node1.pod("red").ping(pink).unwrap();
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
