//! The agent's configuration: a flag beats the environment, which beats the file.

use std::io;
use std::net::{AddrParseError, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use podnet_core::advertise::Range;
use podnet_proto::gossip::DEFAULT_PORT;
use serde::Deserialize;

pub use timing::Timing;

mod file;
mod timing;

const DEFAULT_FILE: &str = "/etc/podnet/podnetd.toml";

/// The podnet agent: a pod network for plain Linux hosts.
///
/// Claims a block of the pod network for this node, tells its peers by gossip, and keeps bridge,
/// routes, pods and firewall rules as they should be. Driven by podnetctl.
#[derive(Debug, Parser)]
#[command(
    name = "podnetd",
    version = env!("PODNET_VERSION"),
    after_help = "\
Exit codes:
  0 done, 1 failed, 2 bad configuration or input, 5 conflict with what exists, such as another agent;
  of run: 6 state that does not heal by itself, since it is damaged or another node's"
)]
pub struct Cli {
    /// What to do; `run` where nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Its options.
    #[command(flatten)]
    pub options: Options,
}

/// What the program does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground (the default).
    Run,
    /// Remove from this host everything podnet owns in the kernel.
    Cleanup {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Remove the state too: the node forgets its cluster and its identity.
        #[arg(long)]
        purge: bool,
    },
    /// Make this node another one, for instance after its disk was cloned; its pods, links, routes
    /// and rules go.
    Reset {
        /// Throw away identity and membership; the next start makes a new identity.
        #[arg(long, required = true)]
        new_identity: bool,
    },
    /// Write the manual pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory.
        dir: PathBuf,
    },
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which firewall back end to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirewallChoice {
    /// What this host has.
    Auto,
    /// The iptables programs.
    Iptables,
    /// A table of its own in nftables (not in this version).
    Nftables,
}

/// Where metrics are served, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MetricsAddress {
    /// Not at all.
    Off,
    /// On this address.
    On(SocketAddr),
}

impl FromStr for MetricsAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            Ok(Self::Off)
        } else {
            text.parse().map(Self::On)
        }
    }
}

impl TryFrom<String> for MetricsAddress {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The options that were given, by flags and environment or by the file: the same names in all
/// three.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Configuration file, TOML; may be absent [default: /etc/podnet/podnetd.toml]
    #[arg(long, global = true, env = "PODNET_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where state is kept [default: /var/lib/podnet]
    #[arg(long, global = true, env = "PODNET_STATE_DIR", value_name = "DIR")]
    #[serde(alias = "state-dir")]
    state_dir: Option<PathBuf>,
    /// Where what dies with the boot is kept [default: /run/podnet]
    #[arg(long, global = true, env = "PODNET_RUN_DIR", value_name = "DIR")]
    #[serde(alias = "run-dir")]
    run_dir: Option<PathBuf>,
    /// Control socket [default: RUN-DIR/podnet.sock]
    #[arg(long, global = true, env = "PODNET_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where namespaces of pods are mounted [default: /run/netns]
    #[arg(long, global = true, env = "PODNET_NETNS_DIR", value_name = "DIR")]
    #[serde(alias = "netns-dir")]
    netns_dir: Option<PathBuf>,
    /// Range of the address that peers are told, or the address [default: 0.0.0.0/0]
    #[arg(
        long,
        global = true,
        env = "PODNET_ADVERTISE",
        value_name = "ADDR|CIDR"
    )]
    advertise: Option<Range>,
    /// UDP port of gossip [default: 7846]
    #[arg(long, global = true, env = "PODNET_GOSSIP_PORT", value_name = "N")]
    #[serde(alias = "gossip-port")]
    gossip_port: Option<NonZeroU16>,
    /// UDP port of WireGuard [default: 51820]
    #[arg(long, global = true, env = "PODNET_WIREGUARD_PORT", value_name = "N")]
    #[serde(alias = "wireguard-port")]
    wireguard_port: Option<NonZeroU16>,
    /// Where metrics are served, or off [default: 127.0.0.1:9846]
    #[arg(
        long,
        global = true,
        env = "PODNET_METRICS_ADDRESS",
        value_name = "ADDR:PORT|off"
    )]
    #[serde(alias = "metrics-address")]
    metrics_address: Option<MetricsAddress>,
    /// Firewall back end [default: auto]
    #[arg(long, global = true, env = "PODNET_FIREWALL")]
    firewall: Option<FirewallChoice>,
    /// error, warn, info, debug or trace, also per module [default: info]
    #[arg(long, global = true, env = "PODNET_LOG_LEVEL", value_name = "LEVEL")]
    #[serde(alias = "log-level")]
    log_level: Option<String>,
    /// How log lines look [default: text]
    #[arg(long, global = true, env = "PODNET_LOG_FORMAT")]
    #[serde(alias = "log-format")]
    log_format: Option<LogFormat>,
    /// Intervals; in the file only.
    #[arg(skip)]
    timing: Option<Timing>,
}

/// The agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Where what dies with the boot is kept.
    pub run_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where namespaces of pods are mounted.
    pub netns_dir: PathBuf,
    /// Among which of the host's addresses the one is that peers are told.
    pub advertise: Range,
    /// The UDP port of gossip.
    pub gossip_port: u16,
    /// The UDP port of WireGuard.
    pub wireguard_port: u16,
    /// Where metrics are served.
    pub metrics_address: MetricsAddress,
    /// What is logged, as `tracing_subscriber::EnvFilter` reads it.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Intervals.
    pub timing: Timing,
    /// The kernel's number of this boot.
    pub boot_id_file: PathBuf,
    /// The machine's identity; the firmware's where it is `None`.
    pub machine_id_file: Option<PathBuf>,
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not TOML, or a key or value in it is wrong.
    #[error("configuration file {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A variable of the environment, or a key, has no value.
    #[error("{name}: a value is required")]
    Empty {
        /// Its name.
        name: &'static str,
    },
    /// There is no working directory that a relative path could begin at.
    #[error("{}: it is relative, and there is no working directory", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// This version cannot do what a value asks for.
    #[error("{what} is not supported by this version")]
    Unsupported {
        /// The setting and its value.
        what: &'static str,
    },
}

impl Config {
    /// The configuration from flags and environment, and from the file that they name.
    ///
    /// # Errors
    /// When the file cannot be read or holds what is no setting, or a value asks for what this
    /// version cannot do.
    pub fn load(given: Options) -> Result<Self, ConfigError> {
        let from_file = match &given.config {
            Some(path) => file::read(path)?,
            None => match file::read(Path::new(DEFAULT_FILE)) {
                Err(ConfigError::Unreadable { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    Options::default()
                }
                read => read?,
            },
        };
        Self::merge(given, from_file)
    }

    fn merge(given: Options, file: Options) -> Result<Self, ConfigError> {
        match given.firewall.or(file.firewall) {
            None | Some(FirewallChoice::Auto | FirewallChoice::Iptables) => {}
            Some(FirewallChoice::Nftables) => {
                return Err(ConfigError::Unsupported {
                    what: "the firewall back end nftables",
                });
            }
        }
        let path = |name, given: Option<PathBuf>, file: Option<PathBuf>, default: &str| {
            absolute(name, given.or(file).unwrap_or_else(|| default.into()))
        };
        let port = |given: Option<NonZeroU16>, file: Option<NonZeroU16>, default| {
            given.or(file).map_or(default, NonZeroU16::get)
        };
        let run_dir = path("run_dir", given.run_dir, file.run_dir, "/run/podnet")?;
        let metrics = MetricsAddress::On(SocketAddr::from(([127, 0, 0, 1], 9846)));
        Ok(Self {
            state_dir: path(
                "state_dir",
                given.state_dir,
                file.state_dir,
                "/var/lib/podnet",
            )?,
            socket: match given.socket.or(file.socket) {
                Some(socket) => absolute("socket", socket)?,
                None => run_dir.join("podnet.sock"),
            },
            run_dir,
            netns_dir: path("netns_dir", given.netns_dir, file.netns_dir, "/run/netns")?,
            advertise: given.advertise.or(file.advertise).unwrap_or_default(),
            gossip_port: port(given.gossip_port, file.gossip_port, DEFAULT_PORT),
            wireguard_port: port(given.wireguard_port, file.wireguard_port, 51820),
            metrics_address: given
                .metrics_address
                .or(file.metrics_address)
                .unwrap_or(metrics),
            log_level: given
                .log_level
                .or(file.log_level)
                .unwrap_or_else(|| "info".to_owned()),
            log_format: given
                .log_format
                .or(file.log_format)
                .unwrap_or(LogFormat::Text),
            timing: file.timing.unwrap_or_default(),
            boot_id_file: env_path("PODNET_BOOT_ID_FILE")?
                .unwrap_or_else(|| "/proc/sys/kernel/random/boot_id".into()),
            machine_id_file: env_path("PODNET_MACHINE_ID_FILE")?,
        })
    }
}

fn env_path(name: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    let path = std::env::var_os(name).map(PathBuf::from);
    path.map(|path| absolute(name, path)).transpose()
}

/// A path that means the same wherever the agent stands.
fn absolute(name: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(ConfigError::Empty { name });
    }
    std::path::absolute(&path).map_err(|source| ConfigError::Relative { path, source })
}

#[cfg(test)]
mod tests;
