//! An agent that is down while the cluster changes.

use std::collections::BTreeSet;

use podnet_lab::prelude::*;

use crate::underlay::kernel_routes;

#[test]
fn an_agent_that_was_down_while_blocks_changed_hands_has_the_routes_of_today() {
    let lab = idle(5);
    let [node1, node2, node3, node4, node5] = nodes(&lab);
    // Four blocks, so that a newcomer gets one that another has given back.
    let words = [
        "init",
        "--pod-cidr",
        "10.244.0.0/24",
        "--block-prefix",
        "26",
    ];
    let invitation: Invitation = node1.ask(&words);
    for node in [node2, node3, node4] {
        node.join(&invitation, node1).unwrap();
    }
    for node in [node1, node2, node3, node4] {
        node.ready(3);
    }
    let [given, other] = [node3, node4].map(|node| node.block());
    let red = node1.add_pod("red").address();
    node2.add_pod("blue");

    node2.kill().unwrap();
    node3.leave();
    node4.leave();
    node5.join(&invitation, node1).unwrap();
    node4.join(&invitation, node1).unwrap();
    assert_eq!([node5, node4].map(|node| node.block()), [given, other]);
    let green = node5.add_pod("green").address();

    node2.start().unwrap();
    let peers = [node1, node4, node5];
    let via = peers.map(|node| format!("{} {} eth0", node.block(), node.address()));
    let mut today = BTreeSet::from(via);
    today.insert("10.244.0.0/24 - -".to_owned());
    until("the routes of today", &today, || kernel_routes(node2));
    for node in [node1, node2, node4, node5] {
        node.ready(3);
    }
    for pod in [red, green] {
        node2.pod("blue").ping(pod).unwrap();
    }
    assert_eq!(kernel_routes(node2), today);
}

/// Without the founder nothing is decided: who has rebooted meanwhile has no block until it is back.
#[test]
fn a_node_that_reboots_without_the_founder_says_what_it_waits_for() {
    let lab = idle(3);
    let [founder, node2, node3] = nodes(&lab);
    lab.init_join_all().unwrap();
    node2.ready(2);
    let old_block = node2.block();
    let red = node3.add_pod("red").address();
    founder.kill().unwrap();
    lab.reboot(&[node2]).unwrap();

    let who = format!("node1 ({})", founder.address());
    let problem = |node: Node<'_>, phase: Phase| {
        let status = node.status_where(&format!("a problem while {phase}"), |status| {
            status.phase == phase && has_problem(status, ErrorCode::NoQuorum)
        });
        let mut problems = status.problems.into_iter();
        let found = problems.find(|problem| problem.code == ErrorCode::NoQuorum);
        found.unwrap()
    };
    let waiting = problem(node2, Phase::NoQuorum);
    let message = format!("this node's block cannot be confirmed until {who} is reachable");
    assert!(waiting.message.starts_with(&message), "{waiting:?}");
    assert!(
        waiting.message.contains("its pods have no network"),
        "{waiting:?}"
    );
    let hint = waiting.hint.unwrap();
    assert!(
        hint.starts_with(&format!("start podnetd on {who};")),
        "{hint}"
    );
    assert!(hint.contains("if its disk is lost"), "{hint}");
    assert_eq!(waiting.severity, Severity::Error);
    assert_eq!(
        node2.shell("ip route show proto 112"),
        "",
        "what it says is so"
    );

    // For the one that did not reboot all goes on.
    let running = problem(node3, Phase::Ready);
    assert_eq!(running.severity, Severity::Warning);
    let hint = running.hint.unwrap();
    for part in [
        &format!("start podnetd on {who}"),
        "what runs goes on",
        "a node that reboots",
    ] {
        assert!(hint.contains(part), "{hint}");
    }
    founder.start().unwrap();
    node2.ready(2);
    assert_eq!(node2.block(), old_block);
    node2.add_pod("blue");
    node2.pod("blue").ping(red).unwrap();
    node2.until_no_problem();
}
