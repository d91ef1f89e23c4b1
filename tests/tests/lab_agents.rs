//! The testbed with real agents: `podnetd` and `podnetctl` have to be built. Needs root.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::command::{Guard, run};
use podnet_lab::dir::LabDir;
use podnet_lab::lines::Lines;
use podnet_lab::process::ProcessId;
use podnet_lab::{Lab, LabError, eventually};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn an_agent_is_killed_stopped_and_started_again_on_the_same_state() {
    let lab = Lab::builder().nodes(1).up().unwrap();
    let node = lab.node("node1").unwrap();
    let status = |what: &str| {
        let output = node.ctl(["-o", "json", "status"]).unwrap();
        output.success(what).unwrap().json().unwrap()
    };
    let id = status("first")["node"]["id"].clone();
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
    assert_eq!(status("after a crash")["node"]["id"], id);
    node.term().unwrap();
    node.start().unwrap();
    assert_eq!(status("after a stop")["node"]["id"], id);

    node.stop().unwrap();
    let hung = node.ctl(["--timeout", "200ms", "status"]).unwrap();
    assert_ne!(hung.code, 0, "a suspended agent answers nobody");
    node.cont().unwrap();
    status("after a pause");
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
    let again = lab.node("node1").unwrap().init(Some("direct")).unwrap_err();
    assert_eq!(again.report().code.as_str(), "already_member", "{again}");
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
