//! The testbed with real agents: `podnetd` and `podnetctl` have to be built. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::command::{Guard, run};
use podnet_lab::dir::LabDir;
use podnet_lab::lines::Lines;
use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;

#[test]
fn an_agent_is_killed_stopped_and_started_again_on_the_same_state() {
    let lab = Lab::builder().nodes(1).up().unwrap();
    let node = lab.node("node1").unwrap();
    let id = node.status().node.id;
    UnixStream::connect(node.socket()).unwrap();
    assert!(fs::read_dir(node.state_dir()).unwrap().next().is_some());

    let first = node.agent().unwrap().unwrap();
    node.start().unwrap();
    assert_eq!(node.agent().unwrap(), Some(first), "it ran already");
    node.kill().unwrap();
    assert_eq!(node.agent().unwrap(), None);
    assert!(matches!(node.stop(), Err(LabError::AgentDown { .. })));
    node.kill().unwrap();
    node.start().unwrap();
    assert_eq!(node.status().node.id, id, "after a crash");
    node.term().unwrap();
    node.start().unwrap();
    assert_eq!(node.status().node.id, id, "after a stop");

    node.stop().unwrap();
    let hung = node.ctl(["--timeout", "200ms", "status"]).unwrap();
    assert_ne!(hung.code, 0, "a suspended agent answers nobody");
    node.cont().unwrap();
    node.tell(&["status"]);
    assert_eq!(node.log().matches("podnetd is ready").count(), 3);
    // A suspended agent is no obstacle.
    node.stop().unwrap();
    lab.down().unwrap();
}

#[test]
fn a_cluster_is_made_and_the_token_is_written_nowhere() {
    let lab = Lab::builder()
        .nodes(3)
        .timing("gossip_interval", Duration::from_millis(200))
        .up()
        .unwrap();
    let invitation = lab.init_join_all().unwrap();
    let members = lab.node("node3").unwrap().members();
    assert_eq!(members.len(), 3, "{members:?}");
    for node in lab.nodes() {
        assert!(!node.log().contains(&invitation.token), "{}", node.name());
    }
    let again = first(&lab).init(Some("wireguard")).unwrap_err();
    assert_eq!(again.report().code, ErrorCode::Unsupported, "{again}");
}

#[test]
fn a_rebooted_node_is_itself_in_another_boot() {
    let lab = Lab::builder().nodes(2).join(true).up().unwrap();
    let [node1, node2] = nodes(&lab);
    node2.add_pod("red");
    let before = node2.status_where("ready", |status| status.phase == Phase::Ready);
    let agent = node2.agent().unwrap();

    node2.reboot().unwrap();

    assert_ne!(node2.agent().unwrap(), agent);
    let after = node2.status_where("ready", |status| status.phase == Phase::Ready);
    assert_eq!(after.node.id, before.node.id);
    assert_eq!(after.blocks, before.blocks);
    let [was, is] = [before.cluster, after.cluster].map(Option::unwrap);
    assert_eq!(is.id, was.id);
    assert_ne!(after.node.boot, before.node.boot);
    assert_eq!(node2.pods(), [], "pods die with the boot");
    node2.place().ping(node1.address()).unwrap();
}

#[test]
fn a_rolled_back_agent_knows_what_was_saved() {
    let lab = Lab::builder().nodes(1).up().unwrap();
    let node = lab.node("node1").unwrap();
    let agent = node.agent().unwrap();
    node.save().unwrap();
    assert_eq!(node.agent().unwrap(), agent);
    let id = node.status().node.id;
    node.init(None).unwrap();
    node.status_where("ready", |status| status.phase == Phase::Ready);
    node.rollback().unwrap();
    assert_ne!(node.agent().unwrap(), agent);
    let after = node.status();
    assert_eq!(after.phase, Phase::Idle);
    assert_eq!(after.node.id, id);
    // Who was suspended stays so.
    node.stop().unwrap();
    node.save().unwrap();
    assert!(node.agent().unwrap().unwrap().suspended());
}

#[test]
fn a_clones_agent_may_refuse_and_the_node_stays() {
    let lab = Lab::builder().nodes(1).up().unwrap();
    let node = lab.node("node1").unwrap();
    // The identity of one that was never a member's would be made anew.
    node.init(None).unwrap();
    let mut clone = Command::new(env!("CARGO_BIN_EXE_podnet-lab"));
    clone.args(["--lab", lab.name().as_str(), "clone", "node1"]);
    clone.env_remove("PODNET_BIN_DIR");
    let refused = run(&mut clone, "", LIMIT).unwrap();
    assert_eq!((refused.code, refused.stdout.as_str()), (1, "node2\n"));
    assert!(refused.stderr.contains("agent of node2"), "{refused}");
    assert!(refused.stderr.contains("machine"), "{refused}");
    assert!(!node.agent().unwrap().unwrap().suspended());

    let lab = Lab::open(lab.name().clone()).unwrap();
    let twin = lab.node("node2").unwrap();
    twin.holder().unwrap();
    assert_eq!(twin.agent().unwrap(), None);
    // A clone that nobody can tell from its original.
    fs::copy(node.machine_id_file(), twin.machine_id_file()).unwrap();
    twin.start().unwrap();
    assert_eq!(twin.status().node.id, node.status().node.id);
}

/// With the same names, addresses and pod network in both, and neither knows of the other.
#[test]
fn clusters_of_two_labs_live_side_by_side() {
    let labs = [(), ()].map(|()| Lab::builder().nodes(2).join(true).up().unwrap());
    for lab in &labs {
        for node in lab.nodes() {
            node.add_pod("red");
            let cluster = node.status().cluster.unwrap();
            assert_eq!(cluster.nodes, 2, "{}", node.name());
        }
        let from = first(lab).pod("red");
        from.ping("10.244.1.2".parse().unwrap()).unwrap();
    }
    let [one, other] = labs.map(|lab| {
        let cluster = first(&lab).status().cluster.unwrap().id;
        (cluster, lab.down())
    });
    assert_ne!(one.0, other.0);
    one.1.and(other.1).unwrap();
}

#[test]
fn sixty_four_agents_are_one_cluster() {
    const NODES: u8 = 64;
    let lab = Lab::builder().nodes(NODES).up().unwrap();
    let nodes = lab.nodes();
    let invitation = nodes[0].init(None).unwrap();
    for some in nodes[1..].chunks(8) {
        thread::scope(|scope| {
            for node in some {
                scope.spawn(|| node.join(&invitation, nodes[0]).unwrap());
            }
        });
    }
    let mut blocks = BTreeSet::new();
    for node in &nodes {
        node.ready(usize::from(NODES) - 1);
        blocks.insert(node.block());
    }
    assert_eq!(blocks.len(), usize::from(NODES), "{blocks:?}");
    nodes[0].add_pod("red");
    let blue = nodes[63].add_pod("blue").address();
    nodes[0].pod("red").ping(blue).unwrap();
}

fn demo() -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_podnet-lab"));
    demo.arg("demo").env_remove("PODNET_BIN_DIR");
    demo
}

#[test]
fn the_demo_shows_every_path_and_passes() {
    let output = run(&mut demo(), "", LIMIT).unwrap();
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stdout.contains("all paths work"), "{output}");
    assert!(!output.stdout.contains("podnet1"), "the token is a secret");
    assert!(
        !output.stdout.contains('\u{1b}'),
        "no colour off a terminal"
    );
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let mut demo = Guard::new(demo().stdout(Stdio::piped()).spawn().unwrap());
    let process = ProcessId::of(demo.pid()).unwrap();
    let lines = Lines::of(demo.stdout().unwrap());
    let joining = |line: &str| line.starts_with("node2# podnetctl join");
    lines.wait_for(LIMIT, "a join", joining).unwrap();
    process.signal(Signal::SIGINT).unwrap();
    assert_eq!(demo.wait(LIMIT).unwrap(), 130);
    let stem = format!("demo-{}-", process.pid);
    eventually(LIMIT, "no lab of the demo", || {
        let labs = LabDir::all().unwrap();
        match labs.iter().find(|lab| lab.as_str().starts_with(&stem)) {
            None => Ok(()),
            Some(lab) => Err(lab.to_string()),
        }
    })
    .unwrap();
}
