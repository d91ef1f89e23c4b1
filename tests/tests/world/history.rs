//! What happened in a schedule, for people to read.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Log lines of a node that nobody has read yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn take(&self) -> String {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&std::mem::take(&mut *lines)).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The history of a schedule: what was done to the hosts, and what their agents logged.
#[derive(Debug, Default)]
pub(crate) struct History {
    lines: Vec<String>,
    pub(crate) logged: Lines,
}

impl History {
    pub(crate) fn add(&mut self, now: u64, what: &str) {
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        self.lines.push(format!("{seconds:>4}.{micros:06} {what}"));
    }

    /// Takes in what an agent has logged.
    pub(crate) fn take_log(&mut self, now: u64, host: usize) {
        for line in self.logged.take().lines() {
            self.add(now, &format!("{host}   {}", line.trim_start()));
        }
    }

    /// The last lines.
    pub(crate) fn tail(&self, most: usize) -> String {
        self.lines[self.lines.len().saturating_sub(most)..].join("\n")
    }
}
