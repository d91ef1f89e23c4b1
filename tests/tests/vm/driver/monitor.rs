//! The machine itself, by QEMU's monitor (QMP).

use std::fmt::Display;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use podnet_lab::{LabError, eventually};
use qapi::qmp::{cont, human_monitor_command, set_link, stop};
use qapi::{Command, Qmp, Stream};

/// How long one command may take; snapshots write the memory to disk.
const LIMIT: Duration = Duration::from_secs(120);

/// How long QEMU may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The monitor of a machine. Each command is a connection of its own.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// The machine's name, for errors.
    pub(crate) machine: String,
    /// QEMU's socket.
    pub(crate) socket: PathBuf,
}

impl Monitor {
    fn failed(&self, what: &str, reason: impl Display) -> LabError {
        LabError::Command {
            what: format!("{}: {what}", self.machine),
            reason: reason.to_string(),
        }
    }

    fn execute<C: Command>(&self, command: &C) -> Result<C::Ok, LabError> {
        let what = format!("monitor of {}", self.machine);
        let stream = eventually(START_LIMIT, &what, || UnixStream::connect(&self.socket))?;
        let failed = |e: &dyn Display| self.failed(C::NAME, e);
        stream
            .set_read_timeout(Some(LIMIT))
            .map_err(|e| failed(&e))?;
        let copy = stream.try_clone().map_err(|e| failed(&e))?;
        let mut monitor = Qmp::new(Stream::new(BufReader::new(copy), stream));
        monitor.handshake().map_err(|e| failed(&e))?;
        monitor.execute(command).map_err(|e| failed(&e))
    }

    /// A command of the human monitor, which has no answer but complaints.
    fn human(&self, command_line: String) -> Result<(), LabError> {
        let what = command_line.clone();
        let complaint = self.execute(&human_monitor_command {
            command_line,
            cpu_index: None,
        })?;
        if complaint.trim().is_empty() {
            Ok(())
        } else {
            Err(self.failed(&what, complaint.trim()))
        }
    }

    /// Stops the machine's processors.
    pub(crate) fn pause(&self) -> Result<(), LabError> {
        self.execute(&stop {}).map(drop)
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) -> Result<(), LabError> {
        self.execute(&cont {}).map(drop)
    }

    /// Keeps memory, devices and disk under a name, in the disk's file.
    pub(crate) fn save(&self, snapshot: &str) -> Result<(), LabError> {
        self.human(format!("savevm {snapshot}"))
    }

    /// Puts memory, devices and disk back.
    pub(crate) fn load(&self, snapshot: &str) -> Result<(), LabError> {
        self.human(format!("loadvm {snapshot}"))
    }

    /// Plugs a network cable in, or pulls it.
    pub(crate) fn carrier(&self, device: &str, up: bool) -> Result<(), LabError> {
        let name = device.to_owned();
        self.execute(&set_link { name, up }).map(drop)
    }
}
