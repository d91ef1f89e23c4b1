//! What a step asks its caller to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use podnet_proto::NodeId;
use podnet_proto::gossip::Key;
use podnet_proto::network::BlockIndex;

use super::mute::Muted;
use super::unknown::UnknownSetting;
use crate::time::Moment;

/// Where a node stands with its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// It knows no ledger yet.
    New,
    /// It knows the ledger, and may not use a block: it asks the voters for one, or to register its
    /// boot.
    Want {
        /// Every block has an owner: it waits until one is given back.
        full: bool,
        /// A majority of the voters is in reach.
        quorum: bool,
    },
    /// It may use its block.
    Using,
    /// It no longer uses its block, and waits for its release.
    Leaving,
    /// It has left, and enough voters know: the process may end.
    Gone,
    /// Another host with the same identity took over its claim while it was alive. It never uses a
    /// block again.
    Dup,
}

impl fmt::Display for ClaimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Want { full: true, .. } => "wanting a block, and none is free",
            Self::Want {
                full: false,
                quorum: true,
            } => "wanting a block",
            Self::Want {
                full: false,
                quorum: false,
            } => "wanting a block, and no majority is in reach",
            Self::Using => "using its block",
            Self::Leaving => "leaving",
            Self::Gone => "gone",
            Self::Dup => "taken over",
        })
    }
}

/// How many of the voters are in reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quorum {
    /// How many voters there are; 0 while no ledger is known.
    pub voters: usize,
    /// How many of them are live, or so new that they cannot look alive yet.
    pub reachable: usize,
    /// How many of them are live.
    pub live: usize,
}

impl Quorum {
    /// Whether they are a majority.
    #[must_use]
    pub const fn ok(self) -> bool {
        self.reachable > self.voters / 2
    }

    /// Whether a majority is known to be alive.
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.live > self.voters / 2
    }
}

/// The peers to gossip with at once, since a change should not wait for the next round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nudge {
    /// These peers.
    pub peers: BTreeSet<NodeId>,
    /// So many other nodes, drawn at random.
    pub random: usize,
}

/// What a step asks its caller to do, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Write [`Machine::durable`](super::Machine::durable) and fsync it before anything else. The
    /// machine takes this for done: a caller whose write fails tries again or ends, and does
    /// nothing else of this outcome.
    pub persist: bool,
    /// The block that the data path is to carry; if `None`, it must carry no block before the keys are
    /// published.
    pub using: Option<BlockIndex>,
    /// Where the node stands.
    pub state: ClaimState,
    /// The values of all keys but [`Key::Node`]; empty for a key without a record.
    pub keys: BTreeMap<Key, String>,
    /// Why records are not among them, in words: they are too long for gossip, and their keys keep the
    /// values that they had.
    pub unsaid: BTreeMap<Key, String>,
    /// The peers to gossip with at once.
    pub nudge: Nudge,
    /// When to step next, if nothing happens before.
    pub wake: Moment,
    /// The nodes whose snapshots cannot be true, and were not adopted.
    pub refused: BTreeSet<NodeId>,
    /// Why the node neither decides anything nor, with a boot that is not registered, asks for a
    /// block.
    pub muted: Option<Muted>,
    /// The settings of the cluster that this version cannot carry out, by name. With any of them the
    /// node proposes nothing, and takes a new ledger only from voters that show it.
    pub unknown: Vec<UnknownSetting>,
}
