//! What systemd and the journal show of the agent.

use crate::cluster::Cluster;
use crate::node::Node;

/// `systemctl status` says where the node stands.
pub(crate) fn the_status_text_says_where_the_node_stands(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    let text = node2.sh("systemctl show -P StatusText podnetd");
    assert!(text.contains(&node2.block()), "{text}");
    node2.sh("podnetctl --yes leave");
    node2.wait_sh("systemctl show -P StatusText podnetd | grep -qi idle");
}

/// The journal knows which lines are warnings, and gives each line one time stamp.
pub(crate) fn the_journal_knows_priorities(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    // What another program has changed, and podnet puts back, is a warning.
    node2.sh("ip route flush proto 112");
    node2.wait_sh("journalctl -q -u podnetd -p warning | grep -q .");
    let all = node2.sh("journalctl -q -u podnetd -o cat | wc -l");
    let warnings = node2.sh("journalctl -q -u podnetd -p warning -o cat | wc -l");
    assert!(
        warnings.parse::<u32>().unwrap() < all.parse::<u32>().unwrap(),
        "{warnings} of {all}"
    );
    let line = node2.sh("journalctl -q -u podnetd -o cat | grep 'podnetd is ready' | tail -1");
    assert!(!line.starts_with("20"), "{line}");
}

/// What ends a start that cannot succeed is reported, and not tried for ever.
#[track_caller]
fn assert_given_up(node: Node<'_>, code: &str, said: &str) {
    node.wait_sh("systemctl is-failed podnetd");
    assert_eq!(node.sh("systemctl show -P ExecMainStatus podnetd"), code);
    let restarts = node.sh("systemctl show -P NRestarts podnetd");
    // It may have been tried again; from now on it is not.
    let journal = node.sh("journalctl -q -u podnetd -b -o cat | tail -20");
    assert!(journal.contains(said), "{journal}");
    node.wait_sh("sleep 12; systemctl is-failed podnetd");
    assert_eq!(node.sh("systemctl show -P NRestarts podnetd"), restarts);
}

/// A bad configuration, and a damaged state: the agent ends with a code of its own, systemd leaves
/// it at that, the data path stays, and all is well once it is mended.
pub(crate) fn a_start_that_cannot_succeed_is_not_repeated(cluster: &mut Cluster) {
    let [node1, node2, _] = cluster.nodes();
    let pod = node2.pod_address();
    node2.sh("mkdir -p /etc/podnet; echo 'gossip_port = \"no\"' > /etc/podnet/podnetd.toml");
    node2.try_sh("systemctl restart podnetd");
    assert_given_up(node2, "2", "podnetd.toml");
    node2.sh("rm /etc/podnet/podnetd.toml; systemctl restart podnetd");
    node2.wait_ready(2);
    node2.sh("systemctl stop podnetd; cp /var/lib/podnet/ledger /var/tmp/; echo x >> /var/lib/podnet/ledger");
    node2.try_sh("systemctl start podnetd");
    assert_given_up(node2, "6", "/var/lib/podnet/ledger");
    node1.sh(&format!(
        "podnetctl pod exec {} -- ping -c1 -W5 {pod}",
        node1.pod()
    ));
    node2.sh("cp /var/tmp/ledger /var/lib/podnet/ledger; systemctl start podnetd");
    node2.wait_ready(2);
    cluster.assert_paths();
}

/// What may pass by itself is tried again, but not for ever: here another agent stands in the way.
pub(crate) fn a_start_that_fails_again_and_again_is_given_up(cluster: &mut Cluster) {
    let [_, node2, _] = cluster.nodes();
    node2.sh(
        "set -e; systemctl stop podnetd; systemd-run -q --unit=other podnetd run
        mkdir -p /run/systemd/system/podnetd.service.d
        printf '[Service]\\nRestartSec=100ms\\n' > /run/systemd/system/podnetd.service.d/often.conf
        systemctl daemon-reload",
    );
    node2.wait_ready(2);
    node2.try_sh("systemctl start podnetd");
    node2.wait_sh("systemctl is-failed podnetd");
    node2.sh("journalctl -q -u podnetd | grep -q 'in use by another agent'");
    assert_eq!(node2.sh("systemctl show -P NRestarts podnetd"), "50");
    node2.wait_ready(2);
    node2.sh("systemctl stop other; systemctl reset-failed podnetd; systemctl start podnetd");
    node2.wait_ready(2);
}
