//! Nodes that get another address while nobody sees it, or while nothing tells which one it is.

use std::time::Instant;

use podnet_lab::prelude::*;

use crate::followed::{Host, assert_followed, assert_reached, assert_told, hosts};
use crate::underlay::{plug, readdress, underlay, users_cluster, users_lab};

#[test]
fn a_member_that_was_down_finds_those_that_have_moved_meanwhile() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    two.node.kill().unwrap();
    for (host, other, address) in [(one, three, 21), (three, one, 23)] {
        readdress(host.node, "eth0", underlay(address));
        assert_told(host.node, underlay(address), &[other]);
    }
    let since = Instant::now();
    two.node.start().unwrap();
    assert_reached(since, one, underlay(21), &[two, three]);
    assert_reached(since, three, underlay(23), &[one, two]);
    assert_told(one.node, underlay(21), &[two, three]);
    assert_told(three.node, underlay(23), &[one, two]);

    // It moves itself, and nobody sees it.
    two.node.kill().unwrap();
    two.node.shell("ip address flush dev eth0 scope global");
    two.node.start().unwrap();
    two.node.status_where("the address is missed", |status| {
        has_problem(status, ErrorCode::BadAddress)
    });
    let since = Instant::now();
    readdress(two.node, "eth0", underlay(22));
    assert_followed(since, two, underlay(22), &[one, three]);
    // With a reboot a host may come back elsewhere: here where it was at first.
    two.node.reboot().unwrap();
    two.node.ready(2);
    let pod = two.node.add_pod("pod").address();
    let two = Host { pod, ..two };
    assert_told(two.node, underlay(12), &[one, three]);
    until("packets", &Ok(()), || one.ping(&two));
}

/// What is remembered of an address is of the node that had it, not of the one that has it now.
#[test]
fn an_address_that_a_node_has_left_is_good_for_another_and_for_itself_again() {
    let lab = users_lab(3).up().unwrap();
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    let [one, two] = [node1, node2].map(|node| Host {
        node,
        pod: node.add_pod("pod").address(),
    });
    node1.ready(1);
    let since = Instant::now();
    readdress(node2, "eth0", underlay(22));
    assert_followed(since, two, underlay(22), &[one]);
    readdress(node3, "eth0", underlay(12));
    node3.join(&invitation, node1).unwrap();
    let pod = node3.add_pod("pod").address();
    let three = Host { node: node3, pod };
    assert_told(node3, underlay(12), &[one, two]);
    two.ping(&three).unwrap();

    node3.leave();
    node2.leave();
    node3.shell("ip address flush dev eth0 scope global");
    readdress(node2, "eth0", underlay(12));
    node2.join(&invitation, node1).unwrap();
    let since = Instant::now();
    let pod = node2.add_pod("pod").address();
    let two = Host { pod, ..two };
    assert_followed(since, two, underlay(12), &[one]);
}

#[test]
fn a_node_that_waits_for_its_block_is_followed_too() {
    let lab = users_lab(3).up().unwrap();
    let [node1, node2, node3] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    node2.join(&invitation, node1).unwrap();
    node1.kill().unwrap();
    let words = ["--timeout", "2s", "join", "192.168.56.12"];
    refused_with(node3, &words, &invitation.token, ErrorCode::Timeout);
    readdress(node3, "eth0", underlay(23));
    let endpoint = gossips_at(underlay(23));
    until("its new address", &endpoint, || node3.endpoint());
    node1.start().unwrap();
    for node in [node3, node2, node1] {
        node.ready(2);
    }
}

/// Nobody knows where any other is: the user says it to each but one.
#[test]
fn members_that_have_all_moved_unseen_are_told_where_one_is() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    let token = one.node.token().token;
    let all = [(one, 21), (two, 22), (three, 23)];
    for (host, _) in all {
        host.node.kill().unwrap();
    }
    for (host, address) in all {
        readdress(host.node, "eth0", underlay(address));
        host.node.start().unwrap();
    }
    for (host, address) in all {
        let endpoint = gossips_at(underlay(address));
        until("the only one", &endpoint, || host.node.endpoint());
    }
    for host in [two, three] {
        let words = ["--timeout", "20s", "join", "192.168.56.21"];
        let variables = [("PODNET_TOKEN", token.as_str())];
        let joined = host.node.ctl_with(words, &variables, LIMIT).unwrap();
        assert!(joined.ok(), "{joined}");
    }
    for (host, address) in all {
        let peers = [one, two, three].into_iter();
        let peers: Vec<_> = peers.filter(|peer| peer.pod != host.pod).collect();
        assert_told(host.node, underlay(address), &peers);
    }
    until("packets", &Ok(()), || two.ping(&three));
}

#[test]
fn an_address_that_the_user_chose_stays_and_is_missed() {
    let lab = users_lab(2).up().unwrap();
    let [node1, node2] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    let join = ["join", "192.168.56.11", "--advertise", "192.168.56.12"];
    let token = [("PODNET_TOKEN", invitation.token.as_str())];
    let joined = node2.ctl_with(join, &token, LIMIT).unwrap();
    assert!(joined.ok(), "{joined}");
    node2.ready(1);
    readdress(node2, "eth0", underlay(22));
    let missed = |node: Node<'_>| {
        node.status_where("the address is missed", |status| {
            status.problems.iter().any(|problem| {
                let told = format!("{} {:?}", problem.message, problem.hint);
                let words = ["192.168.56.12", "192.168.56.22 (eth0)", "--advertise"];
                problem.code == ErrorCode::BadAddress
                    && words.iter().all(|word| told.contains(word))
            })
        })
    };
    missed(node2);
    for _look in 0..2 {
        assert_eq!(node2.endpoint(), gossips_at(underlay(12)));
        node2.term().unwrap();
        node2.start().unwrap();
        missed(node2);
    }
    readdress(node2, "eth0", underlay(12));
    node2.until_no_problem();
    node2.ready(1);
}

/// Where nothing tells which of several addresses peers would reach, none is guessed.
#[test]
fn of_several_addresses_that_might_be_it_none_is_taken() {
    let lab = users_lab(1).up().unwrap();
    let [node] = nodes(&lab);
    node.init(None).unwrap();
    plug(&lab, node, "eth1");
    node.shell("ip link set eth1 up; ip address add 198.51.100.7/24 dev eth1");
    readdress(node, "eth0", underlay(21));
    // It looks in between as well, when eth0 has no address.
    let all = [
        "192.168.56.11",
        "192.168.56.21 (eth0)",
        "198.51.100.7 (eth1)",
    ];
    node.status_where("the address is missed", |status| {
        let first = status.problems.first();
        first.is_some_and(|problem| {
            problem.code == ErrorCode::BadAddress
                && all.iter().all(|word| problem.message.contains(word))
        })
    });
    assert_eq!(node.endpoint(), gossips_at(underlay(11)));
    // The user makes it clear.
    node.shell("ip link del eth1");
    until("the only one", &gossips_at(underlay(21)), || {
        node.endpoint()
    });
    node.until_no_problem();
}
