//! What happens to a node's interfaces and addresses, and what comes of it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use podnet_lab::prelude::*;
use serde_json::Value;

/// How long peers may take to follow a node to another address.
pub(crate) const FOLLOWED: Duration = Duration::from_secs(5);

/// Nodes with the clockwork that users have.
pub(crate) fn users_lab(nodes: u8) -> LabBuilder {
    Lab::builder().nodes(nodes)
}

/// The same as one cluster.
pub(crate) fn users_cluster(nodes: u8) -> Cluster {
    Cluster::made_of(users_lab(nodes))
}

/// An address of the nodes' network.
pub(crate) fn underlay(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 56, last)
}

/// Gives a node a further interface on the nodes' link, which is down and has no address.
pub(crate) fn plug(lab: &Lab, node: Node<'_>, ifname: &str) {
    let pid = node.holder().unwrap().pid;
    let port = format!("{}-{ifname}", node.name());
    let script = format!(
        "ip link add {port} type veth peer name {ifname} netns {pid}
         ip link set {port} master br0 up"
    );
    lab.router().shell(&script);
}

/// Has an interface have this address and no other, at once. The way out goes with an interface's
/// last address, and is put back.
pub(crate) fn readdress(node: Node<'_>, ifname: &str, address: Ipv4Addr) {
    let script = format!(
        "ip address flush dev {ifname} scope global
         ip link set {ifname} up
         ip address add {address}/24 dev {ifname}
         ip route replace default via 192.168.56.1"
    );
    node.shell(&script);
}

/// The routes of podnet's that a node's kernel has: destination, next hop and device.
pub(crate) fn kernel_routes(node: Node<'_>) -> BTreeSet<String> {
    let routes = node.json("ip -j route show proto 112");
    let word = |route: &Value, key: &str| route[key].as_str().unwrap_or("-").to_owned();
    let routes = routes.as_array().unwrap().iter();
    routes
        .map(|route| {
            ["dst", "gateway", "dev"]
                .map(|key| word(route, key))
                .join(" ")
        })
        .collect()
}
