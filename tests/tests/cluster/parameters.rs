//! Hosts whose kernel parameters cannot be written, as those of many containers.

use podnet_lab::prelude::*;

/// What podnet would set.
const RIGHT: &str = "sysctl -qw net.ipv4.conf.default.forwarding=1 net.ipv4.conf.eth0.forwarding=1 \
    net.ipv4.conf.default.promote_secondaries=1 net.ipv4.conf.default.rp_filter=1 \
    net.ipv6.conf.default.accept_ra=0";

const READ_ONLY: &str = "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys";

#[track_caller]
fn assert_bridge_up(node: Node<'_>) {
    let link = node.shell("ip -o link show podnet0");
    assert!(link.contains(",UP") && link.contains("mtu 1500"), "{link}");
}

#[test]
fn what_is_right_already_need_not_be_written() {
    let lab = idle(2);
    for node in nodes::<2>(&lab) {
        node.shell(&format!("{RIGHT}; {READ_ONLY}"));
    }
    lab.init_join_all().unwrap();
    for node in nodes::<2>(&lab) {
        let ready = node.ready(1);
        assert_eq!(ready.problems.len(), 0, "{ready:?}");
        assert_bridge_up(node);
    }
    // A pod without IPv6 has one that is not.
    let [node, _] = nodes(&lab);
    let refusal = refused(node, &["pod", "add", "red"], ErrorCode::Internal);
    let path = "/proc/sys/net/ipv6/conf/eth0/";
    assert!(refusal.message.contains(path), "{refusal:?}");
    assert!(refusal.hint.contains("/proc/sys"), "{refusal:?}");
}

#[test]
fn a_parameter_that_cannot_be_written_is_named_and_keeps_nothing_else_from_being_put_right() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    let wrong = "sysctl -qw net.ipv4.conf.default.forwarding=0";
    node.shell(&format!("{RIGHT}; {wrong}; {READ_ONLY}"));
    node.tell(&["init", "--pod-cidr", "10.244.0.0/16"]);
    assert_bridge_up(node);
    let named = node.status_where("the parameter is named", |status| {
        status.problems.iter().any(|problem| {
            let path = "/proc/sys/net/ipv4/conf/podnet0/forwarding";
            problem.message.contains(path)
                && problem
                    .hint
                    .as_ref()
                    .is_some_and(|hint| hint.contains("/proc/sys"))
        })
    });
    assert_eq!(named.phase, Phase::Ready, "{named:?}");
    node.shell("umount /proc/sys");
    node.until_no_problem();
    assert_eq!(node.status().phase, Phase::Ready);
}
