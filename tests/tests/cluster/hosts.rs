//! Hosts as they are: with routes, rules and parameters of their own.

use std::fmt::Write as _;

use podnet_lab::{Lab, Node, eventually};
use serde_json::Value;

use crate::scene::{
    LIMIT, add_pod, ask, builder, cluster, idle, list, nodes, ready, refused, shell, status,
    status_where, text,
};
use crate::snapshot::Snapshot;

/// Pods of two nodes reach each other and the internet.
#[track_caller]
fn assert_reachable(lab: &Lab) {
    let [node1, node2] = nodes(lab);
    let (red, blue) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    node1.pod("red").ping(blue).unwrap();
    node2.pod("blue").ping(red).unwrap();
    node1.place().ping(blue).unwrap();
    for pod in [node1.pod("red"), node2.pod("blue")] {
        pod.ping(lab.internet().address()).unwrap();
    }
}

#[test]
fn a_host_may_check_where_packets_come_from() {
    let lab = idle(2);
    for node in lab.nodes() {
        shell(
            node,
            "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1; \
             sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
        );
    }
    lab.init_join_all().unwrap();
    assert_reachable(&lab);
    for node in lab.nodes() {
        let strict = shell(node, "sysctl -n net.ipv4.conf.all.rp_filter");
        assert_eq!(strict.trim(), "1", "a stricter value stays");
    }
}

#[test]
fn a_host_may_have_no_ipv6() {
    let lab = idle(2);
    for node in lab.nodes() {
        shell(
            node,
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        );
    }
    lab.init_join_all().unwrap();
    assert_reachable(&lab);
    assert_eq!(list(&status(lab.nodes()[0])["problems"]).len(), 0);
}

/// As on a router of an exchange. None of them is podnet's to look at twice, let alone to touch.
#[test]
fn a_host_may_have_many_routes() {
    let lab = idle(2);
    let [node1, _] = nodes(&lab);
    let mut batch = String::new();
    for number in 0..1500 {
        let (high, low) = (number / 250, number % 250);
        writeln!(
            batch,
            "route add 10.{}.{low}.0/24 via 192.168.56.1 proto bird",
            20 + high
        )
        .unwrap();
    }
    let added = node1
        .exec_with(["ip", "-batch", "-"], &batch, LIMIT)
        .unwrap();
    added.success("ip -batch").unwrap();
    let foreign = || shell(node1, "ip route show proto bird");
    let before = foreign();
    assert_eq!(before.lines().count(), 1500);
    lab.init_join_all().unwrap();
    assert_reachable(&lab);

    node1.kill().unwrap();
    node1.start().unwrap();
    let settled = ready(node1, 1);
    assert_eq!(settled["reconcile"]["drift_total"], 0, "{settled}");
    assert_eq!(list(&ask(node1, &["routes"])).len(), 2);
    assert_eq!(foreign(), before);
}

/// Asserts that a node whose packets pass hears nothing of its peer, and names the port.
#[track_caller]
fn assert_port_named(node: Node<'_>, peer: Node<'_>) {
    let of_peer = |problem: &&Value| text(&problem["message"]).contains(&peer.name());
    let silent = status_where(node, "a silent peer is a problem", |status| {
        list(&status["problems"]).iter().any(|p| of_peer(&p))
    });
    let problem = list(&silent["problems"]).iter().find(of_peer).unwrap();
    assert_eq!(problem["severity"], "warning", "{problem}");
    assert!(
        text(&problem["hint"]).contains("UDP port 7846"),
        "{problem}"
    );
    assert_eq!(silent["peers"][0]["path"], "ok", "packets pass: {silent}");
}

/// Members whose hosts drop gossip see each other's packets, and no word of each other. Where it is
/// dropped one way, the one that is deaf tells.
#[test]
fn a_firewall_that_drops_gossip_is_told_by_the_port() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    let heard = || {
        for node in [node1, node2] {
            ready(node, 1);
            status_where(node, "no problem", |status| {
                list(&status["problems"]).is_empty()
            });
        }
    };
    for (chains, deaf) in [
        (
            &["INPUT", "OUTPUT"][..],
            &[(node1, node2), (node2, node1)][..],
        ),
        (&["INPUT"], &[(node2, node1)]),
        (&["OUTPUT"], &[(node1, node2)]),
    ] {
        heard();
        let change = |how| {
            for chain in chains {
                let rule = format!("{chain} -p udp --dport 7846 -j DROP");
                shell(node2, &format!("iptables {how} {rule}"));
            }
        };
        change("-I");
        for (node, peer) in deaf {
            assert_port_named(*node, *peer);
        }
        change("-D");
    }
    heard();
}

#[test]
fn two_hundred_pods_of_a_node_are_all_reached() {
    let (lab, _) = cluster(2);
    let [node1, node2] = nodes(&lab);
    shell(node1, "seq 200 | xargs -P8 -I{} podnetctl -q pod add pod{}");
    let pods = ask(node1, &["pod", "list"]);
    assert_eq!(list(&pods).len(), 200);
    let addresses: Vec<&str> = list(&pods)
        .iter()
        .map(|pod| text(&pod["addresses"][0]).split('/').next().unwrap())
        .collect();
    let all_answer = |node: Node<'_>| {
        let targets = addresses.join(" ");
        let script = format!(
            "printf '%s\\n' {targets} | xargs -P16 -I{{}} ping -qnc1 -W5 {{}} | grep -c ' 0% packet loss'"
        );
        shell(node, &script).trim().to_owned()
    };
    assert_eq!(all_answer(node2), "200");
    assert_eq!(all_answer(node1), "200");
    let permanent = shell(node1, "ip neighbour show dev podnet0 nud permanent | wc -l");
    assert_eq!(permanent.trim(), "200");
    let others = shell(
        node1,
        "ip neighbour show dev podnet0 | grep -v PERMANENT | wc -l",
    );
    assert_eq!(others.trim(), "0", "nothing is left to be found out");

    shell(node1, "seq 200 | sed s/^/pod/ | xargs podnetctl -q pod rm");
    let nothing = || {
        let left = shell(
            node1,
            "ls /sys/class/net /run/netns; ip neighbour show dev podnet0",
        );
        if left.contains("pod1") || left.contains("lladdr") || left.contains("\npn") {
            Err(left)
        } else {
            Ok(())
        }
    };
    eventually(LIMIT, "nothing left of the pods", nothing).unwrap();
}

/// Hides all of IPv6 from a node, and gives its agent every program but those for IPv6.
fn without_ipv6(node: Node<'_>) {
    shell(
        node,
        "mount -t tmpfs -o ro tmpfs /proc/sys/net/ipv6; mkdir /etc/podnet/bin; \
         for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do \
         find $dir/ -maxdepth 1 -name 'ip6*' -prune -o -name '?*' \\( -type f -o -type l \\) \
         -exec ln -sf -t /etc/podnet/bin {} +; done",
    );
    let found = shell(
        node,
        "cd /etc/podnet/bin; ls iptables ip6tables 2>&1 || true",
    );
    assert!(found.contains("\niptables"), "{found}");
    assert!(found.contains("'ip6tables'"), "{found}");
}

#[test]
fn a_host_may_know_nothing_of_ipv6() {
    let lab = builder(2).env("PATH", "/etc/podnet/bin").up().unwrap();
    let [node1, node2] = nodes(&lab);
    for node in [node1, node2] {
        without_ipv6(node);
    }
    let before = Snapshot::whole(node1);
    for cidrs in ["10.244.0.0/16,fd00:10::/56", "fd00:10::/56"] {
        let words = ["init", "--pod-cidr", cidrs];
        let refusal = refused(node1, &words, ("unsupported", 2));
        assert!(refusal.message.contains("IPv6"), "{refusal:?}");
    }
    before.assert_same(&Snapshot::whole(node1), "init with IPv6");

    lab.init_join_all().unwrap();
    let (red, blue) = (add_pod(node1, "red"), add_pod(node2, "blue"));
    let green = add_pod(node1, "green");
    let pings = || {
        node1.pod("red").ping(blue).unwrap();
        node2.pod("blue").ping(red).unwrap();
        node1.pod("green").ping(red).unwrap();
        node1.place().ping(green).unwrap();
        node2.pod("blue").ping(lab.internet().address()).unwrap();
    };
    pings();
    for node in [node1, node2] {
        let first = ready(node, 1);
        assert_eq!(list(&first["problems"]).len(), 0, "{first}");
        node.term().unwrap();
        node.start().unwrap();
        let again = ready(node, 1);
        assert_eq!(list(&again["problems"]).len(), 0, "{again}");
        assert_eq!(again["reconcile"]["drift_total"], 0, "{again}");
        assert_eq!(again["reconcile"]["failed_total"], 0, "{again}");
    }
    pings();
    ask(node2, &["--yes", "leave"]);
    assert_eq!(status(node2)["phase"], "idle");
}
