//! A pod is there with all its parts, or not at all.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stage::{
    add, address, ask, attempt, cluster, code, everything, first, idle, json as look, pods,
    refusal, shell, show, text, until, until_again,
};

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
    shell(node, "ip link set eth0 mtu 1400");
    until("the underlay's MTU", &json!(1400), || {
        ask(node, &["status"])["mtu"].clone()
    });

    let pod = add(node, "red");
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
    assert!(text(&pod["host_ifname"]).starts_with("pn"));
    let created = text(&pod["created_at"]);
    assert!(created.contains('T') && created.ends_with('Z'), "{created}");

    // Inside.
    assert!(
        shell(node, "ip netns list")
            .lines()
            .any(|line| line.starts_with("red"))
    );
    let eth0 = &look(node, "ip -n red -j -d address show dev eth0")[0];
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
    let lo = &look(node, "ip -n red -j link show dev lo")[0];
    assert!(
        lo["flags"].as_array().unwrap().contains(&json!("UP")),
        "{lo}"
    );
    let route = &look(node, "ip -n red -j route show default")[0];
    assert_eq!(
        (&route["gateway"], &route["dev"]),
        (&json!("10.244.0.1"), &json!("eth0"))
    );
    let gateway = &look(node, "ip -n red -j neighbour show 10.244.0.1 dev eth0")[0];
    assert_eq!(gateway["state"], json!(["PERMANENT"]));
    for (parameter, wanted) in [
        ("accept_dad", "0"),
        ("accept_ra", "0"),
        ("disable_ipv6", "1"),
    ] {
        let path = format!("/proc/sys/net/ipv6/conf/eth0/{parameter}");
        let script = format!("! test -e {path} || ip netns exec red cat {path}");
        let value = shell(node, &script);
        assert!([wanted, ""].contains(&value.trim()), "{parameter}: {value}");
    }

    // What the pod makes for itself may have IPv6, such as a VPN's tunnel.
    let tunnel =
        "ip -n red link add tunnel type veth peer name other && ip -n red link set tunnel up
        ip -n red address add fd00::1/64 dev tunnel nodad && ip -n red link del tunnel";
    shell(
        node,
        &format!("! test -e /proc/net/if_inet6 || {{ {tunnel}; }}"),
    );

    // Outside.
    let host_ifname = text(&pod["host_ifname"]);
    let host_end = &look(node, &format!("ip -j address show dev {host_ifname}"))[0];
    assert_eq!(
        (&host_end["master"], &host_end["mtu"]),
        (&json!("podnet0"), &json!(1400))
    );
    assert_eq!(host_end["addr_info"], json!([]), "no address of any family");
    let bridge = &look(node, "ip -j address show dev podnet0")[0];
    assert_eq!(bridge["address"], gateway["lladdr"]);
    assert_eq!(bridge["mtu"], 1400);
    let addresses = bridge["addr_info"].as_array().unwrap();
    assert_eq!(
        (addresses.len(), &addresses[0]["local"]),
        (1, &json!("10.244.0.1"))
    );
    let neighbour = &look(node, "ip -j neighbour show 10.244.0.2 dev podnet0")[0];
    assert_eq!(
        (&neighbour["lladdr"], &neighbour["state"]),
        (&pod["mac"], &json!(["PERMANENT"]))
    );
    let forwarding = "cd /proc/sys/net/ipv4/conf; cat all/forwarding {podnet0,eth0}/forwarding";
    assert_eq!(shell(node, &format!("bash -c '{forwarding}'")), "0\n1\n1\n");
}

#[test]
fn pods_follow_the_mtu_of_the_underlay() {
    let lab = cluster(1);
    let node = first(&lab);
    assert_eq!(add(node, "red")["mtu"], 1500);
    shell(node, "ip link set eth0 mtu 1300");
    until("the pod's MTU", &json!(1300), || {
        look(node, "ip -n red -j link show dev eth0")[0]["mtu"].clone()
    });
    until("the MTU that is shown", &json!(1300), || {
        show(node, "red")["mtu"].clone()
    });
}

#[test]
fn the_bridge_keeps_its_link_layer_address_when_pods_come_and_go() {
    let lab = cluster(1);
    let node = first(&lab);
    let mac = || look(node, "ip -j link show dev podnet0")[0]["address"].clone();
    let before = mac();
    let red = add(node, "red");
    add(node, "blue");
    assert_eq!(mac(), before);
    assert_ne!(red["mac"], before);
    ask(node, &["pod", "rm", "red"]);
    assert_eq!(mac(), before);
    ask(node, &["pod", "rm", "blue"]);
    assert_eq!(mac(), before);
    assert!(
        look(node, "ip -j link show dev podnet0")[0]["flags"]
            .to_string()
            .contains("UP")
    );
}

#[test]
fn a_pod_that_is_removed_leaves_nothing() {
    let lab = cluster(1);
    let node = first(&lab);
    // The bridge keeps its carrier.
    add(node, "green");
    let before = everything(node);
    let red = add(node, "red");
    assert!(everything(node).len() > before.len());
    ask(node, &["pod", "rm", "red"]);
    assert_eq!(refusal(node, &["pod", "show", "red"]), code(4, "not_found"));
    assert_eq!(refusal(node, &["pod", "rm", "red"]), code(4, "not_found"));
    assert!(!attempt(node, "test -e /run/netns/red").ok());
    let host_end = format!("ip link show {}", text(&red["host_ifname"]));
    assert!(!attempt(node, &host_end).ok());
    until_again(node, &before);
}

#[test]
fn the_same_pod_again_is_the_same_pod_and_another_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    let red = add(node, "red");
    assert_eq!(add(node, "red"), red);
    shell(node, "ip netns add mine");
    let other = ["pod", "add", "red", "--netns", "/run/netns/mine"];
    assert_eq!(refusal(node, &other), code(5, "exists"));
    let pid = node.holder().unwrap().pid.to_string();
    assert_eq!(
        refusal(node, &["pod", "add", "red", "--pid", &pid]),
        code(5, "exists")
    );
    assert_eq!(show(node, "red"), red);
    for name in [
        "",
        "Red",
        "-red",
        "red-",
        "re_d",
        "re/d",
        "..",
        &"r".repeat(64),
    ] {
        let refused = refusal(node, &["pod", "add", "--", name]);
        assert_eq!(refused, code(2, "bad_name"), "{name:?}");
    }
    let longest = "r".repeat(63);
    add(node, &longest);
    assert_eq!(pods(node).len(), 2);
    node.pod(&longest).ping(address(&red)).unwrap();
}

#[test]
fn several_names_are_all_checked_before_anything_is_removed() {
    let lab = cluster(1);
    let node = first(&lab);
    for name in ["red", "green", "blue"] {
        add(node, name);
    }
    let names: Vec<Value> = pods(node).iter().map(|pod| pod["name"].clone()).collect();
    assert_eq!(names, ["blue", "green", "red"], "sorted by name");
    let all = ["pod", "rm", "red", "nothing", "green"];
    assert_eq!(refusal(node, &all), code(4, "not_found"));
    assert_eq!(pods(node).len(), 3);
    let removed = ask(node, &["pod", "rm", "red", "green", "red"]);
    assert_eq!(removed.as_array().map(Vec::len), Some(2), "{removed}");
    let left = pods(node);
    assert_eq!((left.len(), &left[0]["name"]), (1, &json!("blue")));
    assert_eq!(keys(&left[0]), KEYS.into());
    assert_eq!(ask(node, &["status"])["pods"], 1);
}

#[test]
fn an_idle_agent_has_no_pods() {
    let lab = idle(1).up().unwrap();
    let node = first(&lab);
    assert_eq!(ask(node, &["pod", "list"]), json!([]));
    assert_eq!(refusal(node, &["pod", "add", "red"]), code(5, "not_member"));
    assert_eq!(refusal(node, &["pod", "show", "red"]), code(4, "not_found"));
    assert!(!attempt(node, "ip link show podnet0").ok());
    assert!(!attempt(node, "test -e /run/netns/red").ok());
    node.kill().unwrap();
    assert_eq!(
        refusal(node, &["pod", "list"]),
        code(3, "agent_unreachable")
    );
}
