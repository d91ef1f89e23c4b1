//! The ledger of claims: who owns which block, decided slot by slot.
//!
//! This module is the data; `podnet_core::claim` is what decides it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::id::{Boot, ClusterId, Instance, NodeId};
use crate::network::{BlockIndex, PodNetwork};

mod batch;
mod decided;
mod raw;
mod settings;

pub use batch::{Batch, Operation};
pub use decided::{Decided, LEDGER_VERSION, LedgerError};
pub use settings::{EncapsulationMode, Settings};

/// The number of a decision. Slot 0 is what `init` writes.
pub type Slot = u64;

/// What the members have agreed on so far: the state after `slot` decisions.
///
/// Ledgers are ordered by `(recovery, slot)`. Two ledgers of one cluster with the same order are
/// equal: that is what the claim protocol guarantees. A [`Decided`] one is as it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Raised only by an operator's recovery after a majority of the voters was lost.
    pub recovery: u64,
    /// How many decisions led here.
    pub slot: Slot,
    /// The hash of the ledger one slot before; of nothing (all zero) at slot 0.
    pub previous: LedgerHash,
    /// The cluster.
    pub cluster: ClusterId,
    /// The pod networks.
    pub networks: Vec<PodNetwork>,
    /// The cluster's settings.
    pub settings: Settings,
    /// The nodes whose majority decides the next slot; always an odd number.
    pub voters: Vec<NodeId>,
    /// The owner of each block that has one.
    pub blocks: BTreeMap<BlockIndex, NodeId>,
    /// The boot with which each member may use its blocks.
    pub boots: BTreeMap<NodeId, Boot>,
    /// Blocks that were given back, and the slot that freed them.
    pub freed: BTreeMap<BlockIndex, Slot>,
    /// The slot of the last release of a member; 0 if there was none.
    pub released: Slot,
    /// The epoch of the gossip key.
    pub key_epoch: u64,
}

impl Ledger {
    /// The ledger that `init` writes: one member, which owns the first block and is the only voter.
    #[must_use]
    pub fn genesis(
        cluster: ClusterId,
        networks: Vec<PodNetwork>,
        settings: Settings,
        founder: NodeId,
        boot: Boot,
    ) -> Decided {
        Decided::from(Self {
            recovery: 0,
            slot: 0,
            previous: LedgerHash::NONE,
            cluster,
            networks,
            settings,
            voters: vec![founder],
            blocks: BTreeMap::from([(BlockIndex(0), founder)]),
            boots: BTreeMap::from([(founder, boot)]),
            freed: BTreeMap::new(),
            released: 0,
            key_epoch: 0,
        })
    }

    /// Where this ledger stands in the order of ledgers.
    #[must_use]
    pub const fn order(&self) -> (u64, Slot) {
        (self.recovery, self.slot)
    }

    /// The blocks of a node, in ascending order.
    pub fn blocks_of(&self, node: NodeId) -> impl Iterator<Item = BlockIndex> {
        self.blocks
            .iter()
            .filter(move |(_, owner)| **owner == node)
            .map(|(index, _)| *index)
    }

    /// The slot that is decided next.
    #[must_use]
    pub const fn next_slot(&self) -> Slot {
        self.slot.saturating_add(1)
    }

    /// How many voters make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(crate) const fn is_zero(slot: &Slot) -> bool {
    *slot == 0
}

/// The hash of a ledger. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LedgerHash([u8; 32]);

impl LedgerHash {
    /// The hash that stands before slot 0.
    pub const NONE: Self = Self([0; 32]);
}

impl TryFrom<String> for LedgerHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER
            .decode(text.as_bytes())
            .map_err(|_| "not a ledger hash")?;
        bytes.try_into().map(Self).map_err(|_| "not a ledger hash")
    }
}

impl From<LedgerHash> for String {
    fn from(hash: LedgerHash) -> Self {
        HEXLOWER.encode(&hash.0)
    }
}

impl std::fmt::Debug for LedgerHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..8]))
    }
}

/// A point of the ledger that the join token vouches for: a newcomer adopts no ledger before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`Ledger::recovery`].
    pub recovery: u64,
    /// [`Ledger::slot`].
    pub slot: Slot,
    /// [`Decided::hash`].
    pub hash: LedgerHash,
}

/// The number of a proposal, compared field by field in this order: unique across restarts and
/// clones without anything to keep, since no two processes share an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot {
    /// Counts up.
    pub round: u64,
    /// The proposing voter.
    pub node: NodeId,
    /// Its process.
    pub instance: Instance,
}

/// What a voter has promised and accepted in the slot after its ledger's. On disk before anybody
/// is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acceptor {
    /// The slot that is being decided: the ledger's next.
    pub slot: Slot,
    /// No proposal with a smaller ballot is accepted.
    pub promised: Option<Ballot>,
    /// The proposal accepted last.
    pub accepted: Option<(Ballot, Batch)>,
}

impl Acceptor {
    /// The acceptor of the slot after a ledger's, which has accepted nothing. A promise holds for
    /// later slots too.
    #[must_use]
    pub const fn after(ledger: &Ledger, promised: Option<Ballot>) -> Self {
        Self {
            slot: ledger.next_slot(),
            promised,
            accepted: None,
        }
    }
}
