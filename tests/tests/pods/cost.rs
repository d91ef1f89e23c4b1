//! What adding a pod costs where there are few pods, and where there are many.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podnet_lab::command::Guard;
use podnet_lab::lines::Lines;
use podnet_lab::prelude::*;

use crate::stage::cluster;

/// System calls by which the agent looks at files and the kernel, or changes them. What it waits
/// by, and wakes its threads by (`write`), depends on who happens to be awake.
const WORK: &str = "openat,read,sendto,sendmsg,recvfrom,recvmsg,mount,umount2,unshare,setns,\
                    rename,unlink,statx,clone3,socket,ioctl";

/// How many pods are added while calls are counted.
const COUNTED: usize = 5;

/// Beside adding pods the agent gossips, keeps an eye on links, and answers.
const BY_THE_WAY: u64 = 25;

/// Adds pods, and counts the agent's system calls meanwhile.
fn calls(node: Node<'_>, names: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let agent = node.agent().unwrap().unwrap().number().to_string();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-c", "-U", "calls,name", "-e", WORK, "-p", &agent])
        .stderr(Stdio::piped());
    let mut strace = Guard::new(strace.spawn().unwrap());
    let lines = Lines::of(strace.stderr().unwrap());
    let attached = |line: &str| line.contains("attached");
    lines.wait_for(LIMIT, "strace", attached).unwrap();
    for name in names {
        node.add_pod(&name);
    }
    kill(Pid::from_raw(strace.pid()), Signal::SIGINT).unwrap();
    let lines = lines.complete(LIMIT).unwrap();
    let counts = lines.iter().filter_map(|line| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    });
    counts.filter(|(name, _)| name != "total").collect()
}

#[test]
fn the_work_for_a_pod_does_not_grow_with_the_pods() {
    let lab = Lab::builder()
        .nodes(1)
        .timing("resync", Duration::from_secs(3600))
        .up()
        .unwrap();
    let node = first(&lab);
    lab.init_join_all().unwrap();
    // What is done once is done with the first.
    node.add_pod("first");
    let name = |number: usize| format!("pod-{number}");
    let few = calls(node, (0..COUNTED).map(name));
    (COUNTED..200).for_each(|number| drop(node.add_pod(&name(number))));
    let many = calls(node, (200..200 + COUNTED).map(name));
    println!("few: {few:?}\nmany: {many:?}");
    for call in ["openat", "sendto", "mount", "unshare"] {
        assert!(
            few[call] >= COUNTED as u64,
            "{call} is not counted: {few:?}"
        );
    }
    for (call, count) in many {
        let before = few.get(&call).copied().unwrap_or_default();
        assert!(
            count <= before + BY_THE_WAY,
            "{call}: {before} with few pods, {count} with many"
        );
    }
}

/// Each pod that comes would otherwise say so to all others, by way of the bridge.
#[test]
fn a_new_pod_sends_nothing_to_the_others() {
    let lab = cluster(1);
    let node = first(&lab);
    node.add_pod("red");
    let received = || -> u32 {
        let script = "ip netns exec red cat /sys/class/net/eth0/statistics/rx_packets";
        node.shell(script).trim().parse().unwrap()
    };
    let before = received();
    (0..20).for_each(|number| drop(node.add_pod(&format!("pod-{number}"))));
    // The bridge itself, which is new, says a few words.
    let heard = received() - before;
    assert!(heard < 10, "{heard} packets");
}
