//! A running membership: the claim machine, gossip, and what the peers say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use crate::advertise::{Follower, Seat};
use crate::claim::{ClaimState, Machine, Muted, Outcome, Quorum, UnknownSetting};
use crate::kernel::PeerBlock;
use crate::node::Ticket;
use crate::peer::believed;
use crate::signed::{Ear, Verify};
use crate::time::Moment;
use crate::view::{Entry, Reader, Registered, View};
use ipnetwork::Ipv4Network;
use podnet_proto::api::LeaveRequest;
use podnet_proto::gossip::{Key, WantKind};
use podnet_proto::ledger::Decided;
use podnet_proto::network::{BlockIndex, gateway};
use podnet_proto::{ApiError, NodeId, NodeName};

use super::member::{Member, PeerBook};

/// How long to wait after the disk has refused a write, or gossip could not be started.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The names of the members, for nodes that ask before they join.
#[derive(Debug, Default)]
pub struct Roster {
    /// Which node bears which name.
    pub names: BTreeMap<NodeName, NodeId>,
    /// The slot of the ledger that this node knows.
    pub slot: u64,
}

/// Whether gossip runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Talk {
    /// It has ended, or could not be started.
    Silent,
    /// It is being started.
    Starts,
    /// It runs.
    Runs,
}

/// What goes on once the claim machine's state is on disk.
pub(super) enum Saving {
    /// A step, with the epoch of a later start of this node that peers know of.
    Step(Box<Outcome>, Option<u64>),
    /// That the node is to leave, as this request asks.
    Departure(Ticket),
}

/// A running membership.
pub(super) struct Membership {
    pub(super) member: Member,
    pub(super) peers: PeerBook,
    pub(super) machine: Machine,
    pub(super) talk: Talk,
    /// Hears what the peers have signed.
    pub(super) ear: Ear<&'static (dyn Verify + Sync)>,
    pub(super) reader: Reader,
    pub(super) view: View,
    /// The slot of the ledger with which the peers were last learned; `None` since gossip has changed.
    pub(super) learned: Option<u64>,
    /// How often gossip was started, this time included.
    pub(super) epoch: u64,
    /// The epoch of a start that is on disk and failed: the next start takes it again, or each try would cost the
    /// disk a write.
    pub(super) unused_epoch: Option<u64>,
    /// Gossip is to be started once more, above this epoch, when the start that is under way has ended.
    pub(super) start_again: Option<u64>,
    /// Under which of its gossip ids the node speaks; see [`Started::generation`](super::event::Started).
    pub(super) generation: u64,
    /// Why gossip could not be started again.
    pub(super) silenced: Option<ApiError>,
    /// Which records cannot be published, and why.
    pub(super) unsaid: BTreeMap<Key, String>,
    /// What the claim machine said last.
    pub(super) state: ClaimState,
    pub(super) using: Option<BlockIndex>,
    pub(super) quorum: Quorum,
    /// Why the node keeps silent, and whose ledgers contradict its own.
    pub(super) muted: Option<Muted>,
    pub(super) refused: BTreeSet<NodeId>,
    /// The settings of the cluster that this version cannot carry out.
    pub(super) unknown: Vec<UnknownSetting>,
    /// When gossip was started, this time.
    pub(super) listening_since: Moment,
    pub(super) wake: Moment,
    /// When to look for a member that is not live.
    pub(super) search_due: Moment,
    /// The values that gossip has, and the values that it should have.
    pub(super) published: BTreeMap<Key, String>,
    pub(super) values: BTreeMap<Key, String>,
    /// The claim machine's state is newer than the disk's.
    pub(super) unsaved: bool,
    /// A step was carried out since the agent's start: before that it is not known whether the node uses its block.
    pub(super) decided: bool,
    /// What the disk is to take before the node goes on.
    pub(super) saving: Option<Saving>,
    pub(super) saving_since: Moment,
    /// Why the disk does not take it.
    pub(super) disk_error: Option<ApiError>,
    /// The data path must no longer carry the block before anything more is published.
    pub(super) stopping: bool,
    /// The requests that wait until the cluster is founded, and how many passes for its first block there were.
    pub(super) awaiting_init: Vec<Ticket>,
    pub(super) init_passes: u64,
    /// The requests to leave that came before the node can know whether a majority is there.
    pub(super) early_leaves: Vec<(LeaveRequest, Ticket)>,
    /// Another address of the node is being written.
    pub(super) moving: bool,
    pub(super) follower: Follower,
    /// Where this node's address was when it was last announced to the neighbours on the link.
    pub(super) seat: Option<Seat>,
}

impl Membership {
    pub(super) const fn ledger(&self) -> Option<&Decided> {
        self.machine.ledger()
    }

    /// Whether the claim machine gives the block back, or has.
    pub(super) const fn gives_block_back(&self) -> bool {
        matches!(self.state, ClaimState::Leaving | ClaimState::Gone)
    }

    /// Whether another host runs with this node's identity, and comes first.
    pub(super) const fn has_twin(&self) -> bool {
        matches!(self.muted, Some(Muted::Twin { .. }))
    }

    /// Whether the node is to leave: also if the user asked for that before the process or the host
    /// ended.
    pub(super) const fn is_departing(&self) -> bool {
        self.machine.durable().is_departing()
    }

    /// Whether it is not on disk yet that the node is to leave.
    pub(super) const fn is_departure_unsaved(&self) -> bool {
        matches!(self.saving, Some(Saving::Departure(_)))
    }

    /// The range of the block that the node uses.
    pub(super) fn block(&self) -> Option<Ipv4Network> {
        self.block_range(self.using?)
    }

    pub(super) fn block_range(&self, index: BlockIndex) -> Option<Ipv4Network> {
        self.member.networks.first()?.block(index)
    }

    /// All other members and their blocks.
    pub(super) fn peer_blocks(&self, own: NodeId) -> Vec<PeerBlock> {
        let Some(ledger) = self.ledger() else {
            return Vec::new();
        };
        let others = ledger.blocks.iter().filter(|(_, owner)| **owner != own);
        others
            .filter_map(|(index, owner)| {
                Some(PeerBlock {
                    node: *owner,
                    block: self.block_range(*index)?,
                    address: self
                        .address_of(*owner)
                        .map(|address| (*address.ip()).into()),
                })
            })
            .collect()
    }

    /// Where the other members are; before any is known, where to ask first.
    pub(super) fn peer_addresses(&self, own: NodeId) -> BTreeSet<IpAddr> {
        let others = self.ledger().into_iter().flat_map(|l| l.boots.keys());
        let known: BTreeSet<IpAddr> = others
            .filter(|node| **node != own)
            .filter_map(|node| Some(IpAddr::V4(*self.address_of(*node)?.ip())))
            .collect();
        if known.is_empty() {
            let seeds = self.member.seeds.iter();
            return seeds.map(|seed| IpAddr::V4(*seed.ip())).collect();
        }
        known
    }

    /// The gateways of all other members.
    pub(super) fn peer_gateways(&self, own: NodeId) -> BTreeMap<NodeId, IpAddr> {
        self.peer_blocks(own)
            .into_iter()
            .map(|peer| (peer.node, gateway(peer.block).into()))
            .collect()
    }

    /// Where a member is reached, as it last said itself.
    pub(super) fn address_of(&self, node: NodeId) -> Option<SocketAddrV4> {
        let book = || {
            self.peers
                .get(&node)
                .and_then(|record| record.endpoints.first())
                .copied()
        };
        book().or_else(|| self.heard_at(node))
    }

    /// Where a node gossips.
    pub(super) fn heard_at(&self, node: NodeId) -> Option<SocketAddrV4> {
        self.entry(node).map(|entry| entry.address)
    }

    /// What gossip has of a node.
    pub(super) fn entry(&self, node: NodeId) -> Option<&Entry> {
        let nobody = Registered::new();
        let registered = self.ledger().map_or(&nobody, |ledger| &ledger.boots);
        self.view.best(node, registered)
    }

    /// The voters that cannot be reached, by name and address as far as these are known.
    pub(super) fn absent_voters(&self, own: NodeId) -> Vec<String> {
        let voters = self.ledger().into_iter().flat_map(|ledger| &ledger.voters);
        let absent = voters.filter(|id| **id != own && !self.view.is_live(**id));
        let named: Vec<String> = absent.map(|id| self.place(*id)).collect();
        if named.is_empty() {
            vec!["a majority of the voters".to_owned()]
        } else {
            named
        }
    }

    /// A node's name, or its id if nothing was heard of it yet, and its address if known.
    pub(super) fn place(&self, id: NodeId) -> String {
        let name = self.peers.get(&id).map(|record| record.name.to_string());
        let name = name.unwrap_or_else(|| format!("node {id}"));
        match self.address_of(id) {
            Some(address) => format!("{name} ({})", address.ip()),
            None => name,
        }
    }

    /// Takes over what the members say of themselves. Returns whether it has changed.
    pub(super) fn learn_peers(&mut self, own: NodeId, now: Moment) -> bool {
        let Some(ledger) = self.machine.ledger() else {
            return false;
        };
        let mut peers = PeerBook::new();
        for (&node, &boot) in ledger.boots.iter().filter(|(node, _)| **node != own) {
            let known = self.peers.get(&node);
            let heard = believed(now, self.view.of(node), boot, known);
            if let Some(record) = heard.or(known) {
                peers.insert(node, record.clone());
            }
        }
        let changed = peers != self.peers;
        self.peers = peers;
        changed
    }

    /// Whether a node may be at several addresses: which of them is believed changes with time alone.
    pub(super) fn is_ambiguous(&self) -> bool {
        let present = self.view.entries().iter().filter(|entry| entry.present);
        let nodes: Vec<NodeId> = present.map(|entry| entry.node).collect();
        nodes.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// The other members that bear this node's name.
    pub(super) fn namesakes(&self) -> impl Iterator<Item = NodeId> {
        let peers = self.peers.iter();
        peers
            .filter(|(_, record)| record.name == self.member.name)
            .map(|(node, _)| *node)
    }

    /// Which node bears which name, for nodes that ask before they join.
    pub(super) fn roster(&self, own: NodeId) -> Roster {
        let mut names: BTreeMap<NodeName, NodeId> = self
            .peers
            .iter()
            .map(|(node, record)| (record.name.clone(), *node))
            .collect();
        // Nodes that are about to become members have their names too.
        for entry in self.view.entries().iter().filter(|entry| entry.live) {
            let joins = entry
                .want
                .as_ref()
                .filter(|want| want.want == WantKind::Join);
            if let (Some(_), Some(record)) = (joins, &entry.record) {
                names.entry(record.name.clone()).or_insert(entry.node);
            }
        }
        names.insert(self.member.name.clone(), own);
        let slot = self.ledger().map_or(0, |ledger| ledger.slot);
        Roster { names, slot }
    }
}
