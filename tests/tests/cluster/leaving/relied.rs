//! What others rely on by the time a node leaves.

use podnet_lab::Node;

use super::found;
use crate::scene::{idle, nodes, shell, status};
use crate::snapshot::Snapshot;

/// What `leave` says for people.
fn leave(node: Node<'_>) -> String {
    let left = node.ctl(["--yes", "leave"]).unwrap();
    left.success("leave").unwrap().stdout
}

#[test]
fn a_kernel_parameter_that_others_rely_on_by_now_stays_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    found(&lab);
    shell(
        node,
        "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; \
         ip link set docker0 up; iptables -P FORWARD DROP; \
         iptables -A FORWARD -o docker0 -j ACCEPT",
    );
    let what = "net.ipv4.ip_forward: it stays 1, since docker0 relies on it";
    assert!(leave(node).contains(&format!("left: {what}\n")));
    assert!(node.log().contains(what), "{}", node.log());
    let problems = &status(node)["problems"];
    assert_eq!(problems[0]["message"], what, "{problems}");
    assert_eq!(problems[0]["severity"], "warning", "{problems}");
    assert_eq!(shell(node, "sysctl -n net.ipv4.ip_forward"), "1\n");

    found(&lab);
    assert!(!leave(node).contains("left:"), "as podnet found it");
    shell(node, "ip link del docker0");
    found(&lab);
    assert!(!leave(node).contains("left:"), "as podnet found it");
    assert_eq!(shell(node, "sysctl -n net.ipv4.ip_forward"), "1\n");
    assert_eq!(status(node)["problems"], serde_json::json!([]));
}

#[test]
fn a_chain_that_others_rely_on_by_now_stays_and_is_named() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let before = Snapshot::kernel(node);
    found(&lab);
    shell(
        node,
        "iptables -N OTHERS; iptables -A OTHERS -j PODNET-FORWARD",
    );
    let told = leave(node);
    let what = "PODNET-FORWARD in iptables-nft: rules of others jump to it";
    assert!(
        told.contains("left: chain") && told.contains(what),
        "{told}"
    );
    let rules = shell(node, "iptables -S PODNET-FORWARD");
    assert_eq!(rules, "-N PODNET-FORWARD\n", "no rules are left");
    shell(node, "iptables -F OTHERS; iptables -X OTHERS");
    found(&lab);
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave");
}

#[test]
fn what_the_kernel_changes_along_with_forwarding_comes_back() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    shell(
        node,
        "ip link add other0 type bridge; ip link add other1 type bridge; \
         cd /proc/sys/net/ipv4/conf; echo 0 > all/accept_redirects; echo 1 > other0/forwarding; \
         echo 1 > other1/forwarding; echo 1 > default/forwarding",
    );
    let before = Snapshot::kernel(node);
    found(&lab);
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave");

    // An interface that goes meanwhile leaves nothing that could be put back.
    shell(
        node,
        "ip link add other2 type bridge; echo 1 > /proc/sys/net/ipv4/conf/other2/forwarding",
    );
    found(&lab);
    shell(node, "ip link del other2");
    assert!(!leave(node).contains("left:"));
    before.assert_same(&Snapshot::kernel(node), "leave without an interface");
}
