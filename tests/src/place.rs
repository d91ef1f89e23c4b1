//! Where packets start and arrive: a node or a pod on it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::{Guard, Output, run, start};
use crate::error::LabError;
use crate::lines::Lines;
use crate::node::Node;
use crate::whoami;

/// How long a command at a place may take.
const EXEC_LIMIT: Duration = Duration::from_secs(90);
/// How long a responder may take to start.
const RESPONDER_LIMIT: Duration = Duration::from_secs(10);

/// A node, or a pod on a node.
#[derive(Debug, Clone)]
pub struct Place<'lab> {
    node: Node<'lab>,
    pod: Option<String>,
}

/// An answer to a ping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pong {
    /// The shortest round trip of those that were measured.
    pub round_trip: Duration,
    /// The time to live that the answer had left on arrival.
    pub ttl: u8,
}

/// A responder at a place; it ends with this value.
#[derive(Debug)]
pub struct Responder {
    _guard: Guard,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => f.pad(pod),
            None => f.pad(&self.node.name()),
        }
    }
}

impl<'lab> Node<'lab> {
    /// The node itself as a place.
    #[must_use]
    pub fn place(&self) -> Place<'lab> {
        Place {
            node: *self,
            pod: None,
        }
    }

    /// A pod of the node as a place, whether there is such a pod or not.
    #[must_use]
    pub fn pod(&self, name: &str) -> Place<'lab> {
        Place {
            node: *self,
            pod: Some(name.to_owned()),
        }
    }
}

impl<'lab> Place<'lab> {
    /// The node.
    #[must_use]
    pub fn node(&self) -> Node<'lab> {
        self.node
    }

    /// The pod's name, unless the place is the node itself.
    #[must_use]
    pub fn pod_name(&self) -> Option<&str> {
        self.pod.as_deref()
    }

    /// A command that will run here; in a pod by way of `podnetctl pod exec`.
    ///
    /// # Errors
    /// [`LabError::Broken`] when the node's namespaces are gone.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Command, LabError> {
        let mut all: Vec<OsString> = Vec::new();
        if let Some(pod) = &self.pod {
            let podnetctl = self.node.lab().programs().path("podnetctl")?;
            all.push(podnetctl.into_os_string());
            all.extend(["pod", "exec", pod, "--"].map(OsString::from));
        }
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.node.command(all)
    }

    /// Runs a command here to its end.
    ///
    /// # Errors
    /// [`LabError`] when it could not be run or took too long. An exit code other than 0 is no
    /// error.
    pub fn exec<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Output, LabError> {
        run(&mut self.command(words)?, "", EXEC_LIMIT)
    }

    /// Pings an address twice: the first packet may have to wait for neighbours to be found.
    ///
    /// # Errors
    /// [`LabError::Command`] with what `ping` said, when no answer came.
    pub fn ping(&self, address: Ipv4Addr) -> Result<Pong, LabError> {
        let what = format!("ping from {self} to {address}");
        let target = address.to_string();
        let words = ["ping", "-n", "-c", "2", "-i", "0.01", "-W", "2", &target];
        let output = self.exec(words)?;
        parse_ping(&output.stdout).ok_or_else(|| LabError::Command {
            what,
            reason: no_answer(&output),
        })
    }

    /// Starts a responder here that tells who asks it. One place has one at a time.
    ///
    /// # Errors
    /// [`LabError::Timeout`] when it does not start.
    pub fn respond(&self) -> Result<Responder, LabError> {
        let program = self.node.lab().programs().path("podnet-lab")?;
        let words = [program.as_os_str(), "__whoami".as_ref(), "serve".as_ref()];
        let mut command = self.command(words)?;
        // The pipe to its standard input is what it lives by.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child: Child = start(&mut command)?;
        let stdout = child.stdout.take();
        let guard = Guard::new(child);
        if let Some(stdout) = stdout {
            let what = format!("responder in {self}");
            Lines::of(stdout).wait_for(RESPONDER_LIMIT, &what, |line| line == whoami::READY)?;
        }
        Ok(Responder { _guard: guard })
    }

    /// Asks the responder at an address, which address of this place it sees.
    ///
    /// # Errors
    /// [`LabError::Command`] when there was no answer.
    pub fn seen_as(&self, address: Ipv4Addr) -> Result<Ipv4Addr, LabError> {
        let what = format!("asking {address} from {self}");
        let program = self.node.lab().programs().path("podnet-lab")?;
        let target = address.to_string();
        let words = [
            program.as_os_str(),
            "__whoami".as_ref(),
            "ask".as_ref(),
            target.as_ref(),
        ];
        let output = self.exec(words)?.success(&what)?;
        output.stdout.trim().parse().map_err(|_| LabError::Command {
            what,
            reason: format!("no address but '{}'", output.stdout.trim()),
        })
    }
}

/// Reads the answers in the output of `ping` (iputils and busybox print them alike):
/// `64 bytes from 10.244.0.2: icmp_seq=1 ttl=62 time=0.352 ms`.
fn parse_ping(output: &str) -> Option<Pong> {
    let field = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key)?;
        Some(rest.split_whitespace().next()?.to_owned())
    };
    let pong = |line: &str| {
        let milliseconds: f64 = field(line, " time=")?.parse().ok()?;
        Some(Pong {
            round_trip: Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?,
            ttl: field(line, " ttl=")?.parse().ok()?,
        })
    };
    output
        .lines()
        .filter_map(pong)
        .min_by_key(|pong| pong.round_trip)
}

/// What `ping` says instead of an answer: an ICMP error, or its own, or how many were lost.
fn no_answer(output: &Output) -> String {
    let mut lines = output.stdout.lines().chain(output.stderr.lines());
    let telling = |line: &&str| {
        line.starts_with("From ") || line.starts_with("ping: ") || line.contains("transmitted")
    };
    lines
        .find(telling)
        .map_or_else(|| output.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_answer_counts() {
        let output = "PING 10.244.0.2 (10.244.0.2) 56(84) bytes of data.\n\
            64 bytes from 10.244.0.2: icmp_seq=1 ttl=62 time=1.52 ms\n\
            64 bytes from 10.244.0.2: icmp_seq=2 ttl=62 time=0.352 ms\n\n\
            --- 10.244.0.2 ping statistics ---\n\
            2 packets transmitted, 2 received, 0% packet loss, time 10ms\n";
        assert_eq!(
            parse_ping(output),
            Some(Pong {
                round_trip: Duration::from_micros(352),
                ttl: 62
            })
        );
    }

    #[test]
    fn no_answer_is_no_pong() {
        let output = "From 10.244.0.1 icmp_seq=1 Destination Host Unreachable\n";
        assert_eq!(parse_ping(output), None);
    }
}
