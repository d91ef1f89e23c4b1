//! A shell in a node that is asked to do things, and says how long they took.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Stdio};

use podnet_lab::Node;
use podnet_lab::command::Guard;

/// A running `bash`. The time is taken by the shell itself, so that its own start does not count.
pub(crate) struct Script {
    _guard: Guard,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Script {
    /// Starts a shell that knows these functions.
    pub(crate) fn start(node: Node<'_>, functions: &str) -> Self {
        let mut command = node.command(["bash", "-s"]).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        writeln!(input, "set -e; exec 3>&1 >&2\n{functions}").unwrap();
        Self {
            _guard: Guard::new(child),
            input,
            output,
        }
    }

    /// Runs a line, which has to succeed, and returns the milliseconds that it took.
    pub(crate) fn time(&mut self, line: &str) -> f64 {
        writeln!(
            self.input,
            "begin=$EPOCHREALTIME; {line}; end=$EPOCHREALTIME\n\
             echo $(( ${{end/./}} - ${{begin/./}} )) >&3"
        )
        .unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let microseconds: f64 = answer.trim().parse().unwrap_or_else(|_| {
            panic!("'{line}' failed");
        });
        microseconds / 1e3
    }
}
