//! What makes a node a member of a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use podnet_proto::gossip::NodeRecord;
use podnet_proto::ledger::Checkpoint;
use podnet_proto::{ClusterId, GossipKey, NodeId, NodeName, PodNetwork};

use crate::claim::Durable;

/// A node's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's label.
    pub name: NodeName,
    /// Where peers reach it.
    pub advertise: SocketAddrV4,
    /// Whether the user has chosen this address: then it stays, else it follows the host's addresses.
    pub advertise_fixed: bool,
    /// The key that seals gossip.
    pub gossip_key: GossipKey,
    /// The pod networks.
    pub networks: Vec<PodNetwork>,
    /// What the join token vouches for.
    pub checkpoint: Checkpoint,
    /// Where to gossip first: members that answered before.
    pub seeds: Vec<SocketAddrV4>,
}

/// What is on disk of a membership.
#[derive(Debug)]
pub struct Joined {
    /// The membership.
    pub member: Member,
    /// The state of the claim protocol.
    pub durable: Durable,
    /// What the members last said of themselves.
    pub peers: PeerBook,
}

/// What the members last said of themselves.
pub type PeerBook = BTreeMap<NodeId, NodeRecord>;
