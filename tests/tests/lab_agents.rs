//! The testbed with real agents: `podnetd` and `podnetctl` have to be built. Needs root.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

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
use podnet_lab::process::ProcessId;
use podnet_lab::{Lab, LabError, Node, eventually};

const LIMIT: Duration = Duration::from_secs(60);

fn status(node: Node<'_>) -> serde_json::Value {
    let output = node.ctl(["-o", "json", "status"]).unwrap();
    output.success("status").unwrap().json().unwrap()
}

fn wait_for_phase(node: Node<'_>, phase: &str) -> serde_json::Value {
    eventually(LIMIT, phase, || {
        let status = status(node);
        if status["phase"] == phase {
            Ok(status)
        } else {
            Err(status["phase"].to_string())
        }
    })
    .unwrap()
}

#[test]
fn an_agent_is_killed_stopped_and_started_again_on_the_same_state() {
    let lab = Lab::builder().nodes(1).up().unwrap();
    let node = lab.node("node1").unwrap();
    let id = status(node)["node"]["id"].clone();
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
    assert_eq!(status(node)["node"]["id"], id, "after a crash");
    node.term().unwrap();
    node.start().unwrap();
    assert_eq!(status(node)["node"]["id"], id, "after a stop");

    node.stop().unwrap();
    let hung = node.ctl(["--timeout", "200ms", "status"]).unwrap();
    assert_ne!(hung.code, 0, "a suspended agent answers nobody");
    node.cont().unwrap();
    status(node);
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
    let nodes = lab
        .node("node3")
        .unwrap()
        .ctl(["-o", "json", "nodes"])
        .unwrap();
    assert_eq!(
        nodes.json().unwrap().as_array().unwrap().len(),
        3,
        "{nodes}"
    );
    for node in lab.nodes() {
        assert!(!node.log().contains(&invitation.token), "{}", node.name());
    }
    let node1 = lab.node("node1").unwrap();
    let again = node1.init(Some("wireguard")).unwrap_err();
    assert_eq!(again.report().code.as_str(), "unsupported", "{again}");
}

#[test]
fn a_rebooted_node_is_itself_in_another_boot() {
    let lab = Lab::builder().nodes(2).join(true).up().unwrap();
    let [node1, node2] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let added = node2.ctl(["pod", "add", "red"]).unwrap();
    assert!(added.ok(), "{added}");
    let before = wait_for_phase(node2, "ready");
    let agent = node2.agent().unwrap();

    node2.reboot().unwrap();

    assert_ne!(node2.agent().unwrap(), agent);
    let after = wait_for_phase(node2, "ready");
    for key in ["/node/id", "/blocks", "/cluster/id"] {
        assert_eq!(after.pointer(key), before.pointer(key), "{key}");
    }
    assert_ne!(after["node"]["boot"], before["node"]["boot"]);
    let pods = node2.ctl(["-o", "json", "pod", "list"]).unwrap();
    assert_eq!(pods.stdout.trim(), "[]", "pods die with the boot");
    node2.place().ping(node1.address()).unwrap();
}

#[test]
fn a_rolled_back_agent_knows_what_was_saved() {
    let lab = Lab::builder().nodes(1).up().unwrap();
    let node = lab.node("node1").unwrap();
    let agent = node.agent().unwrap();
    node.save().unwrap();
    assert_eq!(node.agent().unwrap(), agent);
    let id = status(node)["node"]["id"].clone();
    node.init(None).unwrap();
    wait_for_phase(node, "ready");
    node.rollback().unwrap();
    assert_ne!(node.agent().unwrap(), agent);
    let after = status(node);
    assert_eq!(after["phase"], "idle", "{after}");
    assert_eq!(after["node"]["id"], id);
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
    assert_eq!(status(twin)["node"]["id"], status(node)["node"]["id"]);
}

/// With the same names, addresses and pod network in both, and neither knows of the other.
#[test]
fn clusters_of_two_labs_live_side_by_side() {
    let labs = [(), ()].map(|()| Lab::builder().nodes(2).join(true).up().unwrap());
    for lab in &labs {
        for node in lab.nodes() {
            let added = node.ctl(["pod", "add", "red"]).unwrap();
            added.success("podnetctl pod add").unwrap();
            assert_eq!(status(node)["cluster"]["nodes"], 2, "{}", node.name());
        }
        let from = lab.nodes()[0].pod("red");
        from.ping("10.244.1.2".parse().unwrap()).unwrap();
    }
    let [one, other] = labs.map(|lab| {
        let cluster = status(lab.nodes()[0])["cluster"]["id"].clone();
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
        let ready = eventually(LIMIT, "ready, and in touch with all", || {
            let status = status(*node);
            let peers = status["peers"].as_array().cloned().unwrap_or_default();
            let reached = peers
                .iter()
                .filter(|peer| peer["path"] == "ok" && peer["live"] == true);
            if status["phase"] == "ready" && reached.count() == usize::from(NODES) - 1 {
                Ok(status)
            } else {
                Err(status)
            }
        });
        blocks.insert(ready.unwrap()["blocks"][0].to_string());
    }
    assert_eq!(blocks.len(), usize::from(NODES), "{blocks:?}");
    for (node, pod) in [(&nodes[0], "red"), (&nodes[63], "blue")] {
        node.ctl(["pod", "add", pod])
            .unwrap()
            .success("podnetctl pod add")
            .unwrap();
    }
    let shown = nodes[63]
        .ctl(["-o", "json", "pod", "show", "blue"])
        .unwrap()
        .json()
        .unwrap();
    let address = shown["addresses"][0]
        .as_str()
        .unwrap()
        .split_once('/')
        .unwrap()
        .0
        .parse()
        .unwrap();
    nodes[0].pod("red").ping(address).unwrap();
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
