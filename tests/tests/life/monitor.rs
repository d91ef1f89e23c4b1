//! What the kernel tells of changes to a node's links, addresses, routes and rules.

use std::time::Duration;

use podnet_lab::command::Guard;
use podnet_lab::lines::Lines;
use podnet_lab::prelude::*;

/// How long an agent that has come back is watched.
const QUIET: Duration = Duration::from_secs(5);

/// How long the kernel may take to tell of a change that was made.
const TOLD: Duration = Duration::from_millis(200);

pub(crate) struct Monitor<'lab> {
    node: Node<'lab>,
    guard: Guard,
    lines: Lines,
}

impl<'lab> Monitor<'lab> {
    pub(crate) fn start(node: Node<'lab>) -> Self {
        settle(node);
        let words = ["ip", "-o", "monitor", "link", "address", "route", "rule"];
        let mut guard = node.spawn(words).unwrap();
        let lines = Lines::of(guard.stdout().unwrap());
        let monitor = Self { node, guard, lines };
        monitor.mark("before0");
        monitor
    }

    /// Makes and removes a link, and waits until the monitor has told of it: then it has told of
    /// everything before that.
    fn mark(&self, name: &str) {
        eventually(LIMIT, "the monitor", || {
            self.node.shell(&format!(
                "ip link add {name} type bridge && ip link del {name}"
            ));
            let told = |line: &str| line.contains("Deleted") && line.contains(name);
            self.lines.wait_for(TOLD, "a link", told)
        })
        .unwrap();
    }

    /// Watches for a while longer, and asserts that nothing but the marks was told.
    #[track_caller]
    pub(crate) fn assert_silent(mut self, when: &str) {
        let waited = self.guard.wait(QUIET);
        assert!(
            matches!(waited, Err(LabError::Timeout { .. })),
            "{waited:?}"
        );
        self.mark("after0");
        let lines = self.lines.all();
        let of_mark = |line: &&String| ["before0", "after0"].iter().any(|name| line.contains(name));
        let others: Vec<_> = lines.iter().filter(|line| !of_mark(line)).collect();
        assert!(others.is_empty(), "{when}: {others:#?}");
    }
}
