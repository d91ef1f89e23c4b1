//! The output of a running program, line by line.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::LabError;
use crate::wait::eventually;

/// The lines that a program has written so far.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    written: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads a stream from now on, on a thread that ends with the stream.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writer.written().lines.push(line);
            }
            writer.written().ended = true;
        });
        lines
    }

    /// All lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.written().lines.clone()
    }

    /// All lines, once there can be no more.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when the stream stays open.
    pub fn complete(&self, limit: Duration) -> Result<Vec<String>, LabError> {
        eventually(limit, "end of the output", || {
            let written = self.written();
            if written.ended {
                Ok(written.lines.clone())
            } else {
                Err(format!("{} lines so far", written.lines.len()))
            }
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // Whoever panicked with the lock left whole lines behind.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a line, which may be there already.
    ///
    /// # Errors
    /// [`LabError::Timeout`] with what was written instead.
    pub fn wait_for(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, LabError> {
        eventually(limit, what, || {
            let lines = self.all();
            match lines.iter().find(|line| wanted(line)) {
                Some(line) => Ok(line.clone()),
                None => Err(format!("{} lines: {}", lines.len(), lines.join("; "))),
            }
        })
    }
}
