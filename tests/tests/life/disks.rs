//! Disks that are rolled back or cloned.

use std::collections::BTreeSet;
use std::fs;

use podnet_lab::Node;
use serde_json::Value;

use crate::scene::{add_pod, ask, block, ctl, idle, list, nodes, ready, status_where};

/// Whether a status has a problem with this code.
fn has_problem(status: &Value, code: &str) -> bool {
    list(&status["problems"])
        .iter()
        .any(|problem| problem["code"] == code)
}

#[track_caller]
fn assert_distinct(nodes: &[Node<'_>]) {
    let blocks: Vec<String> = nodes.iter().map(|node| block(*node)).collect();
    let distinct: BTreeSet<&String> = blocks.iter().collect();
    assert_eq!(distinct.len(), nodes.len(), "{blocks:?}");
}

#[test]
fn a_founder_that_was_rolled_back_gives_no_block_away_twice() {
    let lab = idle(5);
    let [one, two, three, four, five] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    // It knows of nobody then, and of one member.
    one.save().unwrap();
    two.join(&invitation, one).unwrap();
    one.rollback().unwrap();
    three.join(&invitation, one).unwrap();
    assert_distinct(&[one, two, three]);
    one.save().unwrap();
    four.join(&invitation, one).unwrap();
    one.rollback().unwrap();
    five.join(&invitation, one).unwrap();
    let all = [one, two, three, four, five];
    for node in all {
        ready(node, 4);
        status_where(node, "no problem", |status| {
            list(&status["problems"]).is_empty()
        });
    }
    assert_distinct(&all);
}

#[test]
fn a_founder_that_was_rolled_back_says_so_until_it_has_caught_up() {
    let lab = idle(4);
    let [one, two, three, four] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    two.join(&invitation, one).unwrap();
    one.save().unwrap();
    three.join(&invitation, one).unwrap();
    for node in [one, two, three] {
        ready(node, 2);
    }
    // The only one that it knows is off; what that one said last, another remembers.
    two.kill().unwrap();
    one.rollback().unwrap();
    status_where(one, "that it is behind", |status| {
        has_problem(status, "state_corrupt")
    });
    let token = invitation.token.as_str();
    let refused = ctl(four, &["--timeout", "5s", "join", "192.168.56.11"], token).unwrap();
    assert!(!refused.ok(), "{refused}");
    two.start().unwrap();
    four.join(&invitation, one).unwrap();
    ready(one, 3);
    status_where(one, "no problem", |status| {
        list(&status["problems"]).is_empty()
    });
    ready(four, 3);
    assert_distinct(&[one, two, three, four]);
}

/// As on boards and in containers whose firmware does not tell one machine from another.
#[test]
fn a_clone_of_a_machine_that_has_no_id_of_its_own_disturbs_nobody() {
    let lab = idle(3);
    let [one, two, three] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    for node in [two, three] {
        node.join(&invitation, one).unwrap();
    }
    let members = [one, two, three];
    let pods = members.map(|node| add_pod(node, "pod"));
    for original in [one, two] {
        for node in members {
            ready(node, 2);
        }
        let blocks = members.map(block);
        let clone = original.duplicate().unwrap();
        fs::copy(original.machine_id_file(), clone.machine_id_file()).unwrap();
        clone.start().unwrap();
        let status = status_where(clone, "that it is a clone", |status| {
            status["phase"] == "fenced" && has_problem(status, "fenced")
        });
        assert!(list(&status["blocks"]).is_empty(), "{status}");
        for node in members {
            ready(node, 2);
        }
        assert_eq!(members.map(block), blocks);
        for pod in pods {
            three.pod("pod").ping(pod).unwrap();
        }
    }
}

#[test]
fn a_member_on_a_machine_without_an_id_is_warned() {
    let lab = idle(1);
    let [one] = nodes(&lab);
    one.kill().unwrap();
    fs::write(one.machine_id_file(), "").unwrap();
    for file in fs::read_dir(one.state_dir()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    one.start().unwrap();
    one.init(None).unwrap();
    status_where(one, "a warning", |status| {
        let problems = list(&status["problems"]);
        let warns =
            |problem: &Value| problem["severity"] == "warning" && problem["code"] == "unsupported";
        status["phase"] == "ready" && problems.iter().any(warns)
    });
}

/// An agent has run on the image, and was never a member.
#[test]
fn machines_that_are_made_from_an_image_are_nodes_of_their_own() {
    let lab = idle(2);
    let [founder, image] = nodes(&lab);
    let twin = image.duplicate().unwrap();
    twin.start().unwrap();
    let id = |node| ask(node, &["status"])["node"]["id"].clone();
    assert_ne!(id(image), id(twin));
    let own = id(twin);
    twin.term().unwrap();
    twin.start().unwrap();
    assert_eq!(id(twin), own);
    let invitation = founder.init(None).unwrap();
    for node in [image, twin] {
        node.join(&invitation, founder).unwrap();
    }
    assert_distinct(&[founder, image, twin]);
}
