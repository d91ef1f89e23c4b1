//! Processes, by an identity that survives the reuse of their numbers.

use std::fs;
use std::io;
use std::process;
use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::wait::eventually;

/// A process: its number, and when it was started. A number alone may belong to somebody else by
/// the time it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number, in the host's pid namespace.
    pub pid: i32,
    /// Clock ticks between the boot and the start of the process (field 22 of
    /// `/proc/PID/stat`, proc(5)).
    pub start_time: u64,
}

/// What a line of `/proc/PID/stat` tells.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// `R` for running, `Z` for zombie, `T` for stopped, and so on.
    state: char,
    threads: u32,
    start_time: u64,
}

impl Stat {
    fn dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// A zombie whose threads are all gone. With threads left it still has files open, and locked.
    fn ended(&self) -> bool {
        self.dead() && self.threads <= 1
    }
}

impl FromStr for Stat {
    type Err = io::Error;

    fn from_str(line: &str) -> Result<Self, io::Error> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed stat line");
        // The command's name stands in brackets and may contain brackets itself.
        let (_, fields) = line.rsplit_once(')').ok_or_else(malformed)?;
        let mut fields = fields.split_whitespace();
        let state = fields.next().and_then(|f| f.chars().next());
        let threads = fields.nth(16).and_then(|f| f.parse().ok());
        let start_time = fields.nth(1).and_then(|f| f.parse().ok());
        Ok(Self {
            state: state.ok_or_else(malformed)?,
            threads: threads.ok_or_else(malformed)?,
            start_time: start_time.ok_or_else(malformed)?,
        })
    }
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// [`LabError::System`] when there is none.
    pub fn of(pid: i32) -> Result<Self, LabError> {
        let stat = stat(pid).map_err(|e| LabError::system(format!("process {pid}"), e))?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// This process.
    ///
    /// # Errors
    /// [`LabError::System`] when `/proc` is not there.
    pub fn own() -> Result<Self, LabError> {
        // Pids are at most 2^22 (PID_MAX_LIMIT in the kernel).
        Self::of(process::id().cast_signed())
    }

    /// Its number, in the host's pid namespace.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.pid
    }

    /// Whether it still runs. A zombie does not, once all of its threads have ended.
    #[must_use]
    pub fn alive(self) -> bool {
        stat(self.pid).is_ok_and(|stat| !stat.ended() && stat.start_time == self.start_time)
    }

    /// Sends a signal, unless it has ended.
    ///
    /// # Errors
    /// [`LabError::NotPermitted`], when it is not ours.
    pub fn signal(self, signal: Signal) -> Result<(), LabError> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(LabError::system(
                format!("{signal} to process {}", self.pid),
                errno,
            )),
        }
    }

    /// Stops it with SIGSTOP, and waits until it stands still or has ended.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when it still runs after `limit`.
    pub fn suspend(self, limit: Duration) -> Result<(), LabError> {
        self.signal(Signal::SIGSTOP)?;
        eventually(
            limit,
            &format!("suspension of process {}", self.pid),
            || {
                if self.suspended() || !self.alive() {
                    Ok(())
                } else {
                    Err("still running")
                }
            },
        )
    }

    /// Whether all its threads are stopped, as SIGSTOP leaves them: it takes a moment until the last
    /// of them is.
    #[must_use]
    pub fn suspended(self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return false;
        };
        let stats = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            text.parse::<Stat>().ok()
        });
        let mut living = stats.filter(|stat| !stat.dead()).peekable();
        living.peek().is_some() && living.all(|stat| stat.state == 'T')
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when it still runs after `limit`.
    pub fn wait_end(self, limit: Duration) -> Result<(), LabError> {
        eventually(limit, &format!("end of process {}", self.pid), || {
            if self.alive() {
                Err("still running")
            } else {
                Ok(())
            }
        })
    }
}

fn stat(pid: i32) -> io::Result<Stat> {
    fs::read_to_string(format!("/proc/{pid}/stat"))?.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_last_bracket() {
        let line = "7 (a) Z (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(
            line.parse::<Stat>().unwrap(),
            Stat {
                state: 'S',
                threads: 1,
                start_time: 4711
            }
        );
        let zombie = line.replace(") S", ") Z");
        assert!(zombie.parse::<Stat>().unwrap().ended());
        let with_threads = zombie.replace(" 1 0 4711", " 3 0 4711");
        assert!(!with_threads.parse::<Stat>().unwrap().ended());
        assert!("7 (a) Z 1 2".parse::<Stat>().is_err());
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = ProcessId::own().unwrap();
        assert!(own.alive());
        let earlier = ProcessId {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!earlier.alive());
    }
}
