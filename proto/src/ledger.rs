//! The ledger of claims: who owns which block, decided slot by slot.
//!
//! This module is the data; `podnet_core::claim` is what decides it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{Boot, ClusterId, Instance, NodeId};
use crate::network::{BlockIndex, PodNetwork};

/// The number of a decision. Slot 0 is what `init` writes.
pub type Slot = u64;

/// How pods' packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncapsulationMode {
    /// Per peer: direct where it is proved to work, else WireGuard.
    Auto,
    /// Host routes by way of the peer's address.
    #[default]
    Direct,
    /// WireGuard tunnels only.
    Wireguard,
}

/// The cluster's settings, which its members agree on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// How packets travel between nodes.
    pub encapsulation: EncapsulationMode,
    /// Destinations outside the pod networks whose traffic keeps the pod's source address.
    #[serde(default)]
    pub exclude_cidrs: Vec<Ipv4Network>,
}

/// What the members have agreed on so far: the state after `slot` decisions.
///
/// Ledgers are ordered by `(recovery, slot)`. Two ledgers of one cluster with the same order are
/// equal: that is what the claim protocol guarantees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The slot of the last release of a member; 0 where there was none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: Slot,
    /// The epoch of the gossip key.
    #[serde(default)]
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
    ) -> Self {
        Self {
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
        }
    }

    /// The hash of this ledger: SHA-256 of its JSON form, whose maps are sorted. A field that a
    /// later version adds must be left out of the JSON while it has its default value; then nodes
    /// of both versions compute the same hash.
    #[must_use]
    pub fn hash(&self) -> LedgerHash {
        let json = serde_json::to_vec(self).unwrap_or_default();
        LedgerHash(Sha256::digest(&json).into())
    }

    /// Where this ledger stands in the order of ledgers.
    #[must_use]
    pub const fn order(&self) -> (u64, Slot) {
        (self.recovery, self.slot)
    }

    /// What a newcomer is told about the ledger before it has seen one.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            recovery: self.recovery,
            slot: self.slot,
            hash: self.hash(),
        }
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
    /// [`Ledger::hash`].
    pub hash: LedgerHash,
}

/// One change of the ledger. A kind that a node does not know does not parse; so a new kind is
/// proposed only when every voter knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Operation {
    /// A node becomes a member with this boot. Where it owns a block already, only its boot
    /// changes; else it gets the block, if that is free.
    Join {
        /// The node.
        node: NodeId,
        /// The boot with which it may use its block.
        boot: Boot,
        /// The block that it gets.
        index: BlockIndex,
    },
    /// A member gives its blocks back and is no member any more; only if the boot is its
    /// registered one.
    Release {
        /// The member.
        node: NodeId,
        /// Its boot, which never uses a block again.
        boot: Boot,
    },
    /// The cluster's settings change.
    Set {
        /// All of them, as they shall be.
        settings: Settings,
    },
}

/// What one slot decides: at most [`Batch::MAX`] operations, applied in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Batch(pub Vec<Operation>);

impl Batch {
    /// The most operations of one slot.
    pub const MAX: usize = 64;
}

/// The number of a proposal, compared field by field in this order: unique across restarts and
/// clones without anything to keep, since no two processes share an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
