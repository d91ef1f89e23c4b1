//! Bodies of the control API, which are also what `podnetctl -o json` prints.
//!
//! Durations are numbers of seconds, times RFC 3339 in UTC, node addresses `IP:PORT`, pod addresses
//! `IP/PREFIX`. What is unknown is `null`, never an absent key.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::id::{Boot, ClusterId, Instance, NodeId};
use crate::name::{NodeName, PodName};

/// The version of the control API.
pub const API_VERSION: u32 = 1;

/// Where a node stands. A script waits for `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not a member of a cluster.
    Idle,
    /// On the way to a block.
    Joining,
    /// Owns a block and uses it.
    Ready,
    /// Wants a block, and no majority of the voters can be reached.
    NoQuorum,
    /// Wants a block, and none is free.
    Full,
    /// Lost its block: it was given to another, or another instance runs with this identity.
    Fenced,
    /// Gives its block back.
    Leaving,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::NoQuorum => "no-quorum",
            Self::Full => "full",
            Self::Fenced => "fenced",
            Self::Leaving => "leaving",
        })
    }
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`API_VERSION`].
    pub api: u32,
    /// Where the node stands.
    pub phase: Phase,
    /// The node itself.
    pub node: SelfNode,
    /// The cluster that it is a member of.
    pub cluster: Option<Cluster>,
    /// The node's blocks.
    pub blocks: Vec<IpNetwork>,
    /// The gateway address of each block.
    pub gateways: Vec<IpAddr>,
    /// The MTU of pods, in bytes.
    pub mtu: Option<u32>,
    /// Whether claims can be decided.
    pub quorum: Quorum,
    /// How many pods the node has.
    pub pods: usize,
    /// What holds pods to their own addresses; `null` before anything does.
    #[serde(default)]
    pub held_by: Option<HeldBy>,
    /// Why nftables does not.
    #[serde(default)]
    pub held_reason: Option<String>,
    /// All nodes but this one.
    pub peers: Vec<Node>,
    /// What the reconciler did since the agent started.
    pub reconcile: Reconcile,
    /// What is wrong, and what cures it.
    pub problems: Vec<ProblemEntry>,
}

/// What holds pods to their own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldBy {
    /// The bridge, to MAC addresses, and nftables, to IP addresses besides.
    Nftables,
    /// The bridge alone, which knows no IP addresses.
    Bridge,
}

/// The node that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfNode {
    /// Its identity.
    pub id: NodeId,
    /// Its label.
    pub name: NodeName,
    /// Where peers reach it.
    pub addresses: Vec<SocketAddr>,
    /// The agent's version.
    pub version: String,
    /// The host's boot.
    pub boot: Boot,
    /// The agent's process.
    pub instance: Instance,
}

/// The cluster, as this node knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its identity.
    pub id: ClusterId,
    /// Its pod networks.
    pub pod_cidrs: Vec<IpNetwork>,
    /// The prefix length of the blocks of each pod network.
    pub block_prefixes: Vec<u8>,
    /// How packets travel between nodes: `auto`, `direct`, `wireguard`, or what a later version has.
    pub encapsulation: String,
    /// How many members it has, this one among them.
    pub nodes: usize,
    /// How many of them are live, this one among them.
    pub live_nodes: usize,
}

/// Whether claims can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// How many voters there are.
    pub voters: usize,
    /// How many of them are live.
    pub reachable: usize,
    /// Whether those are a majority.
    pub ok: bool,
}

/// What the reconciler did since the agent started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reconcile {
    /// Passes: observe, diff, apply.
    pub passes: u64,
    /// Operations applied.
    pub operations_total: u64,
    /// Operations that failed.
    pub failed_total: u64,
    /// Objects that other programs had changed or removed, and that were put back.
    pub drift_total: u64,
    /// When the last pass ended.
    pub last_at: Option<String>,
    /// How long the last pass took, in seconds.
    pub last_duration_seconds: Option<f64>,
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something works less well than it could.
    Warning,
}

/// Something that is wrong on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemEntry {
    /// For scripts.
    pub code: ErrorCode,
    /// How much it matters.
    pub severity: Severity,
    /// For people.
    pub message: String,
    /// What cures it.
    pub hint: Option<String>,
}

/// How packets travel to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// A host route by way of the peer's address.
    Direct,
    /// A WireGuard tunnel.
    Wireguard,
}

/// Whether packets reach a peer's gateway and come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathState {
    /// They do.
    Ok,
    /// Not known yet.
    Pending,
    /// They do not.
    Failed,
}

/// A member of the cluster: `GET /v1/nodes` lists them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// Its label; `null` before anything was heard of it.
    pub name: Option<NodeName>,
    /// Whether it is the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Where it is reached.
    pub addresses: Vec<SocketAddr>,
    /// Its blocks.
    pub blocks: Vec<IpNetwork>,
    /// Whether it is alive, as far as gossip knows.
    pub live: bool,
    /// How long ago its heartbeat rose last.
    pub last_seen_seconds: Option<f64>,
    /// Its boot.
    pub boot: Option<Boot>,
    /// How packets travel to it; `null` for the node itself.
    pub encapsulation: Option<Encapsulation>,
    /// Whether packets reach it; `null` for the node itself.
    pub path: Option<PathState>,
    /// Why they do not.
    pub path_reason: Option<String>,
}

/// What the reason of a pending path begins with where packets may well reach the node, which only does not
/// answer echoes.
pub const UNPROVED: &str = "unproved";

impl Node {
    /// Whether packets may well reach the node, which only does not answer echoes.
    #[must_use]
    pub fn is_unproved(&self) -> bool {
        let reason = self.path_reason.as_deref().unwrap_or_default();
        self.path == Some(PathState::Pending) && reason.starts_with(UNPROVED)
    }
}

/// The state of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteState {
    /// In the kernel.
    Ok,
    /// Wanted, and not in the kernel.
    Missing,
    /// Something foreign is in its place.
    Foreign,
    /// A route that refuses packets, as it should.
    Unreachable,
}

/// A route of podnet's: `GET /v1/routes` lists them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where packets go.
    pub destination: IpNetwork,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The device that they leave by.
    pub device: Option<String>,
    /// The node that owns the destination.
    pub node: Option<NodeName>,
    /// The route's protocol number.
    pub protocol: u8,
    /// How it stands.
    pub state: RouteState,
}

/// The state of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodState {
    /// Attached.
    Ready,
    /// Its namespace has vanished; its addresses are free.
    Gone,
    /// The node lost the block that its addresses are of.
    Fenced,
}

/// A pod: `GET /v1/pods` lists them, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: PodName,
    /// The name of its node.
    pub node: NodeName,
    /// How it stands.
    pub state: PodState,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Its default gateways.
    pub gateways: Vec<IpAddr>,
    /// The MAC address of its interface.
    pub mac: String,
    /// The MTU of its interface, in bytes.
    pub mtu: u32,
    /// The path of its network namespace.
    pub netns: String,
    /// Its interface, inside the namespace.
    pub ifname: String,
    /// The other end of it, on the host.
    pub host_ifname: String,
    /// When it was attached.
    pub created_at: String,
    /// For later use.
    pub labels: BTreeMap<String, String>,
    /// Whether it may use other MAC and IP addresses than its own.
    #[serde(default)]
    pub trusted: bool,
}

/// `POST /v1/init`. Everything but the pod CIDRs may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// The pod networks, as text: `10.244.0.0/16`.
    pub pod_cidrs: Vec<String>,
    /// The prefix length of the blocks of each; 24 where left out.
    #[serde(default)]
    pub block_prefixes: Vec<u8>,
    /// The node's label; its hostname where left out.
    #[serde(default)]
    pub node_name: Option<String>,
    /// Where peers reach this node, `ADDR[:PORT]`.
    #[serde(default)]
    pub advertise: Option<String>,
    /// How packets travel between nodes: `auto`, `direct` or `wireguard`.
    #[serde(default)]
    pub encapsulation: Option<String>,
    /// Destinations whose traffic keeps the pod's source address.
    #[serde(default)]
    pub exclude_cidrs: Vec<String>,
    /// Goes on although the pod network overlaps a route or an address of this host.
    #[serde(default)]
    pub allow_overlap: bool,
}

/// The answer to `POST /v1/init`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct InitResponse {
    /// This node.
    pub node: SelfNode,
    /// The new cluster.
    pub cluster: Cluster,
    /// This node's blocks.
    pub blocks: Vec<IpNetwork>,
    /// The join token: a secret.
    pub token: String,
    /// What to type on the other nodes.
    pub join_command: String,
}

impl fmt::Debug for InitResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("InitResponse")
            .field("cluster", &self.cluster)
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/join`. Answered with 202 once a member has answered; `GET /v1/status` shows the rest.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// Members to ask, `ADDR[:PORT]`.
    pub addresses: Vec<String>,
    /// The join token: a secret.
    pub token: String,
    /// The node's label; its hostname where left out.
    #[serde(default)]
    pub node_name: Option<String>,
    /// Where peers reach this node, `ADDR[:PORT]`.
    #[serde(default)]
    pub advertise: Option<String>,
    /// The dead node that this one takes the place of.
    #[serde(default)]
    pub replace: Option<String>,
    /// Goes on although the pod network overlaps a route or an address of this host.
    #[serde(default)]
    pub allow_overlap: bool,
    /// How long to wait for the first answer; 10 s where left out, and at most.
    #[serde(default)]
    pub timeout_seconds: Option<f64>,
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("JoinRequest")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What `podnetctl join` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinResponse {
    /// This node.
    pub node: SelfNode,
    /// The cluster.
    pub cluster: Cluster,
    /// This node's blocks.
    pub blocks: Vec<IpNetwork>,
}

/// `POST /v1/leave`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// Removes the pods of this node too; without it they stand in the way.
    #[serde(default)]
    pub remove_pods: bool,
}

/// `GET /v1/token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The join token: a secret.
    pub token: String,
    /// What to type on the other nodes.
    pub join_command: String,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("TokenResponse").finish_non_exhaustive()
    }
}

/// `POST /v1/pods`. At most one of `netns` and `pid`; without either podnet makes the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodRequest {
    /// The pod's name.
    pub name: String,
    /// The path of an existing namespace.
    #[serde(default)]
    pub netns: Option<String>,
    /// A process whose namespace becomes the pod's.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Lets the pod use other MAC and IP addresses than its own.
    #[serde(default)]
    pub trusted: bool,
}

/// What `podnetctl version` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The version of the command line.
    pub podnetctl: String,
    /// The version of the agent; `null` where none answers.
    pub podnetd: Option<String>,
}
