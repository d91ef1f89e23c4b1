//! The state of the claim machine that outlives the process.

use podnet_proto::ledger::{Acceptor, Checkpoint, Decided};
use podnet_proto::{Boot, ClusterId, NodeId};

/// The durable state of a member: on disk, fsynced, before anything of it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The cluster.
    pub cluster: ClusterId,
    /// The checkpoint that the join token vouches for: an earlier ledger is never adopted.
    pub checkpoint: Checkpoint,
    /// How often the agent has started; raised before its gossip socket opens. The machine does
    /// not use it: it lives here because it is written with the same write.
    pub epoch: u64,
    /// The ledger, as far as this node knows it.
    pub ledger: Option<Decided>,
    /// What this node has promised and accepted.
    pub acceptor: Acceptor,
    /// The node was asked to leave. It uses its block until its pods are gone, and `leaving` is set.
    pub departing: bool,
    /// The boot that gives its block back, and never uses one again.
    pub leaving: Option<Boot>,
    /// Whether the ledger has released that boot since: only the data path and this state are left to
    /// be removed.
    pub released: bool,
    /// Whether another host took over this node's claim while this host was alive.
    pub dup: bool,
}

impl Durable {
    /// The state of the node that founds a cluster with this ledger.
    #[must_use]
    pub fn founder(ledger: Decided) -> Self {
        Self {
            cluster: ledger.cluster,
            checkpoint: ledger.checkpoint(),
            epoch: 0,
            acceptor: Acceptor::after(&ledger, None),
            ledger: Some(ledger),
            departing: false,
            leaving: None,
            released: false,
            dup: false,
        }
    }

    /// The state of a node that holds a join token and knows no ledger yet.
    #[must_use]
    pub fn joiner(cluster: ClusterId, checkpoint: Checkpoint) -> Self {
        Self {
            cluster,
            checkpoint,
            epoch: 0,
            ledger: None,
            acceptor: Acceptor::default(),
            departing: false,
            leaving: None,
            released: false,
            dup: false,
        }
    }

    /// Whether the node was asked to leave, by this boot or an earlier one.
    #[must_use]
    pub const fn is_departing(&self) -> bool {
        self.departing || self.leaving.is_some()
    }

    /// The boot with which the ledger lets a node use its block.
    #[must_use]
    pub fn registered(&self, node: NodeId) -> Option<Boot> {
        self.ledger.as_ref()?.boots.get(&node).copied()
    }

    /// Takes over a later ledger. What the node has promised holds for the next slot too; what it
    /// has accepted is decided by now, one way or the other.
    pub(super) fn adopt(&mut self, ledger: Decided) {
        self.acceptor = Acceptor::after(&ledger, self.acceptor.promised);
        self.ledger = Some(ledger);
    }
}
