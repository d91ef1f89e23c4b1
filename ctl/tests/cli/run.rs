//! Runs `podnetctl` and waits for its end, with a deadline.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fake_agent::FakeAgent;

/// Longer than any run here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The one document on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code in the error document.
    pub(crate) fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// The message in the error document.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Asserts the exit code, and returns the run.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

/// `podnetctl` without anything from the test's environment.
pub(crate) fn podnetctl(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podnetctl"));
    command
        .env_remove("PODNET_TOKEN")
        .env("PODNET_SOCKET", socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command line, written as one would type it, against an agent.
pub(crate) fn run(agent: &FakeAgent, line: &str) -> Ended {
    run_with(&agent.socket(), line.split_whitespace())
}

/// Runs with these arguments against a socket.
pub(crate) fn run_with<S: AsRef<OsStr>>(
    socket: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Ended {
    let mut command = podnetctl(socket);
    command.args(arguments);
    finish(&mut command, "")
}

/// Runs a prepared command, with this on its standard input if that is piped.
pub(crate) fn finish(command: &mut Command, input: &str) -> Ended {
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).unwrap();
    }
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        kill(pid, Signal::SIGKILL).unwrap();
        panic!("{command:?} does not end");
    };
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    Ended {
        code: status.code().expect("no exit code: ended by a signal"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
