//! The networks between virtual machines, in a network namespace of their own.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use podnet_lab::LabError;
use podnet_lab::command::{Output, run};

/// How long a change of the network may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What the names of the suite's namespaces begin with; the number of the process follows.
const PREFIX: &str = "podnet-vm-";

/// An address that stands for the internet: whoever is asked from there sees what leaves a node.
pub(crate) const INTERNET: &str = "203.0.113.1";

/// A layer-2 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    /// 192.168.56.0/24, on which nodes see each other. The host is .1, their default gateway.
    Lan,
    /// 192.168.57.0/24, behind a router: the host, with .1 on each of both.
    Far,
    /// 10.0.2.0/24, on which each machine is alone, as behind the NAT that Vagrant's machines have.
    Nat,
}

impl Segment {
    const ALL: [Self; 3] = [Self::Lan, Self::Far, Self::Nat];

    const fn bridge(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Far => "far",
            Self::Nat => "nat",
        }
    }

    const fn range(self) -> &'static str {
        match self {
            Self::Lan => "192.168.56.0/24",
            Self::Far => "192.168.57.0/24",
            Self::Nat => "10.0.2.0/24",
        }
    }

    const fn gateway(self) -> &'static str {
        match self {
            Self::Lan => "192.168.56.1/24",
            Self::Far => "192.168.57.1/24",
            Self::Nat => "10.0.2.2/24",
        }
    }
}

/// The namespace, with a bridge for each segment. It goes with this value.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn ip(words: &[&str]) -> Result<Output, LabError> {
    let what = format!("ip {}", words.join(" "));
    run(Command::new("ip").args(words), "", LIMIT)?.success(&what)
}

impl Network {
    /// Makes it, and removes what a run left that was killed.
    pub(crate) fn new() -> Result<Self, LabError> {
        let listed = ip(&["netns", "list"])?.stdout;
        let names = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        for name in names {
            let process = name.strip_prefix(PREFIX);
            if process.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
                ip(&["netns", "del", name])?;
            }
        }
        let network = Self {
            name: format!("{PREFIX}{}", std::process::id()),
        };
        ip(&["netns", "add", &network.name])?;
        network.ip(&["link", "set", "lo", "up"])?;
        network.ip(&["address", "add", INTERNET, "dev", "lo"])?;
        for segment in Segment::ALL {
            let bridge = segment.bridge();
            network.ip(&["link", "add", bridge, "type", "bridge"])?;
            network.ip(&["address", "add", segment.gateway(), "dev", bridge])?;
            network.ip(&["link", "set", bridge, "up"])?;
            // What answers from here is the internet, also if its socket has no address.
            let range = segment.range();
            network.ip(&["route", "replace", range, "dev", bridge, "src", INTERNET])?;
        }
        // The router between the segments.
        network.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        Ok(network)
    }

    /// Makes a tap on a segment. Machines on the NAT do not see each other.
    pub(crate) fn tap(&self, name: &str, segment: Segment) -> Result<(), LabError> {
        self.ip(&["tuntap", "add", "dev", name, "mode", "tap"])?;
        self.plug(name, segment)
    }

    /// Moves a tap to a segment.
    pub(crate) fn plug(&self, tap: &str, segment: Segment) -> Result<(), LabError> {
        self.ip(&["link", "set", tap, "master", segment.bridge(), "up"])?;
        let isolated = if segment == Segment::Nat { "on" } else { "off" };
        self.run(&["bridge", "link", "set", "dev", tap, "isolated", isolated])?;
        Ok(())
    }

    /// Removes a tap.
    pub(crate) fn unplug(&self, tap: &str) -> Result<(), LabError> {
        self.ip(&["link", "del", tap])
    }

    fn ip(&self, words: &[&str]) -> Result<(), LabError> {
        ip(&[&["-n", &self.name], words].concat()).map(drop)
    }

    /// A command in the namespace: one on the machines' network that is no node.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        command
    }

    /// Runs such a command, whatever comes of it.
    pub(crate) fn exec(&self, words: &[&str]) -> Result<Output, LabError> {
        run(&mut self.command(words), "", LIMIT)
    }

    /// Runs such a command, which has to succeed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Output, LabError> {
        self.exec(words)?.success(&words.join(" "))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The next run removes it if this one cannot.
        let _ = ip(&["netns", "del", &self.name]);
    }
}
