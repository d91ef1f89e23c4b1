//! Joins that are refused, and change nothing.

use podnet_lab::prelude::*;
use podnet_lab::scenario::misfits;
use serde_json::{Value, json};

use super::joined;

/// Refusals of `join` that come before anybody is asked.
#[test]
fn a_join_that_cannot_be_meant_changes_nothing() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    let mut changed = token.clone();
    changed.pop();
    changed.push(if token.ends_with('A') { 'B' } else { 'A' });
    let middle = token.len() / 2;
    let typo = format!("{}{}", &token[..middle], &token[middle + 1..]);
    let before = Snapshot::whole(node2);
    let idle = node2.status();

    for (words, token, code) in [
        (
            &["join", "192.168.56.11"][..],
            "banana",
            ErrorCode::BadToken,
        ),
        (&["join", "192.168.56.11"], "podnet1.", ErrorCode::BadToken),
        (&["join", "192.168.56.11"], &typo, ErrorCode::BadToken),
        (&["join", "192.168.56.11"], &changed, ErrorCode::BadToken),
        (&["join", "192.168.56.11"], "", ErrorCode::Usage),
        (
            &["join", "192.168.56.11", "--advertise", "192.168.56.99"],
            &token,
            ErrorCode::BadAddress,
        ),
        (
            &["join", "192.168.56.11", "--no-such-flag"],
            &token,
            ErrorCode::Usage,
        ),
        (&["join"], &token, ErrorCode::Usage),
    ] {
        let refusal = refused_with(node2, words, token, code);
        let told = format!("{} {}", refusal.message, refusal.hint);
        assert!(
            token.is_empty() || !told.contains(token),
            "a token is a secret: {told}"
        );
    }
    let both = |words: &[&str], body: &Value, code: ErrorCode| {
        refused_with(node2, words, &token, code);
        let response = node2.http("POST", "/v1/join", &body.to_string());
        assert_eq!(
            (response.status, &response.body["code"]),
            (code.http_status(), &code.as_str().into()),
            "{words:?}"
        );
    };
    for seed in misfits::SEEDS {
        let body = json!({"addresses": [seed], "token": token});
        both(&["join", seed], &body, ErrorCode::BadAddress);
    }
    for (flag, key, values, code) in [
        (
            "--node-name",
            "node_name",
            misfits::NAMES,
            ErrorCode::BadName,
        ),
        (
            "--advertise",
            "advertise",
            misfits::ADVERTISED,
            ErrorCode::BadAddress,
        ),
    ] {
        for value in values {
            let words = ["join", "192.168.56.11", &format!("{flag}={value}")];
            let mut body = json!({"addresses": ["192.168.56.11"], "token": token});
            body[key] = json!(value);
            both(&words, &body, code);
        }
    }
    // The agent takes over no other node's place yet, whatever its name.
    for name in misfits::NAMES {
        let replace = format!("--replace={name}");
        let words = ["join", "192.168.56.11", &replace];
        refused_with(node2, &words, &token, ErrorCode::BadName);
    }
    before.assert_same(&Snapshot::whole(node2), "join");
    assert_eq!(node2.status().phase, idle.phase);
}

#[test]
fn a_pod_network_that_overlaps_a_route_or_address_of_the_host_is_refused() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    node2.shell("ip link add other0 type bridge && ip link set other0 up");
    for (add, remove, named) in [
        (
            "route add 10.244.7.0/24 dev other0",
            "route del 10.244.7.0/24",
            "10.244.7.0/24",
        ),
        (
            "route add 10.244.0.0/16 dev other0",
            "route del 10.244.0.0/16",
            "10.244.0.0/16",
        ),
        (
            "route add 10.0.0.0/8 dev other0",
            "route del 10.0.0.0/8",
            "10.0.0.0/8",
        ),
        (
            "address add 10.244.9.9/32 dev other0",
            "address del 10.244.9.9/32 dev other0",
            "10.244.9.9",
        ),
    ] {
        node2.shell(&format!("ip {add}"));
        let before = Snapshot::whole(node2);
        let join = ["join", "192.168.56.11"];
        let refusal = refused_with(node2, &join, &token, ErrorCode::Overlap);
        assert!(refusal.message.contains(named), "{add}: {refusal:?}");
        let refusal = refused(
            node2,
            &["init", "--pod-cidr", "10.244.0.0/16"],
            ErrorCode::Overlap,
        );
        assert!(refusal.message.contains(named), "{add}: {refusal:?}");
        assert!(refusal.hint.contains("--allow-overlap"), "{refusal:?}");
        before.assert_same(&Snapshot::whole(node2), add);
        node2.shell(&format!("ip {remove}"));
    }

    node2.shell("ip route add 10.244.7.0/24 dev other0");
    let joined = node2
        .ctl_json(&["join", "192.168.56.11", "--allow-overlap"], &token)
        .unwrap();
    assert!(joined.ok(), "{joined}");
    let route = node2.shell("ip route show 10.244.7.0/24");
    assert!(
        route.contains("dev other0"),
        "the host's route stays: {route}"
    );
}

#[test]
fn a_member_refuses_to_join_with_anything_else() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    let other = node3.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    let before = Snapshot::whole(node2);
    let first = node2.status();

    let again = joined(node2, &invitation, node1, &[]);
    assert_eq!(again.blocks, first.blocks, "the same call again");
    let named = ["--node-name", "node2", "--advertise", "192.168.56.12"];
    joined(node2, &invitation, node1, &named);

    for (more, token, code) in [
        (
            &["--node-name", "another"][..],
            &invitation.token,
            ErrorCode::AlreadyMember,
        ),
        (
            &["--advertise", "192.168.56.12:7000"],
            &invitation.token,
            ErrorCode::AlreadyMember,
        ),
        (&[], &other.token, ErrorCode::WrongCluster),
    ] {
        let words = [&["join", "192.168.56.11"], more].concat();
        refused_with(node2, &words, token, code);
    }
    let init = [
        "init",
        "--pod-cidr",
        "10.244.0.0/16",
        "--node-name",
        "another",
    ];
    refused(node2, &init, ErrorCode::AlreadyMember);
    refused(
        node2,
        &["init", "--pod-cidr", "10.99.0.0/16"],
        ErrorCode::AlreadyMember,
    );
    before.assert_same(&Snapshot::whole(node2), "refusals of a member");
    assert_eq!(node2.status().node, first.node);
}

#[test]
fn the_name_of_another_member_is_refused() {
    let lab = Cluster::of(2);
    let invitation = &lab.invitation;
    let [node1, node2] = nodes(&lab);
    node2.leave();
    let before = Snapshot::whole(node2);
    let taken = ["join", "192.168.56.11", "--node-name", "node1"];
    refused_with(node2, &taken, &invitation.token, ErrorCode::Exists);
    before.assert_same(&Snapshot::whole(node2), "join");
    assert_eq!(node2.status().phase, Phase::Idle);
    joined(node2, invitation, node1, &["--node-name", "blue"]);
    node1.status_where("the name of the new peer", |status| {
        peer_of(status, "blue").is_some()
    });
}
