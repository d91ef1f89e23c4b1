//! What bad input must not do to a node.

use std::fs;

use podnet_lab::prelude::*;
use podnet_lab::process::ProcessId;

/// The most memory that an agent may ever have had resident, in KiB. A quiet one of a debug build
/// has some 20 MiB; what clients and peers can make it hold is bounded by a few times 8 MiB.
const MEMORY_LIMIT: u64 = 96 * 1024;

/// What an agent that panics writes to its log.
const PANIC: &str = "panicked at";

/// A node as it was before bad input, with a running agent.
#[derive(Debug)]
pub(crate) struct Unharmed<'lab> {
    node: Node<'lab>,
    agent: ProcessId,
    standing: Status,
    before: Snapshot,
}

impl<'lab> Unharmed<'lab> {
    /// Looks at a node.
    #[track_caller]
    pub(crate) fn watch(node: Node<'lab>) -> Self {
        Self {
            node,
            agent: node.agent().unwrap().unwrap(),
            standing: standing(node),
            before: Snapshot::whole(node),
        }
    }

    /// Asserts that kernel and files are byte for byte what they were, that the same agent runs and
    /// stands where it stood, that it has not panicked, and that its memory is bounded.
    #[track_caller]
    pub(crate) fn assert(&self, after: &str) {
        let name = self.node.name();
        assert_eq!(
            self.node.agent().unwrap(),
            Some(self.agent),
            "{after}: {name}"
        );
        assert_no_panic(self.node, after);
        assert_eq!(standing(self.node), self.standing, "{after}: {name}");
        let most = peak_memory(self.agent);
        assert!(most < MEMORY_LIMIT, "{after}: {name} had {most} KiB");
        self.before
            .assert_same(&Snapshot::whole(self.node), &format!("{after}: {name}"));
    }
}

/// Asserts that no agent of a node has panicked so far.
#[track_caller]
pub(crate) fn assert_no_panic(node: Node<'_>, after: &str) {
    let log = node.log();
    let panic = log.lines().find(|line| line.contains(PANIC));
    assert_eq!(panic, None, "{after}: {}", node.name());
}

/// The part of the status that bad input must not change: without times and counts of passes.
#[track_caller]
fn standing(node: Node<'_>) -> Status {
    let mut status = node.status();
    for peer in &mut status.peers {
        peer.last_seen_seconds = None;
    }
    status.reconcile.passes = 0;
    status.reconcile.operations_total = 0;
    status.reconcile.last_at = None;
    status.reconcile.last_duration_seconds = None;
    status
}

/// The most memory that a process has ever had resident, in KiB (`VmHWM`, proc(5)).
fn peak_memory(process: ProcessId) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.unwrap().parse().unwrap()
}
