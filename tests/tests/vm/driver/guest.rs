//! Commands on a machine, by the QEMU guest agent.

use std::fmt::Display;
use std::io::{self, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use podnet_lab::command::Output;
use podnet_lab::{LabError, patiently};
use qapi::qga::{GuestExecCaptureOutput, guest_exec, guest_exec_status, guest_sync};
use qapi::{Qga, Stream};

/// How long the agent may take to answer a question: longer than any pause of a busy host.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long a look lasts for whether there is an agent at all.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// How many answers to earlier questions may still be on their way.
const STALE_ANSWERS: usize = 64;

type Connection = Qga<Stream<BufReader<UnixStream>, UnixStream>>;

/// The guest agent of a machine. Each call is a connection of its own: a machine may have been
/// restarted or put back to a snapshot since the last.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The machine's name, for errors.
    pub(crate) machine: String,
    /// QEMU's end of the serial port.
    pub(crate) socket: PathBuf,
}

impl Guest {
    fn failed(&self, what: &str, reason: impl Display) -> LabError {
        LabError::Command {
            what: format!("{}: {what}", self.machine),
            reason: reason.to_string(),
        }
    }

    fn connect(&self, limit: Duration) -> io::Result<Connection> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let mut agent = Qga::new(Stream::new(BufReader::new(stream.try_clone()?), stream));
        // A byte that is no UTF-8 ends whatever the agent was reading (QEMU Guest Agent Protocol
        // Reference, `guest-sync-delimited`).
        agent.inner_mut().get_mut_write().write_all(&[0xff])?;
        let id = i64::from(rand_id());
        agent.write_command(&guest_sync { id })?;
        for _ in 0..STALE_ANSWERS {
            match agent.read_response::<guest_sync>() {
                Ok(answer) if answer == id => return Ok(agent),
                // An answer to what another connection asked.
                Ok(_) | Err(qapi::ExecuteError::Qapi(_)) => {}
                Err(qapi::ExecuteError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {}
                Err(qapi::ExecuteError::Io(e)) => return Err(e),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Waits until the agent answers: the machine has booted.
    pub(crate) fn wait(&self, limit: Duration) -> Result<(), LabError> {
        let what = format!("boot of {}", self.machine);
        patiently(limit, &what, || self.connect(LOOK_LIMIT)).map(drop)
    }

    /// Runs a shell script to its end, whatever comes of it.
    pub(crate) fn exec(&self, script: &str, limit: Duration) -> Result<Output, LabError> {
        let mut agent = self
            .connect(ANSWER_LIMIT)
            .map_err(|e| self.failed("reaching the guest agent", e))?;
        let started = agent.execute(&guest_exec {
            path: "/bin/sh".to_owned(),
            arg: Some(vec!["-c".to_owned(), script.to_owned()]),
            env: None,
            input_data: None,
            capture_output: Some(GuestExecCaptureOutput::flag(true)),
        });
        let pid = started.map_err(|e| self.failed(script, e))?.pid;
        let what = format!("{}: {script}", self.machine);
        patiently(limit, &what, || {
            let status = match agent.execute(&guest_exec_status { pid }) {
                Ok(status) => status,
                Err(e) => return Ok(Err(self.failed(script, e))),
            };
            if !status.exited {
                return Err("still running");
            }
            let text = |bytes: Option<Vec<u8>>| {
                String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
            };
            let code = match (status.exitcode, status.signal) {
                (Some(code), _) => code,
                (None, signal) => 128 + signal.unwrap_or_default(),
            };
            Ok(Ok(Output {
                code: i32::try_from(code).unwrap_or(i32::MAX),
                stdout: text(status.out_data),
                stderr: text(status.err_data),
            }))
        })?
    }
}

/// A number that no other connection has asked with.
fn rand_id() -> i32 {
    fastrand::i32(1..)
}
