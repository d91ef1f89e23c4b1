//! An agent that is killed between any two of the things that it does for a pod leaves the pod whole
//! or nothing of it.

use std::collections::BTreeSet;
use std::time::Duration;

use podnet_lab::prelude::*;
use podnet_lab::{Fate, every};

use super::crash::{form, whole};
use crate::stage::{everything, found_small, until_again};

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
    node.add_pod("green");
    lab
}

/// Runs a command again and again, each time with an agent that is killed some steps later, and lets
/// the next agent come to rest, until the command gets through. Returns after how many steps that was.
fn killed_at_each_step(
    node: Node<'_>,
    command: &[&str],
    mut prepare: impl FnMut(),
    mut check: impl FnMut(u32),
) -> u32 {
    for point in (1..).step_by(every() as usize) {
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

/// A node with only the pod that has nothing to do with what comes.
struct Before {
    node: BTreeSet<String>,
    green: BTreeSet<String>,
}

impl Before {
    fn of(node: Node<'_>) -> Self {
        Self {
            node: everything(node),
            green: form(node, &node.show_pod("green")),
        }
    }

    /// What is there must be as the other pod is, and reach it; what is not must have left nothing.
    fn assert_whole_or_nothing(&self, node: Node<'_>) -> bool {
        let there = whole(node, &self.green);
        assert!(there.contains_key("green"), "{there:?}");
        let red = there.get("red");
        match red {
            Some(_) => drop(node.pod("red").ping(there["green"].address()).unwrap()),
            None => until_again(node, &self.node),
        }
        red.is_some()
    }
}

#[test]
fn a_pod_that_is_being_added() {
    let lab = stage();
    let node = first(&lab);
    let before = Before::of(node);
    let steps = killed_at_each_step(
        node,
        &["pod", "add", "red"],
        || {},
        |point| {
            before.assert_whole_or_nothing(node);
            node.add_pod("red");
            assert!(before.assert_whole_or_nothing(node), "{point}");
            node.remove_pod("red");
            assert!(!before.assert_whole_or_nothing(node), "{point}");
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
    let links = || node.shell(&format!("nsenter --net={netns} ip -o link"));
    let (before, alone) = (Before::of(node), links());
    let steps = killed_at_each_step(
        node,
        &command,
        || {},
        |point| {
            before.assert_whole_or_nothing(node);
            node.tell(&command);
            assert!(before.assert_whole_or_nothing(node), "{point}");
            node.remove_pod("red");
            assert!(!before.assert_whole_or_nothing(node), "{point}");
            assert_eq!(links().lines().count(), alone.lines().count(), "{point}");
        },
    );
    assert!(steps > 15, "{steps}");
}

#[test]
fn a_pod_that_is_being_removed() {
    let lab = stage();
    let node = first(&lab);
    let before = Before::of(node);
    let steps = killed_at_each_step(
        node,
        &["pod", "rm", "red"],
        || drop(node.add_pod("red")),
        |point| {
            if before.assert_whole_or_nothing(node) {
                node.remove_pod("red");
                assert!(!before.assert_whole_or_nothing(node), "{point}");
            }
            refused(node, &["pod", "show", "red"], ErrorCode::NotFound);
        },
    );
    assert!(steps > 10, "{steps}");
}

#[test]
fn pods_that_are_being_removed_together() {
    let lab = stage();
    let node = first(&lab);
    let before = Before::of(node);
    let names = ["red", "blue"];
    let steps = killed_at_each_step(
        node,
        &["pod", "rm", "red", "blue"],
        || names.iter().for_each(|name| drop(node.add_pod(name))),
        |_| {
            let there = whole(node, &before.green);
            for name in names.iter().filter(|name| there.contains_key(**name)) {
                node.pod(name).ping(there["green"].address()).unwrap();
                node.remove_pod(name);
            }
            until_again(node, &before.node);
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
    let before = Before::of(node);
    let steps = killed_at_each_step(
        node,
        &["pod", "rm", "red"],
        || drop(node.add_pod_with("red", &["--netns", &netns])),
        |point| {
            if before.assert_whole_or_nothing(node) {
                node.remove_pod("red");
                assert!(!before.assert_whole_or_nothing(node), "{point}");
            }
            let eth0 = format!("nsenter --net={netns} ip link show eth0");
            assert!(!node.attempt(&eth0).ok(), "{point}");
        },
    );
    assert!(steps > 8, "{steps}");
}
