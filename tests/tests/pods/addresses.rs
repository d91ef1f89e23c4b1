//! Which address a pod gets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::json;

use super::stage::{
    add, address, ask, assert_full, at_once, cluster, code, first, pods, refusal, shell, show,
    small_block, until,
};

const MANY: usize = 20;

#[test]
fn twenty_pods_at_once_have_an_address_each_and_are_reached_from_afar() {
    let lab = cluster(2);
    let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let names: Vec<String> = (0..MANY).map(|number| format!("pod{number}")).collect();
    let added = at_once(&names, |name| add(node, name));
    let addresses: BTreeSet<Ipv4Addr> = added.iter().map(address).collect();
    assert_eq!(addresses.len(), MANY);
    for octet in [0, 1, 255] {
        assert!(
            !addresses.contains(&Ipv4Addr::new(10, 244, 0, octet)),
            "{octet}"
        );
    }
    assert_eq!(pods(node).len(), MANY);
    add(far, "blue");
    let blue = far.pod("blue");
    let unreached: Vec<_> = addresses
        .iter()
        .filter_map(|address| blue.ping(*address).err())
        .collect();
    assert!(unreached.is_empty(), "{unreached:?}");

    at_once(&names, |name| ask(node, &["pod", "rm", name]));
    assert_eq!(pods(node).len(), 0);
    assert_eq!(
        shell(node, "ls /run/netns; ip -o link show master podnet0"),
        ""
    );
    until("no neighbours", &String::new(), || {
        shell(node, "ip neighbour show dev podnet0")
    });
    let again = ask(node, &["pod", "add", "again"]);
    assert!(
        !addresses.contains(&address(&again)),
        "freed addresses rest: {again}"
    );
}

#[test]
fn requests_for_one_name_at_once_come_to_one_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let added = at_once(0..8, |_| add(node, "red"));
    assert!(added.iter().all(|pod| *pod == added[0]), "{added:?}");
    assert_eq!(pods(node).len(), 1);
    let codes = at_once(0..8, |number| {
        let verb = if number % 2 == 0 { "add" } else { "rm" };
        node.ctl(["pod", verb, "red"]).unwrap().code
    });
    assert!(codes.iter().all(|code| matches!(code, 0 | 4)), "{codes:?}");
    let links = shell(node, "ip -o link show master podnet0")
        .lines()
        .count();
    assert_eq!(
        (pods(node).len(), links),
        (links, pods(node).len()),
        "all or nothing"
    );
    add(node, "red");
    node.place().ping(address(&show(node, "red"))).unwrap();
}

#[test]
fn freed_addresses_rest_as_long_as_possible_and_a_full_block_says_so() {
    let lab = small_block(28);
    let node = first(&lab);
    let fill: Vec<String> = (0..13).map(|number| format!("pod{number}")).collect();
    let addresses: BTreeSet<Ipv4Addr> = fill.iter().map(|name| address(&add(node, name))).collect();
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
    assert_eq!(pods(node).len(), 13);

    let [earlier, later] = ["pod7", "pod3"].map(|name| show(node, name));
    ask(node, &["pod", "rm", "pod7"]);
    ask(node, &["pod", "rm", "pod3"]);
    // An agent that starts anew knows it too.
    node.kill().unwrap();
    node.start().unwrap();
    let [first, second] = ["new1", "new2"].map(|name| add(node, name));
    assert_eq!(
        [address(&first), address(&second)],
        [address(&earlier), address(&later)]
    );
    assert_eq!(
        [&first["mac"], &second["mac"]],
        [&earlier["mac"], &later["mac"]],
        "no neighbour goes stale"
    );
    node.pod("pod0").ping(address(&first)).unwrap();
    assert_full(node, "more");
}

#[test]
fn a_pod_that_cannot_be_added_keeps_no_address() {
    let lab = small_block(29);
    let node = first(&lab);
    for name in ["a", "b", "c", "d"] {
        add(node, name);
    }
    shell(
        node,
        "ip netns add taken; ip netns add mine; ip -n mine link add eth0 type bridge",
    );
    for _ in 0..3 {
        assert_eq!(
            refusal(node, &["pod", "add", "taken"]),
            code(5, "foreign_object")
        );
        let other = ["pod", "add", "e", "--netns", "/run/netns/mine"];
        assert_eq!(refusal(node, &other), code(5, "foreign_object"));
        let missing = ["pod", "add", "e", "--netns", "/run/netns/missing"];
        assert_eq!(refusal(node, &missing), code(4, "not_found"));
    }
    assert_eq!(ask(node, &["status"])["pods"], 4);
    assert_eq!(add(node, "e")["addresses"], json!(["10.9.0.6/29"]));
    assert_full(node, "f");
}
