//! Hosts as they are: with routes, rules and parameters of their own.

use std::fmt::Write as _;
use std::time::Duration;

use podnet_lab::prelude::*;

/// Pods of two nodes reach each other and the internet.
#[track_caller]
fn assert_reachable(lab: &Lab) {
    let [node1, node2] = nodes(lab);
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
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
        node.shell(
            "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1; \
             sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
        );
    }
    lab.init_join_all().unwrap();
    assert_reachable(&lab);
    for node in lab.nodes() {
        let strict = node.shell("sysctl -n net.ipv4.conf.all.rp_filter");
        assert_eq!(strict.trim(), "1", "a stricter value stays");
    }
}

#[test]
fn a_host_may_have_no_ipv6() {
    let lab = idle(2);
    for node in lab.nodes() {
        node.shell(
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        );
    }
    lab.init_join_all().unwrap();
    assert_reachable(&lab);
    assert_eq!(lab.nodes()[0].problems(), []);
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
    let foreign = || node1.shell("ip route show proto bird");
    let before = foreign();
    assert_eq!(before.lines().count(), 1500);
    lab.init_join_all().unwrap();
    assert_reachable(&lab);

    node1.kill().unwrap();
    node1.start().unwrap();
    let settled = node1.ready(1);
    assert_eq!(settled.reconcile.drift_total, 0, "{settled:?}");
    assert_eq!(node1.routes().len(), 2);
    assert_eq!(foreign(), before);
}

/// Asserts that a node whose packets pass hears nothing of its peer, and names the port.
#[track_caller]
fn assert_port_named(node: Node<'_>, peer: Node<'_>) {
    let of_peer = |problem: &&api::ProblemEntry| problem.message.contains(&peer.name());
    let silent = node.status_where("a silent peer is a problem", |status| {
        status.problems.iter().any(|p| of_peer(&p))
    });
    let problem = silent.problems.iter().find(of_peer).unwrap();
    assert_eq!(problem.severity, Severity::Warning, "{problem:?}");
    let hint = problem.hint.as_deref().unwrap_or_default();
    assert!(hint.contains("UDP port 7846"), "{problem:?}");
    let path = silent.peers[0].path;
    assert_eq!(path, Some(PathState::Ok), "packets pass: {silent:?}");
}

/// Members whose hosts drop gossip see each other's packets, and no word of each other. Where it is
/// dropped one way, the one that is deaf tells.
#[test]
fn a_firewall_that_drops_gossip_is_told_by_the_port() {
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    let heard = || {
        for node in [node1, node2] {
            node.ready(1);
            node.until_no_problem();
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
                node2.shell(&format!("iptables {how} {rule}"));
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
    let lab = Cluster::of(2);
    let [node1, node2] = nodes(&lab);
    node1.shell("seq 200 | xargs -P8 -I{} podnetctl -q pod add pod{}");
    let pods = node1.pods();
    assert_eq!(pods.len(), 200);
    let addresses: Vec<String> = pods.iter().map(|pod| pod.address().to_string()).collect();
    let all_answer = |node: Node<'_>| {
        let targets = addresses.join(" ");
        let script = format!(
            "printf '%s\\n' {targets} | xargs -P16 -I{{}} ping -qnc1 -W5 {{}} | grep -c ' 0% packet loss'"
        );
        node.shell(&script).trim().to_owned()
    };
    assert_eq!(all_answer(node2), "200");
    assert_eq!(all_answer(node1), "200");
    let permanent = node1.shell("ip neighbour show dev podnet0 nud permanent | wc -l");
    assert_eq!(permanent.trim(), "200");
    let others = node1.shell("ip neighbour show dev podnet0 | grep -v PERMANENT | wc -l");
    assert_eq!(others.trim(), "0", "nothing is left to be found out");

    node1.shell("seq 200 | sed s/^/pod/ | xargs podnetctl -q pod rm");
    let nothing = || {
        let left = node1.shell("ls /sys/class/net /run/netns; ip neighbour show dev podnet0");
        if left.contains("pod1") || left.contains("lladdr") || left.contains("\npn") {
            Err(left)
        } else {
            Ok(())
        }
    };
    eventually(LIMIT, "nothing left of the pods", nothing).unwrap();
}

/// What the agents run is looked for in a folder of the node's own.
const PROGRAMS: &str = "/etc/podnet/bin";

/// Gives the agent of a node every program of the host, changed by a script that runs among them.
fn programs(node: Node<'_>, change: &str) {
    node.shell(&format!(
        "mkdir {PROGRAMS}; \
             for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do \
             find $dir/ -maxdepth 1 -name '?*' \\( -type f -o -type l \\) \
             -exec ln -sf -t {PROGRAMS} {{}} +; done; cd {PROGRAMS}; {change}"
    ));
}

/// Hides all of IPv6 from a node, and gives its agent every program but those for IPv6.
fn without_ipv6(node: Node<'_>) {
    node.shell("mount -t tmpfs -o ro tmpfs /proc/sys/net/ipv6");
    programs(node, "rm ip6*");
    let found = node.shell("cd /etc/podnet/bin; ls iptables ip6tables 2>&1 || true");
    assert!(found.contains("\niptables"), "{found}");
    assert!(found.contains("'ip6tables'"), "{found}");
}

#[test]
fn a_host_may_know_nothing_of_ipv6() {
    let lab = agents(2).env("PATH", PROGRAMS).up().unwrap();
    let [node1, node2] = nodes(&lab);
    for node in [node1, node2] {
        without_ipv6(node);
    }
    let before = Snapshot::whole(node1);
    for cidrs in ["10.244.0.0/16,fd00:10::/56", "fd00:10::/56"] {
        let words = ["init", "--pod-cidr", cidrs];
        let refusal = refused(node1, &words, ErrorCode::Unsupported);
        assert!(refusal.message.contains("IPv6"), "{refusal:?}");
    }
    before.assert_same(&Snapshot::whole(node1), "init with IPv6");

    lab.init_join_all().unwrap();
    let (red, blue) = (
        node1.add_pod("red").address(),
        node2.add_pod("blue").address(),
    );
    let green = node1.add_pod("green").address();
    let pings = || {
        node1.pod("red").ping(blue).unwrap();
        node2.pod("blue").ping(red).unwrap();
        node1.pod("green").ping(red).unwrap();
        node1.place().ping(green).unwrap();
        node2.pod("blue").ping(lab.internet().address()).unwrap();
    };
    pings();
    for node in [node1, node2] {
        let first = node.ready(1);
        assert_eq!(first.problems, []);
        node.term().unwrap();
        node.start().unwrap();
        let again = node.ready(1);
        assert_eq!(again.problems, []);
        assert_eq!(again.reconcile.drift_total, 0, "{again:?}");
        assert_eq!(again.reconcile.failed_total, 0, "{again:?}");
    }
    pings();
    node2.leave();
    assert_eq!(node2.status().phase, Phase::Idle);
}

/// As with a hundred thousand rules. The agent answers long before the data path stands.
#[test]
fn a_pod_waits_for_the_bridge_of_a_host_that_takes_its_time() {
    let lab = agents(1).env("PATH", PROGRAMS).up().unwrap();
    let [node] = nodes(&lab);
    programs(
        node,
        "real=$(command -v iptables-save); rm iptables-save; \
         printf '#!/bin/sh\\nsleep 1\\nexec %s \"$@\"\\n' $real > iptables-save; \
         chmod +x iptables-save",
    );
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    lab.reboot(&[node]).unwrap();
    // Once it has listened, and before its bridge is there.
    node.status_where("ready", |status| status.phase == Phase::Ready);
    let red = node.add_pod("red").address();
    node.place().ping(red).unwrap();
    assert_eq!(node.problems(), []);
}

/// Makes the legacy variant the host's choice.
const LEGACY: &str = "legacy=$(readlink -f $(command -v iptables-legacy)); \
    for family in iptables ip6tables; do for program in $family $family-save $family-restore; do \
    ln -sf $legacy $program; done; done; ./iptables --version | grep -q legacy";

/// Podnet's rules are among the legacy ones of two hosts that drop what they forward, and work, come
/// back, and go. The agents have the programs that are left after a change.
#[track_caller]
fn assert_legacy_rules(change: &str) {
    let resync = Duration::from_millis(500);
    let lab = agents(2)
        .timing("resync", resync)
        .env("PATH", PROGRAMS)
        .up()
        .unwrap();
    let [node1, node2] = nodes(&lab);
    for node in [node1, node2] {
        programs(node, &format!("{LEGACY}; {change}"));
        node.shell(
"iptables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -s 172.31.0.0/24 -j ACCEPT",
);
    }
    let before = Snapshot::kernel(node2);
    lab.init_join_all().unwrap();
    assert_reachable(&lab);
    let internet = lab.internet().place();
    let _responder = internet.respond().unwrap();
    let assert_masqueraded = || {
        for pod in [node1.pod("red"), node2.pod("blue")] {
            let seen = pod.seen_as(lab.internet().address()).unwrap();
            assert_eq!(seen, pod.node().address(), "{pod}");
        }
    };
    assert_masqueraded();

    let rules = || node2.shell("iptables-legacy -t nat -S; iptables-legacy -S");
    let held = rules();
    for chain in ["PODNET-POSTROUTING", "PODNET-FORWARD"] {
        assert!(held.contains(&format!("-j {chain}")), "{held}");
    }
    let others = node2.shell("nft list ruleset");
    assert!(!others.contains("PODNET-POSTROUTING"), "{others}");
    for (table, chain) in [("nat", "PODNET-POSTROUTING"), ("filter", "PODNET-FORWARD")] {
        node2.shell(&format!("iptables-legacy -t {table} -F {chain}"));
        let back = || match rules() {
            now if now == held => Ok(()),
            now => Err(now),
        };
        eventually(LIMIT, chain, back).unwrap();
    }
    assert_masqueraded();
    assert_eq!(node2.problems(), []);

    node2.leave();
    before.assert_same(&Snapshot::kernel(node2), "leave");
}

#[test]
fn a_host_may_have_chosen_the_legacy_iptables() {
    assert_legacy_rules("ls iptables-nft-save");
}

#[test]
fn a_host_may_have_no_iptables_but_the_legacy_one() {
    assert_legacy_rules("rm *-nft*");
}
