//! Agents that end and come back, while packets flow on.

use podnet_lab::prelude::*;
use serde_json::Value;

use crate::flow::{Ping, Stream};
use crate::monitor::Monitor;

/// What a restart must not change.
fn lasting(node: Node<'_>) -> Value {
    let status = node.status();
    serde_json::json!({
        "id": status.node.id,
        "name": status.node.name,
        "addresses": status.node.addresses,
        "boot": status.node.boot,
        "cluster": status.cluster.map(|cluster| cluster.id),
        "blocks": status.blocks,
        "gateways": status.gateways,
        "mtu": status.mtu,
        "pods": node.pods(),
        "routes": node.routes(),
        "token": node.token(),
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
            node.shell(&format!("ip neigh add {stray}"));
            agent.wait_end(LIMIT).unwrap();
            node.shell(&format!("ip neigh del {stray}"));
        }
    }
    node.start().unwrap();
}

/// Restarts agents, one after the other, and asserts that each took over what was there.
fn assert_adopt<'lab>(nodes: &[Node<'lab>], end: End, back: impl Fn(Node<'lab>) -> Status) {
    let restarted: Vec<_> = nodes
        .iter()
        .map(|&node| {
            let before = lasting(node);
            let instance = node.status().node.instance;
            let monitor = Monitor::start(node);
            restart(node, end);
            let now = back(node);
            assert_ne!(now.node.instance, instance, "{end:?}");
            (node, before, monitor)
        })
        .collect();
    for (node, before, monitor) in restarted {
        let when = format!("{} after {end:?}", node.name());
        monitor.assert_silent(&when);
        let told = node.status().reconcile;
        let totals = [told.operations_total, told.failed_total, told.drift_total];
        assert_eq!(totals, [0, 0, 0], "{when}: {told:?}");
        assert_eq!(lasting(node), before, "{when}");
    }
}

#[test]
fn an_agent_that_comes_back_finds_everything_as_it_was() {
    let lab = Cluster::made_of(agents(2).faults());
    let [node1, node2] = nodes(&lab);
    let red = node1.add_pod("red").address();
    node1.add_pod("pink");
    let blue = node2.add_pod("blue").address();
    node1.ready(1);
    node2.ready(1);
    let pings = [
        Ping::start(&node1.pod("red"), blue),
        Ping::start(&node2.pod("blue"), red),
    ];
    let stream = Stream::start(&node1.pod("red"), node2.pod("blue"), blue);
    for end in [End::Term, End::Kill, End::Crash] {
        assert_adopt(&[node2, node1], end, |node| node.ready(1));
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
    node2.status_where("no quorum", |status| !status.quorum.ok);

    let words = ["--timeout", "2s", "join", "192.168.56.12"];
    refused_with(node3, &words, &invitation.token, ErrorCode::Timeout);
    let waits = |status: &Status| matches!(status.phase, Phase::Joining | Phase::NoQuorum);
    assert!(waits(&node3.status()), "{:?}", node3.status());
    for end in [End::Kill, End::Term] {
        restart(node3, end);
        assert!(waits(&node3.status()), "{end:?}: {:?}", node3.status());
    }
    node1.start().unwrap();
    for node in [node3, node2, node1] {
        node.ready(2);
    }
}

#[test]
fn a_member_that_comes_back_alone_keeps_its_block() {
    let lab = Cluster::of(3);
    let [node1, node2, node3] = nodes(&lab);
    node2.add_pod("blue");
    let green = node3.add_pod("green").address();
    for node in [node2, node3] {
        node.ready(2);
    }
    let flow = Ping::start(&node2.pod("blue"), green);
    node1.kill().unwrap();
    let alone = |node: Node<'_>| {
        node.status_where("ready without the founder", |status| {
            // The founder's kernel still answers: only its agent is down.
            let reached = |peer: &api::Node| peer.path == Some(PathState::Ok);
            status.phase == Phase::Ready
                && !status.quorum.ok
                && status.peers.iter().all(reached)
                && status.reconcile.passes > 0
        })
    };
    alone(node2);
    for end in [End::Kill, End::Term] {
        assert_adopt(&[node2], end, alone);
    }
    let pink = node2.add_pod("pink").address();
    node3.pod("green").ping(pink).unwrap();
    flow.assert_lossless();

    node1.start().unwrap();
    for node in [node1, node2, node3] {
        node.ready(2);
        node.status_where("quorum", |status| status.quorum.ok);
    }
}
