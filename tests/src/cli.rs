//! The command line of `podnet-lab`.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use podnet_proto::{ApiError, ErrorCode};

use crate::cut::{Direction, Groups};
use crate::demo;
use crate::error::LabError;
use crate::holder::{Enter, Entered, Hold, enter, hold_on};
use crate::interrupt;
use crate::lab::Lab;
use crate::mtu::Mtu;
use crate::name::LabName;
use crate::node::Node;
use crate::render::{Screen, status, whats_next};
use crate::teardown::down;
use crate::whoami::Whoami;

/// The exit code for a command that exists but cannot be executed, as in POSIX shells.
const NOT_EXECUTABLE: u8 = 126;
/// The exit code for a command that does not exist, as in POSIX shells.
const NO_SUCH_COMMAND: u8 = 127;

/// The exit code after Ctrl-C, as in POSIX shells.
const INTERRUPTED: u8 = 130;

/// A testbed for podnet: nodes that are namespaces on this host, each with a real agent.
#[derive(Debug, Parser)]
#[command(name = "podnet-lab", version, max_term_width = 100)]
struct Cli {
    /// Which lab; several run side by side.
    #[arg(long, global = true, default_value = "lab")]
    lab: LabName,
    /// Text for people or JSON for scripts.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a lab.
    Up(Up),
    /// Take the lab down: everything, also after a crash.
    Down,
    /// Show the nodes, and where their files are.
    Status,
    /// Run a command in the namespaces of a node.
    Exec {
        /// The node, or `internet`, or `router`.
        node: String,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Show what the agent of a node has logged.
    Logs(OneNode),
    /// End the agent of a node at once (SIGKILL).
    Kill(OneNode),
    /// Ask the agent of a node to stop (SIGTERM), and wait until it has.
    Term(OneNode),
    /// Suspend the agent of a node (SIGSTOP).
    Stop(OneNode),
    /// Let the suspended agent of a node go on (SIGCONT).
    Cont(OneNode),
    /// Start the agent of a node again.
    Start(OneNode),
    /// Reboot nodes, all at once: agent, processes, links, rules, pods' namespaces and run directory
    /// are gone; disk, address and MAC stay. Then their agents run again.
    Reboot {
        /// The nodes.
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Let no packet pass between two groups of nodes on the underlay. Cuts add up.
    Cut {
        /// The groups: NODE,..:NODE,..
        groups: Groups,
        /// From the first to the second only.
        #[arg(long)]
        one_way: bool,
    },
    /// Take back all cuts.
    Heal,
    /// Set the MTU of a node's link to the underlay.
    Mtu {
        /// The node.
        node: String,
        /// In bytes, 68 to 9000.
        mtu: Mtu,
    },
    /// Keep a copy of a node's state directory, as a crash at this moment would leave it.
    Save(OneNode),
    /// Kill the agent of a node, go back to the saved state directory, and start the agent.
    Rollback(OneNode),
    /// Add a node with a copy of a node's disk and a machine id of its own, and print its name.
    Clone(OneNode),
    /// Build a lab, make a cluster and pods, and check every path between them.
    Demo(Demo),
    #[command(flatten)]
    Inside(Inside),
}

/// How a lab calls itself.
#[derive(Debug, Subcommand)]
enum Inside {
    /// Make the namespaces of a member.
    #[command(name = "__hold", hide = true)]
    Hold(Hold),
    /// Hold the namespaces of a member.
    #[command(name = "__pause", hide = true)]
    Pause {
        /// For whoever reads the list of processes: the lab and the member.
        #[arg(num_args = 2)]
        label: Vec<String>,
    },
    /// Enter the namespaces of a member.
    #[command(name = "__enter", hide = true)]
    Enter(Enter),
    /// Tell, or ask, under which address packets arrive.
    #[command(name = "__whoami", hide = true, subcommand)]
    Whoami(Whoami),
}

#[derive(Debug, Args)]
struct OneNode {
    /// The node.
    node: String,
}

#[derive(Debug, Args)]
struct Up {
    /// How many nodes, up to 250.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// How many subnets the nodes are spread over, up to 100.
    #[arg(long, default_value_t = 1)]
    subnets: u8,
    /// Let the nodes form a cluster.
    #[arg(long)]
    join: bool,
    /// Nodes without agents, to start them by hand.
    #[arg(long, conflicts_with = "join")]
    no_agents: bool,
    /// The encapsulation of the cluster.
    #[arg(long, value_parser = ["auto", "direct", "wireguard"])]
    encapsulation: Option<String>,
}

#[derive(Debug, Args)]
struct Demo {
    /// The encapsulation of the cluster.
    #[arg(long, value_parser = ["auto", "direct", "wireguard"])]
    encapsulation: Option<String>,
}

/// Runs the program and returns its exit code.
#[must_use]
pub fn main(arguments: &[OsString]) -> u8 {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(early) => return early,
    };
    let screen = Screen::new(cli.output);
    match run(cli, &screen) {
        Ok(code) => code,
        Err(LabError::Interrupted) => INTERRUPTED,
        Err(error) => screen.fail(&error.report()),
    }
}

/// The command line, or the exit code when there is nothing more to do.
fn parse(arguments: &[OsString]) -> Result<Cli, u8> {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        if !error.use_stderr() {
            // Help and version; nothing is to be done when nobody reads it.
            let _ = error.print();
            return 0;
        }
        // The line is not understood as a whole, but scripts want JSON on failure too.
        let json = arguments
            .windows(2)
            .any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json")
            || arguments
                .iter()
                .any(|word| word == "-ojson" || word == "--output=json");
        let format = if json { Format::Json } else { Format::Table };
        let text = error.render().to_string();
        let what = text
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let what: Vec<&str> = what.split_whitespace().collect();
        let error = ApiError::new(ErrorCode::Usage, what.join(" "));
        Screen::new(format).fail(&error.hint("podnet-lab --help"))
    })
}

fn run(cli: Cli, screen: &Screen) -> Result<u8, LabError> {
    let name = cli.lab;
    match cli.verb {
        Verb::Up(up) => return self::up(name, up, screen),
        Verb::Down => down(name)?,
        Verb::Status => {
            screen.show(&status(&Lab::open(name)?)?);
            return Ok(0);
        }
        Verb::Exec { node, command } => return exec(name, &node, &command),
        Verb::Logs(one) => {
            screen.text(&Lab::open(name)?.own_node(&one.node)?.log());
            return Ok(0);
        }
        Verb::Kill(one) => Lab::open(name)?.own_node(&one.node)?.kill()?,
        Verb::Term(one) => Lab::open(name)?.own_node(&one.node)?.term()?,
        Verb::Stop(one) => Lab::open(name)?.own_node(&one.node)?.stop()?,
        Verb::Cont(one) => Lab::open(name)?.own_node(&one.node)?.cont()?,
        Verb::Start(one) => Lab::open(name)?.own_node(&one.node)?.start()?,
        Verb::Reboot { nodes } => {
            let lab = Lab::open(name)?;
            lab.reboot(&all(&lab, &nodes)?)?;
        }
        Verb::Cut { groups, one_way } => {
            let lab = Lab::open(name)?;
            let direction = if one_way {
                Direction::OneWay
            } else {
                Direction::Both
            };
            lab.cut(
                &all(&lab, &groups.from)?,
                &all(&lab, &groups.to)?,
                direction,
            )?;
        }
        Verb::Heal => Lab::open(name)?.heal()?,
        Verb::Mtu { node, mtu } => Lab::open(name)?.own_node(&node)?.set_mtu(mtu)?,
        Verb::Save(one) => {
            // Killed in the middle, it would leave the agent suspended.
            interrupt::watch()?;
            Lab::open(name)?.own_node(&one.node)?.save()?;
        }
        Verb::Rollback(one) => Lab::open(name)?.own_node(&one.node)?.rollback()?,
        Verb::Clone(one) => return clone(name, &one, screen),
        Verb::Demo(demo) => {
            screen.for_people("demo")?;
            interrupt::watch()?;
            return demo::run(demo.encapsulation, screen);
        }
        Verb::Inside(inside) => return stand_inside(inside, screen),
    }
    screen.done();
    Ok(0)
}

/// What a lab itself calls.
fn stand_inside(inside: Inside, screen: &Screen) -> Result<u8, LabError> {
    match inside {
        Inside::Hold(hold) => screen.text(&format!("{}\n", hold.run()?)),
        Inside::Pause { label: _ } => hold_on()?,
        Inside::Enter(enter) => match enter.run()? {
            Entered::Detached(pid) => screen.text(&format!("{pid}\n")),
            Entered::NotExecuted(error) => return Ok(not_executed(screen, &error)),
        },
        Inside::Whoami(whoami) => whoami.run(|text| screen.text(text))?,
    }
    Ok(0)
}

fn up(name: LabName, up: Up, screen: &Screen) -> Result<u8, LabError> {
    interrupt::watch()?;
    let lab = Lab::builder()
        .name(name)
        .nodes(up.nodes)
        .subnets(up.subnets)
        .join(up.join)
        .agents(!up.no_agents)
        .encapsulation(up.encapsulation)
        .detached(true)
        .up()?;
    let status = status(&lab)?;
    screen.show(&status);
    screen.note(&whats_next(&lab));
    Ok(0)
}

/// The nodes of these names; a wrong one among them is found before anything is done.
fn all<'lab>(lab: &'lab Lab, names: &[String]) -> Result<Vec<Node<'lab>>, LabError> {
    names.iter().map(|name| lab.own_node(name)).collect()
}

fn clone(name: LabName, one: &OneNode, screen: &Screen) -> Result<u8, LabError> {
    // As for `save`.
    interrupt::watch()?;
    let lab = Lab::open(name)?;
    let twin = lab.own_node(&one.node)?.duplicate()?;
    // The node is there, whatever its agent says to its disk.
    screen.note(&format!("{}\n", twin.name()));
    if lab.plan().agents {
        twin.start()?;
    }
    screen.document(&serde_json::json!({ "name": twin.name() }));
    Ok(0)
}

/// Becomes the command: its streams, signals and exit code are its own.
fn exec(name: LabName, node: &str, command: &[OsString]) -> Result<u8, LabError> {
    let lab = Lab::open(name)?;
    let holder = lab.node(node)?.holder()?;
    enter(holder)?;
    let error = Command::new(&command[0])
        .args(&command[1..])
        .env("PATH", lab.programs().search_path())
        .exec();
    let what = format!("{}: not executed", command[0].to_string_lossy());
    Ok(not_executed(
        &Screen::new(Format::Table),
        &io::Error::new(error.kind(), what),
    ))
}

fn not_executed(screen: &Screen, error: &io::Error) -> u8 {
    screen.fail(&ApiError::new(ErrorCode::Internal, error.to_string()));
    if error.kind() == ErrorKind::NotFound {
        NO_SUCH_COMMAND
    } else {
        NOT_EXECUTABLE
    }
}
