//! An agent that is down while the cluster changes.

use std::collections::BTreeSet;

use podnet_lab::{Invitation, eventually};

use crate::scene::{LIMIT, add_pod, ask, block, idle, nodes, ready, shell, text};
use crate::underlay::{kernel_routes, within};

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
    let token = text(&ask(node1, &words)["token"]).to_owned();
    let invitation = Invitation { token };
    for node in [node2, node3, node4] {
        node.join(&invitation, node1).unwrap();
    }
    for node in [node1, node2, node3, node4] {
        ready(node, 3);
    }
    let [given, other] = [node3, node4].map(block);
    let red = add_pod(node1, "red");
    add_pod(node2, "blue");

    node2.kill().unwrap();
    ask(node3, &["--yes", "leave"]);
    ask(node4, &["--yes", "leave"]);
    node5.join(&invitation, node1).unwrap();
    node4.join(&invitation, node1).unwrap();
    assert_eq!([node5, node4].map(block), [given, other]);
    let green = add_pod(node5, "green");

    node2.start().unwrap();
    let peers = [node1, node4, node5];
    let via = peers.map(|node| format!("{} {} eth0", block(node), node.address()));
    let mut today = BTreeSet::from(via);
    today.insert("10.244.0.0/24 - -".to_owned());
    within(LIMIT, "the routes of today", &today, || {
        kernel_routes(node2)
    });
    for node in [node1, node2, node4, node5] {
        ready(node, 3);
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
    ready(node2, 2);
    let old_block = block(node2);
    let red = add_pod(node3, "red");
    founder.kill().unwrap();
    lab.reboot(&[node2]).unwrap();

    let who = format!("node1 ({})", founder.address());
    let problem = |node, phase: &str| {
        let what = format!("a problem while {phase}");
        eventually(LIMIT, &what, || {
            let status = ask(node, &["status"]);
            let problems = status["problems"].as_array().unwrap();
            let found = problems
                .iter()
                .find(|problem| problem["code"] == "no_quorum");
            match found.filter(|_| status["phase"] == phase) {
                Some(problem) => Ok(problem.clone()),
                None => Err(status),
            }
        })
        .unwrap()
    };
    let waiting = problem(node2, "no-quorum");
    let message = format!("this node's block cannot be confirmed until {who} is reachable");
    assert!(text(&waiting["message"]).starts_with(&message), "{waiting}");
    assert!(
        text(&waiting["message"]).contains("its pods have no network"),
        "{waiting}"
    );
    let hint = text(&waiting["hint"]);
    assert!(
        hint.starts_with(&format!("start podnetd on {who};")),
        "{hint}"
    );
    assert!(hint.contains("if its disk is lost"), "{hint}");
    assert_eq!(waiting["severity"], "error");
    assert_eq!(
        shell(node2, "ip route show proto 112"),
        "",
        "what it says is so"
    );

    // For the one that did not reboot all goes on.
    let running = problem(node3, "ready");
    assert_eq!(running["severity"], "warning");
    for part in [
        &format!("start podnetd on {who}"),
        "what runs goes on",
        "a node that reboots",
    ] {
        assert!(text(&running["hint"]).contains(part), "{running}");
    }
    founder.start().unwrap();
    ready(node2, 2);
    assert_eq!(block(node2), old_block);
    add_pod(node2, "blue");
    node2.pod("blue").ping(red).unwrap();
    let over = |status: &serde_json::Value| status["problems"] == serde_json::json!([]);
    eventually(LIMIT, "no problem", || {
        let status = ask(node2, &["status"]);
        if over(&status) { Ok(()) } else { Err(status) }
    })
    .unwrap();
}
