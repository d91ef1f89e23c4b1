use super::*;

fn rule(priority: u32, table: u32) -> PolicyRule {
    PolicyRule {
        priority,
        from: None,
        to: None,
        by: None,
        mark: None,
        inverted: false,
        action: PolicyAction::Table {
            table,
            suppressed: None,
        },
    }
}

fn route(table: u32, destination: &str, outcome: Outcome) -> PolicyRoute {
    PolicyRoute {
        table,
        destination: destination.parse().unwrap(),
        metric: 0,
        ours: false,
        by_address: false,
        outcome,
    }
}

fn hop() -> IpAddr {
    "192.0.2.254".parse().unwrap()
}

fn via() -> Outcome {
    Outcome::Out {
        via: Some(hop()),
        devices: vec!["eth0".to_owned()],
    }
}

fn away() -> Way {
    Way::Out {
        via: Some(hop()),
        device: "eth0".parse().unwrap(),
    }
}

fn refused() -> Way {
    Way::Refused("no".to_owned())
}

/// Rules, beside that of the main table, and routes, beside those of podnet and the default one.
fn policy(rules: &[PolicyRule], routes: &[PolicyRoute]) -> Policy {
    let ours = |destination| PolicyRoute {
        ours: true,
        ..route(MAIN, destination, via())
    };
    let mut all = vec![
        ours("10.244.0.0/16"),
        ours("10.244.1.0/24"),
        route(MAIN, "0.0.0.0/0", via()),
    ];
    all.extend_from_slice(routes);
    let mut rules = rules.to_vec();
    rules.push(rule(32766, MAIN));
    Policy { rules, routes: all }
}

/// What a pod sends to one of a peer.
fn packet() -> Packet {
    Packet {
        from: "10.244.0.2".parse().unwrap(),
        to: "10.244.1.2".parse().unwrap(),
        by: Some(IfName::bridge()),
    }
}

/// What leads it this way.
fn blamed(rules: &[PolicyRule], routes: &[PolicyRoute], way: &Way) -> Option<String> {
    let policy = policy(rules, routes);
    let blame = policy.blame(&packet(), way)?;
    Some(match blame.route {
        Some(route) => format!("{}: {route}", blame.rule),
        None => blame.rule.to_string(),
    })
}

fn cure(rules: &[PolicyRule], routes: &[PolicyRoute], way: &Way) -> String {
    let policy = policy(rules, routes);
    let blame = policy.blame(&packet(), way).unwrap();
    blame.cure("10.244.0.0/16".parse().unwrap())
}

#[test]
fn the_first_rule_that_concerns_a_packet_and_has_a_route_is_to_blame() {
    let default = route(100, "0.0.0.0/0", via());
    let led = |rule: &PolicyRule, routes: &[PolicyRoute]| {
        blamed(std::slice::from_ref(rule), routes, &away())
    };
    let default = std::slice::from_ref(&default);
    let words = "rule 100 (from 10.0.0.0/8 iif podnet0 lookup 100): route 0.0.0.0/0 via 192.0.2.254 by \
                 eth0 of table 100";
    let from = PolicyRule {
        from: Some("10.0.0.0/8".parse().unwrap()),
        by: Some("podnet0".to_owned()),
        ..rule(100, 100)
    };
    assert_eq!(led(&from, default).unwrap(), words);
    assert_eq!(led(&from, &[]), None, "an empty table");
    let throw = route(100, "0.0.0.0/0", Outcome::Thrown);
    assert_eq!(led(&from, &[throw]), None);
    let mut suppressing = from.clone();
    suppressing.action = PolicyAction::Table {
        table: 100,
        suppressed: Some(0),
    };
    assert_eq!(led(&suppressing, default), None);
    let elsewhere = PolicyRule {
        from: Some("10.9.0.0/16".parse().unwrap()),
        ..from.clone()
    };
    assert_eq!(led(&elsewhere, default), None);
    let inverted = PolicyRule {
        inverted: true,
        ..elsewhere
    };
    assert!(led(&inverted, default).is_some());
    let other_device = PolicyRule {
        by: Some("eth1".to_owned()),
        ..from
    };
    assert_eq!(led(&other_device, default), None);
}

/// As `wg-quick` makes them.
#[test]
fn packets_of_pods_have_no_mark() {
    let default = [route(51820, "0.0.0.0/0", via())];
    let marked = PolicyRule {
        mark: Some((0xca6c, u32::MAX)),
        ..rule(32764, 51820)
    };
    assert_eq!(
        blamed(std::slice::from_ref(&marked), &default, &away()),
        None
    );
    let unmarked = PolicyRule {
        inverted: true,
        ..marked
    };
    let words = blamed(&[unmarked], &default, &away()).unwrap();
    let rule = "rule 32764 (not from all fwmark 0xca6c lookup 51820): ";
    assert!(words.starts_with(rule), "{words}");
}

#[test]
fn a_rule_may_refuse_by_itself_and_a_route_of_the_main_table_may_be_narrower() {
    let refusing = PolicyRule {
        action: PolicyAction::Refuse("prohibit"),
        ..rule(7, 0)
    };
    assert_eq!(
        blamed(&[refusing], &[], &refused()).unwrap(),
        "rule 7 (from all prohibit)"
    );
    let local = || rule(0, LOCAL);
    let narrower = route(MAIN, "10.244.1.0/25", via());
    assert_eq!(
        blamed(&[local()], std::slice::from_ref(&narrower), &away()).unwrap(),
        "rule 32766 (from all lookup main): route 10.244.1.0/25 via 192.0.2.254 by eth0 of table main"
    );
    assert_eq!(
        cure(&[local()], &[narrower], &away()),
        "remove that route, for instance with 'ip route del 10.244.1.0/25'"
    );
    assert_eq!(blamed(&[local()], &[], &away()), None);
}

#[test]
fn a_rule_that_leads_elsewhere_than_the_kernel_is_not_to_blame() {
    let default = [route(100, "0.0.0.0/0", via())];
    let rules = [rule(100, 100)];
    let by = |via, device: &str| Way::Out {
        via,
        device: device.parse().unwrap(),
    };
    assert!(blamed(&rules, &default, &away()).is_some());
    for elsewhere in [
        by(Some(hop()), "eth1"),
        by(None, "eth0"),
        Way::Local,
        refused(),
    ] {
        assert_eq!(blamed(&rules, &default, &elsewhere), None, "{elsewhere:?}");
    }
    let refusing = PolicyRule {
        action: PolicyAction::Refuse("blackhole"),
        ..rule(7, 0)
    };
    assert_eq!(blamed(&[refusing], &[], &away()), None);
    // The kernel chooses one of several.
    let several = Outcome::Out {
        via: None,
        devices: vec!["eth0".to_owned(), "eth1".to_owned()],
    };
    let several = [route(100, "0.0.0.0/0", several)];
    assert!(blamed(&rules, &several, &by(Some(hop()), "eth1")).is_some());
    assert_eq!(blamed(&rules, &several, &by(Some(hop()), "eth2")), None);
}

/// A rule before that of the local table would take the host off the network.
#[test]
fn no_cure_leads_past_the_hosts_own_addresses() {
    let own = |destination, by_address| PolicyRoute {
        by_address,
        ..route(
            LOCAL,
            destination,
            Outcome::Local {
                device: Some("eth1".to_owned()),
            },
        )
    };
    // The rule may have been moved.
    for priority in [0, 100] {
        let local = [rule(priority, LOCAL)];
        let cure = |route| cure(&local, &[route], &Way::Local);
        assert_eq!(
            cure(own("10.244.1.2/32", true)),
            "take the address 10.244.1.2 from eth1"
        );
        assert_eq!(
            cure(own("10.244.1.0/24", true)),
            "take the address in 10.244.1.0/24 from eth1"
        );
        assert_eq!(
            cure(own("10.244.1.0/25", false)),
            "remove that route, for instance with 'ip route del local 10.244.1.0/25 table local'"
        );
    }
    let cure = |local: u32, priority: u32| {
        let mut rules = [rule(local, LOCAL), rule(priority, 100)];
        rules.sort_by_key(|rule| rule.priority);
        cure(&rules, &[route(100, "0.0.0.0/0", via())], &away())
    };
    for (local, priority) in [(0, 0), (0, 1), (100, 7), (100, 100), (100, 101)] {
        let cure = cure(local, priority);
        assert!(!cure.contains("ip rule add"), "{local}, {priority}: {cure}");
        assert!(cure.contains("remove that rule"), "{cure}");
    }
    for (local, priority, before) in [(0, 2, "priority 1'"), (100, 102, "priority 101'")] {
        let cure = cure(local, priority);
        assert!(cure.contains(before), "{local}, {priority}: {cure}");
    }
}
