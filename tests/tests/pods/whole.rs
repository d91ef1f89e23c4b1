//! A pod is there with all its parts, or not at all.

use std::collections::BTreeSet;

use podnet_lab::prelude::*;
use podnet_lab::scenario::misfits;
use serde_json::{Value, json};

use crate::stage::{cluster, everything, until_again};

const KEYS: [&str; 13] = [
    "addresses",
    "created_at",
    "gateways",
    "host_ifname",
    "ifname",
    "labels",
    "mac",
    "mtu",
    "name",
    "netns",
    "node",
    "state",
    "trusted",
];

fn keys(document: &Value) -> BTreeSet<&str> {
    document
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn a_pod_has_all_that_it_needs_from_the_first_moment() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell("ip link set eth0 mtu 1400");
    until("the underlay's MTU", &Some(1400), || node.status().mtu);

    let pod: Value = node.ask(&["pod", "add", "red"]);
    assert_eq!(keys(&pod), KEYS.into());
    assert_eq!(pod["name"], "red");
    assert_eq!(pod["node"], "node1");
    assert_eq!(pod["state"], "ready");
    assert_eq!(pod["addresses"], json!(["10.244.0.2/24"]));
    assert_eq!(pod["gateways"], json!(["10.244.0.1"]));
    assert_eq!(pod["mtu"], 1400);
    assert_eq!(pod["netns"], "/run/netns/red");
    assert_eq!(pod["ifname"], "eth0");
    assert_eq!(pod["labels"], json!({}));
    assert!(pod["host_ifname"].as_str().unwrap().starts_with("pn"));
    let created = pod["created_at"].as_str().unwrap();
    assert!(created.contains('T') && created.ends_with('Z'), "{created}");

    // Inside.
    assert!(
        node.shell("ip netns list")
            .lines()
            .any(|line| line.starts_with("red"))
    );
    let eth0 = &node.json("ip -n red -j -d address show dev eth0")[0];
    assert_eq!(eth0["address"], pod["mac"]);
    assert_eq!(
        (&eth0["mtu"], &eth0["operstate"]),
        (&json!(1400), &json!("UP"))
    );
    let all = eth0["addr_info"].as_array().unwrap();
    let own: Vec<_> = all
        .iter()
        .filter(|address| address["scope"] == "global")
        .collect();
    assert_eq!(
        (own.len(), &own[0]["local"], &own[0]["prefixlen"]),
        (1, &json!("10.244.0.2"), &json!(24))
    );
    assert!(
        all.iter().all(|address| address["tentative"].is_null()),
        "{all:?}"
    );
    let lo = &node.json("ip -n red -j link show dev lo")[0];
    assert!(
        lo["flags"].as_array().unwrap().contains(&json!("UP")),
        "{lo}"
    );
    let route = &node.json("ip -n red -j route show default")[0];
    assert_eq!(
        (&route["gateway"], &route["dev"]),
        (&json!("10.244.0.1"), &json!("eth0"))
    );
    let gateway = &node.json("ip -n red -j neighbour show 10.244.0.1 dev eth0")[0];
    assert_eq!(gateway["state"], json!(["PERMANENT"]));
    for (parameter, wanted) in [
        ("accept_dad", "0"),
        ("accept_ra", "0"),
        ("disable_ipv6", "1"),
    ] {
        let path = format!("/proc/sys/net/ipv6/conf/eth0/{parameter}");
        let script = format!("! test -e {path} || ip netns exec red cat {path}");
        let value = node.shell(&script);
        assert!([wanted, ""].contains(&value.trim()), "{parameter}: {value}");
    }

    // What the pod makes for itself may have IPv6, such as a VPN's tunnel.
    let tunnel =
        "ip -n red link add tunnel type veth peer name other && ip -n red link set tunnel up
        ip -n red address add fd00::1/64 dev tunnel nodad && ip -n red link del tunnel";
    node.shell(&format!("! test -e /proc/net/if_inet6 || {{ {tunnel}; }}"));

    // Outside.
    let host_ifname = pod["host_ifname"].as_str().unwrap();
    let host_end = &node.json(&format!("ip -j address show dev {host_ifname}"))[0];
    assert_eq!(
        (&host_end["master"], &host_end["mtu"]),
        (&json!("podnet0"), &json!(1400))
    );
    assert_eq!(host_end["addr_info"], json!([]), "no address of any family");
    let bridge = &node.json("ip -j address show dev podnet0")[0];
    assert_eq!(bridge["address"], gateway["lladdr"]);
    assert_eq!(bridge["mtu"], 1400);
    let addresses = bridge["addr_info"].as_array().unwrap();
    assert_eq!(
        (addresses.len(), &addresses[0]["local"]),
        (1, &json!("10.244.0.1"))
    );
    let neighbour = &node.json("ip -j neighbour show 10.244.0.2 dev podnet0")[0];
    assert_eq!(
        (&neighbour["lladdr"], &neighbour["state"]),
        (&pod["mac"], &json!(["PERMANENT"]))
    );
    let forwarding = "cd /proc/sys/net/ipv4/conf; cat all/forwarding {podnet0,eth0}/forwarding";
    assert_eq!(node.shell(&format!("bash -c '{forwarding}'")), "0\n1\n1\n");
}

#[test]
fn pods_follow_the_mtu_of_the_underlay() {
    let lab = cluster(1);
    let node = first(&lab);
    assert_eq!(node.add_pod("red").mtu, 1500);
    node.shell("ip link set eth0 mtu 1300");
    until("the pod's MTU", &json!(1300), || {
        node.json("ip -n red -j link show dev eth0")[0]["mtu"].clone()
    });
    until("the MTU that is shown", &1300, || node.show_pod("red").mtu);
}

#[test]
fn the_bridge_keeps_its_link_layer_address_when_pods_come_and_go() {
    let lab = cluster(1);
    let node = first(&lab);
    let mac = || node.json("ip -j link show dev podnet0")[0]["address"].clone();
    let before = mac();
    let red = node.add_pod("red");
    node.add_pod("blue");
    assert_eq!(mac(), before);
    assert_ne!(before, red.mac);
    node.remove_pod("red");
    assert_eq!(mac(), before);
    node.remove_pod("blue");
    assert_eq!(mac(), before);
    assert!(
        node.json("ip -j link show dev podnet0")[0]["flags"]
            .to_string()
            .contains("UP")
    );
}

#[test]
fn a_pod_that_is_removed_leaves_nothing() {
    let lab = cluster(1);
    let node = first(&lab);
    // The bridge keeps its carrier.
    node.add_pod("green");
    let before = everything(node);
    let red = node.add_pod("red");
    assert!(everything(node).len() > before.len());
    node.remove_pod("red");
    refused(node, &["pod", "show", "red"], ErrorCode::NotFound);
    refused(node, &["pod", "rm", "red"], ErrorCode::NotFound);
    assert!(!node.attempt("test -e /run/netns/red").ok());
    let host_end = format!("ip link show {}", red.host_ifname.as_str());
    assert!(!node.attempt(&host_end).ok());
    until_again(node, &before);
}

#[test]
fn the_same_pod_again_is_the_same_pod_and_another_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    let red = node.add_pod("red");
    assert_eq!(node.add_pod("red"), red);
    node.shell("ip netns add mine");
    let other = ["pod", "add", "red", "--netns", "/run/netns/mine"];
    refused(node, &other, ErrorCode::Exists);
    let pid = node.holder().unwrap().pid.to_string();
    refused(
        node,
        &["pod", "add", "red", "--pid", &pid],
        ErrorCode::Exists,
    );
    assert_eq!(node.show_pod("red"), red);
    for name in misfits::NAMES {
        refused(node, &["pod", "add", "--", name], ErrorCode::BadName);
    }
    let longest = "r".repeat(63);
    node.add_pod(&longest);
    assert_eq!(node.pods().len(), 2);
    node.pod(&longest).ping(red.address()).unwrap();
}

#[test]
fn several_names_are_all_checked_before_anything_is_removed() {
    let lab = cluster(1);
    let node = first(&lab);
    for name in ["red", "green", "blue"] {
        node.add_pod(name);
    }
    let names: Vec<String> = node.pods().iter().map(|pod| pod.name.to_string()).collect();
    assert_eq!(names, ["blue", "green", "red"], "sorted by name");
    let all = ["pod", "rm", "red", "nothing", "green"];
    refused(node, &all, ErrorCode::NotFound);
    assert_eq!(node.pods().len(), 3);
    let removed: Vec<Value> = node.ask(&["pod", "rm", "red", "green", "red"]);
    assert_eq!(removed.len(), 2, "{removed:?}");
    let left: Vec<Value> = node.ask(&["pod", "list"]);
    assert_eq!((left.len(), &left[0]["name"]), (1, &json!("blue")));
    assert_eq!(keys(&left[0]), KEYS.into());
    assert_eq!(node.status().pods, 1);
}

#[test]
fn an_idle_agent_has_no_pods() {
    let lab = looking_every(OFTEN, 1).up().unwrap();
    let node = first(&lab);
    assert_eq!(node.pods(), []);
    refused(node, &["pod", "add", "red"], ErrorCode::NotMember);
    refused(node, &["pod", "show", "red"], ErrorCode::NotFound);
    assert!(!node.attempt("ip link show podnet0").ok());
    assert!(!node.attempt("test -e /run/netns/red").ok());
    node.kill().unwrap();
    refused(node, &["pod", "list"], ErrorCode::AgentUnreachable);
}
