//! The agent under systemd.

use podnet_lab::patiently;

use crate::cluster::Cluster;
use crate::flow::{Count, Flow};
use crate::node::{LIMIT, Node};

/// How many pings there are at least before and after what happens.
const AROUND: u32 = 50;

/// Starts a ping through the node, has something happen to it, and returns what was lost.
#[track_caller]
pub(crate) fn pinged(from: Node<'_>, to: Node<'_>, happens: impl FnOnce(Node<'_>)) -> Count {
    let flow = Flow::start(from, &to.pod_address());
    flow.go_on(AROUND);
    happens(to);
    flow.go_on(AROUND);
    flow.end()
}

/// `systemctl stop`, `start` and `restart` under a ping: the data path stays.
pub(crate) fn stop_start_and_restart_lose_nothing(cluster: &mut Cluster) {
    let [node1, node2, _] = cluster.nodes();
    let count = pinged(node1, node2, |node| {
        node.sh("systemctl stop podnetd");
        assert_eq!(node.try_ctl("status").code, 3);
        node.sh("systemctl start podnetd");
        node.wait_ready(2);
        node.sh("systemctl restart podnetd");
        node.wait_ready(2);
    });
    assert_eq!(count.lost, 0, "{count:?}");
    let status = node2.ctl("status");
    assert_eq!(status["reconcile"]["operations_total"], 0, "{status}");
    cluster.assert_paths();
}

/// The agent is killed, and then hangs until the watchdog kills it: systemd starts it again, and
/// nothing is lost.
pub(crate) fn kills_lose_nothing(cluster: &mut Cluster) {
    let [node1, node2, _] = cluster.nodes();
    let count = pinged(node1, node2, |node| {
        restarted_by_systemd(node, "kill -9 $(systemctl show -P MainPID podnetd)");
        restarted_by_systemd(node, "kill -STOP $(systemctl show -P MainPID podnetd)");
        let journal = node.sh("journalctl --no-pager -u podnetd");
        assert!(journal.to_lowercase().contains("watchdog"), "{journal}");
    });
    assert_eq!(count.lost, 0, "{count:?}");
}

#[track_caller]
fn restarted_by_systemd(node: Node<'_>, happens: &str) {
    let before = node.agent();
    node.sh(happens);
    patiently(LIMIT, "another agent", || {
        let now = node.agent();
        if now == before || now == 0 {
            Err(format!("process {now}"))
        } else {
            Ok(())
        }
    })
    .unwrap();
    node.wait_ready(2);
}
