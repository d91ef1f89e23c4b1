//! An agent that dies at any moment leaves whole pods and no halves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hint;
use std::time::{Duration, Instant};

use fastrand::Rng;
use podnet_lab::prelude::*;

use crate::stage::cluster;

/// Another one is tried with the variable `PODNET_TEST_SEED`.
const SEED: u64 = 20_261_121;
const PODS: usize = 12;
const ROUNDS: usize = 4;

fn rng() -> Rng {
    let seed = std::env::var("PODNET_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(SEED);
    // Shown when the test fails.
    println!("PODNET_TEST_SEED={seed}");
    Rng::with_seed(seed)
}

fn names() -> Vec<String> {
    (0..PODS).map(|number| format!("pod{number}")).collect()
}

/// How many host ends the node has, without a process that would take longer than what is watched.
fn host_ends(node: Node<'_>) -> usize {
    let path = format!("/proc/{}/net/dev", node.holder().unwrap().pid);
    let devices = fs::read_to_string(path).unwrap();
    devices
        .lines()
        .filter(|line| line.trim_start().starts_with("pn"))
        .count()
}

/// Kills the agent as soon as `reached` says so, and a little later.
fn kill_at(node: Node<'_>, delay: Duration, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !reached() && Instant::now() < deadline {
        hint::spin_loop();
    }
    let moment = Instant::now() + delay;
    while Instant::now() < moment {
        hint::spin_loop();
    }
    node.kill().unwrap();
}

/// What the kernel and the run directory hold of pods: names of namespaces, records, and the number
/// of host ends.
fn held(node: Node<'_>) -> (BTreeSet<String>, BTreeSet<String>, usize) {
    let list = |path: &str| {
        node.shell(&format!("ls {path}"))
            .lines()
            .map(str::to_owned)
            .collect()
    };
    (
        list("/run/netns"),
        list("/run/podnet/pods"),
        host_ends(node),
    )
}

/// Whether podnet made the pod's namespace.
fn is_made(pod: &api::Pod) -> bool {
    pod.netns.starts_with("/run/netns/")
}

/// All that makes a pod, inside and on the host, in other words than those that are its own. From
/// inside it must reach what is outside of the pod network.
pub(crate) fn form(node: Node<'_>, pod: &api::Pod) -> BTreeSet<String> {
    let own = pod.address().to_string();
    let [a, b, c, d] = pod.address().octets();
    let in_hex = format!(":{a:02x}:{b:02x}:{c:02x}:{d:02x}");
    let host_ifname = pod.host_ifname.as_str();
    let link = "ip -o link show dev";
    let plain = "sed -E 's/^[0-9]+: //; s/@if[0-9]+:/:/; s/ link-netns.*//'";
    // With the address of the router of the underlay.
    let inside = format!(
        "{{ {link} eth0; ip -o address show dev eth0; }} | {plain}
        ip -4 route show table all; ip -6 route show default; ip neighbour show nud permanent
        cd /proc/sys/net/ipv6/conf/eth0 && grep '' accept_dad accept_ra disable_ipv6
        ping -qn -c2 -i0.01 -W5 $0 >/dev/null"
    );
    let script = format!(
        "router=$(ip -4 route show default | cut -d' ' -f3)
        nsenter --net={netns} sh -ec \"$0\" $router; {link} {host_ifname} | {plain} | cut -d'\\' -f1
        ip neighbour show {own} dev podnet0",
        netns = pod.netns,
    );
    let output = node.exec(["sh", "-ec", &script, &inside]).unwrap();
    let found = output.success(&script).unwrap().stdout;
    let in_common = |word: &str| {
        let word = word.trim_end_matches(':');
        match word.strip_prefix(&own) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("ADDRESS{rest}"),
            _ if word == host_ifname => "HOST-END".to_owned(),
            _ => word.replace(&in_hex, ":ADDRESS"),
        }
    };
    let lines = found.lines().map(str::split_whitespace);
    let lines = lines.map(|words| words.map(in_common).collect::<Vec<_>>().join(" "));
    lines.collect()
}

/// The form of a pod that was added in peace.
fn unbroken(node: Node<'_>) -> BTreeSet<String> {
    let form = form(node, &node.add_pod("unbroken"));
    node.remove_pod("unbroken");
    form
}

/// Waits until each pod is whole, as an unbroken one is, or not there at all, and returns those that
/// are.
pub(crate) fn whole(node: Node<'_>, unbroken: &BTreeSet<String>) -> BTreeMap<String, api::Pod> {
    let listed = || -> BTreeMap<String, api::Pod> {
        let pods = node.pods().into_iter();
        pods.map(|pod| (pod.name.to_string(), pod)).collect()
    };
    let halves = || {
        let listed = listed();
        let states: Vec<PodState> = listed.values().map(|pod| pod.state).collect();
        let names: BTreeSet<String> = listed.keys().cloned().collect();
        let made = listed.iter().filter(|(_, pod)| is_made(pod));
        let made = made.map(|(name, _)| name.clone()).collect();
        let wanted = (made, names.clone(), names.len());
        let held = held(node);
        if states.iter().all(|state| *state == PodState::Ready) && held == wanted {
            Ok(())
        } else {
            Err(format!("{held:?} instead of {wanted:?}, {states:?}"))
        }
    };
    if let Err(error) = eventually(LIMIT, "whole pods and no halves", halves) {
        panic!("{error}\n{}", node.log());
    }
    let listed = listed();
    for pod in listed.values() {
        // On a busy host the kernel takes a moment to open a new port of the bridge.
        let ping = || node.place().ping(pod.address());
        if let Err(error) = eventually(LIMIT, "an answer", ping) {
            panic!("{error}: {pod:?}\n{}", node.log());
        }
        assert_eq!(&form(node, pod), unbroken, "{pod:?}\n{}", node.log());
    }
    let addresses: BTreeSet<_> = listed.values().map(Address::address).collect();
    assert_eq!(addresses.len(), listed.len());
    listed
}

#[test]
fn a_crash_amid_many_adds_leaves_each_pod_whole_or_not_there() {
    let lab = cluster(1);
    let node = first(&lab);
    let unbroken = unbroken(node);
    let mut rng = rng();
    for round in 0..ROUNDS {
        let moment = rng.usize(0..PODS);
        let delay = Duration::from_micros(rng.u64(0..3000));
        println!("round {round}: killed {delay:?} after {moment} host ends");
        let answers = std::thread::scope(|scope| {
            let adding = scope.spawn(|| {
                at_once(names(), |name| {
                    node.ctl(["-o", "json", "pod", "add", &name]).unwrap()
                })
            });
            kill_at(node, delay, || host_ends(node) > moment);
            adding.join().unwrap()
        });
        node.start().unwrap();
        let there = whole(node, &unbroken);
        for answer in answers.iter().filter(|answer| answer.ok()) {
            let pod: api::Pod = serde_json::from_str(&answer.stdout).unwrap();
            assert_eq!(there[pod.name.as_str()], pod, "what was promised is kept");
        }
        for name in names() {
            node.add_pod(&name);
        }
        assert_eq!(whole(node, &unbroken).len(), PODS);
        at_once(names(), |name| node.remove_pod(&name));
        assert_eq!(whole(node, &unbroken).len(), 0);
    }
}

#[test]
fn a_crash_amid_many_removals_leaves_each_pod_whole_or_not_there() {
    let lab = cluster(1);
    let node = first(&lab);
    let unbroken = unbroken(node);
    let mut rng = rng();
    for round in 0..ROUNDS / 2 {
        at_once(names(), |name| node.add_pod(&name));
        let moment = rng.usize(0..PODS);
        let delay = Duration::from_micros(rng.u64(0..3000));
        println!("round {round}: killed {delay:?} after {moment} host ends were left");
        let answers = std::thread::scope(|scope| {
            let removing = scope.spawn(|| {
                at_once(names(), |name| {
                    (node.ctl(["pod", "rm", &name]).unwrap(), name)
                })
            });
            kill_at(node, delay, || host_ends(node) <= moment);
            removing.join().unwrap()
        });
        node.start().unwrap();
        let there = whole(node, &unbroken);
        for (answer, name) in answers {
            assert!(
                !(answer.ok() && there.contains_key(&name)),
                "{name} was removed: {answer}"
            );
        }
        for name in there.keys() {
            node.remove_pod(name);
        }
        assert_eq!(whole(node, &unbroken).len(), 0);
    }
}

#[test]
fn pods_outlive_their_agent_with_their_addresses() {
    let lab = cluster(2);
    let [node, far] = nodes(&lab);
    let pause = container(node);
    node.add_pod_with("attached", &["--pid", &pause.pid().to_string()]);
    node.add_pod("made");
    let before = node.pods();
    // With the indexes of the links: the same ones, not others like them.
    let links = || node.json("ip -j link show master podnet0");
    let links_before = links();
    far.add_pod("blue");
    for end in [Node::term, Node::kill] {
        end(&node).unwrap();
        for pod in &before {
            far.pod("blue").ping(pod.address()).unwrap();
        }
        node.start().unwrap();
        until("the pods as before", &before, || node.pods());
        assert_eq!(links(), links_before);
    }
    node.passes(2);
    let reconcile = node.status().reconcile;
    assert_eq!(reconcile.operations_total, 0, "what is there is adopted");
    assert_eq!(reconcile.drift_total, 0);
    assert_eq!(links(), links_before);
    assert_eq!(node.pods(), before);
    assert_eq!(node.show_pod("made"), before[1]);
}
