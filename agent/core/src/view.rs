//! What gossip tells, read.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use podnet_proto::NodeId;
use podnet_proto::gossip::Key;

use crate::time::Moment;

/// One entry of the gossip state, unread: a node at an address. A node whose address changed has
/// two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// The node.
    pub node: NodeId,
    /// Where it gossips.
    pub address: SocketAddrV4,
    /// Whether its heartbeat rose after it was first heard of, and the failure detector has not
    /// given it up. Always true for the entry of the agent itself.
    pub live: bool,
    /// When its heartbeat rose last, as far as this agent saw.
    pub last_seen: Option<Moment>,
    /// Its values, as they were published.
    pub values: BTreeMap<Key, String>,
}
