//! What gossip needs to start.

use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use podnet_proto::{ClusterId, NodeId, PodNetwork};
use sha2::{Digest, Sha256};

use super::counters::Counters;
use super::keyring::Keyring;
use super::transport::Welcomer;

/// The version of gossip between agents. Agents of two versions do not gossip with each other.
const PROTOCOL_VERSION: u32 = 2;

/// The clockwork of gossip. The default is what clusters run with; tests run faster.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The time between two rounds.
    pub interval: Duration,
    /// How many intervals between heartbeats the failure detector remembers of each node.
    pub window: usize,
    /// The interval between heartbeats that the failure detector expects of a newcomer.
    pub initial_interval: Duration,
    /// A longer interval than this is not counted: it says nothing about the ones to come.
    pub max_interval: Duration,
    /// After how many of the usual intervals of silence the failure detector gives a node up.
    pub phi: f64,
    /// How long the entry of a dead node is kept. Each entry costs every node some 100 bytes a second,
    /// also that of a node that has left; a member is looked for at its last address for ever anyway.
    pub dead_grace: Duration,
}

impl Default for Timing {
    /// One round a second; a death is seen after some 6 seconds.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            window: 100,
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(10),
            phi: 8.0,
            dead_grace: Duration::from_mins(10),
        }
    }
}

/// What gossip needs to start.
#[derive(Clone)]
pub struct GossipConfig {
    /// This node.
    pub node: NodeId,
    /// Where the other nodes reach it.
    pub advertise: SocketAddrV4,
    /// Where it listens.
    pub listen: SocketAddrV4,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's pod networks.
    pub networks: Vec<PodNetwork>,
    /// How often gossip was started with this identity, this time included. On disk before it is
    /// used: it makes this start's values newer than those of every start before.
    pub epoch: u64,
    /// Which of its ids at this address the node speaks under: 0, unless another member has spoken
    /// under that with versions that leave no room above them.
    pub generation: u64,
    /// The clockwork.
    pub timing: Timing,
    /// The keys.
    pub keyring: Keyring,
    /// Addresses of nodes that may know the other members.
    pub seeds: Vec<SocketAddrV4>,
    /// The agent's start, from which every `Moment` counts.
    pub start: Instant,
    /// Answers the nodes that ask before they join.
    pub welcomer: Welcomer,
    /// Counts the datagrams.
    pub counters: Arc<Counters>,
}

impl fmt::Debug for GossipConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipConfig")
            .field("node", &self.node)
            .field("advertise", &self.advertise)
            .field("listen", &self.listen)
            .field("cluster", &self.cluster)
            .field("epoch", &self.epoch)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

/// The name under which a cluster gossips: clusters that differ in anything that all members must
/// agree on do not hear each other.
pub(super) fn cluster_name(cluster: &ClusterId, networks: &[PodNetwork]) -> String {
    let mut hash = Sha256::new()
        .chain_update(b"podnet cluster")
        .chain_update(PROTOCOL_VERSION.to_be_bytes())
        .chain_update(cluster.as_bytes());
    for network in networks {
        hash.update(network.cidr().network().octets());
        hash.update([network.cidr().prefix(), network.block_prefix()]);
    }
    HEXLOWER.encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_members_must_agree_on_names_the_cluster() {
        let cluster = ClusterId::from_bytes([1; 16]);
        let networks = |cidr, prefix| vec![PodNetwork::parse(cidr, prefix).unwrap()];
        let name = cluster_name(&cluster, &networks("10.244.0.0/16", 24));
        assert_eq!(name.len(), 32);
        assert_eq!(name, cluster_name(&cluster, &networks("10.244.0.0/16", 24)));
        for other in [
            cluster_name(&cluster, &networks("10.244.0.0/16", 23)),
            cluster_name(&cluster, &networks("10.245.0.0/16", 24)),
            cluster_name(&cluster, &[]),
            cluster_name(
                &ClusterId::from_bytes([2; 16]),
                &networks("10.244.0.0/16", 24),
            ),
        ] {
            assert_ne!(name, other);
        }
    }
}
