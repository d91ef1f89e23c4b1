//! Pings between pods, with a look at where they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use podnet_lab::lines::Lines;
use podnet_lab::{Guard, eventually};
use serde_json::Value;

use crate::machines::Machines;

/// How long a machine may take to begin to listen, and to show what it heard.
const LIMIT: Duration = Duration::from_secs(120);

/// The pod of a node.
pub(crate) fn pod_of(node: &str) -> String {
    node.replace("node", "pod")
}

/// Asserts that the pod of each node reaches that of each other, under its own address.
pub(crate) fn all(machines: &Machines, nodes: &[&str]) {
    let addresses: BTreeMap<&str, String> = nodes
        .iter()
        .map(|node| (*node, address(machines, node)))
        .collect();
    let heard: Vec<_> = nodes.iter().map(|node| listen(machines, node)).collect();
    for from in nodes {
        let pod = pod_of(from);
        let others = addresses.iter().filter(|(node, _)| *node != from);
        let pings: Vec<String> = others
            .map(|(_, to)| format!("sudo podnetctl pod exec {pod} -- ping -qc1 -w60 {to}"))
            .collect();
        machines.shell(from, &pings.join(" && "));
    }
    for (node, (_guard, lines)) in nodes.iter().zip(&heard) {
        let others = addresses.iter().filter(|(other, _)| *other != node);
        let expected: BTreeSet<&str> = others.map(|(_, address)| address.as_str()).collect();
        eventually(LIMIT, &format!("what came to the pod of {node}"), || {
            let lines = lines.all();
            let sources: BTreeSet<&str> = lines
                .iter()
                .filter_map(|line| line.split(' ').nth(1))
                .collect();
            if sources == expected {
                Ok(())
            } else {
                Err(format!("{sources:?}, not {expected:?}"))
            }
        })
        .unwrap();
    }
}

fn address(machines: &Machines, node: &str) -> String {
    let said = machines.shell(
        node,
        &format!("sudo podnetctl -o json pod show {}", pod_of(node)),
    );
    let pod: Value = serde_json::from_str(&said).unwrap();
    let address = pod["addresses"][0].as_str().unwrap();
    address.split('/').next().unwrap().to_owned()
}

/// Shows a line for each ping that comes to the pod of a node, from now on.
fn listen(machines: &Machines, node: &str) -> (Guard, Lines) {
    let listening = format!(
        "sudo ip netns exec {} tcpdump -nlt -Q in --immediate-mode -i eth0 'icmp[icmptype] == icmp-echo'",
        pod_of(node)
    );
    let mut remote = machines.remote(node, &listening);
    remote
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut guard = Guard::new(remote.spawn().unwrap());
    let lines = Lines::of(guard.stdout().unwrap());
    Lines::of(guard.stderr().unwrap())
        .wait_for(LIMIT, "tcpdump", |line| line.contains("listening on"))
        .unwrap();
    (guard, lines)
}
