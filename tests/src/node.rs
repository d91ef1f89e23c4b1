//! A node of a lab, from the outside.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::agent::without_foreign;
use crate::command::{Guard, Output, run, start};
use crate::dir::MemberDir;
use crate::error::LabError;
use crate::holder::Enter;
use crate::lab::Lab;
use crate::name::Member;
use crate::process::ProcessId;
use crate::record::load;

/// How long a command in a node may take, unless its caller says otherwise.
const EXEC_LIMIT: Duration = Duration::from_secs(180);

/// A member of a lab. For most of them that is a node, but the router and the internet have
/// namespaces to run commands in too.
#[derive(Debug, Clone, Copy)]
pub struct Node<'lab> {
    lab: &'lab Lab,
    member: Member,
}

impl<'lab> Node<'lab> {
    pub(crate) fn new(lab: &'lab Lab, member: Member) -> Self {
        Self { lab, member }
    }

    pub(crate) fn lab(&self) -> &'lab Lab {
        self.lab
    }

    pub(crate) fn dir(&self) -> MemberDir {
        self.lab.dir().member(self.member)
    }

    /// Which member of the lab it is.
    #[must_use]
    pub fn member(&self) -> Member {
        self.member
    }

    /// Its name, which is its host name.
    #[must_use]
    pub fn name(&self) -> String {
        self.member.to_string()
    }

    /// Its address on the underlay.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.lab.underlay().address(self.member)
    }

    /// The process that holds its namespaces.
    ///
    /// # Errors
    /// [`LabError::Broken`] when it is gone.
    pub fn holder(&self) -> Result<ProcessId, LabError> {
        let holder: Option<ProcessId> = load(&self.dir().holder())?;
        holder
            .filter(|holder| holder.alive())
            .ok_or_else(|| LabError::Broken {
                lab: self.lab.name().clone(),
                member: self.name(),
            })
    }

    /// The agent's state directory, as the host sees it.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir().state()
    }

    /// The agent's run directory, as the host sees it.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.dir().run()
    }

    /// The directory of the agent's configuration, as the host sees it.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.dir().etc()
    }

    /// The file that stands for the kernel's boot id.
    #[must_use]
    pub fn boot_id_file(&self) -> PathBuf {
        self.dir().boot_id()
    }

    /// The file that stands for the identity of the machine.
    #[must_use]
    pub fn machine_id_file(&self) -> PathBuf {
        self.dir().machine_id()
    }

    /// The agent's socket, as the host sees it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir().socket()
    }

    /// A command that will run in the node's namespaces, with podnet's programs on its path.
    ///
    /// # Errors
    /// [`LabError::Broken`] when the namespaces are gone.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Command, LabError> {
        let mut command = self.lab.programs().command()?;
        command
            .args(Enter::arguments(self.holder()?, None))
            .args(words)
            .env("PATH", self.lab.programs().search_path())
            // `podnetd cleanup` and `podnetd reset` have to find the agent's own machine.
            .env("PODNET_BOOT_ID_FILE", self.dir().boot_id())
            .env("PODNET_MACHINE_ID_FILE", self.dir().machine_id());
        without_foreign(&mut command);
        Ok(command)
    }

    /// Runs a command in the node to its end.
    ///
    /// # Errors
    /// [`LabError`] when it could not be run or took more than a minute. An exit code other than 0
    /// is no error.
    pub fn exec<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Output, LabError> {
        run(&mut self.command(words)?, "", EXEC_LIMIT)
    }

    /// Runs a command in the node with this input and this deadline.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn exec_with<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
        input: &str,
        limit: Duration,
    ) -> Result<Output, LabError> {
        run(&mut self.command(words)?, input, limit)
    }

    /// Starts a command in the node, with pipes for its output, that ends with its guard.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Guard, LabError> {
        let mut command = self.command(words)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        start(&mut command).map(Guard::new)
    }

    /// Runs `podnetctl` in the node.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn ctl<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Output, LabError> {
        self.ctl_with(words, &[], EXEC_LIMIT)
    }

    /// Runs `podnetctl` in the node with these variables in its environment and this deadline.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn ctl_with<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Output, LabError> {
        let program = self.lab.programs().path("podnetctl")?.into_os_string();
        let words: Vec<OsString> = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        let mut command = self.command([program].into_iter().chain(words))?;
        command.envs(environment.iter().copied());
        run(&mut command, "", limit)
    }

    /// Runs `ip -batch` in the node.
    pub(crate) fn ip_batch(&self, batch: &str) -> Result<(), LabError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.exec_with(["ip", "-batch", "-"], batch, EXEC_LIMIT)?
            .success(&format!("ip -batch in {}", self.name()))
            .map(drop)
    }
}
