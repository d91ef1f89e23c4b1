//! What is not podnet's is reported, and never taken.

use podnet_lab::prelude::*;

use crate::stage::cluster;

#[test]
fn a_name_that_somebody_else_has_in_the_namespace_directory_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    node.shell(
        "ip netns add red; ip -n red link add mine type bridge; echo mine > /run/netns/green; \
         mkdir /run/netns/blue; : > /run/netns/white; ln -s /etc/hostname /run/netns/grey",
    );
    let before = node.shell("ls -l /run/netns; ip -n red -o link");
    for name in ["red", "green", "blue", "white", "grey"] {
        refused(node, &["pod", "add", name], ErrorCode::ForeignObject);
    }
    assert_eq!(node.shell("ls -l /run/netns; ip -n red -o link"), before);
    assert_eq!(node.pods().len(), 0);
    node.kill().unwrap();
    node.start().unwrap();
    node.passes(2);
    assert_eq!(node.shell("ls -l /run/netns; ip -n red -o link"), before);
}

#[test]
fn a_bridge_of_podnets_name_stands_in_the_way_of_a_cluster() {
    let lab = looking_every(OFTEN, 1).up().unwrap();
    let node = first(&lab);
    node.shell("ip link add podnet0 type bridge; ip link set podnet0 up");
    let seen = || {
        node.shell(
"ip -o link; ip -o address; ip route show table all; iptables-save | grep -v '^[#:]' || true",
)
    };
    let before = seen();
    let init = ["init", "--pod-cidr", "10.244.0.0/16"];
    refused(node, &init, ErrorCode::ForeignObject);
    assert_eq!(seen(), before);
    assert_eq!(node.status().phase, Phase::Idle);
    node.shell("ip link del podnet0");
    node.tell(&init);
    assert_eq!(node.status().phase, Phase::Ready);
}

#[test]
fn a_link_of_a_host_ends_name_stands_in_the_way_of_its_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let pod = node.add_pod("red");
    let host_ifname = pod.host_ifname.as_str().to_owned();
    node.remove_pod("red");
    node.shell(&format!("ip link add {host_ifname} type bridge"));
    let seen = || node.shell(&format!("ip -o link show {host_ifname}; ls /run/netns"));
    let before = seen();
    refused(node, &["pod", "add", "red"], ErrorCode::ForeignObject);
    assert_eq!(seen(), before);
    assert_eq!(node.pods().len(), 0);
    node.passes(2);
    assert_eq!(
        seen(),
        before,
        "no link of that name is podnet's by its name alone"
    );
    node.shell(&format!("ip link del {host_ifname}"));
    let red = node.add_pod("red");
    node.place().ping(red.address()).unwrap();
}
