//! Nodes that get another address while nobody sees it, or while nothing tells which one it is.

use std::time::Instant;

use crate::followed::{Host, assert_followed, assert_reached, assert_told, hosts};
use crate::scene::{
    LIMIT, add_pod, ask, list, nodes, ready, refused_with, shell, status_where, text,
};
use crate::underlay::{
    plug, problems, readdress, told, underlay, users_cluster, users_lab, within,
};

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
    shell(two.node, "ip address flush dev eth0 scope global");
    two.node.start().unwrap();
    status_where(two.node, "the address is missed", |status| {
        status["problems"][0]["code"] == "bad_address"
    });
    let since = Instant::now();
    readdress(two.node, "eth0", underlay(22));
    assert_followed(since, two, underlay(22), &[one, three]);
    // With a reboot a host may come back elsewhere: here where it was at first.
    two.node.reboot().unwrap();
    ready(two.node, 2);
    let pod = add_pod(two.node, "pod");
    let two = Host { pod, ..two };
    assert_told(two.node, underlay(12), &[one, three]);
    within(LIMIT, "packets", &Ok(()), || one.ping(&two));
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
        pod: add_pod(node, "pod"),
    });
    ready(node1, 1);
    let since = Instant::now();
    readdress(node2, "eth0", underlay(22));
    assert_followed(since, two, underlay(22), &[one]);
    readdress(node3, "eth0", underlay(12));
    node3.join(&invitation, node1).unwrap();
    let pod = add_pod(node3, "pod");
    let three = Host { node: node3, pod };
    assert_told(node3, underlay(12), &[one, two]);
    two.ping(&three).unwrap();

    ask(node3, &["--yes", "leave"]);
    ask(node2, &["--yes", "leave"]);
    shell(node3, "ip address flush dev eth0 scope global");
    readdress(node2, "eth0", underlay(12));
    node2.join(&invitation, node1).unwrap();
    let since = Instant::now();
    let pod = add_pod(node2, "pod");
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
    refused_with(node3, &words, &invitation.token, ("timeout", 124));
    readdress(node3, "eth0", underlay(23));
    let endpoint = "192.168.56.23:7846".to_owned();
    within(LIMIT, "its new address", &endpoint, || told(node3));
    node1.start().unwrap();
    for node in [node3, node2, node1] {
        ready(node, 2);
    }
}

/// Nobody knows where any other is: the user says it to each but one.
#[test]
fn members_that_have_all_moved_unseen_are_told_where_one_is() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    let token = text(&ask(one.node, &["token", "show"])["token"]).to_owned();
    let all = [(one, 21), (two, 22), (three, 23)];
    for (host, _) in all {
        host.node.kill().unwrap();
    }
    for (host, address) in all {
        readdress(host.node, "eth0", underlay(address));
        host.node.start().unwrap();
    }
    for (host, address) in all {
        let endpoint = format!("{}:7846", underlay(address));
        within(LIMIT, "the only one", &endpoint, || told(host.node));
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
    within(LIMIT, "packets", &Ok(()), || two.ping(&three));
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
    ready(node2, 1);
    readdress(node2, "eth0", underlay(22));
    let missed = |node| {
        status_where(node, "the address is missed", |status| {
            list(&status["problems"]).iter().any(|problem| {
                let told = format!("{} {}", problem["message"], problem["hint"]);
                let words = ["192.168.56.12", "192.168.56.22 (eth0)", "--advertise"];
                problem["code"] == "bad_address" && words.iter().all(|word| told.contains(word))
            })
        })
    };
    missed(node2);
    for _look in 0..2 {
        assert_eq!(told(node2), "192.168.56.12:7846");
        node2.term().unwrap();
        node2.start().unwrap();
        missed(node2);
    }
    readdress(node2, "eth0", underlay(12));
    within(LIMIT, "no problem", &Vec::new(), || problems(node2));
    ready(node2, 1);
}

/// Where nothing tells which of several addresses peers would reach, none is guessed.
#[test]
fn of_several_addresses_that_might_be_it_none_is_taken() {
    let lab = users_lab(1).up().unwrap();
    let [node] = nodes(&lab);
    node.init(None).unwrap();
    plug(&lab, node, "eth1");
    shell(
        node,
        "ip link set eth1 up; ip address add 198.51.100.7/24 dev eth1",
    );
    readdress(node, "eth0", underlay(21));
    // It looks in between as well, when eth0 has no address.
    let all = [
        "192.168.56.11",
        "192.168.56.21 (eth0)",
        "198.51.100.7 (eth1)",
    ];
    status_where(node, "the address is missed", |status| {
        let first = &status["problems"][0];
        let message = first["message"].as_str().unwrap_or_default();
        first["code"] == "bad_address" && all.iter().all(|word| message.contains(word))
    });
    assert_eq!(told(node), "192.168.56.11:7846");
    // The user makes it clear.
    shell(node, "ip link del eth1");
    within(
        LIMIT,
        "the only one",
        &"192.168.56.21:7846".to_owned(),
        || told(node),
    );
    within(LIMIT, "no problem", &Vec::new(), || problems(node));
}
