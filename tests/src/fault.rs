//! Agents that die at a chosen point of what they do. They have to be built for that, as `make test`
//! does.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::command::{Guard, run, start};
use crate::error::LabError;
use crate::lab::LabBuilder;
use crate::node::Node;
use crate::process::ProcessId;
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

/// Of the points at which the simulator of whole clusters ends agents as well, one in so many is taken on the real
/// kernel. The variable `PODNET_TEST_EVERY=1` has each of them taken.
///
/// # Panics
/// When the variable is no number above 0.
#[must_use]
pub fn every() -> u32 {
    let chosen = std::env::var("PODNET_TEST_EVERY").ok();
    let every = chosen.map_or(7, |text| text.parse().unwrap_or(0));
    assert!(every > 0, "PODNET_TEST_EVERY is a number above 0");
    every
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
        let mut command = self.command(["podnetctl"])?;
        command
            .args(words)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let fault = self.fatal(point)?;
        let mut client = Guard::new(start(&mut command)?);
        let code = fault.until(|| client.wait(Duration::ZERO))?;
        self.fate(fault, code)
    }

    /// Starts the agent, which dies at the point of this number, unless `end` says before that all
    /// it does at its start is done.
    ///
    /// # Errors
    /// As [`Self::ctl_until`].
    pub fn start_until<E: fmt::Display>(
        &self,
        point: u32,
        end: impl FnMut() -> Result<(), E>,
    ) -> Result<Fate, LabError> {
        let mut fault = self.fault(point, None)?;
        fault.agent = Some(self.launch()?);
        let ended = fault.until(end)?;
        self.fate(fault, ended.map(|()| 0))
    }

    /// Lets the agent die at the point of this number, counted from now.
    ///
    /// # Errors
    /// [`LabError::AgentDown`] when there is none.
    pub fn fatal(&self, point: u32) -> Result<Fault, LabError> {
        let agent = self.agent()?.ok_or_else(|| LabError::AgentDown {
            lab: self.lab().name().clone(),
            node: self.name(),
        })?;
        self.fault(point, Some(agent))
    }

    /// Lets the agent panic as soon as it has changed anything.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn panic_soon(&self) -> Result<(), LabError> {
        self.write_fault("panic").map(drop)
    }

    fn fault(&self, point: u32, agent: Option<ProcessId>) -> Result<Fault, LabError> {
        let file = self.write_fault(&point.to_string())?;
        Ok(Fault { file, point, agent })
    }

    /// Writes the file that the agent's points look at.
    fn write_fault(&self, what: &str) -> Result<PathBuf, LabError> {
        let file = self.config_dir().join(NAME);
        // Whole from the first moment.
        let beside = file.with_extension("new");
        fs::write(&beside, what)
            .and_then(|()| fs::rename(&beside, &file))
            .map_err(|e| LabError::system(format!("writing {}", file.display()), e))?;
        Ok(file)
    }

    fn fate(&self, fault: Fault, code: Option<i32>) -> Result<Fate, LabError> {
        match (fault.lift()?, code) {
            (true, Some(code)) => Ok(Fate::Passed(code)),
            (true | false, _) => Ok(Fate::Died(told(&self.log()))),
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
        let fault = self.fault(point, None)?;
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
#[derive(Debug)]
pub struct Fault {
    file: PathBuf,
    point: u32,
    /// The agent; `None` where another program is to die.
    agent: Option<ProcessId>,
}

impl Fault {
    /// Waits until something has an end, or the agent has died: then there is nothing.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when neither happens.
    pub fn until<T, E: fmt::Display>(
        &self,
        mut end: impl FnMut() -> Result<T, E>,
    ) -> Result<Option<T>, LabError> {
        eventually(LIMIT, "end of a command or of its agent", || {
            if self.agent.is_some_and(|agent| !agent.alive()) {
                return Ok(None);
            }
            end().map(Some)
        })
    }

    /// Lets the agent live on. Returns whether it does; else it has died.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] when it knows no points.
    pub fn lift(self) -> Result<bool, LabError> {
        let failed = |e| LabError::system(format!("file {}", self.file.display()), e);
        let left = match fs::read_to_string(&self.file) {
            Ok(left) => left,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.died(),
            Err(e) => return Err(failed(e)),
        };
        let removed = fs::remove_file(&self.file);
        if left == self.point.to_string() {
            return Err(LabError::Unsupported {
                what: "this podnetd passes no fault points: build with \
                       --features podnet-agent/fault-points"
                    .to_owned(),
            });
        }
        match removed {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.died(),
            Err(e) => Err(failed(e)),
        }
    }

    /// The agent has taken the file, and dies.
    fn died(&self) -> Result<bool, LabError> {
        self.agent
            .map_or(Ok(()), |agent| agent.wait_end(LIMIT))
            .map(|()| false)
    }
}
