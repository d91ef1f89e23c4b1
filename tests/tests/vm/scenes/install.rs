//! The package: installed, upgraded, removed, purged.

use crate::cluster::{Cluster, install};
use crate::driver::FOLDER;
use crate::node::Node;
use crate::scenes::agent::pinged;

/// On a machine that has no iptables, the package brings it along and starts the agent, idle.
pub(crate) fn the_package_starts_an_idle_agent(cluster: &mut Cluster) {
    let [node] = cluster.nodes();
    assert!(!node.try_sh("command -v iptables").ok());
    install(node);
    node.sh("command -v iptables");
    assert_eq!(node.sh("systemctl is-enabled podnetd"), "enabled");
    assert_eq!(node.sh("systemctl is-active podnetd"), "active");
    assert!(node.sh("getent group podnet").starts_with("podnet:"));
    // The agent has touched nothing yet.
    assert!(!node.try_sh("ip link show podnet0").ok());
    assert_eq!(node.sh("cat /proc/sys/net/ipv4/ip_forward"), "0");
}

/// Node by node from one version to the next, old and new side by side, and nothing is lost.
pub(crate) fn an_upgrade_node_by_node_loses_nothing(cluster: &mut Cluster) {
    let nodes = cluster.all();
    cluster.each(|node| {
        let dpkg = "dpkg --force-downgrade -i";
        node.sh(&format!("{dpkg} {FOLDER}/podnet-before.deb 2>&1"));
        node.wait_ready(2);
    });
    let old = version(nodes[0]);
    for (at, &node) in nodes.iter().enumerate() {
        let count = pinged(nodes[(at + 1) % nodes.len()], node, |node| {
            let before = node.agent();
            node.sh(&format!("apt-get install -qq -y {FOLDER}/podnet.deb 2>&1"));
            assert_ne!(version(node), old, "{}", node.name());
            assert_ne!(node.agent(), before, "{}: the new agent runs", node.name());
            node.wait_ready(2);
        });
        assert_eq!(count.lost, 0, "{}: {count:?}", node.name());
        cluster.assert_paths();
    }
}

fn version(node: Node<'_>) -> String {
    node.sh("dpkg-query -W -f '${Version}' podnet")
}

/// What podnet may have changed on a host: links, addresses, routes, rules, parameters, files.
fn picture(node: Node<'_>) -> String {
    node.sh(
        "ip -o link | sed 's/qlen.*//'; ip -o address; ip route show table all; ip rule
        ip netns list; ls /run/netns 2>/dev/null
        iptables-save 2>/dev/null | grep '^-A'; nft list ruleset | grep -i podnet
        sysctl -a 2>/dev/null | grep -E '^net[.]ipv[46][.]conf[.].*(forwarding|redirects|rp_filter)'
        sysctl -a 2>/dev/null | grep -E 'ip_forward|^net[.]bridge'
        getent group podnet
        find / /run -xdev -path /run/systemd -prune -o -path /proc -prune -o -path '*podnet*' -print | grep -v -e ^/opt/payload -e ^/var/log",
    )
}

/// `make install` and `make uninstall`, with what is built: as with the package.
pub(crate) fn what_is_built_is_installed_and_uninstalled(cluster: &mut Cluster) {
    let [node] = cluster.nodes();
    node.sh("apt-get install -qq -y iptables 2>&1");
    node.sh("mkdir -p /run/netns");
    let before = picture(node);
    let script = format!("PROGRAMS={FOLDER} {FOLDER}/dist/install.sh");
    for _ in 0..2 {
        node.sh(&format!("{script} install 2>&1"));
        node.sh("systemctl enable --now podnetd 2>&1");
    }
    node.wait_status("idle", |status| status["phase"] == "idle");
    node.ctl("init --pod-cidr 10.244.0.0/16");
    node.ctl(&format!("pod add {}", node.pod()));
    let pod = node.pod_address();
    // systemd-networkd has read the files.
    node.sh("networkctl list podnet0 --no-legend | grep -q unmanaged");
    let said = node.sh(&format!("{script} uninstall 2>&1"));
    assert!(said.contains("cleanup --purge"), "{said}");
    assert!(!node.try_sh("pidof podnetd").ok());
    node.sh(&format!("ping -c1 -W5 {pod}"));
    // Two folders with nothing but locks stay, and the group.
    let said = node.sh(&format!(
        "set -e; {FOLDER}/podnetd cleanup --yes --purge 2>&1; groupdel podnet
        rm /var/lib/podnet/lock /run/podnet/lock; rmdir /var/lib/podnet /run/podnet/pods /run/podnet"
    ));
    assert_eq!(picture(node), before, "{said}");
    // The package's agent goes on if what hid it goes.
    install(node);
    node.sh(&format!("{script} install 2>&1; systemctl restart podnetd"));
    node.sh(&format!("{script} uninstall 2>&1"));
    assert_eq!(node.sh("systemctl is-enabled podnetd"), "enabled");
    assert_eq!(
        node.sh("readlink /proc/$(pidof podnetd)/exe"),
        "/usr/bin/podnetd"
    );
}

/// A removed package leaves the data path and says so; a purged one leaves the host as it was.
pub(crate) fn remove_leaves_the_data_path_and_purge_leaves_nothing(cluster: &mut Cluster) {
    let [node] = cluster.nodes();
    // What podnet needs stays when it goes; so it is there before.
    node.sh("apt-get install -qq -y iptables 2>&1");
    node.sh("mkdir -p /run/netns");
    let before = picture(node);
    install(node);
    node.ctl("init --pod-cidr 10.244.0.0/16");
    node.ctl(&format!("pod add {}", node.pod()));
    let pod = node.pod_address();
    let said = node.sh("apt-get remove -qq -y podnet 2>&1");
    assert!(
        said.contains("routes and rules of this host stay"),
        "{said}"
    );
    assert!(!node.try_sh("pidof podnetd").ok());
    node.sh(&format!("ping -c1 -W5 {pod}"));
    let said = node.sh("apt-get purge -qq -y podnet 2>&1");
    assert_eq!(picture(node), before, "{said}");
}
