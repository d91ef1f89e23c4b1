//! An agent that is killed between any two of the things that it does at its start: the next start
//! makes of the node what it was, or what it was about to become.

use std::collections::BTreeSet;
use std::fs;

use podnet_lab::prelude::*;
use podnet_lab::{Fate, every};

use crate::atomic::{INIT, RESYNC, assert_nothing, assert_only_owner, names, settled, share};

/// What a member keeps, besides its pods.
const MEMBER_STATE: [&str; 6] = ["cluster", "epoch", "identity", "ledger", "lock", "peers"];
const MEMBER_RUN: [&str; 6] = ["boot", "freed", "lock", "podnet.sock", "pods", "sysctls"];

/// A lab whose nodes start no agent of their own accord.
fn lab(nodes: u8) -> Lab {
    let builder = agents(nodes).timing("resync", RESYNC).faults();
    let lab = builder.agents(false).up().unwrap();
    lab.nodes().iter().for_each(|node| node.start().unwrap());
    lab
}

/// Whose state directory it is; nothing where that was never written down.
fn identity(node: Node<'_>) -> Option<String> {
    let text = fs::read_to_string(node.state_dir().join("identity")).ok()?;
    text.split(' ').nth(3).map(str::to_owned)
}

/// Starts the agent, that is killed at a step, and starts the next one. Returns whether it was
/// killed at all.
#[track_caller]
fn killed_at_start(node: Node<'_>, point: u32, what: &str, peers: usize) -> bool {
    let at_rest = || {
        let status: Status = node.try_ask(&["status"])?;
        let ok = status
            .peers
            .iter()
            .filter(|peer| peer.path == Some(PathState::Ok))
            .count();
        let passes = status.reconcile.passes;
        let member = status.phase == Phase::Ready && passes > 0 && ok >= peers;
        if status.phase == Phase::Idle || member {
            whole_pods(node)
        } else {
            Err(format!("{status:?}"))
        }
    };
    let fate = node.start_until(point, at_rest).unwrap();
    let known = identity(node);
    let killed = match fate {
        Fate::Died(last) => {
            // Shown when the test fails.
            println!("{} {what} {point}: {last}", node.name());
            node.start().unwrap();
            true
        }
        Fate::Passed(_) => false,
    };
    if let Some(known) = known {
        assert_eq!(node.status().node.id.to_string(), known, "{what} {point}");
    }
    killed
}

/// Says what there is of pods that is no pod, or no whole one.
fn whole_pods(node: Node<'_>) -> Result<(), String> {
    let listed: Vec<api::Pod> = node.try_ask(&["pod", "list"])?;
    let ready = listed.iter().filter(|pod| pod.state == PodState::Ready);
    let pods: BTreeSet<String> = ready.map(|pod| pod.name.to_string()).collect();
    let namespaces = node.shell("ls /run/netns");
    for found in [
        names(&node.run_dir().join("pods")),
        namespaces.lines().map(str::to_owned).collect(),
    ] {
        if found != pods {
            return Err(format!("{found:?}, and these pods: {pods:?}"));
        }
    }
    Ok(())
}

/// Waits until all pods are whole, and asserts that the files are those of a member.
#[track_caller]
fn assert_member(node: Node<'_>, when: &str) {
    eventually(LIMIT, when, || whole_pods(node)).unwrap();
    for (dir, known) in [
        (node.state_dir(), MEMBER_STATE),
        (node.run_dir(), MEMBER_RUN),
    ] {
        // The agent may be writing one.
        eventually(LIMIT, when, || {
            let found = names(&dir);
            let known = found.iter().all(|name| known.contains(&name.as_str()));
            if known {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .unwrap();
    }
}

#[test]
fn of_a_new_node() {
    let lab = lab(3);
    share(1, &lab.nodes(), one_new);
}

/// A node that starts with nothing on its disk, again and again, until it gets through.
fn one_new(node: Node<'_>, points: impl Iterator<Item = u32>) {
    let before = Snapshot::kernel(node);
    for point in points {
        node.kill().unwrap();
        for dir in [node.state_dir(), node.run_dir().join("pods")] {
            for name in names(&dir) {
                fs::remove_file(dir.join(name)).unwrap();
            }
        }
        fs::remove_dir(node.run_dir().join("pods")).unwrap();
        for name in names(&node.run_dir()) {
            fs::remove_file(node.run_dir().join(name)).unwrap();
        }
        let killed = killed_at_start(node, point, "first start", 0);
        assert!(!settled(node, 0), "step {point}");
        assert_nothing(node, &before, &format!("first start, step {point}"));
        if !killed {
            assert!(point > 5, "{point}");
            break;
        }
    }
}

#[test]
fn of_a_member_after_a_reboot() {
    let lab = lab(4);
    let [founder, members @ ..]: [Node<'_>; 4] = nodes(&lab);
    let invitation = founder.init(None).unwrap();
    for node in members {
        node.join(&invitation, founder).unwrap();
    }
    share(every(), &members, |node, points| {
        one_rebooted(node, founder, points);
    });
    founder.ready(members.len());
}

/// A member whose host is rebooted, again and again, until its start gets through.
fn one_rebooted(node: Node<'_>, founder: Node<'_>, points: impl Iterator<Item = u32>) {
    let own = node.block();
    for point in points {
        let pod = node.add_pod("red").address();
        founder.place().ping(pod).unwrap();
        node.kill().unwrap();
        node.reboot().unwrap();
        let killed = killed_at_start(node, point, "start after a reboot", 1);
        let when = format!("reboot, step {point}");
        assert!(settled(node, 1), "{when}");
        assert_eq!(node.block(), own, "{when}");
        assert_member(node, &when);
        assert_eq!(node.pods().len(), 0, "{when}");
        assert_only_owner(node, founder);
        if !killed {
            assert!(point > 20, "{point}");
            break;
        }
    }
    let pod = node.add_pod("red").address();
    founder.place().ping(pod).unwrap();
}

#[test]
fn of_a_member_that_was_killed_amid_an_add() {
    let lab = lab(4);
    let [founder, members @ ..]: [Node<'_>; 4] = nodes(&lab);
    let invitation = founder.init(None).unwrap();
    share(1, &members, |node, _| {
        // How far the pod has come: further on each node.
        let reached = match node.name().as_str() {
            "node2" => 4,
            "node3" => 11,
            _ => 18,
        };
        one_amid_add(node, founder, &invitation, reached);
    });
}

/// A member that is killed while it adds a pod and then at its start, again and again, until the
/// start gets through.
fn one_amid_add(node: Node<'_>, founder: Node<'_>, invitation: &Invitation, reached: u32) {
    node.join(invitation, founder).unwrap();
    let (own, green) = (node.block(), node.add_pod("green").address());
    for point in 1.. {
        let add = node.ctl_until(reached, ["pod", "add", "red"], &[]).unwrap();
        assert!(matches!(add, Fate::Died(_)), "{add:?}");
        let what = format!("start after pod add {reached}");
        let killed = killed_at_start(node, point, &what, 1);
        let when = format!("{what}, step {point}");
        assert!(settled(node, 1), "{when}");
        assert_eq!(node.block(), own, "{when}");
        assert_member(node, &when);
        founder.place().ping(green).unwrap();
        node.pod("green").ping(founder.gateway()).unwrap();
        let red = node.add_pod("red").address();
        node.pod("green").ping(red).unwrap();
        node.remove_pod("red");
        if !killed {
            assert!(point > 8, "{point}");
            break;
        }
    }
}

#[test]
fn of_a_node_that_is_made_another() {
    let lab = lab(3);
    share(1, &lab.nodes(), one_reset);
}

/// A member that is made another node, again and again, until that gets through.
fn one_reset(node: Node<'_>, points: impl Iterator<Item = u32>) {
    const RESET: [&str; 3] = ["podnetd", "reset", "--new-identity"];
    let before = Snapshot::kernel(node);
    for point in points {
        node.tell(&INIT);
        let first = identity(node).unwrap();
        node.kill().unwrap();
        let killed = match node.exec_until(point, RESET).unwrap() {
            Fate::Died(last) => {
                println!("{} {RESET:?} {point}: {last}", node.name());
                true
            }
            Fate::Passed(code) => {
                assert_eq!(code, 0, "{RESET:?} {point}");
                false
            }
        };
        // Whoever it is by now, it is whole.
        let known = identity(node);
        assert!(
            known.is_none() || known.as_ref() == Some(&first),
            "{known:?}"
        );
        node.start().unwrap();
        let when = format!("reset, step {point}");
        let member = settled(node, 0);
        let id = node.status().node.id.to_string();
        assert!(known.as_ref().is_none_or(|known| *known == id), "{when}");
        assert!(known.is_some() || (id != first && !member), "{when}");
        assert_member(node, &when);

        node.kill().unwrap();
        node.exec(RESET).unwrap().success(&when).unwrap();
        node.start().unwrap();
        assert_ne!(node.status().node.id.to_string(), first, "{when}");
        assert_nothing(node, &before, &when);
        if !killed {
            assert!(point > 10, "{point}");
            break;
        }
    }
}
