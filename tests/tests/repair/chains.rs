//! Chains of nftables that other programs keep: podnet cannot overrule them, and names what is in the way.

use std::time::{Duration, Instant};

use podnet_lab::prelude::*;

use crate::scene::HOUR;

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

fn two() -> Cluster {
    let lab = Cluster::made_of(looking_every(OFTEN, 2));
    for node in lab.nodes() {
        node.add_pod("red");
    }
    lab
}

fn passes_between(lab: &Lab) -> bool {
    let [node, far] = nodes(lab);
    let there = far.show_pod("red").address();
    node.pod("red").ping(there).is_ok()
}

#[test]
fn a_chain_that_drops_what_is_forwarded_is_named() {
    let lab = two();
    let node = first(&lab);
    assert!(passes_between(&lab));
    node.shell(STRICT);
    assert!(!passes_between(&lab));
    let what = "the policy of chain forward in table inet strict: it drops what pods";
    let problems = node.until_told(what);
    assert!(
        problems.contains("nft -a list table inet strict"),
        "{problems}"
    );
    assert!(problems.contains("10.244.0.0/16"), "the cure: {problems}");

    // As the cure says.
    node.shell(
        "nft add rule inet strict forward iifname podnet0 ip saddr 10.244.0.0/16 accept; \
         nft add rule inet strict forward oifname podnet0 ip daddr 10.244.0.0/16 accept",
    );
    node.until_not_told("inet strict");
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
    node.shell(run);
    node.until_told(said);
    assert!(!passes_between(lab));
    node.shell(undo);
    node.until_not_told(said);
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
    node.shell("iptables -P FORWARD DROP; iptables -A FORWARD -j REJECT; \
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
    node.shell("nft add table inet seen");
    node.shell(
        "nft add chain inet seen forward '{ type filter hook forward priority 9; policy drop; }'",
    );
    node.until_told("inet seen");
    let problems = node.problems_told();
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
    let [node, far] = nodes(&lab);
    node.shell(
        "nft add table inet vpn
         nft add chain inet vpn out '{ type nat hook postrouting priority 90; }'
         nft add rule inet vpn out oifname eth0 masquerade",
    );
    let what = "of chain out in table inet vpn: it gives what pods send";
    node.until_told(what);
    let blue = far.show_pod("red").address();
    let red = node.show_pod("red").address();
    let _responder = far.pod("red").respond().unwrap();
    assert_eq!(
        node.pod("red").seen_as(blue).unwrap(),
        node.address(),
        "what is named is so"
    );
    // As the cure says.
    node.shell("nft insert rule inet vpn out ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16 return");
    node.until_not_told(what);
    assert_eq!(node.pod("red").seen_as(blue).unwrap(), red);
}

fn count(node: Node<'_>) -> u64 {
    let status = node.status();
    status.reconcile.passes
}

/// Others may change sets and tables of their own as often as they like.
#[test]
fn what_touches_no_rules_of_podnets_is_not_looked_at() {
    let lab = looking_every(HOUR, 1).up().unwrap();
    let node = first(&lab);
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    node.shell(
        "nft add table inet theirs; nft add set inet theirs those '{ type ipv4_addr; }'
         nft add table ip filter; nft add set ip filter these '{ type ipv4_addr; }'",
    );
    let tampered = "iptables -F PODNET-FORWARD";
    let repaired = || {
        node.shell(tampered);
        eventually(LIMIT, tampered, || {
            let rules = node.shell("iptables -S PODNET-FORWARD");
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
    node.shell(
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
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    node.shell("{ echo '*filter'; echo ':MANY - [0:0]'
         for a in $(seq 40); do for b in $(seq 250); do echo \"-A MANY -s 10.8.$a.$b/32 -j DROP\"; done; done
         echo COMMIT; } | iptables-restore -n",
    );
    // What one look costs at least.
    let costs = (0..3).map(|_| {
        let begun = Instant::now();
        node.shell("iptables-save > /dev/null");
        begun.elapsed()
    });
    let cost = costs.min().unwrap();
    let before = count(node);
    let begun = Instant::now();
    let one = "iptables-nft -A MANY -s 10.7.7.7 -j DROP";
    node.shell(&format!("for n in $(seq 80); do {one}; sleep 0.1; done"));
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
    node.shell("iptables -F PODNET-FORWARD");
    eventually(2 * LIMIT, "repaired", || {
        let rules = node.shell("iptables -S PODNET-FORWARD");
        if rules.contains("-j ACCEPT") {
            Ok(())
        } else {
            Err(rules)
        }
    })
    .unwrap();
}
