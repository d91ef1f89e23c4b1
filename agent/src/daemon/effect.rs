//! What the node wants of the world, and what comes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use podnet_core::advertise::Seat;
use podnet_core::claim::Durable;
use podnet_core::kernel::{Observed, OpError, PodLink};
use podnet_core::nft::Flow;
use podnet_core::node::{Answer, Ticket};
use podnet_core::signed::SignedEntry;
use podnet_proto::gossip::{Hello, Key};
use podnet_proto::{ApiError, Boot, GossipKey, NodeId, PodName};

use super::forwarded::Echoes;
use super::membership::Roster;
use super::reconcile::Repair;
use super::suspicion::Looked;
use crate::gossip::{ProbeError, Probed};
use crate::pods::AttachError;
use crate::probe::Targets;
use crate::reconciler::{Job, Report};
use crate::store::{Member, PeerBook, PodRecord};

/// Something that the node wants done. What takes time is done beside the loop, and its outcome comes
/// back as an [`Event`].
pub(super) enum Effect {
    /// Answer a request.
    Answer(Ticket, Answer),
    /// Make a pass of the reconciler: [`Event::PassDone`].
    Pass(Box<Job>),
    /// Look whether this host can be a node: [`Event::HostSeen`].
    LookAtHost,
    /// Write something: [`Event::Stored`].
    Store(Write),
    /// Write something, and go on if that fails.
    Note(Write),
    /// End the membership on disk, and draw the number of a new boot: [`Event::Ended`].
    EndMembership,
    /// Start gossip, under an epoch that no start had before: [`Event::GossipStarted`].
    StartGossip(Box<Start>),
    /// End gossip: its port is free after this.
    StopGossip,
    /// Take in what gossip has heard: [`Event::Heard`].
    Listen,
    /// Publish values of this node: [`Event::Unpublished`] if gossip does not take them.
    Publish(BTreeMap<Key, String>),
    /// Gossip with these addresses at once, with the first before the second.
    Nudge {
        urgent: Vec<SocketAddrV4>,
        idly: Vec<SocketAddrV4>,
    },
    /// Answer from now on by these names who asks before it joins.
    ShowRoster(Roster),
    /// Look what a path leads to where the namespace of a pod is to be, or is: [`Event::NetnsSeen`].
    LookAtNetns(PodName, PathBuf),
    /// Attach a pod: [`Event::Attached`].
    Attach(Box<Attach>),
    /// Detach a pod: [`Event::Detached`].
    Detach(Box<PodLink>),
    /// Put a pod right: [`Event::Repaired`].
    RepairPod(PodName, Box<Repair>),
    /// Put right what no request waits for: [`Event::Applied`].
    Apply(Loose, Vec<Repair>),
    /// Look at the chains of other programs, and judge them by what pods send: [`Event::Looked`].
    LookAtChains(Vec<Flow>),
    /// Send echoes from pods: [`Event::EchoesOfPods`].
    SendEchoes(Box<Borrowed>),
    /// Close the devices that podnet has opened: [`Event::Closed`].
    CloseDevices,
    /// Ask the members of a cluster: [`Event::Probed`].
    AskMembers(Box<Question>),
    /// Ask no more: the port is free for the next question after this.
    StopAsking,
    /// Send echoes to these peers from now on, and no others.
    Aim(Targets),
    /// Announce on its link where the node's address is.
    Announce(Seat),
}

/// Something that is written to files.
#[derive(Debug)]
pub(super) enum Write {
    /// The record of a pod.
    Pod(Box<PodRecord>),
    /// That there is no such pod.
    NoPod(PodName),
    /// The addresses that became free, in their order.
    Freed(Vec<Ipv4Addr>),
    /// A membership: the whole of it, or nothing.
    Membership(Box<(Member, Durable)>),
    /// That there is no membership after all.
    NoMembership,
    /// The membership, which is there already.
    Member(Box<Member>),
    /// The state of the claim protocol.
    Durable(Box<Durable>),
    /// What the members last said of themselves.
    Peers(PeerBook),
}

impl Write {
    /// Whether it goes to the run directory, which is in memory.
    pub(super) const fn is_volatile(&self) -> bool {
        matches!(self, Self::Pod(_) | Self::NoPod(_) | Self::Freed(_))
    }
}

/// What gossip starts with.
pub(super) struct Start {
    pub(super) member: Member,
    pub(super) peers: PeerBook,
    /// The epoch is to be higher than this.
    pub(super) above: u64,
    /// An epoch that was drawn before and never used.
    pub(super) unused: Option<u64>,
    /// Under which of its gossip ids the node is to speak.
    pub(super) generation: u64,
    /// What the node says, but for the record of itself.
    pub(super) values: BTreeMap<Key, String>,
}

/// What has come of a start of gossip.
pub(super) struct Started {
    /// The epoch that was drawn for it.
    pub(super) epoch: Option<u64>,
    pub(super) generation: u64,
    /// What the node says now, or why it cannot.
    pub(super) result: Result<BTreeMap<Key, String>, ApiError>,
}

/// What gossip has heard.
pub(super) struct Heard {
    pub(super) entries: Vec<SignedEntry>,
    /// The epoch under which somebody else has published values of this node.
    pub(super) own_version_ahead: Option<u64>,
    /// Whether the node speaks at all: not while the host does not have the address that peers are told.
    pub(super) speaks: bool,
}

/// What a path leads to where the namespace of a pod is to be, or is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetnsSeen {
    /// Whether something has that name, be it a link that leads nowhere.
    pub(super) exists: bool,
    /// The inode number of what it leads to, if it leads somewhere.
    pub(super) inode: Option<u64>,
    /// Whether it is certain that it leads nowhere.
    pub(super) missing: bool,
}

/// A pod that is to be attached.
pub(super) struct Attach {
    pub(super) link: PodLink,
    /// Another pod had its address before.
    pub(super) reused: bool,
    /// The inode numbers of the namespaces that other pods have.
    pub(super) namespaces: Vec<u64>,
}

/// Repairs that are of no pod which is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loose {
    /// Neighbour entries on the bridge.
    Neighbours,
    /// Host ends of no pod, and what is held of them.
    Strays,
}

/// Pods that echoes are to be sent from.
pub(super) struct Borrowed {
    /// The pods, in the order of their turns.
    pub(super) pods: Vec<PodLink>,
    /// The node's own gateway.
    pub(super) own: IpAddr,
    /// The peers' gateways.
    pub(super) gateways: BTreeMap<NodeId, IpAddr>,
}

/// What the members of a cluster are asked before this node joins.
pub(super) struct Question {
    /// Which attempt to join it belongs to.
    pub(super) attempt: Ticket,
    pub(super) bind: SocketAddrV4,
    pub(super) key: GossipKey,
    pub(super) hello: Hello,
    pub(super) targets: Vec<SocketAddrV4>,
    pub(super) patience: Duration,
}

/// What has come of an effect.
pub(super) enum Event {
    /// A pass of the reconciler has ended.
    PassDone(Box<Report>),
    /// What decides whether this host can be a node.
    HostSeen(Box<Result<Observed, ApiError>>),
    /// Something is written, or not.
    Stored(Write, Result<(), ApiError>),
    /// The membership is ended on disk, and this is the number of the new boot, if one could be drawn; or it is not.
    Ended(Result<Option<Boot>, ApiError>),
    /// Gossip is started, or not.
    GossipStarted(Box<Started>),
    /// What gossip has heard.
    Heard(Heard),
    /// Values that gossip did not take.
    Unpublished(Vec<Key>),
    /// What there is of the namespace of a pod.
    NetnsSeen(PodName, NetnsSeen),
    /// A pod is attached, its namespace having this inode number, or not.
    Attached(PodName, Result<u64, AttachError>),
    /// A pod is detached, or not.
    Detached(PodName, Result<(), OpError>),
    /// A pod was put right, or not.
    Repaired(PodName, Box<Repair>, Result<(), OpError>),
    /// What no request waits for was put right, or not.
    Applied(Loose, Vec<(Repair, Result<(), OpError>)>),
    /// The members of a cluster have answered, or not.
    Probed(Ticket, Box<Result<Probed, ProbeError>>),
    /// The chains of other programs were looked at.
    Looked(Looked),
    /// What podnet had opened is closed; what stays, in words.
    Closed(Vec<String>),
    /// Echoes from pods were sent.
    EchoesOfPods(Echoes),
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(record) => write!(f, "pod {}", record.link.pod),
            Self::NoPod(name) => write!(f, "the end of pod {name}"),
            Self::Freed(_) => f.write_str("the addresses that became free"),
            Self::Membership(_) | Self::Member(_) => f.write_str("the membership"),
            Self::NoMembership => f.write_str("the end of the membership"),
            Self::Durable(_) => f.write_str("the claim"),
            Self::Peers(_) => f.write_str("the peer book"),
        }
    }
}
