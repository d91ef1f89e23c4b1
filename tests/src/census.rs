//! Which processes belong to a lab, by what the kernel says and not by what was written down.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::dir::MemberDir;
use crate::error::LabError;
use crate::name::Member;
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

/// What mount namespaces are recognised by: those of a lab, or those of one member.
#[derive(Debug, Clone, Copy)]
struct Mark<'a> {
    /// The source of a mount.
    source: &'a str,
    /// How the path of that mount ends, where it matters.
    place: Option<&'a Path>,
}

impl Mark<'_> {
    /// Whether a line of `/proc/PID/mountinfo` tells of it (proc(5): the mount point is the fifth
    /// field, the source the second one behind the separator).
    fn is_in(&self, line: &str) -> bool {
        let Some((head, tail)) = line.split_once(" - ") else {
            return false;
        };
        let from_here = tail.split(' ').nth(1) == Some(self.source);
        let point = Path::new(head.split(' ').nth(4).unwrap_or_default());
        from_here && self.place.is_none_or(|end| point.ends_with(end))
    }

    fn is_on(&self, pid: i32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/mountinfo"))
            .is_ok_and(|table| table.lines().any(|line| self.is_in(line)))
    }
}

/// The mark of a whole lab.
fn of_lab(source: &str) -> Mark<'_> {
    Mark {
        source,
        place: None,
    }
}

/// Whether this process stands in a lab.
#[must_use]
pub fn inside(marker: &str) -> bool {
    ProcessId::own().is_ok_and(|own| of_lab(marker).is_on(own.pid))
}

/// All processes but this one that are in a mount namespace with the mark, or in one of the given
/// namespaces. The mark finds what has lost its holder; the namespaces find what has gone
/// into a mount namespace of its own.
fn census(mark: Mark<'_>, held: &BTreeSet<String>) -> Vec<ProcessId> {
    let Ok(own) = ProcessId::own() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own.pid)
        .filter(|pid| !namespaces(*pid).is_disjoint(held) || mark.is_on(*pid))
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
    kill(of_lab(marker), holders)
}

/// Kills everything in the namespaces of one member, as [`kill_all`] does.
///
/// # Errors
/// [`LabError::Timeout`] when something does not die.
pub(crate) fn kill_member(
    marker: &str,
    member: Member,
    holder: Option<ProcessId>,
) -> Result<(), LabError> {
    let place = MemberDir::private_end(member);
    let mark = Mark {
        source: marker,
        place: Some(&place),
    };
    kill(mark, holder.as_slice())
}

fn kill(mark: Mark<'_>, holders: &[ProcessId]) -> Result<(), LabError> {
    let host = namespaces(1);
    kill_until_none("end of all processes in it", || {
        let alive: Vec<ProcessId> = holders.iter().copied().filter(|h| h.alive()).collect();
        let held = alive
            .iter()
            .flat_map(|holder| namespaces(holder.pid))
            .filter(|namespace| !host.contains(namespace))
            .collect();
        let mut found = census(mark, &held);
        found.retain(|process| !holders.contains(process));
        // The kernel gives the number of a namespace that is gone to the next one, which may be
        // somebody else's. So numbers count only while their holders have lived through the look.
        if alive.iter().all(|holder| holder.alive()) {
            Ok(found)
        } else {
            Err("a holder ended meanwhile")
        }
    })?;
    kill_until_none("end of its holders", || Ok(census(mark, &BTreeSet::new())))
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
    Path::new("/proc").is_dir() && !census(of_lab(marker), &BTreeSet::new()).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_source_and_a_members_by_its_place_too() {
        let line = "41 27 0:30 / /run/podnet-lab/a/node1/private rw - tmpfs podnet-lab:/run/a rw";
        let marked = |source, place: Option<&str>| {
            let place = place.map(Path::new);
            Mark { source, place }.is_in(line)
        };
        assert!(marked("podnet-lab:/run/a", None));
        assert!(!marked("podnet-lab:/run", None));
        assert!(!marked("tmpfs", None));
        assert!(marked("podnet-lab:/run/a", Some("node1/private")));
        assert!(!marked("podnet-lab:/run/a", Some("node11/private")));
        assert!(!marked("tmpfs", Some("node1/private")));
    }
}
