//! The content of the state files about the cluster: types of their own, so that no change of gossip
//! or of the claim protocol changes a file unseen.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use ipnetwork::Ipv4Network;
use podnet_core::claim::Durable;
use podnet_proto::gossip::NodeRecord;
use podnet_proto::ledger::{Acceptor, Ballot, Batch, Checkpoint, Decided, LedgerHash, Slot};
use podnet_proto::{Boot, ClusterId, Instance, NodeId, NodeName, PodNetwork, PodNetworkError};
use serde::{Deserialize, Serialize};

use podnet_core::node::PeerBook;

/// What the claim protocol must keep.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DurableContent {
    cluster: ClusterId,
    checkpoint: CheckpointContent,
    epoch: u64,
    /// The ledger, as it was decided.
    ledger: Option<Decided>,
    acceptor: AcceptorContent,
    departing: bool,
    leaving: Option<Boot>,
    released: bool,
    dup: bool,
}

impl DurableContent {
    pub(super) fn of(durable: &Durable) -> Self {
        Self {
            cluster: durable.cluster,
            checkpoint: CheckpointContent::of(durable.checkpoint),
            epoch: durable.epoch,
            ledger: durable.ledger.clone(),
            acceptor: AcceptorContent::of(&durable.acceptor),
            departing: durable.departing,
            leaving: durable.leaving,
            released: durable.released,
            dup: durable.dup,
        }
    }

    pub(super) fn into_durable(self) -> Durable {
        Durable {
            cluster: self.cluster,
            checkpoint: self.checkpoint.checkpoint(),
            epoch: self.epoch,
            ledger: self.ledger,
            acceptor: self.acceptor.into_acceptor(),
            departing: self.departing,
            leaving: self.leaving,
            released: self.released,
            dup: self.dup,
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct AcceptorContent {
    slot: Slot,
    promised: Option<BallotContent>,
    accepted: Option<AcceptedContent>,
}

impl AcceptorContent {
    fn of(acceptor: &Acceptor) -> Self {
        let accepted = acceptor.accepted.as_ref();
        Self {
            slot: acceptor.slot,
            promised: acceptor.promised.map(BallotContent::of),
            accepted: accepted.map(|(ballot, batch)| AcceptedContent {
                ballot: BallotContent::of(*ballot),
                batch: batch.clone(),
            }),
        }
    }

    fn into_acceptor(self) -> Acceptor {
        let accepted = self.accepted;
        Acceptor {
            slot: self.slot,
            promised: self.promised.map(BallotContent::into_ballot),
            accepted: accepted.map(|accepted| (accepted.ballot.into_ballot(), accepted.batch)),
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct AcceptedContent {
    ballot: BallotContent,
    /// The batch, as it was proposed.
    batch: Batch,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BallotContent {
    round: u64,
    node: NodeId,
    instance: Instance,
}

impl BallotContent {
    const fn of(ballot: Ballot) -> Self {
        Self {
            round: ballot.round,
            node: ballot.node,
            instance: ballot.instance,
        }
    }

    const fn into_ballot(self) -> Ballot {
        Ballot {
            round: self.round,
            node: self.node,
            instance: self.instance,
        }
    }
}

/// What the join token vouches for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CheckpointContent {
    recovery: u64,
    slot: Slot,
    hash: LedgerHash,
}

impl CheckpointContent {
    pub(super) const fn of(checkpoint: Checkpoint) -> Self {
        Self {
            recovery: checkpoint.recovery,
            slot: checkpoint.slot,
            hash: checkpoint.hash,
        }
    }

    pub(super) const fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            recovery: self.recovery,
            slot: self.slot,
            hash: self.hash,
        }
    }
}

/// A pod network.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NetworkContent {
    cidr: Ipv4Network,
    block_prefix: u8,
}

impl NetworkContent {
    pub(super) const fn of(network: &PodNetwork) -> Self {
        Self {
            cidr: network.cidr(),
            block_prefix: network.block_prefix(),
        }
    }

    pub(super) fn network(&self) -> Result<PodNetwork, PodNetworkError> {
        PodNetwork::new(self.cidr, self.block_prefix)
    }
}

/// What the members last said of themselves.
pub(super) type PeersContent = BTreeMap<NodeId, PeerContent>;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PeerContent {
    name: NodeName,
    public_key: String,
    endpoints: Vec<SocketAddrV4>,
    counter: u64,
    agent_version: String,
}

pub(super) fn peers_content(peers: &PeerBook) -> PeersContent {
    let content = |record: &NodeRecord| PeerContent {
        name: record.name.clone(),
        public_key: record.public_key.clone(),
        endpoints: record.endpoints.clone(),
        counter: record.counter,
        agent_version: record.agent_version.clone(),
    };
    let peers = peers.iter();
    peers
        .map(|(node, record)| (*node, content(record)))
        .collect()
}

pub(super) fn peer_book(content: PeersContent) -> PeerBook {
    let record = |content: PeerContent| NodeRecord {
        name: content.name,
        public_key: content.public_key,
        endpoints: content.endpoints,
        counter: content.counter,
        agent_version: content.agent_version,
    };
    let content = content.into_iter();
    content
        .map(|(node, content)| (node, record(content)))
        .collect()
}
