//! Hosts that lack something, or have it otherwise than most.

use crate::cluster::Cluster;

/// Without iptables nothing is founded or joined, and the error says what to install; a member
/// that loses it names it, and goes on as soon as it is back.
pub(crate) fn a_host_without_iptables(cluster: &mut Cluster) {
    let [node1, node2, _] = cluster.nodes();
    let remove = "dpkg --force-depends -r iptables 2>&1";
    node2.sh(remove);
    node2.sh("systemctl restart podnetd");
    let status = node2.wait_status("named", |status| {
        let problems = status["problems"].to_string();
        problems.contains("iptables")
    });
    assert_eq!(status["phase"], "ready", "{status}");
    // What was there goes on.
    node1.sh(&format!(
        "podnetctl pod exec {} -- ping -c1 -W5 {}",
        node1.pod(),
        node2.pod_address()
    ));
    // It cannot take its rules back, says so, and does it as soon as it can.
    let leaving = node2.try_sh("podnetctl --yes --timeout 20s leave");
    assert_eq!(leaving.code, 124, "{leaving}");
    assert!(leaving.stderr.contains("iptables"), "{leaving}");
    let status = node2.ctl("status");
    assert!(
        status["problems"].to_string().contains("iptables"),
        "{status}"
    );
    let install = "apt-get install -qq -y -f 2>&1; command -v iptables";
    node2.sh(install);
    node2.wait_status("left", |status| status["phase"] == "idle");
    assert!(!node2.try_sh("iptables-save | grep PODNET").ok());
    node2.sh(remove);
    let refused = node2.try_ctl("init --pod-cidr 10.99.0.0/16");
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stdout.contains("missing_binary"), "{refused}");
    node2.sh(install);
    node2.rejoin(node1);
    cluster.each(|node| drop(node.wait_ready(2)));
    node2.add_pod();
    cluster.assert_paths();
    cluster.assert_translated();
}

/// A kernel that was booted without IPv6.
pub(crate) fn a_host_without_ipv6(cluster: &mut Cluster) {
    let machine = cluster.machine(2);
    machine.cut_power();
    machine.set_parameters("ipv6.disable=1");
    machine.switch_on().unwrap();
    let [_, node2, _] = cluster.nodes();
    node2.machine().wait().unwrap();
    assert!(!node2.try_sh("test -e /proc/sys/net/ipv6").ok());
    node2.wait_ready(2);
    node2.add_pod();
    cluster.assert_paths();
    cluster.assert_translated();
}

/// FORWARD drops what no rule accepts, in either variant of iptables.
pub(crate) fn forward_drops_in_either_iptables(cluster: &mut Cluster) {
    cluster.each(|node| {
        node.sh("iptables-nft -P FORWARD DROP");
        node.sh("modprobe iptable_filter; iptables-legacy -P FORWARD DROP");
    });
    cluster.assert_paths();
    cluster.assert_translated();
    // And where it did so before the agent started.
    cluster.each(|node| {
        node.sh("systemctl restart podnetd");
        node.wait_ready(2);
    });
    cluster.assert_paths();
}

/// Strict reverse path filtering on all interfaces, also on those to come.
pub(crate) fn rp_filter_is_strict(cluster: &mut Cluster) {
    cluster.each(|node| {
        node.sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done");
        node.sh(&format!(
            "podnetctl pod rm {0}; podnetctl pod add {0}",
            node.pod()
        ));
        node.sh("systemctl stop whoami; true");
        node.respond_in_pod();
    });
    cluster.assert_paths();
    cluster.assert_translated();
}

/// The clocks of the nodes are years apart, and jump while agents run.
pub(crate) fn clocks_are_years_off(cluster: &mut Cluster) {
    let [node1, node2, node3] = cluster.nodes();
    node2.sh("date -s '2016-03-01 12:00:00'");
    node3.sh("date -s '2037-03-01 12:00:00'");
    for node in [node2, node3] {
        node.sh("systemctl restart podnetd");
    }
    cluster.each(|node| drop(node.wait_ready(2)));
    node3.sh("podnetctl --yes leave");
    node3.rejoin(node1);
    node3.add_pod();
    cluster.each(|node| drop(node.wait_ready(2)));
    cluster.assert_paths();
}

/// A full disk: what needs the disk is refused with the reason and changes nothing; what runs goes
/// on; once there is room all is as before.
pub(crate) fn a_full_disk(cluster: &mut Cluster) {
    let [node1, node2, node3] = cluster.nodes();
    node3.sh("podnetctl --yes leave");
    // All that is free at once, root's reserve too, then the rest block by block.
    let fill = "fallocate -l $(($(stat -f -c '%f * %S' /))) /filler; \
        dd if=/dev/zero of=/filler2 bs=4096 2>/dev/null; true";
    node3.sh(fill);
    let refused = node3.try_join(node1);
    assert!(!refused.ok(), "{refused}");
    assert!(refused.stdout.contains("No space left"), "{refused}");
    assert_eq!(node3.ctl("status")["phase"], "idle");
    node3.sh("rm /filler*");
    node3.rejoin(node1);
    node2.sh(fill);
    let refused = node2.try_ctl("--yes leave");
    assert!(!refused.ok(), "{refused}");
    assert!(refused.stdout.contains("No space left"), "{refused}");
    // What cannot be written meanwhile is named, and nothing else changes.
    assert_eq!(node2.ctl("status")["phase"], "ready");
    // An agent that starts says what is wrong, what runs goes on, and systemd tries again.
    let pod = node2.pod_address();
    // What others have freed meanwhile is filled again.
    let refill = fill.replace("/filler", "/more-filler");
    let restarted = node2.try_sh(&format!("{refill}; systemctl restart podnetd"));
    assert!(!restarted.ok(), "{restarted}");
    node2.wait_sh("journalctl -q -u podnetd | grep -q 'hint: make room'");
    node1.sh(&format!(
        "podnetctl pod exec {} -- ping -c1 -W5 {pod}",
        node1.pod()
    ));
    node2.sh("rm /filler* /more-filler*");
    node2.wait_ready(2);
    node3.add_pod();
    cluster.each(|node| drop(node.wait_ready(2)));
    cluster.assert_paths();
}
