//! Pods on hosts whose firewall is strict.

use podnet_lab::prelude::*;

use crate::stage::cluster;

/// Pods of one node, of two nodes, and the internet reach each other, under the right addresses.
fn assert_reachable(lab: &Lab) {
    let [node, far] = nodes(lab);
    let [red, green, blue] = [
        node.add_pod("red"),
        node.add_pod("green"),
        far.add_pod("blue"),
    ];
    let internet = lab.internet();
    let places = [
        node.pod("red"),
        node.pod("green"),
        far.pod("blue"),
        internet.place(),
    ];
    let _responders = places.map(|place| place.respond().unwrap());
    for (place, pod) in [
        (node.pod("red"), &red),
        (node.pod("green"), &green),
        (far.pod("blue"), &blue),
    ] {
        for other in [&red, &green, &blue] {
            let seen = place.seen_as(other.address()).unwrap();
            assert_eq!(seen, pod.address(), "{place} to {other:?}");
        }
        place.ping(internet.address()).unwrap();
        assert_eq!(
            place.seen_as(internet.address()).unwrap(),
            place.node().address(),
            "{place}"
        );
    }
}

fn restrict(node: Node<'_>, variant: &str) {
    node.shell(&format!(
        "{variant} -P FORWARD DROP; {variant} -A FORWARD -s 172.31.0.0/24 -j ACCEPT"
    ));
}

#[test]
fn pods_pass_where_forwarding_is_dropped_from_the_start() {
    let lab = looking_every(OFTEN, 2).up().unwrap();
    for node in lab.nodes() {
        restrict(node, "iptables-nft");
        restrict(node, "iptables-legacy");
    }
    lab.init_join_all().unwrap();
    assert_reachable(&lab);
}

/// As when Docker is started later: it sets the policy to DROP.
#[test]
fn pods_pass_where_forwarding_is_dropped_later() {
    for variant in ["iptables-nft", "iptables-legacy"] {
        let lab = cluster(2);
        for node in lab.nodes() {
            restrict(node, variant);
            let rules = || {
                let rules = node.shell(&format!("{variant} -S FORWARD"));
                if rules.contains("-j PODNET-FORWARD") {
                    Ok(())
                } else {
                    Err(rules)
                }
            };
            eventually(LIMIT, variant, rules).unwrap();
        }
        assert_reachable(&lab);
    }
}

/// How many packets podnet's rules have let through to or from pods.
fn accepted(node: Node<'_>) -> u64 {
    let rules = node.shell("iptables-nft -nvxL PODNET-FORWARD | grep -w ACCEPT");
    let packets = rules.lines().map(|rule| {
        let count = rule.split_whitespace().next().unwrap();
        count.parse::<u64>().unwrap()
    });
    packets.sum()
}

/// Docker and Kubernetes set it; then frames between the ports of a bridge meet the IP rules.
#[test]
fn bridged_frames_that_meet_the_ip_rules_stay_as_they_are() {
    let lab = cluster(2);
    let parameter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    for node in lab.nodes() {
        let set = node.attempt(&format!("echo 1 > {parameter}"));
        assert!(set.ok(), "the kernel's module br_netfilter: {set}");
        restrict(node, "iptables-nft");
        restrict(node, "iptables-legacy");
        node.passes(2);
    }
    assert_reachable(&lab);
    for node in lab.nodes() {
        assert_eq!(node.shell(&format!("cat {parameter}")), "1\n");
    }
    // What goes between pods of one node meets the rules, and does so for no other reason.
    let node = first(&lab);
    let red = node.show_pod("red").address();
    let met = || {
        let before = accepted(node);
        node.pod("green").ping(red).unwrap();
        accepted(node) > before
    };
    assert!(met());
    node.shell(&format!("echo 0 > {parameter}"));
    assert!(!met());
}

/// Recipes for VPNs have such rules. What pods send to pods, and to excluded ranges, is translated by nobody.
#[test]
fn an_operators_masquerade_leaves_pods_their_addresses() {
    let lab = looking_every(OFTEN, 2).up().unwrap();
    let [node, far] = nodes(&lab);
    let underlay = "192.168.56.0/24";
    let words = [
        "init",
        "--pod-cidr",
        "10.244.0.0/16",
        "--exclude-cidr",
        underlay,
    ];
    let invitation: Invitation = node.ask(&words);
    far.join(&invitation, node).unwrap();
    let [red, blue] = [node.add_pod("red"), far.add_pod("blue")].map(|pod| pod.address());
    for node in lab.nodes() {
        node.shell(
            "iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE; \
             iptables -t nat -A POSTROUTING -j MASQUERADE",
        );
    }
    let internet = lab.internet();
    let places = [far.pod("blue"), internet.place()];
    let _responders = places.map(|place| place.respond().unwrap());
    let place = node.pod("red");
    assert_eq!(place.seen_as(blue).unwrap(), red, "to a pod");
    assert_eq!(
        place.seen_as(internet.address()).unwrap(),
        node.address(),
        "to the internet"
    );
    let capture = far.capture("eth0", "icmp").unwrap();
    place.ping(far.address()).unwrap();
    let expected = format!("{red} > {}: ICMP echo request", far.address());
    capture
        .wait_for(LIMIT, &expected, |line| line.contains(&expected))
        .unwrap();
    capture.stop().unwrap();
}

/// A frame from port to port of the bridge leaves the host for nowhere, also when all ports get it.
#[test]
fn broadcasts_between_pods_are_answered_where_bridged_frames_meet_the_ip_rules() {
    let lab = cluster(1);
    let node = first(&lab);
    let [_, green] = [node.add_pod("red"), node.add_pod("green")].map(|pod| pod.address());
    node.shell(
        "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; \
         ip netns exec green sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0",
    );
    let words = [
        "ping",
        "-n",
        "-b",
        "-c",
        "2",
        "-i",
        "0.1",
        "-W",
        "2",
        "255.255.255.255",
    ];
    let answers = node.pod("red").exec(words).unwrap();
    let from_green = format!("bytes from {green}:");
    assert!(answers.stdout.contains(&from_green), "{answers}");
}
