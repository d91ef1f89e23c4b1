//! What is not podnet's is reported, and never taken.

use std::collections::BTreeSet;

use serde_json::json;

use super::stage::{
    add, address, ask, attempt, cluster, code, first, idle, json as look, passes, pods, problems,
    refusal, shell, text, until,
};

#[test]
fn a_name_that_somebody_else_has_in_the_namespace_directory_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    shell(
        node,
        "ip netns add red; ip -n red link add mine type bridge; echo mine > /run/netns/green; \
         mkdir /run/netns/blue; : > /run/netns/white; ln -s /etc/hostname /run/netns/grey",
    );
    let before = shell(node, "ls -l /run/netns; ip -n red -o link");
    for name in ["red", "green", "blue", "white", "grey"] {
        assert_eq!(
            refusal(node, &["pod", "add", name]),
            code(5, "foreign_object"),
            "{name}"
        );
    }
    assert_eq!(shell(node, "ls -l /run/netns; ip -n red -o link"), before);
    assert_eq!(pods(node).len(), 0);
    node.kill().unwrap();
    node.start().unwrap();
    passes(node, 2);
    assert_eq!(shell(node, "ls -l /run/netns; ip -n red -o link"), before);
}

#[test]
fn a_bridge_of_podnets_name_stands_in_the_way_of_a_cluster() {
    let lab = idle(1).up().unwrap();
    let node = first(&lab);
    shell(
        node,
        "ip link add podnet0 type bridge; ip link set podnet0 up",
    );
    let seen = || {
        shell(
            node,
            "ip -o link; ip -o address; ip route show table all; iptables-save | grep -v '^[#:]' || true",
        )
    };
    let before = seen();
    let init = ["init", "--pod-cidr", "10.244.0.0/16"];
    assert_eq!(refusal(node, &init), code(5, "foreign_object"));
    assert_eq!(seen(), before);
    assert_eq!(ask(node, &["status"])["phase"], "idle");
    shell(node, "ip link del podnet0");
    ask(node, &init);
    assert_eq!(ask(node, &["status"])["phase"], "ready");
}

#[test]
fn a_bridge_that_was_replaced_by_a_foreign_one_is_reported_and_left() {
    let lab = cluster(1);
    let node = first(&lab);
    node.stop().unwrap();
    shell(node, "ip link del podnet0; ip link add podnet0 type bridge");
    node.cont().unwrap();
    until("a report", &vec!["foreign_object".to_owned()], || {
        problems(node)
    });
    passes(node, 2);
    let bridge = || look(node, "ip -j address show podnet0")[0].clone();
    let before = bridge();
    assert_eq!(before["addr_info"], json!([]));
    assert_eq!(
        refusal(node, &["pod", "add", "red"]),
        code(5, "foreign_object")
    );
    assert_eq!(bridge(), before);
    shell(node, "ip link del podnet0");
    until("no report", &Vec::<String>::new(), || problems(node));
    let red = add(node, "red");
    node.place().ping(address(&red)).unwrap();
}

#[test]
fn a_link_of_a_host_ends_name_stands_in_the_way_of_its_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let pod = add(node, "red");
    let host_ifname = text(&pod["host_ifname"]).to_owned();
    ask(node, &["pod", "rm", "red"]);
    shell(node, &format!("ip link add {host_ifname} type bridge"));
    let seen = || {
        shell(
            node,
            &format!("ip -o link show {host_ifname}; ls /run/netns"),
        )
    };
    let before = seen();
    assert_eq!(
        refusal(node, &["pod", "add", "red"]),
        code(5, "foreign_object")
    );
    assert_eq!(seen(), before);
    assert_eq!(pods(node).len(), 0);
    passes(node, 2);
    assert_eq!(
        seen(),
        before,
        "no link of that name is podnet's by its name alone"
    );
    shell(node, &format!("ip link del {host_ifname}"));
    let red = add(node, "red");
    node.place().ping(address(&red)).unwrap();
}

#[test]
fn a_foreign_route_to_a_peers_block_is_reported_and_left() {
    let lab = cluster(2);
    let node = first(&lab);
    let routes = || {
        let routes = ask(node, &["routes"]);
        let found = routes
            .as_array()
            .unwrap()
            .iter()
            .find(|route| route["destination"] == "10.244.1.0/24");
        found.unwrap()["state"].clone()
    };
    until("podnet's route", &json!("ok"), routes);
    shell(
        node,
        "ip route replace 10.244.1.0/24 via 192.168.56.1 proto static",
    );
    let foreign = look(node, "ip -j route show 10.244.1.0/24");
    until("a report", &json!("foreign"), routes);
    assert!(problems(node).contains(&"foreign_object".to_owned()));
    passes(node, 2);
    assert_eq!(look(node, "ip -j route show 10.244.1.0/24"), foreign);
    shell(node, "ip route del 10.244.1.0/24");
    until("podnet's route", &json!("ok"), routes);
    let protocol = &look(node, "ip -j route show 10.244.1.0/24")[0]["protocol"];
    assert_eq!(protocol, "112");
}

#[test]
fn foreign_routes_links_and_rules_are_left_alone() {
    let lab = cluster(2);
    let node = first(&lab);
    shell(
        node,
        "ip link add lan type bridge; ip link set lan up; ip address add 172.30.0.1/24 dev lan; \
         ip route add 172.31.0.0/24 via 172.30.0.9; ip route add 172.31.1.0/24 dev lan table 99 proto 112; \
         ip link add pnmine type bridge; ip link add br7 type bridge; ip link add v1 type veth peer name v2; \
         ip link set v1 master br7; ip neighbour add 172.30.0.7 lladdr 02:00:00:00:00:07 dev lan; \
         iptables -N MINE; iptables -A MINE -s 172.31.0.1 -j DROP; iptables -A FORWARD -j MINE; \
         iptables -t nat -A POSTROUTING -s 172.31.0.0/24 -j MASQUERADE; ip netns add mine",
    );
    let seen = || -> BTreeSet<String> {
        let lines = shell(
            node,
            "ip -o link; ip -o -4 address; ip -4 route show table all; ip neighbour show nud permanent; \
             iptables-save | grep -v '^[#:]'; ls /run/netns",
        );
        // Whether a bridge has a carrier depends on its ports.
        let lines = lines.lines().filter(|line| !line.contains(": podnet0"));
        lines.map(|line| line.replace(" linkdown", "")).collect()
    };
    let before = seen();
    add(node, "red");
    ask(node, &["pod", "rm", "red"]);
    node.term().unwrap();
    node.start().unwrap();
    passes(node, 3);
    until(
        "nothing more or less",
        &[BTreeSet::new(), BTreeSet::new()],
        || {
            let now = seen();
            let less = before.difference(&now).cloned().collect();
            [less, now.difference(&before).cloned().collect()]
        },
    );
    assert!(attempt(node, "iptables -C FORWARD -j MINE").ok());
}
