//! Echoes: whether packets reach the peers, from gateway to gateway and from pods.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use podnet_proto::{NodeId, PodName};

use crate::kernel::PodLink;

/// The beginning of the reason why a path does not work, if echoes on it get lost.
pub const NO_ECHO: &str = "no echo";

/// What an echo has shown that was not known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReport {
    /// The peer.
    pub node: NodeId,
    /// Its gateway address.
    pub gateway: IpAddr,
    /// The round-trip time, or why there was no answer, in words.
    pub outcome: Result<Duration, String>,
    /// Whether the peer has not answered so far, and no router reports that it cannot be reached: then a firewall
    /// may drop just echoes.
    pub unproved: bool,
}

/// Whom to send echoes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets {
    /// The node's own gateway address, which echoes come from: without one, none are sent. (An unbound socket
    /// chooses its address by the route, after rules of policy routing have looked for it in vain.)
    pub source: Option<IpAddr>,
    /// The gateways of the peers.
    pub gateways: BTreeMap<NodeId, IpAddr>,
}

/// Pods that echoes are to be sent from.
#[derive(Debug, Clone)]
pub struct Borrowed {
    /// The pods, in the order of their turns.
    pub pods: Vec<PodLink>,
    /// How many of them are borrowed at most before their packets count as lost: one pod may drop echoes itself.
    pub most: usize,
    /// The node's own gateway.
    pub own: IpAddr,
    /// The peers' gateways.
    pub gateways: BTreeMap<NodeId, IpAddr>,
}

/// What echoes from pods have come to.
#[derive(Debug, Clone, Default)]
pub struct Echoes {
    /// The peers from which nothing comes back to pods, though it does to the node, and the first pod that tried.
    pub lost: BTreeMap<NodeId, PodName>,
    /// The pod to begin with next time: one that got answers from all peers, or the one after those that did not.
    pub next: Option<PodName>,
}
