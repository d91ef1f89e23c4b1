//! What can be typed.
//!
//! Values that have an error code of their own (names, addresses, CIDRs, the token) are plain
//! strings here and are checked by `check`: clap knows only usage errors.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the agent listens unless it is told otherwise.
const DEFAULT_SOCKET: &str = "/run/podnet/podnet.sock";

/// More is a typing error, and would overflow the clock.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Controls podnet, a pod network for plain Linux hosts.
#[derive(Parser)]
#[command(
    name = "podnetctl",
    version = env!("PODNET_VERSION"),
    after_help = "\
Examples:
  podnetctl init --pod-cidr 10.244.0.0/16     on the first node; prints the join command
  podnetctl join 192.0.2.11 --token podnet1...  on every other node
  podnetctl pod add red                       a namespace with an address of the pod network
  podnetctl pod exec red -- ping -c1 10.244.1.2
  podnetctl status

Exit codes:
  0 done, 1 failed, 2 usage or bad input, 3 agent not reachable, 4 no such object,
  5 conflict with what exists, 124 deadline passed"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command, before or after it.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The agent's control socket
    #[arg(long, global = true, value_name = "PATH", env = "PODNET_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// A table for people, or JSON for scripts
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// How long to wait at most, such as 500ms, 30s or 2m
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    pub(crate) timeout: Duration,
    /// Answer yes to every question
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    /// Print no progress and no notes
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more columns
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    Table,
    /// Exactly one JSON document.
    Json,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Found a cluster; prints the command that joins other nodes to it
    Init(InitArgs),
    /// Join this node to a cluster; returns when it has a block and a path to every live peer
    Join(JoinArgs),
    /// Give this node's block back and remove its data path
    #[command(
        after_help = "Pods of this node stand in the way, unless --yes is given: \
        it removes them too."
    )]
    Leave,
    /// Show where this node stands, its peers, and what is wrong
    Status,
    /// List the nodes of the cluster
    Nodes,
    /// List podnet's routes on this host
    Routes,
    /// The join token
    #[command(subcommand)]
    Token(TokenCommand),
    /// The pods of this node
    #[command(subcommand)]
    Pod(PodCommand),
    /// Show the versions of podnetctl and of the agent
    Version,
    /// Print the completions of a shell
    #[command(after_help = "\
Examples:
  source <(podnetctl completion bash)
  podnetctl completion zsh > /usr/local/share/zsh/site-functions/_podnetctl
  podnetctl completion fish > ~/.config/fish/completions/podnetctl.fish")]
    Completion {
        /// The shell
        shell: CompletedShell,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        dir: PathBuf,
    },
}

/// The shells that completions are made for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CompletedShell {
    /// GNU Bash
    Bash,
    /// The Z shell
    Zsh,
    /// Fish
    Fish,
}

/// Arguments of `init`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  podnetctl init --pod-cidr 10.244.0.0/16
  podnetctl init --pod-cidr 10.244.0.0/20 --block-prefix 26 --advertise 192.0.2.11
  podnetctl init --pod-cidr 10.244.0.0/16 --exclude-cidr 192.168.0.0/16")]
pub(crate) struct InitArgs {
    /// The network that the pods' addresses are taken from; every node gets a block of it
    #[arg(
        long,
        required = true,
        value_name = "CIDR[,CIDR6]",
        value_delimiter = ','
    )]
    pub(crate) pod_cidr: Vec<String>,
    /// The prefix length of a node's block [default: 24]
    #[arg(long, value_name = "LEN[,LEN6]", value_delimiter = ',')]
    pub(crate) block_prefix: Vec<String>,
    /// The name that other nodes show this one under [default: the hostname]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Where the other nodes reach this one
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(crate) advertise: Option<String>,
    /// How packets travel between nodes [default: the agent's choice]
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) encapsulation: Option<Encapsulation>,
    /// A destination that is to see the pods' own addresses; may be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) exclude_cidr: Vec<String>,
    /// Go on although the pod network overlaps a route or an address of this host
    #[arg(long)]
    pub(crate) allow_overlap: bool,
}

/// How packets travel between nodes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Encapsulation {
    /// Direct where it is proved to work, else WireGuard
    Auto,
    /// Routes by way of the peers' addresses
    Direct,
    /// WireGuard tunnels only
    Wireguard,
}

impl Encapsulation {
    /// As the control API spells it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Wireguard => "wireguard",
        }
    }
}

/// Arguments of `join`. They hold the token, a secret: no `Debug`.
#[derive(Args)]
#[command(after_help = "\
The token comes from --token, --token-file or the environment variable PODNET_TOKEN; a flag \
beats the environment. `podnetctl token show` on a member prints it.

Examples:
  podnetctl join 192.0.2.11 --token podnet1...
  podnetctl join 192.0.2.11 192.0.2.12:7846 --token-file /etc/podnet/token
  ssh node1 podnetctl -q token show | podnetctl join 192.0.2.11 --token-file -")]
pub(crate) struct JoinArgs {
    /// A member of the cluster; with several, one that answers is enough
    #[arg(required = true, value_name = "ADDR[:PORT]")]
    pub(crate) addresses: Vec<String>,
    /// The join token; other users of this host can see it in the list of processes
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file with the join token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The name that other nodes show this one under [default: the hostname]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Where the other nodes reach this one [default: the address that faces the member]
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(crate) advertise: Option<String>,
    /// Take the place, and the block, of this dead node
    #[arg(long, value_name = "NODE")]
    pub(crate) replace: Option<String>,
    /// Go on although the pod network overlaps a route or an address of this host
    #[arg(long)]
    pub(crate) allow_overlap: bool,
}

/// What can be done with the join token.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Print the join token: a secret
    Show,
}

/// What can be done with pods.
#[derive(Subcommand)]
pub(crate) enum PodCommand {
    /// Attach a pod: makes a namespace, or takes an existing one
    #[command(after_help = "\
Examples:
  podnetctl pod add red
  podnetctl pod add blue --netns /run/netns/blue
  podnetctl pod add green --pid 4242")]
    Add(PodAddArgs),
    /// Detach pods and give their addresses back
    Rm {
        /// The pods; if one does not exist, none is removed
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List the pods of this node
    List,
    /// Show one pod
    Show {
        /// The pod
        name: String,
    },
    /// Run a command in a pod's network namespace
    #[command(after_help = "\
The exit code is the command's own; 125 where podnet failed, 126 where the command cannot be
executed, 127 where it is not found. Files in /etc/netns/NAME appear in /etc, and /sys shows the
pod's devices, as with `ip netns exec`.

Examples:
  podnetctl pod exec red -- ip address
  podnetctl pod exec red -- ping -c1 10.244.1.2")]
    Exec(PodExecArgs),
}

/// Arguments of `pod add`.
#[derive(Args)]
pub(crate) struct PodAddArgs {
    /// The pod
    pub(crate) name: String,
    /// An existing namespace to attach, by its path
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub(crate) netns: Option<PathBuf>,
    /// An existing namespace to attach, by a process in it
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// Let it use other MAC and IP addresses than its own, so that it can route, bridge or impersonate
    #[arg(long)]
    pub(crate) trusted: bool,
}

/// Arguments of `pod exec`.
#[derive(Args)]
pub(crate) struct PodExecArgs {
    /// The pod
    pub(crate) name: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err("more than nothing and at most a year".to_owned());
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["podnetctl"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_summary() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                check(sub);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        for arguments in [
            ["-ojson", "--timeout", "2m", "--yes", "status"],
            ["status", "--yes", "--timeout=2m", "--output", "json"],
        ] {
            let global = parse(&arguments).global;
            assert_eq!(global.output, Format::Json);
            assert_eq!(global.timeout, Duration::from_secs(120));
            assert!(global.yes);
        }
        let global = parse(&["pod", "list"]).global;
        assert_eq!(global.output, Format::Table);
        assert_eq!(global.timeout, Duration::from_secs(30));
    }

    #[test]
    fn timeouts_are_positive_and_finite() {
        assert_eq!(timeout("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "banana", "0s", "-1s", "2years"] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_follows_the_two_dashes_is_the_command_alone() {
        let cli = parse(&["pod", "exec", "red", "--", "ls", "-o", "json", "--yes"]);
        assert_eq!(cli.global.output, Format::Table);
        let Command::Pod(PodCommand::Exec(args)) = cli.command else {
            panic!("not parsed as pod exec");
        };
        assert_eq!(args.command, ["ls", "-o", "json", "--yes"]);
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in [
            &["join", "192.0.2.1", "--token", "x", "--token-file", "y"][..],
            &["pod", "add", "red", "--netns", "/x", "--pid", "1"],
            &["pod", "add", "red", "--pid", "0"],
            &["pod", "rm"],
            &["pod", "exec", "red"],
            &["join", "--token", "x"],
            &["init"],
        ] {
            let arguments = [&["podnetctl"], arguments].concat();
            assert!(Cli::try_parse_from(&arguments).is_err(), "{arguments:?}");
        }
    }
}
