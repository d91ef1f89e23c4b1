//! Agents that end and come back, while packets flow on.

use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::signal::Signal;
use podnet_lab::command::Guard;
use podnet_lab::lines::Lines;
use podnet_lab::process::ProcessId;
use podnet_lab::{LabError, Node, Place, eventually};
use serde_json::Value;

use crate::scene::{
    LIMIT, add_pod, ask, cluster, idle, list, nodes, ready, refused_with, shell, status,
    status_where,
};

use crate::snapshot::settle;

/// How long an agent that has come back is watched.
const QUIET: Duration = Duration::from_secs(2);

/// A ping that goes on until it is ended.
struct Flow {
    guard: Guard,
    lines: Lines,
}

impl Flow {
    fn start(from: &Place<'_>, to: Ipv4Addr) -> Self {
        let words = ["ping", "-n", "-i", "0.01", &to.to_string()].map(str::to_owned);
        let mut command = from.command(words).unwrap();
        command.stdout(std::process::Stdio::piped());
        let mut guard = Guard::new(command.spawn().unwrap());
        let lines = Lines::of(guard.stdout().unwrap());
        let flow = Self { guard, lines };
        flow.reaches(10);
        flow
    }

    /// Waits until this many answers are there.
    fn reaches(&self, count: usize) {
        let wanted = format!("icmp_seq={count} ");
        let is_wanted = |line: &str| line.contains(&wanted);
        self.lines
            .wait_for(LIMIT, "answers to a ping", is_wanted)
            .unwrap();
    }

    /// Ends it. Of all requests but the last, which may be under way, every answer must be there,
    /// and once.
    fn assert_lossless(mut self) {
        ProcessId::of(self.guard.pid())
            .unwrap()
            .signal(Signal::SIGINT)
            .unwrap();
        self.guard.wait(LIMIT).unwrap();
        let lines = self.lines.complete(LIMIT).unwrap();
        let number = |line: &String| {
            let (_, rest) = line.split_once("icmp_seq=")?;
            rest.split_whitespace().next()?.parse::<usize>().ok()
        };
        let answered: Vec<usize> = lines.iter().filter_map(number).collect();
        let expected: Vec<usize> = (1..=answered.len()).collect();
        assert_eq!(answered, expected, "{:?}", lines.last());
        let sent = lines
            .iter()
            .find_map(|line| line.split_once(" packets transmitted"));
        let sent: usize = sent.unwrap().0.parse().unwrap();
        assert!(
            sent - answered.len() <= 1,
            "{} of {sent} answered",
            answered.len()
        );
    }
}

/// What the kernel tells of changes to a node's links, addresses, routes and rules.
struct Monitor<'lab> {
    node: Node<'lab>,
    guard: Guard,
    lines: Lines,
}

impl<'lab> Monitor<'lab> {
    fn start(node: Node<'lab>) -> Self {
        settle(node);
        let words = ["ip", "-o", "monitor", "link", "address", "route", "rule"];
        let mut guard = node.spawn(words).unwrap();
        let lines = Lines::of(guard.stdout().unwrap());
        let monitor = Self { node, guard, lines };
        monitor.mark("before0");
        monitor
    }

    /// Makes and removes a link, and waits until the monitor has told of it: then it has told of
    /// everything before that.
    fn mark(&self, name: &str) {
        eventually(LIMIT, "the monitor", || {
            shell(
                self.node,
                &format!("ip link add {name} type bridge && ip link del {name}"),
            );
            let told = |line: &str| line.contains("Deleted") && line.contains(name);
            self.lines.wait_for(QUIET / 10, "a link", told)
        })
        .unwrap();
    }

    /// Watches for a while longer, and asserts that nothing but the marks was told.
    fn assert_silent(mut self, when: &str) {
        let waited = self.guard.wait(QUIET);
        assert!(
            matches!(waited, Err(LabError::Timeout { .. })),
            "{waited:?}"
        );
        self.mark("after0");
        let lines = self.lines.all();
        let of_mark = |line: &&String| ["before0", "after0"].iter().any(|name| line.contains(name));
        let others: Vec<_> = lines.iter().filter(|line| !of_mark(line)).collect();
        assert!(others.is_empty(), "{when}: {others:#?}");
    }
}

/// What a restart must not change.
fn lasting(node: Node<'_>) -> Value {
    let status = status(node);
    serde_json::json!({
        "id": status["node"]["id"],
        "name": status["node"]["name"],
        "addresses": status["node"]["addresses"],
        "boot": status["node"]["boot"],
        "cluster": status["cluster"]["id"],
        "blocks": status["blocks"],
        "gateways": status["gateways"],
        "mtu": status["mtu"],
        "pods": ask(node, &["pod", "list"]),
        "routes": ask(node, &["routes"]),
        "token": ask(node, &["token", "show"]),
    })
}

/// How an agent ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// In order, as when it is upgraded.
    Term,
    /// As in a crash.
    Kill,
}

fn restart(node: Node<'_>, end: End) {
    match end {
        End::Term => node.term().unwrap(),
        End::Kill => node.kill().unwrap(),
    }
    node.start().unwrap();
}

/// Restarts an agent and asserts that it took over what was there.
fn assert_adopts(node: Node<'_>, end: End, back: impl Fn(Node<'_>) -> Value) {
    let when = format!("{} after {end:?}", node.name());
    let before = lasting(node);
    let instance = status(node)["node"]["instance"].clone();
    let monitor = Monitor::start(node);
    restart(node, end);
    let now = back(node);
    assert_ne!(now["node"]["instance"], instance, "{when}");
    monitor.assert_silent(&when);
    let reconcile = &status(node)["reconcile"];
    for total in ["operations_total", "failed_total", "drift_total"] {
        assert_eq!(reconcile[total], 0, "{when}: {reconcile}");
    }
    assert_eq!(lasting(node), before, "{when}");
}

#[test]
fn an_agent_that_comes_back_finds_everything_as_it_was() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    let red = add_pod(node1, "red");
    add_pod(node1, "pink");
    let blue = add_pod(node2, "blue");
    ready(node1, 1);
    ready(node2, 1);
    let flows = [
        Flow::start(&node1.pod("red"), blue),
        Flow::start(&node2.pod("blue"), red),
    ];
    for node in [node2, node1] {
        for end in [End::Term, End::Kill] {
            assert_adopts(node, end, |node| ready(node, 1));
        }
    }
    for flow in flows {
        flow.assert_lossless();
    }
}

#[test]
fn a_join_that_was_answered_goes_on_through_a_restart() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    node1.kill().unwrap();
    status_where(node2, "no quorum", |status| status["quorum"]["ok"] == false);

    let words = ["--timeout", "2s", "join", "192.168.56.12"];
    refused_with(node3, &words, &invitation.token, ("timeout", 124));
    let waits = |status: &Value| {
        let phase = &status["phase"];
        phase == "joining" || phase == "no-quorum"
    };
    assert!(waits(&status(node3)), "{}", status(node3));
    for end in [End::Kill, End::Term] {
        restart(node3, end);
        assert!(waits(&status(node3)), "{end:?}: {}", status(node3));
    }
    node1.start().unwrap();
    for node in [node3, node2, node1] {
        ready(node, 2);
    }
}

#[test]
fn a_member_that_comes_back_alone_keeps_its_block() {
    let (lab, _) = cluster(3);
    let [node1, node2, node3] = nodes(&lab);
    add_pod(node2, "blue");
    let green = add_pod(node3, "green");
    for node in [node2, node3] {
        ready(node, 2);
    }
    let flow = Flow::start(&node2.pod("blue"), green);
    node1.kill().unwrap();
    let alone = |node: Node<'_>| {
        status_where(node, "ready without the founder", |status| {
            let peers = list(&status["peers"]);
            // The founder's kernel still answers: only its agent is down.
            let reached = peers.iter().filter(|peer| peer["path"] == "ok").count();
            status["phase"] == "ready"
                && status["quorum"]["ok"] == false
                && reached == peers.len()
                && status["reconcile"]["passes"].as_u64() > Some(0)
        })
    };
    alone(node2);
    for end in [End::Kill, End::Term] {
        assert_adopts(node2, end, alone);
    }
    let pink = add_pod(node2, "pink");
    node3.pod("green").ping(pink).unwrap();
    flow.assert_lossless();

    node1.start().unwrap();
    for node in [node1, node2, node3] {
        ready(node, 2);
        status_where(node, "quorum", |status| status["quorum"]["ok"] == true);
    }
}
