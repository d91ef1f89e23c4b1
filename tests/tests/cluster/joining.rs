//! Becoming a member.

mod refused;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use podnet_lab::prelude::*;

use podnet_lab::scenario::pcap::{MAX_DATAGRAM, Recording};

/// An address of the underlay that nobody has.
const NOBODY: &str = "192.168.56.99";

#[test]
fn sixteen_nodes_join_at_once_by_different_members() {
    // Nineteen agents on one machine gossip at their own pace.
    let lab = Lab::builder().nodes(19).up().unwrap();
    let recording = Recording::of(&lab);
    let all = lab.nodes();
    let (members, newcomers) = all.split_at(3);
    let invitation = members[0].init(None).unwrap();
    for member in &members[1..] {
        member.join(&invitation, members[0]).unwrap();
    }

    thread::scope(|scope| {
        for (newcomer, member) in newcomers.iter().zip(members.iter().cycle()) {
            let invitation = &invitation;
            scope.spawn(move || newcomer.join(invitation, *member).unwrap());
        }
    });

    let blocks: BTreeSet<_> = all.iter().map(|node| node.block()).collect();
    assert_eq!(blocks.len(), all.len(), "{blocks:?}");
    for node in &all {
        let status = node.ready(all.len() - 1);
        let shown = status.peers.iter().map(|peer| peer.blocks[0]);
        let shown: BTreeSet<_> = shown.chain([node.block()]).collect();
        assert_eq!(shown, blocks, "as {} sees it", node.name());
    }
    let packets = recording.stop();
    let gossip = packets.iter().filter(|packet| packet.is_gossip());
    let largest = gossip.map(|packet| packet.datagram().len()).max();
    assert!(
        largest.is_some_and(|bytes| bytes <= MAX_DATAGRAM),
        "{largest:?}"
    );
}

#[test]
fn a_join_returns_when_the_node_has_a_block_and_a_path_to_every_peer() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    let pod = node1.add_pod("red").address();
    for (node, member) in [(node2, node1), (node3, node2)] {
        let document = joined(node, &invitation, member, &[]);
        let status = node.status();
        assert_eq!(status.phase, Phase::Ready, "{status:?}");
        assert_eq!(status.blocks, document.blocks);
        let mut peers = status.peers.iter();
        let pending = peers.find(|peer| peer.path != Some(PathState::Ok));
        assert_eq!(pending, None, "by way of {}", member.name());
        node.place().ping(pod).unwrap();
    }
}

/// Firewalls that let gossip pass, and drop echoes, as many do.
#[test]
fn firewalls_that_drop_echoes_hold_up_no_join() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    for node in lab.nodes() {
        node.shell(
            "iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT
             iptables -A INPUT -p udp --dport 7846 -j ACCEPT",
        );
    }
    let invitation = node1.init(None).unwrap();
    for node in [node2, node3] {
        joined(node, &invitation, node1, &[]);
    }
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    let unproved = |peer: &api::Node| {
        let reason = peer.path_reason.as_deref().unwrap_or_default();
        peer.path == Some(PathState::Pending) && reason.starts_with("unproved: no echo")
    };
    let seen = node2.status_where("unproved paths", |status| status.peers.iter().all(unproved));
    assert_eq!(seen.problems.len(), 2, "{seen:?}");
    for problem in seen.problems {
        let about = problem.message.starts_with("path to node node");
        assert!(about, "{problem:?}");
        let hint = problem.hint.unwrap_or_default();
        assert!(hint.contains("ICMP echo"), "{hint}");
    }

    for node in lab.nodes() {
        node.shell("iptables -A INPUT -p icmp -j ACCEPT");
    }
    let seen = node2.ready(2);
    assert_eq!(seen.problems, []);
}

/// Joins with more arguments.
#[track_caller]
fn joined(
    node: Node<'_>,
    invitation: &Invitation,
    member: Node<'_>,
    more: &[&str],
) -> api::JoinResponse {
    let address = member.address().to_string();
    let words = [&["join", &address], more].concat();
    let output = node.ctl_json(&words, &invitation.token).unwrap();
    assert!(output.ok(), "{}: {words:?}: {output}", node.name());
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_join_that_nobody_answers_leaves_the_agent_idle_and_nothing_on_disk() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    let other = node2.init(None).unwrap();
    let before = Snapshot::whole(node3);
    let attempt = |address: &str, token: &str, what: &str| {
        let words = ["--timeout", "2s", "join", address];
        let refusal = refused_with(node3, &words, token, ErrorCode::Unreachable);
        let told = format!("{} {}", refusal.message, refusal.hint);
        for cause in ["token", "address", "firewall", "7846"] {
            assert!(told.contains(cause), "{what}: no word of {cause}: {told}");
        }
        assert_eq!(node3.status().phase, Phase::Idle, "{what}");
    };

    let member = node1.address().to_string();
    attempt(&member, &other.token, "the token of another cluster");
    attempt(NOBODY, &invitation.token, "an address that nobody has");
    attempt("192.168.56.13", &invitation.token, "the node itself");
    attempt("203.0.113.10", &invitation.token, "a host without an agent");
    before.assert_same(&Snapshot::whole(node3), "join");

    for (node, chain) in [(node3, "INPUT"), (node3, "OUTPUT"), (node1, "INPUT")] {
        let rule = format!("{chain} -p udp --dport 7846 -j DROP");
        node.shell(&format!("iptables -A {rule}"));
        attempt(
            &member,
            &invitation.token,
            &format!("{}: {rule}", node.name()),
        );
        node.shell(&format!("iptables -D {rule}"));
    }
    before.assert_same(&Snapshot::whole(node3), "join behind a firewall");

    let unnamed = format!("{NOBODY}:7846");
    let words = ["join", &unnamed, &member];
    let joined = node3.ctl_json(&words, &invitation.token).unwrap();
    assert!(joined.ok(), "one address of several is enough: {joined}");
    node3.ready(1);
}

#[test]
fn a_node_makes_one_attempt_to_join_at_a_time_and_leave_ends_it() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    let token = node1.init(None).unwrap().token;
    let before = Snapshot::whole(node2);
    thread::scope(|scope| {
        let first = scope.spawn(|| node2.ctl_json(&["join", NOBODY], &token).unwrap());
        node2.status_where("joining", |status| status.phase == Phase::Joining);
        refused_with(node2, &["join", "192.168.56.11"], &token, ErrorCode::Exists);
        refused(
            node2,
            &["init", "--pod-cidr", "10.244.0.0/16"],
            ErrorCode::Exists,
        );
        assert_eq!(node2.leave().phase, Phase::Idle);
        let told = refusal(&first.join().unwrap());
        assert_eq!(told.code, ErrorCode::Unreachable, "{told:?}");
    });
    before.assert_same(&Snapshot::whole(node2), "an attempt that was given up");
    let joined = node2.ctl_json(&["join", "192.168.56.11"], &token).unwrap();
    assert!(joined.ok(), "{joined}");
}

#[test]
fn an_explicit_address_is_the_one_that_peers_are_told() {
    let lab = idle(2);
    let [node1, node2] = nodes(&lab);
    node2.shell("ip address add 192.168.56.212/24 dev eth0");
    let invitation = node1.init(None).unwrap();
    let second = ["--advertise", "192.168.56.212"];
    joined(node2, &invitation, node1, &second);
    let told = &node1.ready(1).peers[0].addresses;
    assert_eq!(told, &[gossips_at([192, 168, 56, 212])]);
    let via: Vec<IpAddr> = node1
        .routes()
        .iter()
        .filter_map(|route| route.via)
        .collect();
    assert_eq!(via, [Ipv4Addr::new(192, 168, 56, 212)]);
}

#[test]
fn a_full_pod_network_says_so_and_gives_the_next_free_block() {
    let lab = idle(3);
    let [node1, node2, node3] = nodes(&lab);
    let founded: api::InitResponse = node1.ask(&["init", "--pod-cidr", "10.244.0.0/23"]);
    let token = &founded.token;
    let seed = node1.address().to_string();
    let joined = node2.ctl_json(&["join", &seed], token).unwrap();
    assert!(joined.ok(), "{joined}");

    let refusal = refused_with(node3, &["join", &seed], token, ErrorCode::Full);
    assert!(
        refusal.hint.contains("let a node that is not needed leave"),
        "{refusal:?}"
    );
    assert_eq!(node3.status().phase, Phase::Full);
    let pod = node3.http("POST", "/v1/pods", r#"{"name":"red"}"#);
    assert!(pod.status >= 400, "{pod:?}");
    let freed = node2.block();
    node2.leave();
    let status = node3.ready(1);
    assert_eq!(status.blocks, [freed], "given again by itself");
}

/// Each asks while nobody bears the name yet.
#[test]
fn two_nodes_that_get_one_name_at_once_both_show_it() {
    let lab = idle(3);
    let [one, two, three] = nodes(&lab);
    let invitation = one.init(None).unwrap();
    let founder = one.agent().unwrap().unwrap().pid;
    one.shell(&format!("kill -STOP {founder}"));
    let words = ["join", "192.168.56.11", "--node-name", "twin"];
    let token = invitation.token.as_str();
    thread::scope(|scope| {
        let joins = [two, three].map(|node| scope.spawn(move || node.ctl_json(&words, token)));
        for node in [two, three] {
            node.status_where("asking", |status| status.phase == Phase::Joining);
        }
        one.shell(&format!("kill -CONT {founder}"));
        for join in joins {
            let joined = join.join().unwrap().unwrap();
            assert!(joined.ok(), "{joined}");
        }
    });
    for node in [two, three] {
        node.status_where("its namesake", |status| {
            status.problems.iter().any(|problem| {
                problem.code == ErrorCode::Exists && problem.message.contains("name twin")
            })
        });
    }
}
