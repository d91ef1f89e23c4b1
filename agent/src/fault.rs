//! Fault points: at which a test ends the agent as `kill -9` does, between any two of the things that
//! it does to the kernel and to its files.
//!
//! They are there only with the feature `fault-points`, which release builds refuse. Then the file
//! that `PODNET_FAULT_FILE` names, as long as it exists, holds a number: the agent dies at the
//! point of that number, counted from now, and removes the file before. With the word `panic` the
//! code at the next point panics instead.

#[cfg(all(feature = "fault-points", not(debug_assertions)))]
compile_error!("fault points are for tests: build without the feature `fault-points`");

#[cfg(feature = "fault-points")]
pub(crate) use counted::{awaited, point};

/// Whether the agent is to die at a point: then what else is done together is done one by one.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn awaited() -> bool {
    false
}

/// A point that the agent passes after it has done `what`.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn point(_what: &str) {}

#[cfg(feature = "fault-points")]
mod counted {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::{Path, PathBuf};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::thread;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("PODNET_FAULT_FILE").map(PathBuf::from));

    /// One thread counts at a time, so that none passes a point after the fatal one.
    static COUNTING: Mutex<()> = Mutex::new(());

    /// What the file holds if the code is to panic.
    const PANIC: &str = "panic";

    pub(crate) fn awaited() -> bool {
        FILE.as_ref().is_some_and(|file| file.exists())
    }

    pub(crate) fn point(what: &str) {
        let Some(file) = FILE.as_ref() else {
            return;
        };
        let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        let text = fs::read_to_string(file).unwrap_or_default();
        match text.trim().parse::<u32>() {
            Err(_) if text.trim() == PANIC => {
                if fs::remove_file(file).is_ok() {
                    panic!("told to panic after {what}");
                }
            }
            Err(_) => {}
            Ok(0 | 1) => fatal(file, what),
            Ok(number) => {
                // Whoever has removed the file meanwhile does not get it back.
                let rewritten = OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(file)
                    .and_then(|mut file| write!(file, "{}", number - 1));
                if let Err(error) = rewritten {
                    tracing::warn!(%error, "a point is not counted");
                }
            }
        }
    }

    /// Dies, unless the test has removed the file meanwhile: then the agent is to live.
    fn fatal(file: &Path, what: &str) {
        if fs::remove_file(file).is_ok() {
            tracing::error!(what, "the fatal point");
            die();
        }
    }

    /// Ends the process as `kill -9` does: nothing is flushed, nothing is dropped.
    fn die() -> ! {
        let _ = kill(Pid::this(), Signal::SIGKILL);
        loop {
            thread::park();
        }
    }
}
