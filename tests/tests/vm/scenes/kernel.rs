//! The main job on another kernel than that of the other scenes.

use crate::cluster::Cluster;

/// Nodes join, pods reach each other and the internet, a node reboots, and leaves.
pub(crate) fn the_main_job_on_the_next_kernel(cluster: &mut Cluster) {
    let [_, node2] = cluster.nodes();
    let release = node2.sh("uname -r");
    assert!(release.starts_with("6.12."), "{release}");
    cluster.assert_paths();
    cluster.assert_translated();
    let block = node2.block();
    node2.reboot();
    node2.wait_ready(1);
    assert_eq!(node2.block(), block);
    node2.add_pod();
    cluster.assert_paths();
    node2.sh("podnetctl --yes leave");
    assert!(!node2.try_sh("ip link show podnet0").ok());
}
