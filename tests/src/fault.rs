//! Agents that die at a chosen point of what they do. They have to be built for that, as `make test`
//! does.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::command::{Guard, run, start};
use crate::error::LabError;
use crate::lab::LabBuilder;
use crate::node::Node;
use crate::wait::eventually;

/// What tells the agent where to look for the number of its fatal point.
const VARIABLE: &str = "PODNET_FAULT_FILE";

/// The file's name, and the folder as the agents see it: each node has its own.
const NAME: &str = "fault";
const FOLDER: &str = "/etc/podnet";

/// What the agent's log has in the line about the fatal point.
const TOLD: &str = "the fatal point";

/// How long a command may take until it has ended, or its agent has died.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of a command whose agent was to die.
#[derive(Debug)]
pub enum Fate {
    /// The agent died, and the client with it. What the agent had just done, as its log tells.
    Died(String),
    /// The command ended before the point was reached, with this exit code.
    Passed(i32),
}

impl LabBuilder {
    /// Whether the agents can be told to die at a point.
    #[must_use]
    pub fn faults(self) -> Self {
        self.env(VARIABLE, &format!("{FOLDER}/{NAME}"))
    }
}

impl Node<'_> {
    /// Runs `podnetctl`, while the agent dies at the point of this number: the first is 1.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] when the agent knows no points; [`LabError::Timeout`] when nothing
    /// ends.
    pub fn ctl_until<A: AsRef<OsStr>>(
        &self,
        point: u32,
        words: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Result<Fate, LabError> {
        let agent = self.agent()?.ok_or_else(|| LabError::AgentDown {
            lab: self.lab().name().clone(),
            node: self.name(),
        })?;
        let mut command = self.command(["podnetctl"])?;
        command
            .args(words)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let fault = Fault::set(self.config_dir().join(NAME), point)?;
        let mut client = Guard::new(start(&mut command)?);
        let ended = eventually(LIMIT, "end of a command or of its agent", || {
            if !agent.alive() {
                return Ok(None);
            }
            client.wait(Duration::ZERO).map(Some)
        })?;
        match ended {
            Some(code) if fault.lift()? => Ok(Fate::Passed(code)),
            Some(_) | None => {
                agent.wait_end(LIMIT)?;
                Ok(Fate::Died(told(&self.log())))
            }
        }
    }

    /// Runs one of podnet's programs, which dies itself at the point of this number.
    ///
    /// # Errors
    /// As [`Self::ctl_until`].
    pub fn exec_until<A: AsRef<OsStr>>(
        &self,
        point: u32,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Fate, LabError> {
        let mut command = self.command(words)?;
        command.env(VARIABLE, format!("{FOLDER}/{NAME}"));
        let fault = Fault::set(self.config_dir().join(NAME), point)?;
        let output = run(&mut command, "", LIMIT)?;
        if fault.lift()? {
            return Ok(Fate::Passed(output.code));
        }
        Ok(Fate::Died(told(&output.stderr)))
    }
}

/// The line of a log that tells of the fatal point.
fn told(log: &str) -> String {
    let line = log.lines().rev().find(|line| line.contains(TOLD));
    line.unwrap_or_default().to_owned()
}

/// A point at which an agent is to die.
struct Fault {
    file: PathBuf,
    point: u32,
}

impl Fault {
    fn set(file: PathBuf, point: u32) -> Result<Self, LabError> {
        // Whole from the first moment.
        let beside = file.with_extension("new");
        fs::write(&beside, point.to_string())
            .and_then(|()| fs::rename(&beside, &file))
            .map_err(|e| LabError::system(format!("writing {}", file.display()), e))?;
        Ok(Self { file, point })
    }

    /// Lets the agent live on. Returns whether it was still to die.
    fn lift(self) -> Result<bool, LabError> {
        let failed = |e| LabError::system(format!("file {}", self.file.display()), e);
        let left = match fs::read_to_string(&self.file) {
            Ok(left) => left,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(failed(e)),
        };
        if left == self.point.to_string() {
            return Err(LabError::Unsupported {
                what: "this podnetd passes no fault points: build with \
                       --features podnet-agent/fault-points"
                    .to_owned(),
            });
        }
        match fs::remove_file(&self.file) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }
}
