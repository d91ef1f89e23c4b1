//! The output of `podnet-lab`: the one place that writes to the terminal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use podnet_proto::ApiError;
use serde::Serialize;

use crate::cli::Format;
use crate::cluster::POD_CIDR;
use crate::error::LabError;
use crate::lab::Lab;
use crate::process::ProcessId;

/// What a lab consists of: the JSON of `status`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    lab: String,
    nodes: Vec<NodeStatus>,
    internet: InternetStatus,
}

#[derive(Debug, Clone, Serialize)]
struct NodeStatus {
    name: String,
    address: Ipv4Addr,
    pid: Option<i32>,
    agent_pid: Option<i32>,
    state_dir: PathBuf,
    run_dir: PathBuf,
    socket: PathBuf,
}

#[derive(Debug, Clone, Serialize)]
struct InternetStatus {
    pid: Option<i32>,
    address: Ipv4Addr,
}

/// Looks at a lab. A member whose namespaces are gone has no process.
pub(crate) fn status(lab: &Lab) -> Result<Status, LabError> {
    let pid = |process: ProcessId| process.pid;
    let nodes = lab.nodes().into_iter().map(|node| {
        Ok(NodeStatus {
            name: node.name(),
            address: node.address(),
            pid: node.holder().ok().map(pid),
            agent_pid: node.agent()?.map(pid),
            state_dir: node.state_dir(),
            run_dir: node.run_dir(),
            socket: node.socket(),
        })
    });
    let internet = lab.internet();
    Ok(Status {
        lab: lab.name().to_string(),
        nodes: nodes.collect::<Result<_, LabError>>()?,
        internet: InternetStatus {
            pid: internet.holder().ok().map(pid),
            address: internet.address(),
        },
    })
}

impl Status {
    fn table(&self) -> String {
        let number = |pid: Option<i32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
        let mut table = format!(
            "{:<10} {:<16} {:>8} {:>8}\n",
            "NODE", "ADDRESS", "PID", "AGENT"
        );
        let mut row = |name: &str, address: Ipv4Addr, pid: Option<i32>, agent: Option<i32>| {
            // Writing to a String does not fail.
            let _ = writeln!(
                table,
                "{name:<10} {:<16} {:>8} {:>8}",
                address.to_string(),
                number(pid),
                number(agent)
            );
        };
        for node in &self.nodes {
            row(&node.name, node.address, node.pid, node.agent_pid);
        }
        row("internet", self.internet.address, self.internet.pid, None);
        table
    }
}

/// What to type next in a lab that has just been started.
pub(crate) fn whats_next(lab: &Lab) -> String {
    let program = match lab.name().as_str() {
        "lab" => "podnet-lab".to_owned(),
        name => format!("podnet-lab --lab {name}"),
    };
    let founder = lab.underlay().address(crate::name::Member::Node(1));
    let plan = lab.plan();
    let steps: Vec<String> = if plan.join {
        vec![
            "exec node1 -- podnetctl nodes".to_owned(),
            "exec node1 -- podnetctl pod add red".to_owned(),
            "exec node1 -- podnetctl pod exec red -- ping -c1 203.0.113.10".to_owned(),
            "down".to_owned(),
        ]
    } else {
        let encapsulation = plan
            .encapsulation
            .as_ref()
            .map_or(String::new(), |mode| format!(" --encapsulation {mode}"));
        vec![
            format!("exec node1 -- podnetctl init --pod-cidr {POD_CIDR}{encapsulation}"),
            format!("exec node2 -- podnetctl join {founder} --token TOKEN"),
            "down".to_owned(),
        ]
    };
    steps.iter().fold("\nNext:\n".to_owned(), |text, step| {
        text + "  " + &program + " " + step + "\n"
    })
}

/// Where the output goes, and in which form.
#[derive(Debug)]
pub(crate) struct Screen {
    format: Format,
}

impl Screen {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Writes as it is. Who does not read on is no reason to fail.
    pub(crate) fn text(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes());
        let _ = stdout.flush();
    }

    /// Writes what only people read.
    pub(crate) fn note(&self, text: &str) {
        if self.format == Format::Table {
            self.text(text);
        }
    }

    /// Ends a verb that has nothing to tell; scripts that ask for a document get an empty one.
    pub(crate) fn done(&self) {
        match self.format {
            Format::Table => {}
            Format::Json => self.text("{}\n"),
        }
    }

    /// Writes what only scripts read.
    pub(crate) fn document(&self, document: &serde_json::Value) {
        match self.format {
            Format::Table => {}
            Format::Json => self.text(&json(document)),
        }
    }

    /// Refuses to show to a script what only people can read.
    pub(crate) fn for_people(&self, verb: &str) -> Result<(), LabError> {
        match self.format {
            Format::Table => Ok(()),
            Format::Json => Err(LabError::Unsupported {
                what: format!("{verb}: is for people and has no JSON"),
            }),
        }
    }

    /// Writes a status.
    pub(crate) fn show(&self, status: &Status) {
        match self.format {
            Format::Table => self.text(&status.table()),
            Format::Json => self.text(&json(status)),
        }
    }

    /// Writes an error, and returns its exit code.
    pub(crate) fn fail(&self, error: &ApiError) -> u8 {
        match self.format {
            Format::Table => {
                let mut text = format!("error: {}\n", error.message);
                if let Some(hint) = &error.hint {
                    text += &format!("hint: {hint}\n");
                }
                let _ = std::io::stderr().write_all(text.as_bytes());
            }
            Format::Json => self.text(&json(&serde_json::json!({ "error": error }))),
        }
        error.code.exit_code()
    }
}

fn json<T: Serialize>(document: &T) -> String {
    // Our own types have string keys and serialize.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}
