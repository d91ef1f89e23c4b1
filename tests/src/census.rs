//! Which processes belong to a lab, by what the kernel says and not by what was written down.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::LabError;
use crate::process::ProcessId;
use crate::wait::eventually;

/// How long killed processes may take to vanish.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// The kinds of namespaces that a lab makes.
const KINDS: [&str; 3] = ["net", "mnt", "uts"];

/// The namespaces of a process, as `/proc/PID/ns` shows them: `net:[4026531840]`.
#[must_use]
pub fn namespaces(pid: i32) -> BTreeSet<String> {
    KINDS
        .iter()
        .filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
        .filter_map(|link| Some(link.to_str()?.to_owned()))
        .collect()
}

/// Whether a line of `/proc/PID/mountinfo` tells of a mount from this source (proc(5): the source
/// is the second field behind the separator).
fn mounted_from(line: &str, source: &str) -> bool {
    line.split_once(" - ")
        .and_then(|(_, tail)| tail.split(' ').nth(1))
        .is_some_and(|field| field == source)
}

fn marked(pid: i32, marker: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/mountinfo"))
        .is_ok_and(|table| table.lines().any(|line| mounted_from(line, marker)))
}

/// Whether this process stands in a lab.
#[must_use]
pub fn inside(marker: &str) -> bool {
    ProcessId::own().is_ok_and(|own| marked(own.pid, marker))
}

/// All processes but this one that are in a mount namespace with the marker, or in one of the
/// given namespaces. The marker finds what has lost its holder; the namespaces find what has gone
/// into a mount namespace of its own.
fn census(marker: &str, held: &BTreeSet<String>) -> Vec<ProcessId> {
    let Ok(own) = ProcessId::own() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own.pid)
        .filter(|pid| !namespaces(*pid).is_disjoint(held) || marked(*pid, marker))
        .filter_map(|pid| ProcessId::of(pid).ok())
        .filter(|process| process.alive())
        .collect()
}

/// Kills everything in a lab, its holders last. Without processes the namespaces vanish, with all
/// devices, routes, rules and mounts that are in them.
///
/// # Errors
/// [`LabError::Timeout`] when something does not die.
pub fn kill_all(marker: &str, holders: &[ProcessId]) -> Result<(), LabError> {
    let host = namespaces(1);
    kill_until_none("end of all processes of the lab", || {
        let alive: Vec<ProcessId> = holders.iter().copied().filter(|h| h.alive()).collect();
        let held = alive
            .iter()
            .flat_map(|holder| namespaces(holder.pid))
            .filter(|namespace| !host.contains(namespace))
            .collect();
        let mut found = census(marker, &held);
        found.retain(|process| !holders.contains(process));
        // The kernel gives the number of a namespace that is gone to the next one, which may be
        // somebody else's. So numbers count only while their holders have lived through the look.
        if alive.iter().all(|holder| holder.alive()) {
            Ok(found)
        } else {
            Err("a holder ended meanwhile")
        }
    })?;
    kill_until_none("end of the holders of the lab", || {
        Ok(census(marker, &BTreeSet::new()))
    })
}

fn kill_until_none(
    what: &str,
    find: impl Fn() -> Result<Vec<ProcessId>, &'static str>,
) -> Result<(), LabError> {
    eventually(KILL_LIMIT, what, || {
        let left = find()?;
        for process in &left {
            process.signal(Signal::SIGKILL).map_err(|e| e.to_string())?;
        }
        match left.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} left, one is {}", left.len(), first.pid)),
        }
    })
}

/// Whether anything of a lab runs.
#[must_use]
pub fn any(marker: &str) -> bool {
    Path::new("/proc").is_dir() && !census(marker, &BTreeSet::new()).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_source_alone() {
        let line = "41 27 0:30 / /run/podnet-lab/a/node1/private rw - tmpfs podnet-lab:/run/a rw";
        assert!(mounted_from(line, "podnet-lab:/run/a"));
        assert!(!mounted_from(line, "podnet-lab:/run"));
        assert!(!mounted_from(line, "tmpfs"));
    }
}
