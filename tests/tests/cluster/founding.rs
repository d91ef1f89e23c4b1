//! Founding a cluster.

use podnet_lab::prelude::*;
use podnet_lab::scenario::misfits;
use serde_json::{Value, json};

const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

#[test]
fn an_init_that_cannot_be_done_changes_nothing() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::whole(node);
    let found = |flag: &str| ["init", "--pod-cidr", "10.244.0.0/16", flag].map(str::to_owned);
    let refuses = |words: &[String], code| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(node, &words, code);
    };
    // What `podnetctl` checks itself, the agent checks too: it has other clients.
    let agent_refuses = |body: &str, code: ErrorCode| {
        let response = node.http("POST", "/v1/init", body);
        assert_eq!(
            (response.status, &response.body["code"]),
            (code.http_status(), &code.as_str().into()),
            "{body}"
        );
    };
    let both = |flag: &str, shown: &str, key: &str, value: Value, code: ErrorCode| {
        refuses(&found(&format!("--{flag}={shown}")), code);
        let mut body = json!({"pod_cidrs": ["10.244.0.0/16"]});
        body[key] = value;
        agent_refuses(&body.to_string(), code);
    };
    for (cidr, code) in misfits::POD_CIDRS {
        refused(node, &["init", "--pod-cidr", cidr], *code);
        agent_refuses(&json!({"pod_cidrs": [cidr]}).to_string(), *code);
    }
    for prefix in misfits::BLOCK_PREFIXES {
        let (shown, value) = (prefix.to_string(), json!([prefix]));
        both(
            "block-prefix",
            &shown,
            "block_prefixes",
            value,
            ErrorCode::BadCidr,
        );
    }
    for cidr in misfits::EXCLUDED_CIDRS {
        let value = json!([cidr]);
        both(
            "exclude-cidr",
            cidr,
            "exclude_cidrs",
            value,
            ErrorCode::BadCidr,
        );
    }
    for name in misfits::NAMES {
        both(
            "node-name",
            name,
            "node_name",
            json!(name),
            ErrorCode::BadName,
        );
    }
    for address in misfits::ADVERTISED.iter().chain(&["192.168.56.99"]) {
        both(
            "advertise",
            address,
            "advertise",
            json!(address),
            ErrorCode::BadAddress,
        );
    }
    for (mode, code) in [
        ("wireguard", ErrorCode::Unsupported),
        ("gre", ErrorCode::Usage),
    ] {
        both("encapsulation", mode, "encapsulation", json!(mode), code);
    }
    refused(node, &["init"], ErrorCode::Usage);
    refuses(&found("--no-such-flag"), ErrorCode::Usage);
    let two = ["init", "--pod-cidr", "10.244.0.0/16,fd00:244::/48"];
    refused(node, &two, ErrorCode::Unsupported);
    refused(
        node,
        &["init", "--pod-cidr", "192.168.0.0/16"],
        ErrorCode::Overlap,
    );
    agent_refuses(r#"{"pod_cidrs":[]}"#, ErrorCode::BadCidr);
    let unknown = r#"{"pod_cidrs":["10.244.0.0/16"],"no_such_key":1}"#;
    agent_refuses(unknown, ErrorCode::Usage);
    agent_refuses("banana", ErrorCode::Usage);
    before.assert_same(&Snapshot::whole(node), "init");
    assert_eq!(node.status().phase, Phase::Idle);
}

#[test]
fn the_same_init_again_is_fine_and_another_is_refused() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let first: api::InitResponse = node.ask(&INIT);
    let before = Snapshot::whole(node);
    let again: api::InitResponse = node.ask(&INIT);
    assert_eq!(again, first, "the same cluster, block and token");
    for spelled in [
        &["--node-name", "node1", "--advertise", "192.168.56.11"][..],
        &["--encapsulation", "direct"],
        &["--encapsulation", "auto"],
    ] {
        let again: api::InitResponse = node.ask(&[&INIT[..], spelled].concat());
        assert_eq!(again, first);
    }

    for more in [
        &["--node-name", "another"][..],
        &["--advertise", "192.168.56.11:7000"],
        &["--block-prefix", "23"],
        &["--exclude-cidr", "192.168.0.0/16"],
    ] {
        refused(node, &[&INIT[..], more].concat(), ErrorCode::AlreadyMember);
    }
    refused(
        node,
        &["init", "--pod-cidr", "10.99.0.0/16"],
        ErrorCode::AlreadyMember,
    );
    before.assert_same(&Snapshot::whole(node), "init");
}

#[test]
fn an_overlap_that_is_allowed_stays_as_it_is_and_is_shown() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.shell("ip link add other0 type bridge && ip link set other0 up");
    node.shell("ip route add 10.244.0.0/16 dev other0");
    let before = Snapshot::kernel(node);
    refused(node, &INIT, ErrorCode::Overlap);
    let allowed = [&INIT[..], &["--allow-overlap"]].concat();
    let founded: api::InitResponse = node.ask(&allowed);
    let again: api::InitResponse = node.ask(&allowed);
    assert_eq!(again, founded, "the same call again");

    // A pass over something else does not forget what is in the way.
    node.add_pod("red");
    let pod = node.show_pod("red");
    let passes = node.status().reconcile.passes;
    let host_end = pod.host_ifname.as_str();
    node.shell(&format!("ip link set {host_end} down"));
    let status = node.status_where("a pass for the pod", |status| {
        status.reconcile.passes > passes
    });
    assert_eq!(status.phase, Phase::Ready);
    assert!(has_problem(&status, ErrorCode::ForeignObject), "{status:?}");
    let routes = node.routes();
    assert_eq!(routes[0].destination.to_string(), "10.244.0.0/16");
    assert_eq!(routes[0].state, RouteState::Foreign);
    let route = node.shell("ip route show 10.244.0.0/16");
    assert!(route.contains("dev other0"), "{route}");
    node.leave();
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn of_several_addresses_the_user_chooses() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.shell("ip address add 192.168.56.211/24 dev eth0");
    let before = Snapshot::whole(node);
    let refusal = refused(node, &INIT, ErrorCode::BadAddress);
    let told = format!("{} {}", refusal.message, refusal.hint);
    for word in ["192.168.56.11", "192.168.56.211", "--advertise"] {
        assert!(told.contains(word), "no word of {word}: {told}");
    }
    before.assert_same(&Snapshot::whole(node), "init");

    let founded: api::InitResponse =
        node.ask(&[&INIT[..], &["--advertise", "192.168.56.211"]].concat());
    assert_eq!(founded.node.addresses, [gossips_at([192, 168, 56, 211])]);
    let command = founded.join_command;
    assert!(
        command.starts_with("podnetctl join 192.168.56.211 --token podnet1."),
        "{command}"
    );
}

/// As on a virtual machine whose first interface leads to its host alone.
#[test]
fn of_several_addresses_the_setting_chooses() {
    let range = agents(2).env("PODNET_ADVERTISE", "10.77.0.0/16");
    let lab = range.up().unwrap();
    let [node1, node2] = nodes(&lab);
    let before = Snapshot::whole(node1);
    let refusal = refused(node1, &INIT, ErrorCode::BadAddress);
    for word in ["10.77.0.0/16", "192.168.56.11", "advertise"] {
        assert!(
            refusal.message.contains(word),
            "no word of {word}: {refusal:?}"
        );
    }
    before.assert_same(&Snapshot::whole(node1), "init");
    for node in [node1, node2] {
        let add = format!("ip address add {} dev eth0", second(node));
        node.shell(&add);
    }

    let founded: api::InitResponse = node1.ask(&INIT);
    assert_eq!(founded.node.addresses, [gossips_at([10, 77, 0, 1])]);
    let token = &founded.token;
    // The way to the member is from the first address; the setting counts.
    let words = ["join", "192.168.56.11", "--token", token];
    node2.tell(&words);
    let told = node1.status_where("the joiner", |status| {
        status.peers.first().is_some_and(|peer| peer.live)
    });
    assert_eq!(told.peers[0].addresses, [gossips_at([10, 77, 0, 2])]);

    // Another address of the host does not take its place, and one in the range does.
    node2.shell(&format!("ip address del {} dev eth0", second(node2)));
    node2.status_where("no address to tell", |status| {
        has_problem(status, ErrorCode::BadAddress)
    });
    node2.shell("ip address add 10.77.0.22/16 dev eth0");
    let moved = node1.status_where("the joiner's new address", |status| {
        status.peers[0].addresses == [gossips_at([10, 77, 0, 22])]
    });
    assert_eq!(moved.phase, Phase::Ready);

    // A command that names an address beats the setting.
    node2.leave();
    let named = [&words[..], &["--advertise", "192.168.56.12"]].concat();
    let joined: api::JoinResponse = node2.ask(&named);
    assert_eq!(joined.node.addresses, [gossips_at([192, 168, 56, 12])]);
}

/// A second address of a node, of a range of its own.
fn second(node: Node<'_>) -> String {
    format!("10.77.0.{}/16", node.name().trim_start_matches("node"))
}

#[test]
fn a_foreign_link_in_the_place_of_the_bridge_is_never_taken() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    node2.shell("ip link add podnet0 type bridge");
    let before = Snapshot::whole(node2);
    refused(node2, &INIT, ErrorCode::ForeignObject);
    let join = ["join", "192.168.56.11"];
    refused_with(node2, &join, &token, ErrorCode::ForeignObject);
    before.assert_same(&Snapshot::whole(node2), "a foreign podnet0");
}

#[test]
fn a_gossip_port_that_is_taken_makes_no_member() {
    // The port of the lab's responder, which stands for another program here.
    let ports = agents(2).env("PODNET_GOSSIP_PORT", "7847");
    let lab = ports.up().unwrap();
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    let _other = node2.place().respond().unwrap();
    let before = Snapshot::kernel(node2);
    refused(node2, &INIT, ErrorCode::PortInUse);
    before.assert_same(&Snapshot::kernel(node2), "init");
    let join = ["join", "192.168.56.11"];
    refused_with(node2, &join, &token, ErrorCode::PortInUse);
    before.assert_same(&Snapshot::kernel(node2), "join");
    assert_eq!(node2.status().phase, Phase::Idle);
    // The number of its start is used up; of a cluster there is nothing.
    for name in ["cluster", "ledger", "peers"] {
        assert!(!node2.state_dir().join(name).exists(), "{name}");
    }
}
