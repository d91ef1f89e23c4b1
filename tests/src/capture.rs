//! What goes over a wire of the lab, as `tcpdump` decodes it.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::Guard;
use crate::error::LabError;
use crate::lines::Lines;
use crate::node::Node;
use crate::process::ProcessId;

/// How long the start and the end of a capture may take.
const CAPTURE_LIMIT: Duration = Duration::from_secs(15);

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    guard: Guard,
    lines: Lines,
}

impl Node<'_> {
    /// Captures on a device of this member what a filter (pcap-filter(7)) lets through. When this
    /// returns, the capture has begun. The router's port to a node is called like the node.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when `tcpdump` is missing or refuses the device or the filter.
    pub fn capture(&self, device: &str, filter: &str) -> Result<Capture, LabError> {
        let words = [
            "tcpdump",
            "-n",
            "-l",
            "-t",
            "--immediate-mode",
            "-i",
            device,
            filter,
        ];
        let mut guard = self.spawn(words)?;
        let (Some(stdout), Some(stderr)) = (guard.stdout(), guard.stderr()) else {
            return Err(LabError::Command {
                what: "tcpdump".to_owned(),
                reason: "has no output".to_owned(),
            });
        };
        let lines = Lines::of(stdout);
        let what = format!("capture on {device} of {}", self.name());
        Lines::of(stderr).wait_for(CAPTURE_LIMIT, &what, |line| line.contains("listening on"))?;
        Ok(Capture { guard, lines })
    }
}

impl Capture {
    /// What was captured so far, a line per packet:
    /// `IP 10.244.0.2 > 10.244.1.2: ICMP echo request, id 7, seq 1, length 64`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// Waits until a line like this is captured.
    ///
    /// # Errors
    /// [`LabError::Timeout`] with what was captured instead.
    pub fn wait_for(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, LabError> {
        self.lines.wait_for(limit, what, wanted)
    }

    /// Ends the capture and returns everything in it.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when `tcpdump` does not end.
    pub fn stop(mut self) -> Result<Vec<String>, LabError> {
        ProcessId::of(self.guard.pid())?.signal(Signal::SIGINT)?;
        self.guard.wait(CAPTURE_LIMIT)?;
        self.lines.complete(CAPTURE_LIMIT)
    }
}
