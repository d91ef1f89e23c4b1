//! Chains of nftables that other programs keep: podnet cannot overrule them, and names what is in the way.

use std::time::{Duration, Instant};

use podnet_lab::{Lab, Node, eventually};

use crate::scene::HOUR;
use crate::stage::{LIMIT, add, address, ask, cluster, first, looking_every, shell};

/// What a host has that forwards nothing but what its owner accepts.
const STRICT: &str = "nft -f - <<'end'
table inet strict {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state { established, related } accept
        iifname \"wg0\" accept
    }
}
end";

fn problems(node: Node<'_>) -> String {
    ask(node, &["status"])["problems"].to_string()
}

/// Waits until a problem says this, or none does.
#[track_caller]
fn named(node: Node<'_>, what: &str, wanted: bool) -> String {
    eventually(LIMIT, what, || {
        let problems = problems(node);
        if problems.contains(what) == wanted {
            Ok(problems)
        } else {
            Err(problems)
        }
    })
    .unwrap()
}

fn two() -> Lab {
    let lab = cluster(2);
    for node in lab.nodes() {
        add(node, "red");
    }
    lab
}

fn passes_between(lab: &Lab) -> bool {
    let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    let there = address(&ask(far, &["pod", "show", "red"]));
    node.pod("red").ping(there).is_ok()
}

#[test]
fn a_chain_that_drops_what_is_forwarded_is_named() {
    let lab = two();
    let node = first(&lab);
    assert!(passes_between(&lab));
    shell(node, STRICT);
    assert!(!passes_between(&lab));
    let what = "the policy of chain forward in table inet strict: it drops what pods";
    let problems = named(node, what, true);
    assert!(
        problems.contains("nft -a list table inet strict"),
        "{problems}"
    );
    assert!(problems.contains("10.244.0.0/16"), "the cure: {problems}");

    // As the cure says.
    shell(
        node,
        "nft add rule inet strict forward iifname podnet0 ip saddr 10.244.0.0/16 accept; \
         nft add rule inet strict forward oifname podnet0 ip daddr 10.244.0.0/16 accept",
    );
    named(node, "inet strict", false);
    assert!(passes_between(&lab));
    // A rule instead of the policy.
    assert_in_the_way(
        &lab,
        "nft insert rule inet strict forward ip daddr 10.244.0.0/16 reject",
        "of chain forward in table inet strict: it drops what pods",
        "nft delete table inet strict",
    );
}

/// Nothing passes once this was run on the first node, and a problem says why, until it is undone.
#[track_caller]
fn assert_in_the_way(lab: &Lab, run: &str, said: &str, undo: &str) {
    let node = first(lab);
    shell(node, run);
    named(node, said, true);
    assert!(!passes_between(lab));
    shell(node, undo);
    named(node, said, false);
    assert!(passes_between(lab));
}

/// So does iptables, where a rule of another program stands before podnet's jump.
#[test]
fn a_rule_before_podnets_jump_that_drops_what_pods_send_is_named() {
    assert_in_the_way(
        &two(),
        "iptables -I FORWARD -i podnet0 -j DROP",
        "of chain FORWARD in table ip filter: it drops what pods",
        "iptables -D FORWARD -i podnet0 -j DROP",
    );
}

/// What packets of pods pass is nobody's business, however strict it is.
#[test]
fn chains_that_pods_pass_are_no_problem() {
    let lab = two();
    let node = first(&lab);
    shell(
        node,
        "iptables -P FORWARD DROP; iptables -A FORWARD -j REJECT; \
         iptables -t nat -A POSTROUTING -j MASQUERADE
         nft -f - <<'end'
         table inet docker {
            chain forward {
                type filter hook forward priority 0; policy drop;
                ct state vmap { invalid : drop, established : accept }
                ip saddr 172.17.0.0/16 drop
                iifname { \"podnet0\", \"docker0\" } accept
                jump more
            }
            chain more { oifname \"pod*\" accept; }
            chain out {
                type nat hook postrouting priority 100;
                ip saddr 172.17.0.0/16 oifname != \"docker0\" masquerade
            }
         }
         table ip6 fw6 { chain forward { type filter hook forward priority 0; policy drop; }; }
         table bridge fwb { chain forward { type filter hook forward priority 0; policy accept; }; }\nend",
    );
    assert!(passes_between(&lab));
    // One that is seen shows that all were looked at.
    shell(node, "nft add table inet seen");
    shell(
        node,
        "nft add chain inet seen forward '{ type filter hook forward priority 9; policy drop; }'",
    );
    named(node, "inet seen", true);
    let problems = problems(node);
    assert!(
        !problems.contains("docker") && !problems.contains("fw6"),
        "{problems}"
    );
    assert!(
        !problems.contains("ip filter") && !problems.contains("ip nat"),
        "{problems}"
    );
}

/// The kernel asks chain after chain, whatever podnet's accept.
#[test]
fn a_masquerade_in_a_chain_of_nftables_is_named() {
    let lab = two();
    let [node, far] = ["node1", "node2"].map(|name| lab.node(name).unwrap());
    shell(
        node,
        "nft add table inet vpn
         nft add chain inet vpn out '{ type nat hook postrouting priority 90; }'
         nft add rule inet vpn out oifname eth0 masquerade",
    );
    let what = "of chain out in table inet vpn: it gives what pods send";
    named(node, what, true);
    let blue = address(&ask(far, &["pod", "show", "red"]));
    let red = address(&ask(node, &["pod", "show", "red"]));
    let _responder = far.pod("red").respond().unwrap();
    assert_eq!(
        node.pod("red").seen_as(blue).unwrap(),
        node.address(),
        "what is named is so"
    );
    // As the cure says.
    shell(
        node,
        "nft insert rule inet vpn out ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16 return",
    );
    named(node, what, false);
    assert_eq!(node.pod("red").seen_as(blue).unwrap(), red);
}

fn count(node: Node<'_>) -> u64 {
    let status = ask(node, &["status"]);
    status["reconcile"]["passes"].as_u64().unwrap()
}

/// Others may change sets and tables of their own as often as they like.
#[test]
fn what_touches_no_rules_of_podnets_is_not_looked_at() {
    let lab = looking_every(HOUR, 1).up().unwrap();
    let node = first(&lab);
    ask(node, &["init", "--pod-cidr", "10.244.0.0/16"]);
    shell(
        node,
        "nft add table inet theirs; nft add set inet theirs those '{ type ipv4_addr; }'
         nft add table ip filter; nft add set ip filter these '{ type ipv4_addr; }'",
    );
    let tampered = "iptables -F PODNET-FORWARD";
    let repaired = || {
        shell(node, tampered);
        eventually(LIMIT, tampered, || {
            let rules = shell(node, "iptables -S PODNET-FORWARD");
            if rules.contains("-j ACCEPT") {
                Ok(())
            } else {
                Err(rules)
            }
        })
        .unwrap();
    };
    repaired();
    let before = count(node);
    shell(
        node,
        "for n in $(seq 100); do nft add element inet theirs those \"{ 10.9.9.$n }\"
         nft add element ip filter these \"{ 10.9.9.$n }\"; done",
    );
    repaired();
    // What was put right was looked at, and what podnet itself has changed then.
    let looks = count(node) - before;
    assert!((1..10).contains(&looks), "{looks} looks");
}

/// However many rules others have and change in podnet's tables, looking at them takes a small share of the time.
#[test]
fn rules_of_others_take_a_small_share_of_the_time() {
    let lab = looking_every(HOUR, 1).up().unwrap();
    let node = first(&lab);
    ask(node, &["init", "--pod-cidr", "10.244.0.0/16"]);
    shell(
        node,
        "{ echo '*filter'; echo ':MANY - [0:0]'
         for a in $(seq 40); do for b in $(seq 250); do echo \"-A MANY -s 10.8.$a.$b/32 -j DROP\"; done; done
         echo COMMIT; } | iptables-restore -n",
    );
    // What one look costs at least.
    let costs = (0..3).map(|_| {
        let begun = Instant::now();
        shell(node, "iptables-save > /dev/null");
        begun.elapsed()
    });
    let cost = costs.min().unwrap();
    let before = count(node);
    let begun = Instant::now();
    let one = "iptables-nft -A MANY -s 10.7.7.7 -j DROP";
    shell(
        node,
        &format!("for n in $(seq 80); do {one}; sleep 0.1; done"),
    );
    let looks = u32::try_from(count(node) - before).unwrap();
    // Two seconds at once, and one part in twenty of the time; the last look may go beyond.
    let share = Duration::from_secs(2) + begun.elapsed() / 20 + 3 * cost;
    assert!(
        looks * cost <= share,
        "{looks} looks of {cost:?} each at 80 changes, not {share:?}"
    );
    passes_soon(node);
}

/// The last change is looked at in the end.
fn passes_soon(node: Node<'_>) {
    shell(node, "iptables -F PODNET-FORWARD");
    eventually(2 * LIMIT, "repaired", || {
        let rules = shell(node, "iptables -S PODNET-FORWARD");
        if rules.contains("-j ACCEPT") {
            Ok(())
        } else {
            Err(rules)
        }
    })
    .unwrap();
}
