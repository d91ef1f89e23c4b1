//! Child processes with a deadline. All that a lab starts is `podnet-lab` itself, which enters the
//! namespaces and then becomes the program that is wanted.

use std::fmt;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::ExitStatusExt as _;

use crate::error::LabError;
use crate::interrupt;
use crate::wait::eventually;

/// How often a wait for output looks whether the program is to end.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// What a program gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal's number if a signal ended it, as in a shell.
    pub code: i32,
    /// Its standard output; what is no UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// The standard output as JSON.
    ///
    /// # Errors
    /// [`LabError::Command`] with the whole output when it is none.
    pub fn json(&self) -> Result<serde_json::Value, LabError> {
        serde_json::from_str(&self.stdout).map_err(|e| LabError::Command {
            what: "reading JSON".to_owned(),
            reason: format!("{e} in: {self}"),
        })
    }

    /// The output, if the program succeeded.
    ///
    /// # Errors
    /// [`LabError::Command`] with what it said on stderr.
    pub fn success(self, what: &str) -> Result<Self, LabError> {
        if self.ok() {
            return Ok(self);
        }
        let said = self.stderr.trim();
        Err(LabError::Command {
            what: what.to_owned(),
            reason: if said.is_empty() {
                format!("exit code {}", self.code)
            } else {
                said.replace('\n', "; ")
            },
        })
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Starts a program.
///
/// # Errors
/// [`LabError::System`] with its name.
pub(crate) fn start(command: &mut Command) -> Result<Child, LabError> {
    command.spawn().map_err(|e| {
        LabError::system(
            format!("running {}", command.get_program().to_string_lossy()),
            e,
        )
    })
}

/// Runs a program to its end, and kills it when it takes longer than `limit`.
///
/// # Errors
/// [`LabError::Timeout`], [`LabError::Interrupted`], or [`LabError::System`] when it cannot be
/// started. What the program itself calls a failure is no error here.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Output, LabError> {
    let child = start(
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let mut child = Guard::new(child);
    let outcome = communicate(&mut child.child, input, limit);
    let (status, stdout, stderr) = outcome.map_err(|failure| match failure {
        Failure::Lab(error) => error,
        Failure::Late => LabError::Timeout {
            what: describe(command),
            limit,
            last: "still running".to_owned(),
        },
    })?;
    Ok(Output {
        code: exit_code(status),
        stdout,
        stderr,
    })
}

/// The program that a command ends up as, for people.
fn describe(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let wanted = words
        .iter()
        .position(|word| word == "--")
        .map_or(0, |i| i + 1);
    words[wanted..].join(" ")
}

enum Failure {
    Lab(LabError),
    Late,
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

fn communicate(
    child: &mut Child,
    input: &str,
    limit: Duration,
) -> Result<(ExitStatus, String, String), Failure> {
    let deadline = Instant::now() + limit;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // A program that does not read its input is free to leave it.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                return Err(LabError::system("writing to a program", e).into());
            }
            Ok(()) | Err(_) => {}
        }
    }
    let mut texts = [String::new(), String::new()];
    for (text, stream) in texts.iter_mut().zip([stdout, stderr]) {
        if let Some(stream) = stream {
            *text = receive(&stream, deadline)?;
        }
    }
    // Both streams are closed: the end is near, but not always there yet.
    let left = deadline.saturating_duration_since(Instant::now());
    let status = eventually(left, "end of a program", || match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("still running".to_owned()),
        Err(e) => Err(e.to_string()),
    })
    .map_err(|_| Failure::Late)?;
    let [stdout, stderr] = texts;
    Ok((status, stdout, stderr))
}

fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is all there is.
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn receive(stream: &mpsc::Receiver<String>, deadline: Instant) -> Result<String, Failure> {
    loop {
        if interrupt::requested() {
            return Err(LabError::Interrupted.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match stream.recv_timeout(left.min(INTERRUPT_POLL)) {
            Ok(text) => return Ok(text),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(String::new()),
            Err(mpsc::RecvTimeoutError::Timeout) if left.is_zero() => return Err(Failure::Late),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A running program that does not outlive its guard.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

impl Guard {
    /// Takes charge of a program.
    #[must_use]
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    /// Its process number, in the host's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The program's standard output, once, if it was started with a pipe.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The program's standard error, once, if it was started with a pipe.
    pub fn stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for its end by itself and returns the exit code.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when it still runs after `limit`; the guard keeps it.
    pub fn wait(&mut self, limit: Duration) -> Result<i32, LabError> {
        eventually(limit, "end of a program", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(exit_code(status)),
            Ok(None) => Err("still running".to_owned()),
            Err(e) => Err(e.to_string()),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn streams_and_exit_codes_come_back() {
        let limit = Duration::from_secs(10);
        let output = run(&mut shell("cat; echo no >&2; exit 3"), "yes", limit).unwrap();
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (3, "yes", "no\n")
        );
        let killed = run(&mut shell("kill -9 $$"), "", limit).unwrap();
        assert_eq!(killed.code, 137);
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_the_deadline() {
        let error = run(&mut shell("exec sleep 60"), "", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, LabError::Timeout { .. }), "{error}");
    }
}
