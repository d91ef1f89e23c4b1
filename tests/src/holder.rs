//! The processes that stand inside a lab: the one that makes and holds the namespaces of a member,
//! and those that enter them.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, pause, sethostname, setsid};

use crate::command;
use crate::dir::{MemberDir, create_dir};
use crate::error::LabError;
use crate::interrupt;
use crate::mounts::{Layering, Mounts};
use crate::name::Member;
use crate::process::ProcessId;

/// What a holder is to make.
#[derive(Debug, clap::Args)]
pub struct Hold {
    /// Whose namespaces they are.
    #[arg(long, value_parser = parse_member)]
    pub member: Member,
    /// The lab's run directory.
    #[arg(long)]
    pub lab_dir: PathBuf,
    /// The folder with podnet's programs.
    #[arg(long)]
    pub bin_dir: PathBuf,
    /// The source by which the mount namespace is recognised.
    #[arg(long)]
    pub marker: String,
    /// Mirrors instead of overlays.
    #[arg(long)]
    pub mirrors: bool,
}

fn parse_member(name: &str) -> Result<Member, String> {
    name.parse()
        .map_err(|_| format!("'{name}': no such member"))
}

impl Hold {
    /// Makes the namespaces, starts the process that holds them, and returns its number.
    ///
    /// # Errors
    /// [`LabError::NotPermitted`] without root, or [`LabError::System`] with what failed.
    pub fn run(&self) -> Result<u32, LabError> {
        // If whoever builds the lab is killed, nothing is to be held for it. The process that is
        // started below does not inherit this.
        set_pdeathsig(Signal::SIGKILL).map_err(|e| LabError::system("prctl", e))?;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .map_err(|e| LabError::system("making namespaces", e))?;
        sethostname(self.member.to_string())
            .map_err(|e| LabError::system("setting the host name", e))?;

        let dir = MemberDir::at(self.lab_dir.join(self.member.to_string()));
        let (forwarding, node) = match self.member {
            Member::Router => ("1", None),
            Member::Internet => ("0", None),
            Member::Node(_) => ("0", Some(&dir)),
        };
        if node.is_some() {
            for path in [dir.state(), dir.run(), dir.etc()] {
                create_dir(&path)?;
            }
        }
        let mounts = Mounts {
            marker: self.marker.clone(),
            lab_dir: self.lab_dir.clone(),
            bin_dir: self.bin_dir.clone(),
            layering: if self.mirrors {
                Layering::Mirrors
            } else {
                Layering::Overlay
            },
        };
        mounts.set_up(&dir.private(), node)?;
        // A new namespace starts with what the host has.
        write("/proc/sys/net/ipv4/ip_forward", forwarding)?;

        let mut holder = Command::new(
            env::current_exe().map_err(|e| LabError::system("the path of this program", e))?,
        );
        holder
            .args(["__pause", &self.marker, &self.member.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command::start(&mut holder)?.id())
    }
}

fn write(path: &str, value: &str) -> Result<(), LabError> {
    std::fs::write(path, value).map_err(|e| LabError::system(format!("writing {path}"), e))
}

/// Holds the namespaces that this process is in, until a signal ends it.
///
/// # Errors
/// [`LabError::System`] when the process cannot be detached from its terminal.
pub fn hold_on() -> Result<(), LabError> {
    setsid().map_err(|e| LabError::system("setsid", e))?;
    interrupt::unblock()?;
    // A working directory in the host's file system would keep that busy.
    chdir("/").map_err(|e| LabError::system("chdir /", e))?;
    loop {
        pause();
    }
}

/// A program that is to run in a member's namespaces.
#[derive(Debug, clap::Args)]
pub struct Enter {
    /// The process that holds them.
    #[arg(long)]
    pid: i32,
    /// When it was started.
    #[arg(long)]
    start_time: u64,
    /// Leave the program running, with this file as its standard streams, and print its number.
    #[arg(long)]
    detach: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Enter {
    /// The arguments that make `podnet-lab` run a program in the namespaces of a holder.
    #[must_use]
    pub fn arguments(holder: ProcessId, detach: Option<&Path>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![
            "__enter".into(),
            "--pid".into(),
            holder.pid.to_string().into(),
            "--start-time".into(),
            holder.start_time.to_string().into(),
        ];
        if let Some(log) = detach {
            arguments.extend(["--detach".into(), log.as_os_str().to_owned()]);
        }
        arguments.push("--".into());
        arguments
    }

    /// Becomes the program, or starts it and returns.
    ///
    /// # Errors
    /// [`LabError::System`] when the namespaces or the program are not there.
    pub fn run(&self) -> Result<Entered, LabError> {
        let holder = ProcessId {
            pid: self.pid,
            start_time: self.start_time,
        };
        interrupt::unblock()?;
        enter(holder)?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        match &self.detach {
            None => Ok(Entered::NotExecuted(command.exec())),
            Some(log) => {
                let log = File::options()
                    .append(true)
                    .create(true)
                    .open(log)
                    .map_err(|e| LabError::system(log.display().to_string(), e))?;
                let errors = log
                    .try_clone()
                    .map_err(|e| LabError::system("duplicating a file", e))?;
                // A session of its own: a Ctrl-C at the lab's terminal is not for the agent.
                setsid().map_err(|e| LabError::system("setsid", e))?;
                command
                    .stdin(Stdio::null())
                    .stdout(log)
                    .stderr(errors)
                    .process_group(0);
                Ok(Entered::Detached(command::start(&mut command)?.id()))
            }
        }
    }
}

/// How entering ended for the process that entered.
#[derive(Debug)]
pub enum Entered {
    /// It could not become the program.
    NotExecuted(std::io::Error),
    /// The program runs detached, with this number.
    Detached(u32),
}

/// Moves this process, which must have one thread only, into the namespaces of a holder.
///
/// # Errors
/// [`LabError::System`] when the holder is gone, [`LabError::NotPermitted`] without root.
pub fn enter(holder: ProcessId) -> Result<(), LabError> {
    let gone = || LabError::system(format!("process {}", holder.pid), nix::errno::Errno::ESRCH);
    let open = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", holder.pid);
        File::open(&path).map_err(|e| LabError::system(path, e))
    };
    let namespaces = [
        (open("uts")?, CloneFlags::CLONE_NEWUTS),
        (open("net")?, CloneFlags::CLONE_NEWNET),
        (open("mnt")?, CloneFlags::CLONE_NEWNS),
    ];
    // Checked after the files were opened: they are those of this process and of no later one.
    if !holder.alive() {
        return Err(gone());
    }
    let directory = env::current_dir();
    for (file, kind) in namespaces {
        setns(file, kind).map_err(|e| LabError::system("entering a namespace", e))?;
    }
    // Entering a mount namespace leads to its root.
    if let Ok(directory) = directory {
        let _ = chdir(&directory);
    }
    Ok(())
}
