//! Agents that lack a capability.

use std::fs;

use nix::sys::signal::Signal;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;

/// What starts an agent without a capability.
fn without(lab: &Lab, capability: &str) -> [String; 5] {
    let program = lab.programs().path("podnetd").unwrap();
    [
        "setpriv".to_owned(),
        format!("--bounding-set=-{capability}"),
        format!("--inh-caps=-{capability}"),
        program.display().to_string(),
        "run".to_owned(),
    ]
}

/// Starts an agent without a capability, and waits until it answers.
pub(crate) fn start_without(lab: &Lab, node: Node<'_>, capability: &str) -> Guard {
    let agent = node.spawn(without(lab, capability)).unwrap();
    eventually(LIMIT, "an agent", || {
        let asked = node.ctl_json(&["status"], "").unwrap();
        if asked.ok() { Ok(()) } else { Err(asked) }
    })
    .unwrap();
    agent
}

/// Without raw sockets nobody can be asked whether the path to a peer works.
#[test]
fn without_the_right_to_raw_sockets_no_agent_starts() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    let red = node1.add_pod("red").address();
    node2.add_pod("blue");
    node1.term().unwrap();
    let before = Snapshot::whole(node1);
    let words = without(&lab, "net_raw");
    let refused = node1.exec_with(words, "", LIMIT).unwrap();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("error: "), "{refused}");
    assert!(
        refused
            .stderr
            .contains("hint: run podnetd with the capability CAP_NET_RAW"),
        "{refused}"
    );
    before.assert_same(&Snapshot::whole(node1), "an agent without raw sockets");
    node2.pod("blue").ping(red).unwrap();
    node1.start().unwrap();
    node1.ready(1);
}

/// Only namespaces need it: the node is a member and says what it lacks, and its pods stay.
#[test]
fn without_the_right_to_enter_namespaces_a_node_is_a_member() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    let red = node1.add_pod("red").address();
    node2.add_pod("blue");
    let pod = node1.show_pod("red");
    node1.term().unwrap();
    let mut agent = node1.spawn(without(&lab, "sys_admin")).unwrap();
    eventually(LIMIT, "a problem that names the right", || {
        let status: Status = node1.try_ask(&["status"])?;
        let named = status.problems.iter().any(|problem| {
            let hint = problem.hint.as_deref().unwrap_or_default();
            problem.code == ErrorCode::NotPermitted && hint.contains("CAP_SYS_ADMIN")
        });
        if named && status.phase == Phase::Ready {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .unwrap();
    // What it can do, it does.
    node1.status_where("the path to the peer", |status| {
        status.peers[0].path == Some(PathState::Ok)
    });
    assert_eq!(node1.show_pod("red"), pod);
    let names = || node1.shell("ls /run/netns /run/podnet/pods");
    let before = (Snapshot::kernel(node1), names());
    let refusal = refused(node1, &["pod", "add", "green"], ErrorCode::NotPermitted);
    assert!(refusal.hint.contains("CAP_SYS_ADMIN"), "{refusal:?}");
    before
        .0
        .assert_same(&Snapshot::kernel(node1), "pod add without the right");
    assert_eq!(names(), before.1);
    node2.pod("blue").ping(red).unwrap();
    let refusal = refused(node1, &["pod", "rm", "red"], ErrorCode::NotPermitted);
    assert!(refusal.hint.contains("CAP_SYS_ADMIN"), "{refusal:?}");

    let process = ProcessId::of(agent.pid()).unwrap();
    process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(agent.wait(LIMIT).unwrap(), 0);
    node1.start().unwrap();
    node1.ready(1);
    // What was begun is brought to its end.
    eventually(LIMIT, "nothing of the pod", || match names() {
        left if left.contains("red") => Err(left),
        _ => Ok(()),
    })
    .unwrap();
    assert_eq!(node1.pods().len(), 0);
    let green = node1.add_pod("green").address();
    node2.pod("blue").ping(green).unwrap();
}

/// Only namespaces of processes that may do more than the agent need it.
#[test]
fn without_the_right_to_look_at_processes_their_namespaces_are_refused() {
    let lab = Cluster::of(1);
    let [node] = nodes(&lab);
    node.term().unwrap();
    let mut agent = start_without(&lab, node, "sys_ptrace");
    node.ready(0);
    let sleeper = node.spawn(["unshare", "-n", "sleep", "3600"]).unwrap();
    let netns = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    eventually(LIMIT, "a namespace of its own", || {
        match netns(sleeper.pid()) {
            own if own == netns(agent.pid()) => Err("none"),
            _ => Ok(()),
        }
    })
    .unwrap();
    let process = sleeper.pid().to_string();
    let before = Snapshot::whole(node);
    let words = ["pod", "add", "green", "--pid", &process];
    let refusal = refused(node, &words, ErrorCode::NotPermitted);
    assert!(refusal.message.contains(&process), "{refusal:?}");
    assert!(refusal.hint.contains("CAP_SYS_PTRACE"), "{refusal:?}");
    before.assert_same(&Snapshot::whole(node), "pod add without the right");
    // What needs no such right works.
    let red = node.add_pod("red").address();
    node.place().ping(red).unwrap();
    node.remove_pod("red");

    let number = ProcessId::of(agent.pid()).unwrap();
    number.signal(Signal::SIGTERM).unwrap();
    assert_eq!(agent.wait(LIMIT).unwrap(), 0);
    node.start().unwrap();
    node.ready(0);
    let green: api::Pod = node.ask(&words);
    node.place().ping(green.address()).unwrap();
}
