//! What is not podnet's is reported, and never taken.

use super::stage::{
    add, address, ask, cluster, code, first, idle, passes, pods, refusal, shell, text,
};

#[test]
fn a_name_that_somebody_else_has_in_the_namespace_directory_is_refused() {
    let lab = cluster(1);
    let node = first(&lab);
    shell(
        node,
        "ip netns add red; ip -n red link add mine type bridge; echo mine > /run/netns/green; \
         mkdir /run/netns/blue; : > /run/netns/white; ln -s /etc/hostname /run/netns/grey",
    );
    let before = shell(node, "ls -l /run/netns; ip -n red -o link");
    for name in ["red", "green", "blue", "white", "grey"] {
        assert_eq!(
            refusal(node, &["pod", "add", name]),
            code(5, "foreign_object"),
            "{name}"
        );
    }
    assert_eq!(shell(node, "ls -l /run/netns; ip -n red -o link"), before);
    assert_eq!(pods(node).len(), 0);
    node.kill().unwrap();
    node.start().unwrap();
    passes(node, 2);
    assert_eq!(shell(node, "ls -l /run/netns; ip -n red -o link"), before);
}

#[test]
fn a_bridge_of_podnets_name_stands_in_the_way_of_a_cluster() {
    let lab = idle(1).up().unwrap();
    let node = first(&lab);
    shell(
        node,
        "ip link add podnet0 type bridge; ip link set podnet0 up",
    );
    let seen = || {
        shell(
            node,
            "ip -o link; ip -o address; ip route show table all; iptables-save | grep -v '^[#:]' || true",
        )
    };
    let before = seen();
    let init = ["init", "--pod-cidr", "10.244.0.0/16"];
    assert_eq!(refusal(node, &init), code(5, "foreign_object"));
    assert_eq!(seen(), before);
    assert_eq!(ask(node, &["status"])["phase"], "idle");
    shell(node, "ip link del podnet0");
    ask(node, &init);
    assert_eq!(ask(node, &["status"])["phase"], "ready");
}

#[test]
fn a_link_of_a_host_ends_name_stands_in_the_way_of_its_pod() {
    let lab = cluster(1);
    let node = first(&lab);
    let pod = add(node, "red");
    let host_ifname = text(&pod["host_ifname"]).to_owned();
    ask(node, &["pod", "rm", "red"]);
    shell(node, &format!("ip link add {host_ifname} type bridge"));
    let seen = || {
        shell(
            node,
            &format!("ip -o link show {host_ifname}; ls /run/netns"),
        )
    };
    let before = seen();
    assert_eq!(
        refusal(node, &["pod", "add", "red"]),
        code(5, "foreign_object")
    );
    assert_eq!(seen(), before);
    assert_eq!(pods(node).len(), 0);
    passes(node, 2);
    assert_eq!(
        seen(),
        before,
        "no link of that name is podnet's by its name alone"
    );
    shell(node, &format!("ip link del {host_ifname}"));
    let red = add(node, "red");
    node.place().ping(address(&red)).unwrap();
}
