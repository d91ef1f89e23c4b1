//! Docker and podman beside podnet, as Debian has them.

use podnet_lab::Output;

use crate::cluster::Cluster;
use crate::driver::Network;
use crate::node::Node;

/// The address of the first container on Docker's own bridge.
const CONTAINER: &str = "172.17.0.2";

/// A container image, from the machine's own busybox.
#[track_caller]
fn make_image(node: Node<'_>) {
    node.sh(
        "set -e; mkdir -p /tmp/image/bin /tmp/image/www; cp /bin/busybox /tmp/image/bin/
        for applet in sh ping wget httpd sleep; do ln -sf busybox /tmp/image/bin/$applet; done
        echo hello > /tmp/image/www/index.html
        tar -C /tmp/image -c . > /tmp/image.tar",
    );
}

#[track_caller]
fn start_docker(node: Node<'_>) {
    make_image(node);
    node.sh("systemctl start docker 2>&1");
    node.sh("docker import /tmp/image.tar box");
}

/// A container with a published port, 8080, and one that is not, 81.
#[track_caller]
fn start_container(node: Node<'_>) {
    node.sh(
        "docker run -d --name web --security-opt apparmor=unconfined -p 8080:80 box \
         sh -c 'httpd -p 81 -h /www; exec httpd -f -p 80 -h /www'",
    );
    let address = node.sh("docker inspect -f '{{.NetworkSettings.IPAddress}}' web");
    assert_eq!(address, CONTAINER);
    node.wait_sh(&format!("curl -sf -m 2 http://{CONTAINER}:81/"));
}

/// Fetches a page as somebody on the LAN who is no node.
fn stranger_fetches(network: &Network, url: &str) -> Output {
    network.exec(&["curl", "-sf", "-m", "3", url]).unwrap()
}

/// Pods, containers and strangers reach what they should, and nothing else.
#[track_caller]
fn assert_beside_docker(cluster: &Cluster) {
    let [node1, node2] = cluster.nodes();
    start_container(node1);
    cluster.each(|node| drop(node.wait_ready(1)));
    cluster.assert_paths();
    cluster.assert_translated();
    // Pods of both nodes reach the container by its published port.
    let published = format!("http://{}:8080/", node1.address());
    for node in [node1, node2] {
        node.wait_sh(&format!(
            "podnetctl pod exec {} -- curl -sf -m 5 {published}",
            node.pod()
        ));
    }
    // The container reaches the pods of both.
    for pod in [node1.pod_address(), node2.pod_address()] {
        node1.sh(&format!("docker exec web ping -c1 -W5 {pod}"));
    }
    // A stranger reaches what is published, and nothing behind the node, though he has a route.
    let network = cluster.network();
    assert!(stranger_fetches(network, &published).ok());
    let by = node1.address();
    network
        .run(&["ip", "route", "replace", "172.17.0.0/16", "via", &by])
        .unwrap();
    let fetched = stranger_fetches(network, &format!("http://{CONTAINER}:81/"));
    assert!(
        !fetched.ok(),
        "the node is a router for strangers: {fetched}"
    );
    assert!(
        node1
            .sh("iptables -S FORWARD")
            .starts_with("-P FORWARD DROP")
    );
}

/// Docker starts on nodes that have been members for a while.
pub(crate) fn docker_starts_after_podnet(cluster: &mut Cluster) {
    let [node1, _] = cluster.nodes();
    start_docker(node1);
    assert_beside_docker(cluster);
    // Both start with the machine, in whichever order.
    node1.sh("systemctl enable docker 2>&1; docker update --restart=always web");
    node1.reboot();
    node1.wait_ready(1);
    node1.wait_sh("docker rm -f web");
    node1.add_pod();
    assert_beside_docker(cluster);
}

/// Docker has been running before podnet makes anything.
pub(crate) fn docker_starts_before_podnet(cluster: &mut Cluster) {
    let [node1, _] = cluster.nodes();
    start_docker(node1);
    cluster.join();
    cluster.each(|node| {
        node.add_pod();
    });
    assert_beside_docker(cluster);
}

/// A container without a network of its own gets one from podnet. It is restarted, which makes its
/// pod a gone one, and attached again: it has the same address.
#[track_caller]
fn assert_attached(cluster: &Cluster, program: &str) {
    let [node1, node2] = cluster.nodes();
    node1.sh(&format!(
        "{program} run -d --name plain --network none --cap-add NET_RAW \
         --security-opt apparmor=unconfined box sleep 100000"
    ));
    let attach = || {
        let pid = node1.sh(&format!("{program} inspect -f '{{{{.State.Pid}}}}' plain"));
        node1.ctl(&format!("pod add plain --pid {pid}"))
    };
    let added = attach();
    let target = node2.pod_address();
    let ping = format!("{program} exec plain ping -c1 -W5 {target}");
    node1.sh(&ping);
    node1.sh(&format!("{program} restart -t 0 plain"));
    node1.wait_sh("podnetctl -o json pod show plain | grep -q '\"gone\"'");
    node1.wait_status("the gone pod is shown", |status| {
        status["problems"].to_string().contains("plain")
    });
    let again = attach();
    assert_eq!(again["addresses"], added["addresses"]);
    node1.sh(&ping);
    node1.wait_ready(1);
    node1.sh("podnetctl pod rm plain");
    node1.sh(&format!("{program} rm -f plain"));
}

/// Containers of Docker and of podman, by the number of their process.
pub(crate) fn a_container_that_restarts_keeps_its_address(cluster: &mut Cluster) {
    let [node1, _] = cluster.nodes();
    start_docker(node1);
    assert_attached(cluster, "docker");
    node1.sh("podman import /tmp/image.tar box");
    assert_attached(cluster, "podman");
}

/// firewalld is started and reloaded; podnet's links are in its zone for what is trusted.
pub(crate) fn firewalld_reloads(cluster: &mut Cluster) {
    let [node1, _] = cluster.nodes();
    node1.sh("systemctl start dbus firewalld 2>&1
        firewall-cmd -q --permanent --zone=trusted --add-interface=podnet0
        firewall-cmd -q --permanent --zone=trusted --add-interface=eth0
        firewall-cmd -q --reload");
    for _ in 0..2 {
        node1.wait_ready(1);
        cluster.assert_paths();
        cluster.assert_translated();
        node1.sh("firewall-cmd -q --reload");
    }
}
