//! Nodes that get another address, or the same on another interface, while they run.

use std::net::Ipv4Addr;

use podnet_lab::{Lab, Node, eventually};

use crate::flow::Ping;
use crate::scene::{
    LIMIT, add_pod, ask, block, list, nodes, ready, refused_with, shell, status, status_where, text,
};
use crate::underlay::{
    FOLLOWED, kernel_routes, plug, problems, readdress, told, underlay, users_cluster, users_lab,
    within,
};

/// A node with a pod.
#[derive(Clone, Copy)]
struct Host<'lab> {
    node: Node<'lab>,
    pod: Ipv4Addr,
}

impl Host<'_> {
    fn ping(&self, other: &Self) -> Result<(), String> {
        let pong = self.node.pod("pod").ping(other.pod);
        pong.map(drop).map_err(|error| error.to_string())
    }
}

fn hosts<'lab, const N: usize>(lab: &'lab Lab) -> [Host<'lab>; N] {
    let hosts = nodes(lab).map(|node| Host {
        node,
        pod: add_pod(node, "pod"),
    });
    for host in hosts {
        ready(host.node, N - 1);
    }
    hosts
}

/// Asserts that the peers of a node which has this address now have followed it: by their routes,
/// by packets both ways, and by what they tell.
#[track_caller]
fn assert_followed(moved: Host<'_>, address: Ipv4Addr, peers: &[Host<'_>]) {
    let what = format!("{} at {address}", moved.node.name());
    let route = format!("{} {address} eth0", block(moved.node));
    eventually(FOLLOWED, &what, || {
        for peer in peers {
            let routes = kernel_routes(peer.node);
            if !routes.contains(&route) {
                return Err(format!("{}: {routes:?}", peer.node.name()));
            }
            peer.ping(&moved)?;
            moved.ping(peer)?;
        }
        Ok(())
    })
    .unwrap();
    assert_told(moved.node, address, peers);
}

/// Asserts that a node and its peers tell that it has this address.
#[track_caller]
fn assert_told(moved: Node<'_>, address: Ipv4Addr, peers: &[Host<'_>]) {
    let endpoint = format!("{address}:7846");
    let name = moved.name();
    within(LIMIT, &name, &endpoint, || told(moved));
    within(LIMIT, &name, &Vec::new(), || problems(moved));
    for peer in peers {
        let seen = status_where(peer.node, &format!("{name} at {endpoint}"), |status| {
            let moved = list(&status["peers"]).iter().find(|p| p["name"] == *name);
            moved.is_some_and(|moved| {
                moved["addresses"] == serde_json::json!([endpoint])
                    && moved["live"] == true
                    && moved["path"] == "ok"
            })
        });
        let nodes = list(&seen["peers"]).len() + 1;
        assert_eq!(seen["cluster"]["nodes"], nodes, "nobody is there twice");
    }
}

#[test]
fn another_address_is_followed_at_once_and_for_good() {
    let lab = users_lab(4).up().unwrap();
    let [node1, node2, node3, node4] = nodes(&lab);
    let invitation = node1.init(None).unwrap();
    for node in [node2, node3] {
        node.join(&invitation, node1).unwrap();
    }
    let [one, two, three] = [node1, node2, node3].map(|node| Host {
        node,
        pod: add_pod(node, "pod"),
    });
    for node in [node1, node2, node3] {
        ready(node, 2);
    }

    // The new one first, then the old one goes.
    let script = "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1
        ip address add 192.168.56.22/24 dev eth0
        ip address del 192.168.56.12/24 dev eth0
        ip route replace default via 192.168.56.1";
    shell(node2, script);
    assert_followed(two, underlay(22), &[one, three]);
    // The old one goes, then the new one comes.
    readdress(node2, "eth0", underlay(32));
    assert_followed(two, underlay(32), &[one, three]);
    // Without the founder nothing can be decided.
    readdress(node1, "eth0", underlay(21));
    assert_followed(one, underlay(21), &[two, three]);
    readdress(node3, "eth0", underlay(23));
    assert_followed(three, underlay(23), &[one, two]);

    // Nobody is where it was when it joined: they find each other by what is on their disks.
    let before = [node1, node2, node3].map(kernel_routes);
    for node in [node1, node2, node3] {
        node.kill().unwrap();
    }
    for node in [node3, node2, node1] {
        node.start().unwrap();
    }
    for node in [node1, node2, node3] {
        ready(node, 2);
    }
    assert_eq!([node1, node2, node3].map(kernel_routes), before);
    assert_told(node1, underlay(21), &[two, three]);

    let shown = ask(node1, &["token", "show"]);
    let command = text(&shown["join_command"]);
    assert!(command.contains(" join 192.168.56.21 "), "{command}");
    let join = ["--timeout", "20s", "join", "192.168.56.21"];
    let token = [("PODNET_TOKEN", invitation.token.as_str())];
    let joined = node4.ctl_with(join, &token, LIMIT).unwrap();
    assert!(joined.ok(), "{joined}");
    ready(node4, 3);
}

#[test]
fn an_address_that_moves_to_another_interface_is_followed() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    // As when a bridge for virtual machines takes the interface over.
    let script = "ip link add br0 mtu 1400 type bridge
        ip address flush dev eth0 scope global
        ip link set eth0 master br0
        ip link set br0 mtu 1400 up
        ip address add 192.168.56.12/24 dev br0
        ip route replace default via 192.168.56.1";
    shell(two.node, script);
    assert_followed(two, underlay(12), &[one, three]);
    let own = format!("{} 192.168.56.11 br0", block(one.node));
    assert!(kernel_routes(two.node).contains(&own));
    // Packets are as large as the interface lets out.
    let device = |place: &str| shell(two.node, &format!("{place} cat /sys/class/net/eth0/mtu"));
    within(LIMIT, "the pod's MTU", &"1400\n".to_owned(), || {
        device("ip netns exec pod")
    });
    assert_eq!(status(two.node)["mtu"], 1400);
    assert_eq!(device(""), "1500\n");

    // And back.
    let script = "ip link del br0
        ip address add 192.168.56.12/24 dev eth0
        ip route replace default via 192.168.56.1";
    shell(two.node, script);
    assert_followed(two, underlay(12), &[one, three]);
    assert!(kernel_routes(two.node).contains(&own.replace("br0", "eth0")));
    within(LIMIT, "the pod's MTU", &"1500\n".to_owned(), || {
        device("ip netns exec pod")
    });
}

#[test]
fn an_address_that_moves_to_another_network_card_is_followed() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    plug(&lab, two.node, "eth1");
    // The peers have packets for it on their way, and know its link-layer address.
    let flow = Ping::start(&two.node.place(), one.pod);
    for (to, from) in [("eth1", "eth0"), ("eth0", "eth1"), ("eth1", "eth0")] {
        let script = format!("ip address flush dev {from} scope global; ip link set {from} down");
        shell(two.node, &script);
        readdress(two.node, to, underlay(12));
        assert_followed(two, underlay(12), &[one, three]);
        let own = format!("{} 192.168.56.11 {to}", block(one.node));
        assert!(kernel_routes(two.node).contains(&own));
        flow.goes_on();
    }
}

#[test]
fn another_interface_with_another_address_is_followed() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    plug(&lab, two.node, "eth1");
    // The old one keeps its address, but nothing goes that way any more.
    shell(two.node, "ip link set eth0 down");
    readdress(two.node, "eth1", underlay(42));
    assert_followed(two, underlay(42), &[one, three]);
    let own = format!("{} 192.168.56.11 eth1", block(one.node));
    assert!(kernel_routes(two.node).contains(&own));

    // The old one is back; it has the address that it had, and the new one goes.
    shell(
        two.node,
        "ip link set eth0 up; ip link del eth1; ip route replace default via 192.168.56.1",
    );
    assert_followed(two, underlay(12), &[one, three]);
}

#[test]
fn two_nodes_that_swap_their_addresses_are_followed() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    for (node, address) in [(two.node, 13), (three.node, 12)] {
        shell(node, "ip address flush dev eth0 scope global");
        readdress(node, "eth0", underlay(address));
    }
    assert_followed(two, underlay(13), &[one]);
    assert_followed(three, underlay(12), &[one, two]);
    assert_told(two.node, underlay(13), &[three]);
}

/// Each of them asks for the other at an address that is its own.
#[test]
fn the_only_two_nodes_that_swap_their_addresses_find_each_other() {
    let lab = users_cluster(2);
    let [one, two] = hosts(&lab);
    for (node, address) in [(one.node, 12), (two.node, 11)] {
        shell(node, "ip address flush dev eth0 scope global");
        readdress(node, "eth0", underlay(address));
    }
    assert_told(one.node, underlay(12), &[two]);
    assert_told(two.node, underlay(11), &[one]);
    within(LIMIT, "packets", &Ok(()), || one.ping(&two));
}

#[test]
fn a_member_that_was_down_finds_those_that_have_moved_meanwhile() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    two.node.kill().unwrap();
    for (host, other, address) in [(one, three, 21), (three, one, 23)] {
        readdress(host.node, "eth0", underlay(address));
        assert_told(host.node, underlay(address), &[other]);
    }
    two.node.start().unwrap();
    assert_followed(one, underlay(21), &[two, three]);
    assert_followed(three, underlay(23), &[one, two]);

    // It moves itself, and nobody sees it.
    two.node.kill().unwrap();
    shell(two.node, "ip address flush dev eth0 scope global");
    two.node.start().unwrap();
    status_where(two.node, "the address is missed", |status| {
        status["problems"][0]["code"] == "bad_address"
    });
    readdress(two.node, "eth0", underlay(22));
    assert_followed(two, underlay(22), &[one, three]);
    // With a reboot a host may come back elsewhere: here where it was at first.
    two.node.reboot().unwrap();
    ready(two.node, 2);
    let pod = add_pod(two.node, "pod");
    let two = Host { pod, ..two };
    assert_told(two.node, underlay(12), &[one, three]);
    within(LIMIT, "packets", &Ok(()), || one.ping(&two));
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
    let missed = status_where(node, "the address is missed", |status| {
        let first = &status["problems"][0];
        let message = first["message"].as_str().unwrap_or_default();
        first["code"] == "bad_address" && message.contains("198.51.100.7 (eth1)")
    });
    let message = text(&missed["problems"][0]["message"]);
    for word in ["192.168.56.11", "192.168.56.21 (eth0)"] {
        assert!(message.contains(word), "{message}");
    }
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
