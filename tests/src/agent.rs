//! The agent of a node, as a process.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::run;
use crate::error::LabError;
use crate::holder::Enter;
use crate::interrupt;
use crate::node::Node;
use crate::process::ProcessId;
use crate::record::{load, save};
use crate::wait::eventually;

/// How long an agent may take from its start to its first answer.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long an agent may take to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take until the threads of an agent stand still: as long as the disk is busy.
pub(crate) const SUSPEND_LIMIT: Duration = Duration::from_secs(20);
/// How long one question to the agent may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How much of the log an error shows.
const LOG_TAIL_LINES: usize = 5;

/// What would lead the agent and its clients out of their node.
const FOREIGN_ENVIRONMENT: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "PODNET_CONFIG",
    "PODNET_STATE_DIR",
    "PODNET_RUN_DIR",
    "PODNET_SOCKET",
    "PODNET_NETNS_DIR",
    "PODNET_TOKEN",
];

impl Node<'_> {
    /// The agent's process, if it runs.
    ///
    /// # Errors
    /// [`LabError::Record`] when the lab's file about it is damaged.
    pub fn agent(&self) -> Result<Option<ProcessId>, LabError> {
        let agent: Option<ProcessId> = load(&self.dir().agent())?;
        Ok(agent.filter(|agent| agent.alive()))
    }

    /// Starts the agent and waits until it answers. Nothing happens when it runs already.
    ///
    /// # Errors
    /// [`LabError::AgentEnded`] with the end of the log, [`LabError::Timeout`], or
    /// [`LabError::MissingProgram`].
    pub fn start(&self) -> Result<(), LabError> {
        if self.agent()?.is_some() {
            return Ok(());
        }
        let agent = self.launch()?;
        eventually(READY_LIMIT, &format!("agent of {}", self.name()), || {
            if let Err(interrupted) = interrupt::check() {
                return Ok(Err(interrupted));
            }
            if !agent.alive() {
                return Ok(Err(LabError::AgentEnded {
                    node: self.name(),
                    log: self.log_tail(),
                }));
            }
            ask_status(&self.socket()).map(|_| Ok(()))
        })?
    }

    pub(crate) fn launch(&self) -> Result<ProcessId, LabError> {
        let dir = self.dir();
        let mut command = self.lab().programs().command()?;
        command
            .args(Enter::arguments(self.holder()?, Some(&dir.log())))
            .arg(self.lab().programs().path("podnetd")?)
            .arg("run")
            .env("PATH", self.lab().programs().search_path())
            .env("PODNET_BOOT_ID_FILE", dir.boot_id())
            .env("PODNET_MACHINE_ID_FILE", dir.machine_id());
        without_foreign(&mut command);
        command.envs(&self.lab().plan().environment);
        let what = format!("starting the agent of {}", self.name());
        let output = run(&mut command, "", ANSWER_LIMIT)?.success(&what)?;
        let agent = started(&output.stdout, &what)?;
        save(&dir.agent(), &agent)?;
        Ok(agent)
    }

    /// Ends the agent at once, as a crash does.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when it does not die.
    pub fn kill(&self) -> Result<(), LabError> {
        self.end(Signal::SIGKILL)
    }

    /// Asks the agent to stop, and waits until it has.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when it goes on.
    pub fn term(&self) -> Result<(), LabError> {
        self.end(Signal::SIGTERM)
    }

    fn end(&self, signal: Signal) -> Result<(), LabError> {
        let Some(agent) = self.agent()? else {
            return Ok(());
        };
        agent.signal(signal)?;
        agent.wait_end(STOP_LIMIT)
    }

    /// Suspends the agent, and waits until all of it stands still.
    ///
    /// # Errors
    /// [`LabError::AgentDown`] when there is none.
    pub fn stop(&self) -> Result<(), LabError> {
        self.running_agent()?.suspend(SUSPEND_LIMIT)
    }

    /// Lets a suspended agent go on.
    ///
    /// # Errors
    /// [`LabError::AgentDown`] when there is none.
    pub fn cont(&self) -> Result<(), LabError> {
        self.running_agent()?.signal(Signal::SIGCONT)
    }

    fn running_agent(&self) -> Result<ProcessId, LabError> {
        self.agent()?.ok_or_else(|| LabError::AgentDown {
            lab: self.lab().name().clone(),
            node: self.name(),
        })
    }

    /// What the agent has logged so far, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.dir().log())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("; ")
    }

    /// Whether the agent is to run again after it was killed with its host: where every node has
    /// one it is enabled, elsewhere it was somebody's wish.
    pub(crate) fn restarts(&self) -> Result<bool, LabError> {
        Ok(self.lab().plan().agents || self.agent()?.is_some())
    }

    /// Writes what an agent expects to find: its configuration, and who and since when its machine
    /// is.
    ///
    /// # Errors
    /// [`LabError::System`] with the path.
    pub(crate) fn prepare(&self) -> Result<(), LabError> {
        let config = &self.lab().plan().config;
        if !config.is_empty() {
            write(&self.dir().etc().join("podnetd.toml"), config)?;
        }
        self.renew_boot_id()?;
        self.renew_machine_id()
    }

    pub(crate) fn renew_boot_id(&self) -> Result<(), LabError> {
        write(&self.dir().boot_id(), &random_uuid()?)
    }

    pub(crate) fn renew_machine_id(&self) -> Result<(), LabError> {
        write(&self.dir().machine_id(), &random_uuid()?)
    }
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(|e| LabError::system(format!("writing {}", path.display()), e))
}

/// A line with a random UUID: the kernel makes a new one for each reader.
fn random_uuid() -> Result<String, LabError> {
    let path = "/proc/sys/kernel/random/uuid";
    fs::read_to_string(path).map_err(|e| LabError::system(format!("reading {path}"), e))
}

/// The process whose number a starter printed.
pub(crate) fn started(printed: &str, what: &str) -> Result<ProcessId, LabError> {
    let pid = printed.trim().parse().map_err(|_| LabError::Command {
        what: what.to_owned(),
        reason: format!("no process number but '{}'", printed.trim()),
    })?;
    ProcessId::of(pid)
}

/// Asks for the agent's status, without a process for that: what waits for something asks often.
///
/// # Errors
/// What came instead of a document.
pub(crate) fn ask_status(socket: &Path) -> Result<String, String> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        stream
            .write_all(b"GET /v1/status HTTP/1.1\r\nHost: podnet\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = ask().map_err(|e: std::io::Error| format!("{}: {e}", socket.display()))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        Some(_) | None => Err(format!("GET /v1/status: {answer}")),
    }
}

/// Takes from a command's environment what would lead podnet's programs out of their node.
pub(crate) fn without_foreign(command: &mut Command) {
    for name in FOREIGN_ENVIRONMENT {
        command.env_remove(name);
    }
}
