//! An agent that is killed between any two of the things that it does for a pod leaves the pod whole
//! or nothing of it.

use std::collections::BTreeSet;
use std::time::Duration;

use podnet_lab::{Fate, Lab, Node};

use super::crash::whole;
use super::stage::{
    add, address, ask, attempt, container, everything, first, found_small, refusal, shell,
    until_again,
};

/// Five addresses for pods: some that leak are soon missed.
const BLOCK_PREFIX: u8 = 29;

/// No look at what others may have changed counts among the points.
const RESYNC: Duration = Duration::from_secs(3600);

/// A node with a pod that has nothing to do with what comes.
fn stage() -> Lab {
    let builder = Lab::builder().nodes(1).timing("resync", RESYNC);
    let lab = builder.faults().up().unwrap();
    let node = first(&lab);
    found_small(node, BLOCK_PREFIX);
    add(node, "green");
    lab
}

/// Runs a command again and again, each time with an agent that is killed one step later, and lets
/// the next agent come to rest, until the command gets through. Returns how often that was.
fn killed_at_each_step(
    node: Node<'_>,
    command: &[&str],
    mut prepare: impl FnMut(),
    mut check: impl FnMut(u32),
) -> u32 {
    for point in 1.. {
        prepare();
        match node.ctl_until(point, command, &[]).unwrap() {
            Fate::Died(last) => {
                // Shown when the test fails.
                println!("{point}: {last}");
                node.start().unwrap();
                check(point);
            }
            Fate::Passed(code) => {
                assert_eq!(code, 0, "{command:?}");
                check(point);
                return point;
            }
        }
    }
    0
}

/// What is there must reach the other pod; what is not must have left nothing.
fn assert_whole_or_nothing(node: Node<'_>, before: &BTreeSet<String>) -> bool {
    let there = whole(node);
    assert!(there.contains_key("green"), "{there:?}");
    let red = there.get("red");
    match red {
        Some(_) => drop(node.pod("red").ping(address(&there["green"])).unwrap()),
        None => until_again(node, before),
    }
    red.is_some()
}

#[test]
fn a_pod_that_is_being_added() {
    let lab = stage();
    let node = first(&lab);
    let before = everything(node);
    let steps = killed_at_each_step(
        node,
        &["pod", "add", "red"],
        || {},
        |point| {
            assert_whole_or_nothing(node, &before);
            add(node, "red");
            assert!(assert_whole_or_nothing(node, &before), "{point}");
            ask(node, &["pod", "rm", "red"]);
            assert!(!assert_whole_or_nothing(node, &before), "{point}");
        },
    );
    assert!(steps > 20, "{steps}");
}

#[test]
fn a_pod_that_is_being_added_to_a_namespace_that_exists() {
    let lab = stage();
    let node = first(&lab);
    let pause = container(node);
    let netns = format!("/proc/{}/ns/net", pause.pid());
    let command = ["pod", "add", "red", "--netns", &netns];
    let links = || shell(node, &format!("nsenter --net={netns} ip -o link"));
    let (before, alone) = (everything(node), links());
    let steps = killed_at_each_step(
        node,
        &command,
        || {},
        |point| {
            assert_whole_or_nothing(node, &before);
            ask(node, &command);
            assert!(assert_whole_or_nothing(node, &before), "{point}");
            ask(node, &["pod", "rm", "red"]);
            assert!(!assert_whole_or_nothing(node, &before), "{point}");
            assert_eq!(links().lines().count(), alone.lines().count(), "{point}");
        },
    );
    assert!(steps > 15, "{steps}");
}

#[test]
fn a_pod_that_is_being_removed() {
    let lab = stage();
    let node = first(&lab);
    let before = everything(node);
    let steps = killed_at_each_step(
        node,
        &["pod", "rm", "red"],
        || drop(add(node, "red")),
        |point| {
            if assert_whole_or_nothing(node, &before) {
                ask(node, &["pod", "rm", "red"]);
                assert!(!assert_whole_or_nothing(node, &before), "{point}");
            }
            assert_eq!(refusal(node, &["pod", "show", "red"]).0, 4, "{point}");
        },
    );
    assert!(steps > 10, "{steps}");
}

#[test]
fn pods_that_are_being_removed_together() {
    let lab = stage();
    let node = first(&lab);
    let before = everything(node);
    let names = ["red", "blue"];
    let steps = killed_at_each_step(
        node,
        &["pod", "rm", "red", "blue"],
        || names.iter().for_each(|name| drop(add(node, name))),
        |_| {
            let there = whole(node);
            for name in names.iter().filter(|name| there.contains_key(**name)) {
                node.pod(name).ping(address(&there["green"])).unwrap();
                ask(node, &["pod", "rm", name]);
            }
            until_again(node, &before);
        },
    );
    assert!(steps > 15, "{steps}");
}

#[test]
fn a_pod_that_is_being_removed_from_a_namespace_that_exists() {
    let lab = stage();
    let node = first(&lab);
    let pause = container(node);
    let netns = format!("/proc/{}/ns/net", pause.pid());
    let before = everything(node);
    let steps = killed_at_each_step(
        node,
        &["pod", "rm", "red"],
        || drop(ask(node, &["pod", "add", "red", "--netns", &netns])),
        |point| {
            if assert_whole_or_nothing(node, &before) {
                ask(node, &["pod", "rm", "red"]);
                assert!(!assert_whole_or_nothing(node, &before), "{point}");
            }
            let eth0 = format!("nsenter --net={netns} ip link show eth0");
            assert!(!attempt(node, &eth0).ok(), "{point}");
        },
    );
    assert!(steps > 8, "{steps}");
}
