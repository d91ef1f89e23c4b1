//! What the underlay can be made to do: subnets, cuts, and other MTUs.

use podnet_lab::{Direction, Lab, LabError, Mtu, Node, eventually, unique_name};

use super::{LIMIT, lab, podnet_lab};

fn reaches(from: Node<'_>, to: Node<'_>) -> bool {
    from.place().ping(to.address()).is_ok()
}

/// Whether what is sent is lost: no answer within a second.
fn lost(from: Node<'_>, to: Node<'_>) -> bool {
    let to = to.address().to_string();
    let words = ["ping", "-n", "-c", "1", "-W", "1", &to];
    !from.exec(words).unwrap().ok()
}

fn routed(nodes: u8, subnets: u8) -> Lab {
    let lab = Lab::builder().nodes(nodes).subnets(subnets).agents(false);
    lab.up().unwrap()
}

fn nodes<const N: usize>(lab: &Lab) -> [Node<'_>; N] {
    lab.nodes().try_into().unwrap()
}

#[test]
fn between_subnets_there_is_a_router() {
    let lab = routed(4, 2);
    let [node1, node2, node3, node4] = nodes(&lab);
    assert_eq!(node2.address().to_string(), "192.168.57.11");
    for (from, to, ttl) in [(node1, node3, 64), (node1, node2, 63), (node4, node3, 63)] {
        assert_eq!(from.place().ping(to.address()).unwrap().ttl, ttl);
    }
    let route = node1.exec(["ip", "route", "get", "192.168.57.11"]).unwrap();
    assert!(route.stdout.contains("via 192.168.56.1 "), "{route}");

    let internet = lab.internet();
    let _responder = internet.place().respond().unwrap();
    let seen = node4.place().seen_as(internet.address()).unwrap();
    assert_eq!(seen, node4.address(), "the underlay translates nothing");
}

#[test]
fn cuts_stop_what_is_bridged_and_what_is_routed() {
    let lab = routed(4, 2);
    let [node1, node2, node3, node4] = nodes(&lab);
    lab.cut(&[node1], &[node2, node3], Direction::Both).unwrap();
    for other in [node2, node3] {
        assert!(lost(node1, other) && lost(other, node1));
    }
    assert!(reaches(node1, node4) && reaches(node2, node3) && reaches(node1, lab.internet()));
    // The same again, another one, and a reboot.
    lab.cut(&[node3], &[node1], Direction::Both).unwrap();
    lab.cut(&[node2], &[node4], Direction::Both).unwrap();
    node1.reboot().unwrap();
    assert!(lost(node1, node2) && lost(node1, node3) && lost(node4, node2));
    let rules = node1.exec(["nft", "list", "ruleset"]).unwrap();
    assert_eq!(
        rules.stdout, "",
        "a node's own rules are none of our business"
    );

    lab.heal().unwrap();
    lab.heal().unwrap();
    // Whoever has just given up looking for a neighbour says so until it looks again.
    for (from, to) in [(node1, node2), (node1, node3), (node2, node4)] {
        let ping = || from.place().ping(to.address());
        eventually(LIMIT, "an answer after the cuts", ping).unwrap();
    }
}

#[test]
fn a_cut_may_leave_the_way_back_open() {
    let lab = lab(2);
    let [node1, node2] = nodes(&lab);
    assert!(reaches(node1, node2), "so that neighbours are known");
    lab.cut(&[node1], &[node2], Direction::OneWay).unwrap();
    let arrives = node1.capture("eth0", "icmp").unwrap();
    let starts = node2.capture("eth0", "icmp").unwrap();
    assert!(lost(node1, node2) && lost(node2, node1));
    let request = "IP 192.168.56.12 > 192.168.56.11: ICMP echo request";
    arrives
        .wait_for(LIMIT, "request", |line| line.starts_with(request))
        .unwrap();
    let from_node1 = |line: &String| line.starts_with("IP 192.168.56.11");
    let seen = starts.stop().unwrap();
    assert!(!seen.iter().any(from_node1), "{seen:?}");
    assert!(arrives.stop().unwrap().iter().any(from_node1));
}

#[test]
fn who_is_no_node_or_on_both_sides_cannot_be_cut() {
    let lab = lab(2);
    let [node1, node2] = nodes(&lab);
    let both = lab.cut(&[node1, node2], &[node2], Direction::Both);
    assert!(matches!(both, Err(LabError::Unsupported { .. })));
    let router = lab.cut(&[node1], &[lab.router()], Direction::Both);
    assert!(matches!(router, Err(LabError::NoMember { .. })));
    for (groups, code) in [
        ("node1:node3", 4),
        ("node1:internet", 4),
        ("node1:node1", 2),
        ("node1,node2", 2),
        ("node1:node2", 0),
    ] {
        let output = podnet_lab(lab.name(), &["cut", groups]);
        assert_eq!(output.code, code, "{groups}: {output}");
    }
    assert!(lost(node1, node2));
    let healed = podnet_lab(lab.name(), &["-o", "json", "heal"]);
    assert_eq!((healed.code, healed.stdout.as_str()), (0, "{}\n"));
    assert!(reaches(node1, node2));
    assert_eq!(podnet_lab(&unique_name("none"), &["heal"]).code, 4);
}

#[test]
fn packets_are_as_large_as_both_ends_allow() {
    let lab = routed(4, 2);
    let [node1, node2, node3, node4] = nodes(&lab);
    let fits = |from: Node<'_>, to: Node<'_>, size: u16| {
        // The headers of IPv4 and ICMP.
        let data = (size - 28).to_string();
        let to = to.address().to_string();
        let words = [
            "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", &data, &to,
        ];
        from.exec(words).unwrap().ok()
    };
    let jumbo = Mtu::new(9000).unwrap();
    for node in [node1, node2, node3] {
        node.set_mtu(jumbo).unwrap();
    }
    assert!(fits(node1, node3, 9000), "bridged");
    assert!(fits(node1, node2, 9000), "routed");
    assert!(fits(node4, node1, 1500) && !fits(node4, node1, 1501));
    let small = podnet_lab(lab.name(), &["mtu", "node3", "1280"]);
    assert_eq!(small.code, 0, "{small}");
    assert!(!fits(node1, node3, 9000) && fits(node1, node3, 1280));
    assert!(fits(node1, node2, 9000), "node3 is not on their way");
    node3.reboot().unwrap();
    assert!(fits(node3, node1, 1280) && !fits(node3, node1, 1281));
    assert_eq!(podnet_lab(lab.name(), &["mtu", "node1", "67"]).code, 2);
    assert_eq!(podnet_lab(lab.name(), &["mtu", "router", "1500"]).code, 4);
}
