//! When a node keeps silent: its state may be older than what it has decided, or another host's.

use std::net::SocketAddrV4;
use std::time::Duration;

use podnet_proto::NodeId;
use podnet_proto::ledger::{Ledger, Slot};

use super::learn::is_plausible;
use super::standing::Standing;
use crate::view::{Entry, View};

/// How long a process listens, unless it is set otherwise, before it decides anything, or asks for the
/// block that it had under another boot. A node that is alive is heard of within two rounds of gossip.
pub(super) const LISTENING: Duration = Duration::from_secs(3);

/// Why a node decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Muted {
    /// The node has just started, and listens: for another instance of itself, if its boot is new; for the
    /// members that it has not heard of yet, if it is a voter.
    Listening,
    /// Another instance with its identity is alive and comes first: this host is a clone,
    /// or there is a clone of it.
    Twin {
        /// Where the other instance gossips.
        address: SocketAddrV4,
    },
    /// A member knows of decisions that this voter does not: its disk was rolled back.
    Behind {
        /// The member.
        node: NodeId,
        /// The slot of the member's ledger.
        slot: Slot,
    },
}

impl Muted {
    /// Whether this still holds though nothing shows it at the moment: the member that knew of more, or
    /// the other instance, publishes nothing now, as after a start.
    pub(super) fn holds_on(self, node: Standing<'_>, view: &View) -> bool {
        let says_something = |entry: &Entry| entry.usage.is_some();
        match self {
            Self::Listening => false,
            Self::Twin { address } => {
                let entries = view.of(node.identity.node);
                let mut other = entries.iter().filter(|entry| entry.address == address);
                other.any(|entry| entry.present && !says_something(entry))
            }
            Self::Behind { node: member, slot } => {
                let ledger = node.durable.ledger.as_ref();
                ledger.is_some_and(|ledger| ledger.slot < slot)
                    && !view.of(member).iter().any(says_something)
            }
        }
    }

    /// Whether the node does not even ask for its block.
    pub(super) const fn wants_nothing(self) -> bool {
        matches!(self, Self::Listening | Self::Twin { .. })
    }
}

/// Why the node keeps silent, if it has to. A newcomer, which no ledger registers, never has to.
/// `made_now`: this process made the state, so that no other node can know more.
pub(super) fn muted(
    node: Standing<'_>,
    view: &View,
    listening: bool,
    made_now: bool,
) -> Option<Muted> {
    let ledger = node.durable.ledger.as_ref()?;
    let me = node.identity.node;
    if let Some(registered) = node.registered()
        && registered != node.identity.boot
    {
        let twin = view.of(me).iter().find(|entry| {
            let boot = entry.boot().filter(|boot| *boot != node.identity.boot);
            // Of two instances whose boots are new, the one with the smaller boot comes first.
            let first = |boot| boot == registered || boot < node.identity.boot;
            entry.present && boot.is_some_and(first)
        });
        if let Some(entry) = twin {
            let address = entry.address;
            return Some(Muted::Twin { address });
        }
        if listening {
            return Some(Muted::Listening);
        }
    }
    if !ledger.voters.contains(&me) {
        return None;
    }
    let unheard = |member: &NodeId| view.of(*member).iter().all(|entry| entry.usage.is_none());
    let mut others = ledger.boots.keys().filter(|member| **member != me);
    ahead(me, ledger, view)
        .max_by_key(|(_, slot)| *slot)
        .map(|(entry, slot)| Muted::Behind {
            node: entry.node,
            slot,
        })
        .or_else(|| {
            // A voter that knows no other member may have forgotten all of them.
            let unsure = others.any(unheard) || (ledger.boots.keys().eq([&me]) && !made_now);
            (listening && unsure).then_some(Muted::Listening)
        })
}

/// The entries that show a later slot than this ledger's, of those that it can be known from: its
/// members, this node among them. A node that knows of no other member can learn only from nodes that
/// it let in and has forgotten: they use a block.
pub(super) fn ahead<'a>(
    me: NodeId,
    ledger: &'a Ledger,
    view: &'a View,
) -> impl Iterator<Item = (&'a Entry, Slot)> {
    let alone = ledger.boots.keys().eq([&me]);
    view.entries().iter().filter_map(move |entry| {
        let usage = entry.usage?;
        let known = ledger.boots.contains_key(&entry.node) || (alone && usage.block.is_some());
        let later = usage.slot > ledger.slot && is_plausible(ledger.slot, usage.slot);
        (known && later).then_some((entry, usage.slot))
    })
}

/// Whether a voter shows an older slot than this ledger's and no voter shows this ledger: then the
/// members have to show it.
pub(super) fn has_forgetful_voter(ledger: &Ledger, view: &View) -> bool {
    let entries = || ledger.voters.iter().flat_map(|voter| view.of(*voter));
    let knows = |entry: &Entry| {
        let snap = entry.snap.as_ref();
        snap.is_some_and(|snap| snap.ledger.order() >= ledger.order())
    };
    let forgets = |entry: &Entry| {
        let usage = entry.usage.filter(|_| entry.present);
        usage.is_some_and(|usage| usage.slot < ledger.slot)
    };
    entries().any(forgets) && !entries().any(knows)
}
