//! More of something than there is room for, or than anybody wants to look at.

use podnet_lab::prelude::*;

use crate::stage::cluster;

/// How much the agent may grow by what others have made, in kilobytes.
const GROWTH: u64 = 16 << 10;

/// The memory of the agent that is resident, in kilobytes.
fn resident(node: Node<'_>) -> u64 {
    let pid = node.agent().unwrap().unwrap().pid;
    let script = format!("sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status");
    node.shell(&script).trim().parse().unwrap()
}

/// What `status` says of the namespace of a pod.
fn hidden(node: Node<'_>) -> Vec<String> {
    let status = node.status();
    let problems = status.problems.iter();
    let messages = problems.map(|problem| problem.message.clone());
    messages
        .filter(|message| message.contains("/run/netns/red"))
        .collect()
}

/// Gives a pod as many routes as this, 200,000 at most.
fn add_routes(node: Node<'_>, count: u32, route: &str) {
    node.shell(&format!(
        "seq 1 {count} | awk '{{ printf \"route add {route}\\n\", 100 + $1 / 65536, \
             $1 / 256 % 256, $1 % 256 }}' | ip -n red -batch -"
    ));
}

#[test]
fn what_a_pod_has_in_plenty_does_not_make_the_agent_grow() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    node.passes(2);
    let before = resident(node);
    add_routes(node, 150_000, "blackhole %d.%d.%d.0/24");
    node.passes(3);
    // It is looked into as before.
    node.shell("ip -n red link set eth0 down");
    let up = || {
        node.attempt("ip -n red link show eth0 up | grep -q eth0")
            .ok()
    };
    until("the interface up again", &true, up);
    assert_eq!(hidden(node), [""; 0]);

    add_routes(node, 20_000, "%d.%d.%d.1/32 dev eth0");
    let too_many = "namespace /run/netns/red: more than 16384 routes: too many to look at";
    until(
        "a pod that is not looked into",
        &vec![too_many.to_owned()],
        || hidden(node),
    );
    node.passes(3);
    let after = resident(node);
    assert!(after < before + GROWTH, "{after} kB instead of {before} kB");
    node.shell("ip -n red route flush root 100.0.0.0/8");
    until("a pod that is looked into", &Vec::new(), || hidden(node));
}

#[test]
fn a_bridge_without_a_port_left_is_full() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    // 1,023 ports are as many as Linux gives to a bridge.
    node.shell(
        "seq 1 1022 | awk '{ print \"link add theirs\" $1 \" type ifb\"; \
         print \"link set theirs\" $1 \" master podnet0\" }' | ip -batch -",
    );
    let add_green = ["-o", "json", "pod", "add", "green"];
    refused(node, &add_green[2..], ErrorCode::Full);
    let output = node.ctl(&add_green[2..]).unwrap();
    for words in [
        "all 1023 ports of the bridge podnet0 are in use",
        "podnetctl pod rm",
    ] {
        assert!(output.stderr.contains(words), "{output}");
    }
    assert!(!node.attempt("ip netns exec green true").ok());
    node.remove_pod("red");
    node.add_pod("green");
}
