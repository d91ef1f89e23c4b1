//! Nodes that get another address, or the same on another interface, while they run.

use std::time::Instant;

use podnet_lab::prelude::*;

use crate::flow::Ping;
use crate::followed::{Host, assert_followed, assert_reached, assert_told, hosts};
use crate::underlay::{
    FOLLOWED, kernel_routes, plug, readdress, underlay, users_cluster, users_lab,
};

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
        pod: node.add_pod("pod").address(),
    });
    for node in [node1, node2, node3] {
        node.ready(2);
    }

    // The new one first, then the old one goes.
    let script = "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1
        ip address add 192.168.56.22/24 dev eth0
        ip address del 192.168.56.12/24 dev eth0
        ip route replace default via 192.168.56.1";
    let since = Instant::now();
    node2.shell(script);
    assert_followed(since, two, underlay(22), &[one, three]);
    // The old one goes, then the new one comes.
    let since = Instant::now();
    readdress(node2, "eth0", underlay(32));
    assert_followed(since, two, underlay(32), &[one, three]);
    // Without the founder nothing can be decided.
    let since = Instant::now();
    readdress(node1, "eth0", underlay(21));
    assert_followed(since, one, underlay(21), &[two, three]);
    let since = Instant::now();
    readdress(node3, "eth0", underlay(23));
    assert_followed(since, three, underlay(23), &[one, two]);

    // Nobody is where it was when it joined: they find each other by what is on their disks.
    let before = [node1, node2, node3].map(kernel_routes);
    for node in [node1, node2, node3] {
        node.kill().unwrap();
    }
    for node in [node3, node2, node1] {
        node.start().unwrap();
    }
    for node in [node1, node2, node3] {
        node.ready(2);
    }
    assert_eq!([node1, node2, node3].map(kernel_routes), before);
    assert_told(node1, underlay(21), &[two, three]);

    let command = node1.token().join_command;
    assert!(command.contains(" join 192.168.56.21 "), "{command}");
    let join = ["--timeout", "20s", "join", "192.168.56.21"];
    let token = [("PODNET_TOKEN", invitation.token.as_str())];
    let joined = node4.ctl_with(join, &token, LIMIT).unwrap();
    assert!(joined.ok(), "{joined}");
    node4.ready(3);
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
    let since = Instant::now();
    two.node.shell(script);
    assert_followed(since, two, underlay(12), &[one, three]);
    let own = format!("{} 192.168.56.11 br0", one.node.block());
    assert!(kernel_routes(two.node).contains(&own));
    // Packets are as large as the interface lets out.
    let device = |place: &str| {
        two.node
            .shell(&format!("{place} cat /sys/class/net/eth0/mtu"))
    };
    until("the pod's MTU", &"1400\n".to_owned(), || {
        device("ip netns exec pod")
    });
    assert_eq!(two.node.status().mtu, Some(1400));
    assert_eq!(device(""), "1500\n");

    // And back.
    let script = "ip link del br0
        ip address add 192.168.56.12/24 dev eth0
        ip route replace default via 192.168.56.1";
    let since = Instant::now();
    two.node.shell(script);
    assert_followed(since, two, underlay(12), &[one, three]);
    assert!(kernel_routes(two.node).contains(&own.replace("br0", "eth0")));
    until("the pod's MTU", &"1500\n".to_owned(), || {
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
        let since = Instant::now();
        two.node.shell(&script);
        readdress(two.node, to, underlay(12));
        assert_followed(since, two, underlay(12), &[one, three]);
        let own = format!("{} 192.168.56.11 {to}", one.node.block());
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
    let since = Instant::now();
    two.node.shell("ip link set eth0 down");
    readdress(two.node, "eth1", underlay(42));
    assert_followed(since, two, underlay(42), &[one, three]);
    let own = format!("{} 192.168.56.11 eth1", one.node.block());
    assert!(kernel_routes(two.node).contains(&own));

    // The old one is back; it has the address that it had, and the new one goes.
    let since = Instant::now();
    two.node
        .shell("ip link set eth0 up; ip link del eth1; ip route replace default via 192.168.56.1");
    assert_followed(since, two, underlay(12), &[one, three]);
}

#[test]
fn two_nodes_that_swap_their_addresses_are_followed() {
    let lab = users_cluster(3);
    let [one, two, three] = hosts(&lab);
    let since = Instant::now();
    for (node, address) in [(two.node, 13), (three.node, 12)] {
        node.shell("ip address flush dev eth0 scope global");
        readdress(node, "eth0", underlay(address));
    }
    assert_reached(since, two, underlay(13), &[one, three]);
    assert_reached(since, three, underlay(12), &[one, two]);
    assert_told(two.node, underlay(13), &[one, three]);
    assert_told(three.node, underlay(12), &[one, two]);
}

/// Each of them asks for the other at an address that is its own.
#[test]
fn the_only_two_nodes_that_swap_their_addresses_find_each_other() {
    let lab = users_cluster(2);
    let [one, two] = hosts(&lab);
    let since = Instant::now();
    for (node, address) in [(one.node, 12), (two.node, 11)] {
        node.shell("ip address flush dev eth0 scope global");
        readdress(node, "eth0", underlay(address));
    }
    in_time(since, FOLLOWED, "packets", || one.ping(&two)).unwrap();
    assert_told(one.node, underlay(12), &[two]);
    assert_told(two.node, underlay(11), &[one]);
}
