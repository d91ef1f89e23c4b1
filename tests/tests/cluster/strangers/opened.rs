//! What podnet has opened to pods, and what others do to that.

use podnet_lab::prelude::*;

use super::{Trial, drop_rules, forwarding, found, passes, scene, set_router, soon};

/// Whoever removes podnet's record of what it has opened has closed nothing.
#[test]
fn no_stranger_passes_where_the_record_of_opened_devices_is_lost() {
    let lab = scene();
    let [node1, _, stranger] = nodes(&lab);
    let before = Snapshot::kernel(node1);
    found(node1);
    node1.ready(0);
    let guards = drop_rules(node1);
    assert_eq!(guards.lines().count(), 2, "eth0 and lan0");
    let trial = Trial::start(stranger);
    let lose = || node1.shell("rm /run/podnet/sysctls");
    let put_right = || {
        node1.shell("iptables -A PODNET-FORWARD -s 10.9.9.9 -j ACCEPT");
        eventually(LIMIT, "a look", || {
            match drop_rules(node1) + &node1.shell("iptables -S PODNET-FORWARD") {
                rules if rules.contains("10.9.9.9") => Err(rules),
                _ => Ok(()),
            }
        })
        .unwrap();
        assert_eq!(drop_rules(node1), guards);
    };
    lose();
    put_right();
    node1.kill().unwrap();
    lose();
    node1.start().unwrap();
    node1.ready(0);
    put_right();
    let left = node1.ctl(["--yes", "leave"]).unwrap();
    assert!(!left.success("leave").unwrap().stdout.contains("left:"));
    trial.assert_in_vain();
    before.assert_same(&Snapshot::kernel(node1), "leave");
}

#[test]
fn what_stays_open_is_named_by_its_value() {
    let lab = scene();
    let [node1, _, stranger] = nodes(&lab);
    found(node1);
    node1.ready(0);
    set_router(node1, 2);
    soon(stranger, true, "the guard has gone");
    let left = node1.ctl(["--yes", "leave"]).unwrap();
    let left = left.success("leave").unwrap().stdout;
    let what = "left: net.ipv4.conf.eth0.forwarding: it stays 2, since net.ipv4.ip_forward is 2\n";
    assert!(left.contains(what), "{left}");
}

/// iptables reads some names of devices as patterns: no rule keeps strangers out of those.
#[test]
fn a_device_that_cannot_be_guarded_stays_closed_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    found(node);
    node.ready(0);
    let named = |wanted: bool| {
        let what = "net.ipv4.conf.w+.forwarding: ";
        node.status_where(what, |status| {
            told(&status.problems).contains(what) == wanted
        });
    };
    node.shell(
        "ip link add w+ type veth peer name w1; ip link set w1 up; ip link set w+ up
         ip route add 10.97.0.0/24 dev w+",
    );
    named(true);
    assert_eq!(forwarding(node, "w+"), "0");
    // As the cure says.
    node.shell("echo 1 > /proc/sys/net/ipv4/conf/w+/forwarding");
    named(false);
    node.shell("echo 0 > /proc/sys/net/ipv4/conf/w+/forwarding");
    named(true);
    node.shell(
"ip link set w+ down; ip link set w+ name w0; ip link set w0 up; ip route add 10.97.0.0/24 dev w0",
);
    named(false);
    eventually(LIMIT, "opened", || match &*forwarding(node, "w0") {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    })
    .unwrap();
}

/// A rule that accepts everything before podnet's jump opens to strangers what podnet has opened to pods.
#[test]
fn a_rule_that_lets_strangers_pass_podnets_guard_is_named() {
    let lab = scene();
    let [node1, _, stranger] = nodes(&lab);
    found(node1);
    node1.ready(0);
    assert!(!passes(stranger));
    node1.shell("iptables -I FORWARD -i eth0 -j ACCEPT; iptables -I FORWARD -i lan0 -j ACCEPT");
    assert!(passes(stranger), "what is named is so");
    for device in ["eth0", "lan0"] {
        let what = format!("rule '-A FORWARD -i {device} -j ACCEPT' in iptables-nft");
        node1.status_where(&what, |status| told(&status.problems).contains(&what));
    }
    // As the cure says.
    node1.shell(
        "iptables -D FORWARD -i eth0 -j ACCEPT; iptables -D FORWARD -i lan0 -j ACCEPT
         iptables -A FORWARD -i eth0 -j ACCEPT; iptables -A FORWARD -i lan0 -j ACCEPT",
    );
    node1.status_where("no problems", |status| status.problems.is_empty());
    assert!(!passes(stranger));
}
