//! Nodes of this version in a cluster that a later one has changed.

use std::fs;

use podnet_lab::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// What the state file of the claim holds, as far as these tests change it.
#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    ledger: &'a RawValue,
}

fn hash(text: &str) -> String {
    shown(&Sha256::digest(text))
}

fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stops the agent, lets the cluster come to one more decision in its state file, as if a later
/// version had run here, and starts it again.
fn decide(node: Node<'_>, change: impl Fn(&str) -> String) {
    node.term().unwrap();
    let path = node.state_dir().join("ledger");
    let file = fs::read_to_string(&path).unwrap();
    let (line, body) = file.split_once('\n').unwrap();
    let (head, _) = line.rsplit_once(' ').unwrap();
    let content: Content<'_> = serde_json::from_str(body).unwrap();
    let before = content.ledger.get();
    let ledger: Value = serde_json::from_str(before).unwrap();
    let slot = ledger["slot"].as_u64().unwrap();
    let previous = ledger["previous"].as_str().unwrap();
    let number = |slot: u64| format!("\"slot\":{slot}");
    let after = change(before)
        .replacen(&number(slot), &number(slot + 1), 1)
        .replacen(previous, &hash(before), 1);
    assert_ne!(change(before), before);
    // The acceptor is of the slot that follows.
    let body = body.replacen(before, "LEDGER", 1);
    let body = body.replacen(&number(slot + 1), &number(slot + 2), 1);
    let body = body.replacen("LEDGER", &after, 1);
    let sum = hash(&format!("{head}\n{}", body.trim_end_matches('\n')));
    fs::write(&path, format!("{head} {sum}\n{body}")).unwrap();
    node.start().unwrap();
}

/// Waits until a node says that it does not know the setting, and how that is cured.
fn follows_only(node: Node<'_>, setting: &str) {
    let names = |problem: &&api::ProblemEntry| {
        problem.code == ErrorCode::Unsupported && problem.message.contains(setting)
    };
    let status = node.status_where("it names the setting", |status| {
        status.problems.iter().any(|problem| names(&problem))
    });
    let problem = status.problems.iter().find(names).unwrap();
    assert_eq!(problem.severity, Severity::Error, "{problem:?}");
    let cure = problem.hint.as_deref().unwrap_or_default();
    assert!(cure.contains("install"), "{problem:?}");
    assert_eq!(status.phase, Phase::Ready, "{status:?}");
}

#[test]
fn nodes_that_do_not_know_a_setting_follow_the_ledger_keep_their_pods_and_say_so() {
    for (before, after, setting) in [
        ("\"settings\":{", "\"settings\":{\"mtu\":1400,", "'mtu'"),
        ("\"direct\"", "\"foo\"", "'encapsulation'"),
    ] {
        let lab = idle(3);
        let [node1, node2, node3] = nodes(&lab);
        let invitation = node1.init(None).unwrap();
        node2.join(&invitation, node1).unwrap();
        node1.ready(1);
        node2.ready(1);
        let red = node1.add_pod("red").address();
        let blue = node2.add_pod("blue").address();

        decide(node1, |ledger| ledger.replacen(before, after, 1));
        follows_only(node1, setting);
        // One that was not there when it was decided hears of it.
        follows_only(node2, setting);
        let stored = fs::read_to_string(node2.state_dir().join("ledger")).unwrap();
        assert!(stored.contains(after), "{setting} is kept: {stored}");
        node1.pod("red").ping(blue).unwrap();
        node2.pod("blue").ping(red).unwrap();
        let green = node2.add_pod("green").address();
        node1.pod("red").ping(green).unwrap();

        // Its agent starts again as what it was.
        node2.kill().unwrap();
        node2.start().unwrap();
        follows_only(node2, setting);
        node2.ready(1);
        node2.pod("green").ping(red).unwrap();

        // Nobody decides anything.
        let joining = ["--timeout", "5s", "join", "192.168.56.11"];
        refused_with(node3, &joining, &invitation.token, ErrorCode::Timeout);
        assert_eq!(node1.status().cluster.unwrap().nodes, 2, "{setting}");

        // Until the setting is one that this version knows.
        decide(node1, |ledger| ledger.replacen(after, before, 1));
        for node in [node1, node2, node3] {
            let problems = told(&node.ready(2).problems);
            assert!(!problems.contains(setting), "{problems}");
        }
    }
}

/// Whatever a later version has put beside the settings is nobody's business, and stays.
#[test]
fn what_a_node_does_not_know_of_the_ledger_is_in_the_ledgers_that_it_decides() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    let field = "\"rules\":[{\"allow\":1.50}]";
    decide(node1, |ledger| {
        ledger.replacen("\"settings\"", &format!("{field},\"settings\""), 1)
    });
    node3.join(&invitation, node1).unwrap();
    for node in [node1, node2, node3] {
        let status = node.ready(2);
        assert_eq!(status.problems, [], "{}", node.name());
        let ledger = fs::read_to_string(node.state_dir().join("ledger")).unwrap();
        assert!(ledger.contains(field), "{}: {ledger}", node.name());
        assert!(ledger.contains("\"slot\":3"), "{}: {ledger}", node.name());
    }
}
