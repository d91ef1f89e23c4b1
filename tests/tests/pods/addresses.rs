//! Which address a pod gets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use podnet_lab::prelude::*;

use crate::stage::{assert_full, cluster, small_block};

const MANY: usize = 20;

#[test]
fn twenty_pods_at_once_have_an_address_each_and_are_reached_from_afar() {
    let lab = cluster(2);
    let [node, far] = nodes(&lab);
    let names: Vec<String> = (0..MANY).map(|number| format!("pod{number}")).collect();
    let added = at_once(&names, |name| node.add_pod(name));
    let addresses: BTreeSet<Ipv4Addr> = added.iter().map(Address::address).collect();
    assert_eq!(addresses.len(), MANY);
    for octet in [0, 1, 255] {
        assert!(
            !addresses.contains(&Ipv4Addr::new(10, 244, 0, octet)),
            "{octet}"
        );
    }
    assert_eq!(node.pods().len(), MANY);
    far.add_pod("blue");
    let blue = far.pod("blue");
    let unreached: Vec<_> = addresses
        .iter()
        .filter_map(|address| blue.ping(*address).err())
        .collect();
    assert!(unreached.is_empty(), "{unreached:?}");

    at_once(&names, |name| node.remove_pod(name));
    assert_eq!(node.pods().len(), 0);
    assert_eq!(
        node.shell("ls /run/netns; ip -o link show master podnet0"),
        ""
    );
    until("no neighbours", &String::new(), || {
        node.shell("ip neighbour show dev podnet0")
    });
    let again = node.add_pod("again");
    assert!(
        !addresses.contains(&again.address()),
        "freed addresses rest: {again:?}"
    );
}

#[test]
fn requests_for_one_name_at_once_come_to_one_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let added = at_once(0..8, |_| node.add_pod("red"));
    assert!(added.iter().all(|pod| *pod == added[0]), "{added:?}");
    assert_eq!(node.pods().len(), 1);
    let codes = at_once(0..8, |number| {
        let verb = if number % 2 == 0 { "add" } else { "rm" };
        node.ctl(["pod", verb, "red"]).unwrap().code
    });
    assert!(codes.iter().all(|code| matches!(code, 0 | 4)), "{codes:?}");
    let links = node.shell("ip -o link show master podnet0").lines().count();
    assert_eq!(
        (node.pods().len(), links),
        (links, node.pods().len()),
        "all or nothing"
    );
    node.add_pod("red");
    node.place().ping(node.show_pod("red").address()).unwrap();
}

#[test]
fn freed_addresses_rest_as_long_as_possible_and_a_full_block_says_so() {
    let lab = small_block(28);
    let node = first(&lab);
    let fill: Vec<String> = (0..13).map(|number| format!("pod{number}")).collect();
    let addresses: BTreeSet<Ipv4Addr> = fill
        .iter()
        .map(|name| node.add_pod(name).address())
        .collect();
    let expected: BTreeSet<Ipv4Addr> = (2..15)
        .map(|octet| Ipv4Addr::new(10, 9, 0, octet))
        .collect();
    assert_eq!(
        addresses, expected,
        "all but network, gateway and broadcast"
    );

    assert_full(node, "more");
    let output = node.ctl(["pod", "add", "more"]).unwrap();
    assert!(
        output.stderr.contains("10.9.0.0/28"),
        "it names the block: {output}"
    );
    assert_eq!(node.pods().len(), 13);

    let [earlier, later] = ["pod7", "pod3"].map(|name| node.show_pod(name));
    node.remove_pod("pod7");
    node.remove_pod("pod3");
    // An agent that starts anew knows it too.
    node.kill().unwrap();
    node.start().unwrap();
    let [first, second] = ["new1", "new2"].map(|name| node.add_pod(name));
    assert_eq!(
        [first.address(), second.address()],
        [earlier.address(), later.address()]
    );
    assert_eq!(
        [&first.mac, &second.mac],
        [&earlier.mac, &later.mac],
        "no neighbour goes stale"
    );
    node.pod("pod0").ping(first.address()).unwrap();
    assert_full(node, "more");
}

#[test]
fn a_pod_that_cannot_be_added_keeps_no_address() {
    let lab = small_block(29);
    let node = first(&lab);
    for name in ["a", "b", "c", "d"] {
        node.add_pod(name);
    }
    node.shell("ip netns add taken; ip netns add mine; ip -n mine link add eth0 type bridge");
    for _ in 0..3 {
        refused(node, &["pod", "add", "taken"], ErrorCode::ForeignObject);
        let other = ["pod", "add", "e", "--netns", "/run/netns/mine"];
        refused(node, &other, ErrorCode::ForeignObject);
        let missing = ["pod", "add", "e", "--netns", "/run/netns/missing"];
        refused(node, &missing, ErrorCode::NotFound);
    }
    assert_eq!(node.status().pods, 4);
    assert_eq!(node.add_pod("e").address(), Ipv4Addr::new(10, 9, 0, 6));
    assert_full(node, "f");
}
