//! What leads packets of pods past podnet's routes.

use podnet_lab::{Node, eventually};
use serde_json::Value;

use crate::scene::{
    LIMIT, add_pod, ask, cluster, list, nodes, ready, shell, status, status_where, text,
};

/// The problem that names the path to a peer.
fn named<'a>(status: &'a Value, peer: &str) -> Option<&'a Value> {
    let path = format!("path to node {peer}: ");
    let mut problems = list(&status["problems"]).iter();
    problems.find(|problem| text(&problem["message"]).starts_with(&path))
}

/// Waits until a node says that its path to a peer has failed, and why; returns the cure.
#[track_caller]
fn failed(node: Node<'_>, peer: &str, why: &[&str]) -> String {
    let status = status_where(node, &format!("{why:?}"), |status| {
        let problem = named(status, peer);
        status["peers"][0]["path"] == "failed"
            && problem.is_some_and(|problem| {
                let message = text(&problem["message"]);
                why.iter().all(|word| message.contains(word))
            })
    });
    let routes = ask(node, &["routes"]);
    let mut routes = list(&routes).iter();
    let route = routes.find(|route| route["node"] == peer).unwrap();
    assert_eq!(route["state"], "foreign", "{route}");
    text(&named(&status, peer).unwrap()["hint"]).to_owned()
}

/// How many packets a rule of a pod's INPUT chain has met.
#[track_caller]
fn counted(node: Node<'_>, pod: &str, verdict: &str) -> u64 {
    let rules = shell(node, &format!("ip netns exec {pod} iptables -nvxL INPUT"));
    let rule = rules.lines().find(|line| line.contains(verdict)).unwrap();
    let count = rule.split_whitespace().next().unwrap();
    count.parse().unwrap()
}

#[track_caller]
fn no_problem(node: Node<'_>) {
    ready(node, 1);
    status_where(node, "no problem", |status| {
        list(&status["problems"]).is_empty()
    });
}

/// Each cuts pods off, in one direction at least, and leaves podnet's routes as they are.
#[test]
fn what_leads_pods_astray_is_named() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    let (red, blue) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    shell(
        node1,
        "ip link add stub type veth peer name end; ip link set end up; ip link set stub up; \
         ip address add 172.30.0.1/24 dev stub; ip route add default via 192.168.56.1 table 100; ip route add default dev stub table 101; \
         sysctl -qw net.ipv4.conf.all.rp_filter=1",
    );
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "ip rule add from 10.0.0.0/8 lookup 100 priority 100",
            "ip rule del priority 100",
            &[
                "rule 100 (from 10.0.0.0/8 lookup 100)",
                "192.168.56.1",
                "table 100",
            ],
        ),
        (
            "ip rule add iif podnet0 lookup 100 priority 100",
            "ip rule del priority 100",
            &["rule 100 (from all iif podnet0 lookup 100)"],
        ),
        (
            "ip rule add iif eth0 lookup 101 priority 100",
            "ip rule del priority 100",
            &["that come in by eth0", "are led out by stub", "table 101"],
        ),
        (
            "ip rule add to 10.244.1.0/24 prohibit priority 100",
            "ip rule del priority 100",
            &["refused", "rule 100 (from all to 10.244.1.0/24 prohibit)"],
        ),
        (
            "ip rule add blackhole from 10.244.1.0/24 priority 100",
            "ip rule del priority 100",
            &["refused", "rule 100 (from 10.244.1.0/24 blackhole)"],
        ),
        (
            "ip route add 10.244.1.0/25 via 192.168.56.1",
            "ip route del 10.244.1.0/25",
            &["route 10.244.1.0/25 via 192.168.56.1", "of table main"],
        ),
    ];
    for (change, undo, why) in cases {
        no_problem(node1);
        node1.pod("red").ping(blue).unwrap();
        shell(node1, change);
        failed(node1, "node2", why);
        let lost = node1.pod("red").ping(blue).is_err() && node2.pod("blue").ping(red).is_err();
        assert!(lost, "{change}: packets pass");
        shell(node1, undo);
    }
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();

    // What the node itself sends.
    let rule = "iif lo from 10.244.0.0/24 to 10.244.1.0/24 lookup 101 priority 100";
    shell(node1, &format!("ip rule add {rule}"));
    let own = "packets from 10.244.0.1 to 10.244.1.1 are led out by stub";
    failed(node1, "node2", &[own, "rule 100"]);
    node1.place().ping(blue).unwrap_err();
    shell(node1, "ip rule del priority 100");
    no_problem(node1);
}

#[test]
fn the_cure_of_a_policy_rule_is_a_command_that_cures_it() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    add_pod(node1, "red");
    let blue = add_pod(node2, "blue");
    shell(
        node1,
        "ip route add default via 192.168.56.1 table 100; \
         ip rule add from 10.0.0.0/8 lookup 100 priority 100",
    );
    let cure = failed(node1, "node2", &["rule 100"]);
    let command = cure.split('\'').nth(1).unwrap();
    shell(node1, command);
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();
    let rules = shell(node1, "ip rule");
    assert!(rules.contains("from 10.0.0.0/8 lookup 100"), "{rules}");
}

/// A rule that led past the host's own addresses would take it off the network.
#[test]
fn the_cure_of_what_is_taken_for_the_hosts_own_is_to_remove_it() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    add_pod(node1, "red");
    let blue = add_pod(node2, "blue");
    let own = "are taken for this host's own";
    no_problem(node1);
    // It comes without an address that would tell of it.
    shell(node1, "ip route add local 10.244.1.0/25 dev lo table local");
    let cure = failed(node1, "node2", &[own, "route 10.244.1.0/25 (local, on lo)"]);
    shell(node1, cure.split('\'').nth(1).unwrap());
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();

    shell(node1, "ip address add 10.244.1.2/32 dev lo");
    let cure = failed(node1, "node2", &[own, "route 10.244.1.2/32 (local, on lo)"]);
    assert_eq!(cure, "take the address 10.244.1.2 from lo");
    shell(node1, "ip address del 10.244.1.2/32 dev lo");
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();
}

/// Waits until a node reports something foreign, with these words and this severity.
#[track_caller]
fn foreign(node: Node<'_>, severity: &str, words: &[&str]) {
    let found = |problem: &Value| {
        let told = format!("{} {}", text(&problem["message"]), text(&problem["hint"]));
        problem["code"] == "foreign_object"
            && problem["severity"] == severity
            && words.iter().all(|word| told.contains(word))
    };
    status_where(node, &format!("{words:?}"), |status| {
        list(&status["problems"]).iter().any(found)
    });
}

/// As when a VPN comes up after the join.
#[test]
fn what_comes_among_the_addresses_of_pods_after_a_join_is_named() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    let (red, _) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    // The way to the first pod of a block is looked at; this is the second.
    let green = add_pod(node2, "green").to_string();
    shell(
        node1,
        "ip link add stub type veth peer name end; ip link set end up; ip link set stub up",
    );
    let cases = [
        ("route GREEN/32 via 192.168.56.1", "GREEN", "error", true),
        ("route GREEN/32 dev stub metric 7", "GREEN", "error", true),
        ("route blackhole GREEN/32", "GREEN", "error", true),
        // It is the node that answers then.
        ("address GREEN/32 dev stub", "GREEN", "error", false),
        (
            "route 10.244.0.128/25 dev stub",
            "10.244.0.128/25",
            "error",
            false,
        ),
        (
            "route 10.244.77.0/24 via 192.168.56.1",
            "10.244.77.0/24",
            "warning",
            false,
        ),
    ];
    for (what, range, severity, lost) in cases {
        no_problem(node1);
        let ping = || node1.pod("red").ping(green.parse().unwrap());
        ping().unwrap();
        let change = |how: &str| {
            let (object, rest) = what.split_once(' ').unwrap();
            let rest = rest.replace("GREEN", &green);
            shell(node1, &format!("ip {object} {how} {rest}"));
        };
        change("add");
        let range = range.replace("GREEN", &green);
        foreign(node1, severity, &["pod address", &range, "remove it"]);
        assert_eq!(ping().is_err(), lost, "{what}");
        change("del");
    }
    no_problem(node1);
    node2.pod("green").ping(red).unwrap();
}

/// The kernel has a way for them, and yet they are dropped, by what podnet does not see.
#[test]
fn packets_of_pods_that_are_lost_where_the_nodes_own_pass_are_a_problem() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    add_pod(node1, "red");
    let blue = add_pod(node2, "blue");
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();
    let rule = "FORWARD -s 10.244.1.0/24 -j DROP";
    shell(node1, &format!("iptables-legacy -t mangle -I {rule}"));
    let seen = status_where(node1, "packets of pods are lost", |status| {
        named(status, "node2").is_some_and(|problem| text(&problem["message"]).contains("pod red"))
    });
    assert_eq!(
        seen["peers"][0]["path"], "ok",
        "the node's own pass: {seen}"
    );
    let hint = text(&named(&seen, "node2").unwrap()["hint"]);
    assert!(hint.contains("firewalls of both nodes"), "{hint}");
    node1.pod("red").ping(blue).unwrap_err();
    shell(node1, &format!("iptables-legacy -t mangle -D {rule}"));
    no_problem(node1);
    // A pod may drop echoes; the others tell that all is well.
    add_pod(node1, "zoe");
    shell(node1, "ip netns exec red iptables -A INPUT -p icmp -j DROP");
    let dropped = || counted(node1, "red", "DROP ");
    let before = dropped();
    eventually(LIMIT, "echoes that come back to red", || {
        let now = dropped();
        if now >= before + 3 { Ok(()) } else { Err(now) }
    })
    .unwrap();
    // From then on it is asked no more, since another pod gets answers.
    shell(
        node1,
        "ip netns exec zoe iptables -A INPUT -p icmp -j RETURN",
    );
    let answered = || counted(node1, "zoe", "RETURN ");
    let before = answered();
    eventually(LIMIT, "two more rounds", || {
        let told = status(node1);
        assert_eq!(list(&told["problems"]).len(), 0, "{told}");
        let now = answered();
        if now >= before + 2 { Ok(()) } else { Err(now) }
    })
    .unwrap();
}
