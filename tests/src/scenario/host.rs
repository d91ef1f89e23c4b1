//! What a scenario does on a node as root, without podnet.

use serde_json::Value;

use super::waits::LIMIT;
use crate::command::{Guard, Output};
use crate::lines::Lines;
use crate::node::Node;

impl Node<'_> {
    /// Runs a shell script in the node, which must succeed, and returns what it prints.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let output = self.attempt(script);
        assert!(output.ok(), "{}: {script}: {output}", self.name());
        output.stdout
    }

    /// Runs a shell script in the node to whatever end.
    #[track_caller]
    pub fn attempt(&self, script: &str) -> Output {
        self.exec(["sh", "-ec", script]).unwrap()
    }

    /// What a command of the node prints as JSON; it must succeed.
    #[must_use]
    #[track_caller]
    pub fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.shell(command)).unwrap()
    }
}

/// A process in a network namespace of its own, inside of the node: as a container's is before
/// anybody gives it a network. It ends with its guard, and the namespace with it.
#[must_use]
#[track_caller]
pub fn container(node: Node<'_>) -> Guard {
    let mut guard = node
        .spawn(["unshare", "--net", "sh", "-c", "echo in; exec sleep 600"])
        .unwrap();
    let lines = Lines::of(guard.stdout().unwrap());
    lines
        .wait_for(LIMIT, "a container", |line| line == "in")
        .unwrap();
    guard
}
