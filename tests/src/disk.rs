//! What is done to a node's disk: copies of it, older ones instead of it, and second nodes with the
//! same.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::agent::SUSPEND_LIMIT;
use crate::command::run;
use crate::dir::{create_dir, empty_dir, remove_dir};
use crate::error::LabError;
use crate::name::{MAX_NODES, Member};
use crate::node::Node;
use crate::process::ProcessId;
use crate::record::{Record, load, save};

/// How long a copy may take.
const COPY_LIMIT: Duration = Duration::from_secs(60);

impl<'lab> Node<'lab> {
    /// Keeps a copy of the agent's state directory, instead of an earlier copy. A running agent is
    /// suspended meanwhile: the copy is what a crash at that moment would have left.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when the agent does not stand still, [`LabError::Command`] when
    /// copying fails; then the earlier copy is still there.
    pub fn save(&self) -> Result<(), LabError> {
        let _lock = self.lab().lock()?;
        let saved = self.dir().saved();
        let draft = saved.with_extension("new");
        remove_dir(&draft)?;
        self.copy_state(&draft)?;
        remove_dir(&saved)?;
        fs::rename(&draft, &saved)
            .map_err(|e| LabError::system(format!("renaming {}", draft.display()), e))
    }

    /// Puts the copy of [`Self::save`] in the place of the agent's state directory, which stays
    /// otherwise as it is. The agent is killed before and started after.
    ///
    /// # Errors
    /// [`LabError::NotSaved`] when there is no copy, and then nothing has changed;
    /// [`LabError::AgentEnded`] when the agent does not start with it.
    pub fn rollback(&self) -> Result<(), LabError> {
        let restarts = {
            let _lock = self.lab().lock()?;
            let saved = self.dir().saved();
            if !saved.is_dir() {
                return Err(LabError::NotSaved {
                    lab: self.lab().name().clone(),
                    node: self.name(),
                });
            }
            let restarts = self.restarts()?;
            self.kill()?;
            empty_dir(&self.state_dir())?;
            copy(&saved, &self.state_dir())?;
            restarts
        };
        if restarts { self.start() } else { Ok(()) }
    }

    /// Adds a node to the lab, behind the last one, with a copy of this node's disk: all that
    /// [`Self::reboot`] keeps. As with a virtual machine that was cloned, its machine id, boot id,
    /// host name, MAC and address are its own. Its agent is not started: an agent may refuse to,
    /// with a disk that was made on another machine.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] when the lab has no room for another node.
    pub fn duplicate(&self) -> Result<Node<'lab>, LabError> {
        self.number()?;
        let lab = self.lab();
        let _lock = lab.lock()?;
        let mut record: Record = load(&lab.dir().record())?.ok_or_else(|| LabError::NoLab {
            lab: lab.name().clone(),
        })?;
        let number = record.size().saturating_add(1);
        if number > MAX_NODES || !lab.underlay().has_room(number) {
            return Err(LabError::Unsupported {
                what: format!("a lab with {} nodes has no room for another", record.size()),
            });
        }
        let twin = Node::new(lab, Member::Node(number));
        let built = self.furnish(&twin).and_then(|()| {
            record.clones += 1;
            save(&lab.dir().record(), &record)
        });
        if let Err(error) = built {
            // The first failure is the one to tell; what resists is gone with the lab.
            let _ = twin
                .power_off()
                .and_then(|()| remove_dir(twin.dir().path()));
            return Err(error);
        }
        lab.grow_to(record.clones);
        Ok(twin)
    }

    fn furnish(&self, twin: &Node<'_>) -> Result<(), LabError> {
        // What a call that was killed has left.
        twin.power_off()?;
        remove_dir(twin.dir().path())?;
        self.copy_state(&twin.state_dir())?;
        for (from, to) in [
            (self.config_dir(), twin.config_dir()),
            (self.dir().disk(), twin.dir().disk()),
        ] {
            copy(&from, &to)?;
        }
        twin.renew_machine_id()?;
        twin.power_on()
    }

    fn copy_state(&self, to: &Path) -> Result<(), LabError> {
        let _frozen = match self.agent()? {
            Some(agent) if !agent.suspended() => Some(Frozen::freeze(agent)?),
            Some(_) | None => None,
        };
        copy(&self.state_dir(), to)
    }
}

/// A process that stands still as long as this value is there.
#[derive(Debug)]
struct Frozen(ProcessId);

impl Frozen {
    fn freeze(process: ProcessId) -> Result<Self, LabError> {
        // First, so that it goes on also after a failure.
        let frozen = Self(process);
        process.suspend(SUSPEND_LIMIT)?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It is ours, so this fails only when it has ended.
        let _ = self.0.signal(Signal::SIGCONT);
    }
}

/// Copies what is in a directory into another, with owners and modes.
fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
    create_dir(to)?;
    let mut command = Command::new("cp");
    command.args(["-a", "--"]).arg(from.join(".")).arg(to);
    run(&mut command, "", COPY_LIMIT)?
        .success(&format!("copying {}", from.display()))
        .map(drop)
}
