//! How records are written in gossip that hold types of the claim protocol.

use serde::{Deserialize, Serialize};

use super::{AccRecord, PropRecord};
use crate::id::{Instance, NodeId};
use crate::ledger::{Acceptor, Ballot, Batch, Slot};

#[derive(Serialize, Deserialize)]
struct BallotWire {
    round: u64,
    node: NodeId,
    instance: Instance,
}

impl From<Ballot> for BallotWire {
    fn from(ballot: Ballot) -> Self {
        Self {
            round: ballot.round,
            node: ballot.node,
            instance: ballot.instance,
        }
    }
}

impl From<BallotWire> for Ballot {
    fn from(wire: BallotWire) -> Self {
        Self {
            round: wire.round,
            node: wire.node,
            instance: wire.instance,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct AccWire {
    slot: Slot,
    promised: Option<BallotWire>,
    accepted: Option<(BallotWire, Batch)>,
}

impl From<AccRecord> for AccWire {
    fn from(record: AccRecord) -> Self {
        let Acceptor {
            slot,
            promised,
            accepted,
        } = record.acceptor;
        Self {
            slot,
            promised: promised.map(Into::into),
            accepted: accepted.map(|(ballot, batch)| (ballot.into(), batch)),
        }
    }
}

impl From<AccWire> for AccRecord {
    fn from(wire: AccWire) -> Self {
        let accepted = wire.accepted;
        Self {
            acceptor: Acceptor {
                slot: wire.slot,
                promised: wire.promised.map(Into::into),
                accepted: accepted.map(|(ballot, batch)| (ballot.into(), batch)),
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct PropWire {
    slot: Slot,
    ballot: BallotWire,
    batch: Option<Batch>,
}

impl From<PropRecord> for PropWire {
    fn from(record: PropRecord) -> Self {
        Self {
            slot: record.slot,
            ballot: record.ballot.into(),
            batch: record.batch,
        }
    }
}

impl From<PropWire> for PropRecord {
    fn from(wire: PropWire) -> Self {
        Self {
            slot: wire.slot,
            ballot: wire.ballot.into(),
            batch: wire.batch,
        }
    }
}
