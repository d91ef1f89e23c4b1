//! Taking a lab down, whatever state it is in.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::census;
use crate::dir::LabDir;
use crate::error::LabError;
use crate::lock::LabLock;
use crate::name::{LabName, Member};
use crate::process::ProcessId;
use crate::record::{Record, load};

/// How long the agents may take to stop in order. What they would save is removed right after.
const AGENTS_LIMIT: Duration = Duration::from_secs(5);

/// Ends all processes of a lab and removes its directory. It is no error when there is none.
///
/// What belongs to the lab is told by the kernel: this works after a crash at any point, and with
/// the lab's own files damaged or gone.
///
/// # Errors
/// [`LabError::Inside`] when called from within the lab, [`LabError::Timeout`] when a process does
/// not die, [`LabError::System`] when the directory cannot be removed.
pub fn down(name: LabName) -> Result<(), LabError> {
    let dir = LabDir::of(name)?;
    let marker = dir.marker();
    if census::inside(&marker) {
        return Err(LabError::Inside {
            lab: dir.name().clone(),
        });
    }
    let _lock = LabLock::acquire(&dir)?;
    let members = members(&dir);
    let recorded = |path: &dyn Fn(Member) -> std::path::PathBuf| -> Vec<ProcessId> {
        members
            .iter()
            .filter_map(|member| load(&path(*member)).ok().flatten())
            .collect()
    };
    let agents = recorded(&|member| dir.member(member).agent());
    let holders = recorded(&|member| dir.member(member).holder());
    for agent in &agents {
        // A suspended agent would not see the other signal.
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            agent.signal(signal)?;
        }
    }
    for agent in &agents {
        // Who does not stop is killed with the rest.
        let _ = agent.wait_end(AGENTS_LIMIT);
    }
    census::kill_all(&marker, &holders)?;
    dir.remove()
}

/// The members that have a part in the directory, whatever the record says.
fn members(dir: &LabDir) -> Vec<Member> {
    fs::read_dir(dir.path()).map_or_else(
        |_| Vec::new(),
        |entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect()
        },
    )
}

/// Takes down the labs whose owner is gone: those of tests that were killed.
pub(crate) fn sweep() {
    for name in LabDir::all().unwrap_or_default() {
        let orphaned = LabDir::of(name.clone())
            .and_then(|dir| load::<Record>(&dir.record()))
            .is_ok_and(|record| {
                record
                    .and_then(|record| record.owner)
                    .is_some_and(|owner| !owner.alive())
            });
        if orphaned {
            // Somebody else may be doing the same, and a failure here is not the caller's.
            let _ = down(name);
        }
    }
}
