//! What leads packets of pods past podnet's routes.

use podnet_lab::prelude::*;

/// The problem that names the path to a peer.
fn named<'a>(status: &'a Status, peer: &str) -> Option<&'a api::ProblemEntry> {
    let path = format!("path to node {peer}: ");
    let mut problems = status.problems.iter();
    problems.find(|problem| problem.message.starts_with(&path))
}

/// Waits until a node says that its path to a peer has failed, and why; returns the cure.
#[track_caller]
fn failed(node: Node<'_>, peer: &str, why: &[&str]) -> String {
    let status = node.status_where(&format!("{why:?}"), |status| {
        let problem = named(status, peer);
        status.peers[0].path == Some(PathState::Failed)
            && problem.is_some_and(|problem| {
                let message = &problem.message;
                why.iter().all(|word| message.contains(word))
            })
    });
    let routes = node.routes();
    let to_peer = |route: &&api::Route| {
        let node = route.node.as_ref();
        node.is_some_and(|name| name.as_str() == peer)
    };
    let route = routes.iter().find(to_peer).unwrap();
    assert_eq!(route.state, RouteState::Foreign, "{route:?}");
    named(&status, peer).unwrap().hint.clone().unwrap()
}

/// How many packets a rule of a pod's INPUT chain has met.
#[track_caller]
fn counted(node: Node<'_>, pod: &str, verdict: &str) -> u64 {
    let rules = node.shell(&format!("ip netns exec {pod} iptables -nvxL INPUT"));
    let rule = rules.lines().find(|line| line.contains(verdict)).unwrap();
    let count = rule.split_whitespace().next().unwrap();
    count.parse().unwrap()
}

#[track_caller]
fn no_problem(node: Node<'_>) {
    node.ready(1);
    node.until_no_problem();
}

/// Each cuts pods off, in one direction at least, and leaves podnet's routes as they are.
#[test]
fn what_leads_pods_astray_is_named() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    node1.shell("ip link add stub type veth peer name end; ip link set end up; ip link set stub up; \
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
        node1.shell(change);
        failed(node1, "node2", why);
        let lost = node1.pod("red").ping(blue).is_err() && node2.pod("blue").ping(red).is_err();
        assert!(lost, "{change}: packets pass");
        node1.shell(undo);
    }
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();

    // What the node itself sends.
    let rule = "iif lo from 10.244.0.0/24 to 10.244.1.0/24 lookup 101 priority 100";
    node1.shell(&format!("ip rule add {rule}"));
    let own = "packets from 10.244.0.1 to 10.244.1.1 are led out by stub";
    failed(node1, "node2", &[own, "rule 100"]);
    node1.place().ping(blue).unwrap_err();
    node1.shell("ip rule del priority 100");
    no_problem(node1);
}

#[test]
fn the_cure_of_a_policy_rule_is_a_command_that_cures_it() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.add_pod("red");
    let blue = node2.add_pod("blue").address();
    node1.shell(
        "ip route add default via 192.168.56.1 table 100; \
         ip rule add from 10.0.0.0/8 lookup 100 priority 100",
    );
    let cure = failed(node1, "node2", &["rule 100"]);
    let command = cure.split('\'').nth(1).unwrap();
    node1.shell(command);
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();
    let rules = node1.shell("ip rule");
    assert!(rules.contains("from 10.0.0.0/8 lookup 100"), "{rules}");
}

/// A rule that led past the host's own addresses would take it off the network.
#[test]
fn the_cure_of_what_is_taken_for_the_hosts_own_is_to_remove_it() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.add_pod("red");
    let blue = node2.add_pod("blue").address();
    let own = "are taken for this host's own";
    no_problem(node1);
    // It comes without an address that would tell of it.
    node1.shell("ip route add local 10.244.1.0/25 dev lo table local");
    let cure = failed(node1, "node2", &[own, "route 10.244.1.0/25 (local, on lo)"]);
    node1.shell(cure.split('\'').nth(1).unwrap());
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();

    node1.shell("ip address add 10.244.1.2/32 dev lo");
    let cure = failed(node1, "node2", &[own, "route 10.244.1.2/32 (local, on lo)"]);
    assert_eq!(cure, "take the address 10.244.1.2 from lo");
    node1.shell("ip address del 10.244.1.2/32 dev lo");
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();
}

/// Waits until a node reports something foreign, with these words and this severity.
#[track_caller]
fn foreign(node: Node<'_>, severity: Severity, words: &[&str]) {
    let found = |problem: &api::ProblemEntry| {
        let hint = problem.hint.as_deref().unwrap_or_default();
        let told = format!("{} {hint}", problem.message);
        problem.code == ErrorCode::ForeignObject
            && problem.severity == severity
            && words.iter().all(|word| told.contains(word))
    };
    node.status_where(&format!("{words:?}"), |status| {
        status.problems.iter().any(found)
    });
}

/// As when a VPN comes up after the join.
#[test]
fn what_comes_among_the_addresses_of_pods_after_a_join_is_named() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    let (red, _) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    // The way to the first pod of a block is looked at; this is the second.
    let green = node2.add_pod("green").address().to_string();
    node1
        .shell("ip link add stub type veth peer name end; ip link set end up; ip link set stub up");
    let cases = [
        (
            "route GREEN/32 via 192.168.56.1",
            "GREEN",
            Severity::Error,
            true,
        ),
        (
            "route GREEN/32 dev stub metric 7",
            "GREEN",
            Severity::Error,
            true,
        ),
        ("route blackhole GREEN/32", "GREEN", Severity::Error, true),
        // It is the node that answers then.
        ("address GREEN/32 dev stub", "GREEN", Severity::Error, false),
        (
            "route 10.244.0.128/25 dev stub",
            "10.244.0.128/25",
            Severity::Error,
            false,
        ),
        (
            "route 10.244.77.0/24 via 192.168.56.1",
            "10.244.77.0/24",
            Severity::Warning,
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
            node1.shell(&format!("ip {object} {how} {rest}"));
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
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.add_pod("red");
    let blue = node2.add_pod("blue").address();
    no_problem(node1);
    node1.pod("red").ping(blue).unwrap();
    let rule = "FORWARD -s 10.244.1.0/24 -j DROP";
    node1.shell(&format!("iptables-legacy -t mangle -I {rule}"));
    let seen = node1.status_where("packets of pods are lost", |status| {
        named(status, "node2").is_some_and(|problem| problem.message.contains("pod red"))
    });
    let path = seen.peers[0].path;
    assert_eq!(path, Some(PathState::Ok), "the node's own pass: {seen:?}");
    let hint = named(&seen, "node2").unwrap().hint.as_deref().unwrap();
    assert!(hint.contains("firewalls of both nodes"), "{hint}");
    node1.pod("red").ping(blue).unwrap_err();
    node1.shell(&format!("iptables-legacy -t mangle -D {rule}"));
    no_problem(node1);
    // A pod may drop echoes; the others tell that all is well.
    node1.add_pod("zoe");
    node1.shell("ip netns exec red iptables -A INPUT -p icmp -j DROP");
    let dropped = || counted(node1, "red", "DROP ");
    let before = dropped();
    eventually(LIMIT, "echoes that come back to red", || {
        let now = dropped();
        if now >= before + 3 { Ok(()) } else { Err(now) }
    })
    .unwrap();
    // From then on it is asked no more, since another pod gets answers.
    node1.shell("ip netns exec zoe iptables -A INPUT -p icmp -j RETURN");
    let answered = || counted(node1, "zoe", "RETURN ");
    let before = answered();
    eventually(LIMIT, "two more rounds", || {
        let told = node1.status();
        assert_eq!(told.problems, []);
        let now = answered();
        if now >= before + 2 { Ok(()) } else { Err(now) }
    })
    .unwrap();
}
