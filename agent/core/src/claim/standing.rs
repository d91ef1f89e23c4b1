//! Where a node stands: what it may use and what it asks for, as its durable state says.

use podnet_proto::gossip::{Want, WantKind};
use podnet_proto::ledger::Decided;
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, Instance, NodeId};

use super::durable::Durable;
use super::ledger::choose_block;
use super::mute::Muted;
use super::outcome::ClaimState;
use super::unknown::knows_all;
use crate::view::{Entry, View};

/// Who a node is, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The boot of its host.
    pub boot: Boot,
    /// Its process.
    pub instance: Instance,
}

/// A node in this process, and its durable state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) identity: Identity,
    pub(super) durable: &'a Durable,
    pub(super) muted: Option<Muted>,
}

impl<'a> Standing<'a> {
    /// The ledger, if this node votes on its next slot.
    pub(super) fn voting(self) -> Option<&'a Decided> {
        let ledger = self.durable.ledger.as_ref()?;
        let votes = ledger.voters.contains(&self.identity.node);
        (votes && !self.durable.dup && self.muted.is_none()).then_some(ledger)
    }

    /// The ledger, if this node may propose what its next slot is: it votes, and knows what follows
    /// from all settings. Without that it still votes, on what is written.
    pub(super) fn proposing(self) -> Option<&'a Decided> {
        self.voting().filter(|ledger| knows_all(&ledger.settings))
    }

    /// The ledger, if this node is a member with its present boot.
    pub(super) fn member(self) -> Option<&'a Decided> {
        let ledger = self.durable.ledger.as_ref()?;
        self.is_registered().then_some(ledger)
    }

    /// The voters; none while no ledger is known.
    pub(super) fn voters(self) -> &'a [NodeId] {
        let ledger = self.durable.ledger.as_ref();
        ledger.map_or(&[], |ledger| &ledger.voters)
    }

    /// The block that this node may use.
    pub(super) fn using(self) -> Option<BlockIndex> {
        let ledger = self.durable.ledger.as_ref()?;
        let may = self.is_registered() && !self.gives_block_back() && !self.durable.dup;
        ledger.blocks_of(self.identity.node).next().filter(|_| may)
    }

    /// What this node asks the voters for. If it leaves while an earlier boot is registered, it has its
    /// present boot registered first. If it leaves without a boot in the ledger, it asks for its release
    /// all the same: an earlier wish of its own may be about to be granted.
    pub(super) fn want(self) -> Option<Want> {
        let want = match (self.gives_block_back(), self.registered()) {
            _ if self.durable.dup => None,
            _ if self.muted.is_some_and(Muted::wants_nothing) => None,
            (false, _) if self.is_registered() => None,
            (true, Some(boot)) if boot != self.identity.boot => Some(WantKind::Join),
            (true, _) => Some(WantKind::Release),
            (false, _) => Some(WantKind::Join),
        }?;
        Some(Want {
            boot: self.identity.boot,
            want,
            replaces: match want {
                WantKind::Join => self.registered(),
                WantKind::Release => None,
            },
            released: match (&self.durable.ledger, want) {
                (Some(ledger), WantKind::Join) => ledger.released,
                (_, WantKind::Release) | (None, WantKind::Join) => 0,
            },
        })
    }

    /// Where the node stands. `quorum`: a majority of the voters is in reach. `released`: a node
    /// that leaves was released, or has waited long enough for a claim to be released from.
    pub(super) fn state(self, view: &View, quorum: bool, released: bool) -> ClaimState {
        if self.gives_block_back() {
            return if self.may_end(view, released) {
                ClaimState::Gone
            } else {
                ClaimState::Leaving
            };
        }
        let Some(ledger) = &self.durable.ledger else {
            return ClaimState::New;
        };
        if self.durable.dup {
            ClaimState::Dup
        } else if self.is_registered() {
            ClaimState::Using
        } else {
            let full = choose_block(ledger, self.identity.node).is_none();
            ClaimState::Want { full, quorum }
        }
    }

    /// Whether a node that leaves may end: its claim is another host's by now; or there is no other
    /// member; or it is released and a majority of the voters knows that.
    fn may_end(self, view: &View, released: bool) -> bool {
        let me = self.identity.node;
        let Some(ledger) = self.durable.ledger.as_ref().filter(|_| !self.durable.dup) else {
            return self.durable.dup || released;
        };
        if self.registered().is_some() {
            return ledger.boots.len() == 1 && ledger.voters == [me];
        }
        let knows = |entry: &Entry| {
            let snap = entry.snap.as_ref();
            snap.is_some_and(|snap| snap.ledger.order() >= ledger.order())
        };
        let know = ledger
            .voters
            .iter()
            .filter(|voter| **voter == me || view.of(**voter).iter().any(knows));
        released && know.count() >= ledger.majority()
    }

    pub(super) fn registered(self) -> Option<Boot> {
        self.durable.registered(self.identity.node)
    }

    fn is_registered(self) -> bool {
        self.registered() == Some(self.identity.boot)
    }

    /// Whether this boot gives the node's block back: then it uses none any more.
    pub(super) fn gives_block_back(self) -> bool {
        self.durable.leaving == Some(self.identity.boot)
    }
}
