//! An agent that is down while the cluster changes.

use std::collections::BTreeSet;

use podnet_lab::Invitation;

use crate::scene::{LIMIT, add_pod, ask, block, idle, nodes, ready, text};
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
