//! An agent that is killed between any two of the things that it does to become a member, or to end
//! being one, leaves a whole member or none.

use std::collections::BTreeSet;
use std::fs;
use std::iter::StepBy;
use std::ops::RangeFrom;
use std::path::Path;
use std::thread;
use std::time::Duration;

use podnet_lab::prelude::*;
use podnet_lab::{Fate, Lab, Node, every};

/// No look at what others may have changed counts among the steps.
pub(crate) const RESYNC: Duration = Duration::from_secs(3600);

pub(crate) const INIT: [&str; 3] = ["init", "--pod-cidr", "10.244.0.0/16"];

/// What a node keeps that is no member: who it is, and how often it was started.
const IDLE_STATE: [&str; 3] = ["epoch", "identity", "lock"];
const IDLE_RUN: [&str; 4] = ["boot", "lock", "podnet.sock", "pods"];

/// What gets through after fewer steps than these was not killed at each of them.
const INIT_STEPS: u32 = 35;
const LEAVE_FOUNDER_STEPS: u32 = 40;
const JOIN_STEPS: u32 = 70;
const LEAVE_STEPS: u32 = 60;
const CLEANUP_STEPS: u32 = 15;
const JOIN_VOTER_STEPS: u32 = 8;
const LEAVE_VOTER_STEPS: u32 = 6;

fn lab(nodes: u8) -> Lab {
    let builder = agents(nodes).timing("resync", RESYNC).faults();
    builder.up().unwrap()
}

pub(crate) fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

/// Asserts that there is nothing of podnet's on an idle node but what makes it a node.
#[track_caller]
pub(crate) fn assert_nothing(node: Node<'_>, before: &Snapshot, when: &str) {
    let state = names(&node.state_dir());
    let state: Vec<&str> = state.iter().map(String::as_str).collect();
    assert!(
        state.iter().all(|name| IDLE_STATE.contains(name)),
        "{when}: {state:?}"
    );
    let run: Vec<String> = names(&node.run_dir()).into_iter().collect();
    assert_eq!(run, IDLE_RUN, "{when}");
    assert_eq!(names(&node.run_dir().join("pods")), BTreeSet::new());
    before.assert_same(&Snapshot::kernel(node), when);
}

/// Runs a command, whose agent is killed at a step, and starts the next agent. Returns whether it
/// was killed at all, as it must be at the first steps.
#[track_caller]
fn killed(
    node: Node<'_>,
    point: u32,
    words: &[&str],
    environment: &[(&str, &str)],
    least: u32,
) -> bool {
    let words = [&["--yes"], words].concat();
    match node.ctl_until(point, &words, environment).unwrap() {
        Fate::Died(last) => {
            // Shown when the test fails.
            println!("{} {words:?} {point}: {last}", node.name());
            node.start().unwrap();
            true
        }
        Fate::Passed(code) => {
            assert_eq!(code, 0, "{words:?}\n{}", node.log());
            assert!(point > least, "{words:?}: {point}");
            false
        }
    }
}

/// Waits until a node is a whole member or none. Returns whether it is one.
#[track_caller]
pub(crate) fn settled(node: Node<'_>, peers: usize) -> bool {
    let status = node.status_where("idle or ready", |status| {
        let ok = status
            .peers
            .iter()
            .filter(|peer| peer.path == Some(PathState::Ok))
            .count();
        let passes = status.reconcile.passes;
        status.phase == Phase::Idle || (status.phase == Phase::Ready && passes > 0 && ok >= peers)
    });
    status.phase == Phase::Ready
}

/// Waits until a node looks like this.
#[track_caller]
fn assert_becomes(wanted: &Snapshot, look: impl Fn() -> Snapshot, when: &str) {
    let same = || match wanted.difference(&look()) {
        nothing if nothing.is_empty() => Ok(()),
        difference => Err(difference),
    };
    eventually(LIMIT, when, same).unwrap();
}

/// Goes through one in so many steps on several nodes at once: each of them takes its share.
pub(crate) fn share(
    every: u32,
    nodes: &[Node<'_>],
    work: impl Fn(Node<'_>, StepBy<RangeFrom<u32>>) + Sync,
) {
    let (stride, work) = (nodes.len() * every as usize, &work);
    thread::scope(|scope| {
        for (first, node) in (1..).step_by(every as usize).zip(nodes) {
            scope.spawn(move || work(*node, (first..).step_by(stride)));
        }
    });
}

#[test]
fn founders() {
    let lab = lab(3);
    share(every(), &lab.nodes(), one_founder);
}

/// A node that founds a cluster and leaves it, again and again, until both get through.
fn one_founder(node: Node<'_>, points: impl Iterator<Item = u32>) {
    let before = Snapshot::kernel(node);
    node.tell(&INIT);
    let member = Snapshot::kernel(node).plain();
    node.leave();
    assert_nothing(node, &before, "before");
    let assert_member = |when: &str| {
        assert_becomes(&member, || Snapshot::kernel(node).plain(), when);
    };

    let (mut founding, mut leaving) = (true, true);
    for point in points {
        if !(founding || leaving) {
            break;
        }
        if founding {
            founding = killed(node, point, &INIT, &[], INIT_STEPS);
            let when = format!("init, step {point}");
            if settled(node, 0) {
                assert_member(&when);
            } else {
                assert_nothing(node, &before, &when);
            }
        }
        node.tell(&INIT);
        let pod = node.add_pod("red").address();
        node.place().ping(pod).unwrap();
        if leaving {
            leaving = killed(node, point, &["leave"], &[], LEAVE_FOUNDER_STEPS);
            if settled(node, 0) {
                // It had not begun.
                node.place().ping(pod).unwrap();
                node.remove_pod("red");
                assert_member(&format!("leave, step {point}"));
            }
        }
        node.leave();
        assert_nothing(node, &before, &format!("leave again, step {point}"));
    }
}

#[test]
fn members() {
    let lab = lab(4);
    let [founder, members @ ..]: [Node<'_>; 4] = nodes(&lab);
    let invitation = founder.init(None).unwrap();
    share(every(), &members, |node, points| {
        one_member(node, founder, &invitation, points);
    });
    assert_eq!(founder.status().phase, Phase::Ready);
    assert_eq!(founder.status().cluster.unwrap().nodes, 1);
}

#[test]
fn cleanups() {
    let lab = lab(3);
    share(1, &lab.nodes(), one_cleanup);
}

/// A host that is cleaned up, again and again, until that gets through.
fn one_cleanup(node: Node<'_>, points: impl Iterator<Item = u32>) {
    const CLEANUP: [&str; 3] = ["podnetd", "cleanup", "--yes"];
    let before = Snapshot::kernel(node);
    node.tell(&INIT);
    for point in points {
        let pod = node.add_pod("red").address();
        node.place().ping(pod).unwrap();
        node.kill().unwrap();
        let killed = match node.exec_until(point, CLEANUP).unwrap() {
            Fate::Died(last) => {
                println!("{} {CLEANUP:?} {point}: {last}", node.name());
                true
            }
            Fate::Passed(code) => {
                assert_eq!(code, 0, "{CLEANUP:?} {point}");
                assert!(point > CLEANUP_STEPS, "{point}");
                false
            }
        };
        node.exec(CLEANUP).unwrap().success("cleanup").unwrap();
        before.assert_same(&Snapshot::kernel(node), &format!("cleanup, step {point}"));
        node.start().unwrap();
        assert!(settled(node, 0), "step {point}");
        if !killed {
            break;
        }
    }
}

/// A node that joins the founder's cluster and leaves it, again and again, until both get through.
fn one_member(
    node: Node<'_>,
    founder: Node<'_>,
    invitation: &Invitation,
    points: impl Iterator<Item = u32>,
) {
    let before = Snapshot::kernel(node);
    let seed = founder.address().to_string();
    let join = ["join", &seed];
    let token = [("PODNET_TOKEN", invitation.token.as_str())];
    let look = || {
        let now = Snapshot::kernel(node).plain();
        now.of_member(node.block(), founder.address())
    };
    node.join(invitation, founder).unwrap();
    let member = look();
    node.leave();
    let (mut joining, mut leaving) = (true, true);
    for point in points {
        if !(joining || leaving) {
            break;
        }
        if joining {
            joining = killed(node, point, &join, &token, JOIN_STEPS);
            let when = format!("join, step {point}");
            if settled(node, 1) {
                assert_becomes(&member, look, &when);
            } else {
                assert_nothing(node, &before, &when);
            }
        }
        node.join(invitation, founder).unwrap();
        assert_only_owner(node, founder);
        let pod = node.add_pod("red").address();
        founder.place().ping(pod).unwrap();
        node.pod("red").ping(founder.gateway()).unwrap();

        if leaving {
            leaving = killed(node, point, &["leave"], &[], LEAVE_STEPS);
            if settled(node, 1) {
                assert_only_owner(node, founder);
                founder.place().ping(pod).unwrap();
                node.remove_pod("red");
                assert_becomes(&member, look, &format!("leave, step {point}"));
            }
        }
        node.leave();
        assert_nothing(node, &before, &format!("leave again, step {point}"));
        assert_forgotten(node, founder);
    }
}

#[test]
fn voters() {
    let lab = lab(4);
    let [first, member1, second, member2] = nodes(&lab);
    share(every(), &[first, second], |founder, points| {
        let member = if founder.name() == first.name() {
            member1
        } else {
            member2
        };
        one_voter(founder, member, points);
    });
}

/// The founder is killed while another node joins it and leaves it: those go on when it is back.
fn one_voter(founder: Node<'_>, member: Node<'_>, points: impl Iterator<Item = u32>) {
    let before = Snapshot::kernel(member);
    let invitation = founder.init(None).unwrap();
    let (mut joining, mut leaving) = (true, true);
    for point in points {
        if !(joining || leaving) {
            break;
        }
        let join = || member.join(&invitation, founder).unwrap();
        joining = joining && killed_meanwhile(founder, point, "join", join, JOIN_VOTER_STEPS);
        join();
        assert_only_owner(member, founder);
        let pod = member.add_pod("red").address();
        founder.place().ping(pod).unwrap();

        let leave = || member.tell(&["--yes", "--timeout", "60s", "leave"]);
        leaving = leaving && killed_meanwhile(founder, point, "leave", leave, LEAVE_VOTER_STEPS);
        leave();
        assert_nothing(member, &before, &format!("leave, step {point}"));
        assert_forgotten(member, founder);
        founder.ready(0);
    }
}

/// Does something on another node, while the agent of this one is killed at a step and started
/// again. Returns whether it was killed at all, as it must be at the first steps.
#[track_caller]
fn killed_meanwhile(
    node: Node<'_>,
    point: u32,
    what: &str,
    work: impl Fn() + Sync,
    least: u32,
) -> bool {
    let fault = node.fatal(point).unwrap();
    let killed = thread::scope(|scope| {
        let work = scope.spawn(&work);
        let ended = || work.is_finished().then_some(()).ok_or("under way");
        fault.until(ended).unwrap();
        let killed = !fault.lift().unwrap();
        if killed {
            println!("{} {what} {point}", node.name());
            node.start().unwrap();
        }
        killed
    });
    assert!(killed || point > least, "{what}: {point}");
    killed
}

/// Asserts that the founder gives each block to one node, and this node the block that it uses.
#[track_caller]
pub(crate) fn assert_only_owner(node: Node<'_>, founder: Node<'_>) {
    let (name, own) = (node.name(), node.block());
    let seen = || {
        let all = founder.members();
        let blocks: Vec<_> = all.iter().flat_map(|node| &node.blocks).collect();
        let distinct: BTreeSet<_> = blocks.iter().collect();
        assert_eq!(distinct.len(), blocks.len(), "{all:?}");
        let owned = all.iter().any(|node| {
            let named = node.name.as_ref().is_some_and(|n| n.as_str() == name);
            named && node.blocks.contains(&own)
        });
        if owned {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    };
    eventually(LIMIT, "the block in the eyes of the founder", seen).unwrap();
}

/// Waits until the founder knows nothing of the node any more.
#[track_caller]
fn assert_forgotten(node: Node<'_>, founder: Node<'_>) {
    let gone = || {
        let all = founder.members();
        let known = all.iter().any(|found| {
            let name = found.name.as_ref();
            name.is_some_and(|name| name.as_str() == node.name())
        });
        if known {
            Err(format!("{all:?}"))
        } else {
            Ok(())
        }
    };
    eventually(LIMIT, "the founder forgets the node", gone).unwrap();
}
