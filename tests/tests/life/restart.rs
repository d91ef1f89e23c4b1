//! Agents that end and come back, while packets flow on.

use podnet_lab::Node;
use serde_json::Value;

use crate::flow::{Ping, Stream};
use crate::monitor::Monitor;
use crate::scene::{
    LIMIT, add_pod, ask, builder, cluster, idle, list, nodes, ready, refused_with, shell, status,
    status_where,
};

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
    /// At once.
    Kill,
    /// By its own fault: one of its tasks panics.
    Crash,
}

fn restart(node: Node<'_>, end: End) {
    match end {
        End::Term => node.term().unwrap(),
        End::Kill => node.kill().unwrap(),
        End::Crash => {
            let agent = node.agent().unwrap().unwrap();
            node.panic_soon().unwrap();
            // The agent looks what it is, and panics amid that.
            let stray = "10.9.9.9 lladdr 02:00:00:00:00:09 nud permanent dev podnet0";
            shell(node, &format!("ip neigh add {stray}"));
            agent.wait_end(LIMIT).unwrap();
            shell(node, &format!("ip neigh del {stray}"));
        }
    }
    node.start().unwrap();
}

/// Restarts agents, one after the other, and asserts that each took over what was there.
fn assert_adopt<'lab>(nodes: &[Node<'lab>], end: End, back: impl Fn(Node<'lab>) -> Value) {
    let restarted: Vec<_> = nodes
        .iter()
        .map(|&node| {
            let before = lasting(node);
            let instance = status(node)["node"]["instance"].clone();
            let monitor = Monitor::start(node);
            restart(node, end);
            let now = back(node);
            assert_ne!(now["node"]["instance"], instance, "{end:?}");
            (node, before, monitor)
        })
        .collect();
    for (node, before, monitor) in restarted {
        let when = format!("{} after {end:?}", node.name());
        monitor.assert_silent(&when);
        let reconcile = &status(node)["reconcile"];
        for total in ["operations_total", "failed_total", "drift_total"] {
            assert_eq!(reconcile[total], 0, "{when}: {reconcile}");
        }
        assert_eq!(lasting(node), before, "{when}");
    }
}

#[test]
fn an_agent_that_comes_back_finds_everything_as_it_was() {
    let lab = builder(2).faults().up().unwrap();
    lab.init_join_all().unwrap();
    let [node1, node2] = nodes(&lab);
    let red = add_pod(node1, "red");
    add_pod(node1, "pink");
    let blue = add_pod(node2, "blue");
    ready(node1, 1);
    ready(node2, 1);
    let pings = [
        Ping::start(&node1.pod("red"), blue),
        Ping::start(&node2.pod("blue"), red),
    ];
    let stream = Stream::start(&node1.pod("red"), node2.pod("blue"), blue);
    for end in [End::Term, End::Kill, End::Crash] {
        assert_adopt(&[node2, node1], end, |node| ready(node, 1));
    }
    stream.assert_lossless();
    for ping in pings {
        ping.assert_lossless();
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
    let flow = Ping::start(&node2.pod("blue"), green);
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
        assert_adopt(&[node2], end, alone);
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
