//! Hosts whose kernel parameters cannot be written, as those of many containers.

use podnet_lab::Node;

use crate::scene::{ask, idle, list, nodes, ready, refused, shell, status, status_where, text};

/// What podnet would set.
const RIGHT: &str = "sysctl -qw net.ipv4.conf.default.forwarding=1 net.ipv4.conf.eth0.forwarding=1 \
    net.ipv4.conf.default.promote_secondaries=1 net.ipv4.conf.default.rp_filter=1 \
    net.ipv6.conf.default.accept_ra=0";

const READ_ONLY: &str = "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys";

#[track_caller]
fn assert_bridge_up(node: Node<'_>) {
    let link = shell(node, "ip -o link show podnet0");
    assert!(link.contains(",UP") && link.contains("mtu 1500"), "{link}");
}

#[test]
fn what_is_right_already_need_not_be_written() {
    let lab = idle(2);
    for node in nodes::<2>(&lab) {
        shell(node, &format!("{RIGHT}; {READ_ONLY}"));
    }
    lab.init_join_all().unwrap();
    for node in nodes::<2>(&lab) {
        let ready = ready(node, 1);
        assert_eq!(list(&ready["problems"]).len(), 0, "{ready}");
        assert_bridge_up(node);
    }
    // A pod without IPv6 has one that is not.
    let [node, _] = nodes(&lab);
    let refusal = refused(node, &["pod", "add", "red"], ("internal", 1));
    let path = "/proc/sys/net/ipv6/conf/eth0/";
    assert!(refusal.message.contains(path), "{refusal:?}");
    assert!(refusal.hint.contains("/proc/sys"), "{refusal:?}");
}

#[test]
fn a_parameter_that_cannot_be_written_is_named_and_keeps_nothing_else_from_being_put_right() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let wrong = "sysctl -qw net.ipv4.conf.default.forwarding=0";
    shell(node, &format!("{RIGHT}; {wrong}; {READ_ONLY}"));
    ask(node, &["init", "--pod-cidr", "10.244.0.0/16"]);
    assert_bridge_up(node);
    let named = status_where(node, "the parameter is named", |status| {
        list(&status["problems"]).iter().any(|problem| {
            let path = "/proc/sys/net/ipv4/conf/podnet0/forwarding";
            text(&problem["message"]).contains(path)
                && problem["hint"]
                    .as_str()
                    .is_some_and(|hint| hint.contains("/proc/sys"))
        })
    });
    assert_eq!(named["phase"], "ready", "{named}");
    shell(node, "umount /proc/sys");
    status_where(node, "no problem", |status| {
        list(&status["problems"]).is_empty()
    });
    assert_eq!(status(node)["phase"], "ready");
}
