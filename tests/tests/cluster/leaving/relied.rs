//! What others rely on by the time a node leaves.

use podnet_lab::prelude::*;

use super::found;

/// What `leave` says for people.
fn leave(node: Node<'_>) -> String {
    let left = node.ctl(["--yes", "leave"]).unwrap();
    left.success("leave").unwrap().stdout
}

#[test]
fn a_device_stays_open_on_a_host_that_is_a_router_by_now_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    found(&lab);
    node.shell(
        "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; \
         ip link set docker0 up; iptables -P FORWARD DROP; \
         iptables -A FORWARD -o docker0 -j ACCEPT; sysctl -qw net.ipv4.ip_forward=1",
    );
    let what = "net.ipv4.conf.eth0.forwarding: it stays 1, since net.ipv4.ip_forward is 1";
    assert!(leave(node).contains(&format!("left: {what}\n")));
    assert!(node.log().contains(what), "{}", node.log());
    let problems = node.problems_told();
    assert!(problems.contains(what), "{problems}");
    let forwarding = "sysctl -n net.ipv4.ip_forward net.ipv4.conf.eth0.forwarding";
    assert_eq!(node.shell(forwarding), "1\n1\n");

    found(&lab);
    assert!(!leave(node).contains("left:"), "as podnet found it");
    assert_eq!(node.shell(forwarding), "1\n1\n");
    assert_eq!(node.status().problems, []);
}

#[test]
fn a_chain_that_others_rely_on_by_now_stays_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    found(&lab);
    node.shell("iptables -N OTHERS; iptables -A OTHERS -j PODNET-FORWARD");
    let told = leave(node);
    let what = "PODNET-FORWARD in iptables-nft: rules of another program jump to it";
    assert!(
        told.contains("left: chain") && told.contains(what),
        "{told:?}"
    );
    let rules = node.shell("iptables -S PODNET-FORWARD");
    assert_eq!(rules, "-N PODNET-FORWARD\n", "no rules are left");
    node.shell("iptables -F OTHERS; iptables -X OTHERS");
    found(&lab);
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn what_the_owner_has_set_of_forwarding_stays() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.shell("ip link add other0 type bridge; ip link add other1 type bridge; \
         cd /proc/sys/net/ipv4/conf; echo 0 > all/accept_redirects; echo 1 > other0/forwarding; \
         echo 1 > default/forwarding; ip link set other0 up; ip address add 10.95.0.1/24 dev other0; \
         ip link set other1 up; ip address add 10.94.0.1/24 dev other1; true",
    );
    let before = Snapshot::kernel(node);
    let init = ["init", "--pod-cidr", "10.244.0.0/22", "--advertise"];
    let own = node.address().to_string();
    let init = [&init[..], &[own.as_str()]].concat();
    node.tell(&init);
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave");

    // An interface that goes meanwhile leaves nothing that could be put back.
    node.tell(&init);
    node.shell("ip link del other1");
    assert!(!leave(node).contains("left:"));
    assert_eq!(node.shell("sysctl -n net.ipv4.conf.eth0.forwarding"), "0\n");
}
