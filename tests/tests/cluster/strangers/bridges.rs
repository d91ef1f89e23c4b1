//! What passes a host by way of bridges that are not podnet's.

use podnet_lab::prelude::*;

use super::{drop_rules, forwarding, found};

/// What a bridge of others passes on needs no forwarding, and meets the rules all the same where
/// Docker or Kubernetes have asked for that.
#[test]
fn what_bridges_of_others_pass_on_is_none_of_podnets_business() {
    let lab = idle(1);
    let [node] = nodes(&lab);
    node.shell(
        "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
         ip link add br0 type bridge; ip link set br0 up; ip address add 10.96.0.1/24 dev br0
         for n in 2 3; do ip netns add vm$n; ip link add port$n type veth peer name eth0 netns vm$n
         ip link set port$n master br0 up; ip -n vm$n link set eth0 up
         ip -n vm$n address add 10.96.0.$n/24 dev eth0; done",
    );
    let bridged = || {
        let words = [
            "ip",
            "netns",
            "exec",
            "vm2",
            "ping",
            "-c",
            "2",
            "-i",
            "0.1",
            "-W",
            "2",
            "10.96.0.3",
        ];
        node.exec(words).unwrap().ok()
    };
    assert!(bridged());
    found(node);
    node.ready(0);
    assert_eq!(forwarding(node, "br0"), "1");
    assert!(drop_rules(node).contains("-i br0 "), "{}", drop_rules(node));
    assert!(bridged());
}
