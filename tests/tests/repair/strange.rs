//! Rules of others that are easily taken for podnet's, or that iptables cannot show.

use podnet_lab::prelude::*;

const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

/// A rule of nftables in a table of iptables.
const HIDDEN: &str = "nft add rule ip filter FORWARD ct state vmap '{ invalid : drop }'";

/// What takes it away again.
const SHOWN: &str = "nft delete rule ip filter FORWARD handle \
    $(nft -a list chain ip filter FORWARD | sed -n 's/.*vmap.*handle //p')";

/// Rules that lead elsewhere, or to podnet's chain because an operator wants it.
const OPERATORS: [&str; 6] = [
    "-s 10.9.9.9 -m comment --comment 'stays before -j PODNET-FORWARD or pods leak' -j DROP",
    "-s 10.9.9.8 -m comment --comment '\"\\ -m comment --comment podnet -j PODNET-FORWARD' -j DROP",
    "-s 10.9.9.7 -m comment --comment 'a\n-A FORWARD -m comment --comment podnet -j PODNET-FORWARD\n' -j DROP",
    "-i wg0 -j PODNET-FORWARD",
    "-s 10.9.9.6 -m comment --comment podnet -j PODNET-FORWARD",
    "-m comment --comment -j -g PODNET-FORWARD",
];

/// All rules that the nft variant of iptables keeps, or whoever else.
fn ruleset(node: Node<'_>) -> String {
    node.shell("nft -s list ruleset | sed 's/ packets [0-9]* bytes [0-9]*//'")
}

fn jumps(node: Node<'_>) -> usize {
    let rules = ruleset(node);
    rules.matches("jump PODNET-FORWARD").count()
}

#[test]
fn a_table_that_iptables_cannot_show_keeps_a_host_from_being_a_node() {
    let lab = looking_every(OFTEN, 2).up().unwrap();
    let [node, founder] = nodes(&lab);
    let Invitation { token } = founder.ask(&INIT);
    let founder = founder.address().to_string();
    node.shell(&format!("iptables -A FORWARD -i lo -j DROP; {HIDDEN}"));
    let before = ruleset(node);
    let join = ["join", &founder, "--token", &token];
    for command in [&INIT[..], &join] {
        refused(node, command, ErrorCode::ForeignObject);
        assert_eq!(ruleset(node), before);
        assert_eq!(node.status().phase, Phase::Idle);
    }
    node.shell(SHOWN);
    node.tell(&join);
}

#[test]
fn a_table_that_iptables_cannot_show_is_left_alone_and_named() {
    let lab = looking_every(OFTEN, 1).up().unwrap();
    let node = first(&lab);
    node.tell(&INIT);
    node.add_pod("red");
    node.shell(HIDDEN);
    let what =
        "chain PODNET-FORWARD in table filter of iptables-nft: a rule that iptables cannot show";
    node.until_told(what);
    for number in 1..4 {
        node.shell(&format!(
            "nft add rule ip filter FORWARD ip saddr 10.9.9.{number} drop"
        ));
        let before = ruleset(node);
        node.passes(3);
        assert_eq!(ruleset(node), before);
    }
    assert_eq!(jumps(node), 1);

    // What podnet cannot take back it names, and takes it back once it can.
    let left = node
        .ctl(["--yes", "leave"])
        .unwrap()
        .success("leave")
        .unwrap();
    let what = "table filter of iptables-nft: iptables cannot show it";
    assert!(left.stdout.contains(what), "{left}");
    node.until_told(what);
    assert_eq!(jumps(node), 1);
    assert!(!ruleset(node).contains("PODNET-POSTROUTING"));
    node.kill().unwrap();
    let cleanup = || node.exec(["podnetd", "cleanup", "--yes"]).unwrap();
    let cleaned = cleanup().success("cleanup").unwrap();
    assert!(format!("{cleaned}").contains(what), "{cleaned}");
    node.shell(SHOWN);
    cleanup().success("cleanup").unwrap();
    assert!(!ruleset(node).contains("PODNET"), "{}", ruleset(node));
    assert!(ruleset(node).contains("10.9.9.3"));
}

/// Podnet puts its rules right again once it can read them.
#[test]
fn a_table_that_can_be_shown_again_is_put_right() {
    let lab = looking_every(OFTEN, 1).up().unwrap();
    let node = first(&lab);
    node.tell(&INIT);
    node.shell(&format!(
        "{HIDDEN}; nft flush chain ip filter PODNET-FORWARD"
    ));
    node.until_told("a rule that iptables cannot show");
    node.shell(SHOWN);
    eventually(LIMIT, "podnet's rules", || {
        let rules = node.shell("iptables -S PODNET-FORWARD");
        let problems = node.problems_told();
        if rules.contains("-i podnet0 -j ACCEPT") && problems.is_empty() {
            Ok(())
        } else {
            Err(format!("{rules} {problems}"))
        }
    })
    .unwrap();
    assert_eq!(jumps(node), 1);
}

fn operators_rules(node: Node<'_>) -> String {
    let rules = node.shell("iptables -S FORWARD");
    let own = "-A FORWARD -m comment --comment podnet -j PODNET-FORWARD\n";
    // One that looks like it stands in a comment.
    rules.replacen(own, "", 1)
}

fn with_operators_rules() -> (Lab, String) {
    let lab = looking_every(OFTEN, 1).up().unwrap();
    let node = first(&lab);
    node.tell(&INIT);
    node.add_pod("red");
    for rule in OPERATORS {
        node.shell(&format!("iptables -A FORWARD {rule}"));
    }
    let rules = operators_rules(node);
    (lab, rules)
}

#[test]
fn what_looks_like_podnets_jump_stays() {
    let (lab, before) = with_operators_rules();
    let node = first(&lab);
    assert_eq!(
        before.matches("PODNET-FORWARD").count(),
        OPERATORS.len(),
        "{before}"
    );
    node.until_told(
        "chain filter/PODNET-FORWARD in iptables-nft: rules of another program jump to it",
    );
    for tamper in [
        "iptables -F PODNET-FORWARD",
        "iptables -I FORWARD -m comment --comment podnet -j PODNET-FORWARD",
        "iptables -D FORWARD -m comment --comment podnet -j PODNET-FORWARD",
    ] {
        node.shell(tamper);
        eventually(LIMIT, tamper, || {
            let rules = node.shell("iptables -S FORWARD; iptables -S PODNET-FORWARD");
            let own = "-A FORWARD -m comment --comment podnet -j PODNET-FORWARD\n";
            // One is podnet's, another stands in a comment.
            let right = rules.matches(own).count() == 2 && rules.contains("-i podnet0 -j ACCEPT");
            if right { Ok(()) } else { Err(rules) }
        })
        .unwrap();
        node.passes(2);
        assert_eq!(operators_rules(node), before, "{tamper}");
    }
    node.leave();
    assert_eq!(node.shell("iptables -S FORWARD"), before, "leave");
    assert_eq!(
        node.shell("iptables -S PODNET-FORWARD"),
        "-N PODNET-FORWARD\n"
    );
}
