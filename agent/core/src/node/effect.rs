//! What the node wants of the world.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use podnet_proto::gossip::{Hello, Key};
use podnet_proto::{GossipKey, PodName};

use super::echoes::{Borrowed, Targets};
use super::member::{Member, PeerBook};
use super::membership::Roster;
use super::pods::PodRecord;
use super::reconcile::Repair;
use super::request::{Answer, Ticket};
use crate::advertise::Seat;
use crate::claim::Durable;
use crate::kernel::{Kinds, PodLink};
use crate::nft::Flow;
use crate::pass::Job;

/// Something that the node wants done. What takes time is done beside the loop, and its outcome comes
/// back as an [`Event`](super::Event).
#[derive(Debug)]
pub enum Effect {
    /// Answer a request.
    Answer(Ticket, Answer),
    /// Make a pass of the reconciler: `Event::PassDone`.
    Pass(Box<Job>),
    /// Look at these kinds in the kernel, to decide whether this host can be a node: `Event::HostSeen`.
    LookAtHost(Kinds),
    /// Write something: `Event::Stored`.
    Store(Write),
    /// Write something, and go on if that fails.
    Note(Write),
    /// End the membership on disk, and draw the number of a new boot: `Event::Ended`.
    EndMembership,
    /// Start gossip, under an epoch that no start had before: `Event::GossipStarted`.
    StartGossip(Box<Start>),
    /// End gossip: its port is free after this.
    StopGossip,
    /// Take in what gossip has heard: `Event::Heard`.
    Listen,
    /// Publish values of this node: `Event::Unpublished` if gossip does not take all of them.
    Publish(BTreeMap<Key, String>),
    /// Gossip with these addresses, beside the usual rounds.
    Nudge {
        /// With these at once.
        urgent: Vec<SocketAddrV4>,
        /// With these after that.
        idly: Vec<SocketAddrV4>,
    },
    /// Answer nodes that ask before they join by these names from now on.
    ShowRoster(Roster),
    /// Look what a path leads to where the namespace of a pod is to be, or is: `Event::NetnsSeen`.
    LookAtNetns(PodName, PathBuf),
    /// Attach a pod: `Event::Attached`.
    Attach(Box<Attach>),
    /// Detach a pod: `Event::Detached`.
    Detach(Box<PodLink>),
    /// Put a pod right: `Event::Repaired`.
    RepairPod(PodName, Box<Repair>),
    /// Put right what no request waits for: `Event::Applied`.
    Apply(Loose, Vec<Repair>),
    /// Look at the chains of other programs, and judge them by what pods send: `Event::Looked`.
    LookAtChains(Vec<Flow>),
    /// Send echoes from pods: `Event::EchoesOfPods`.
    SendEchoes(Box<Borrowed>),
    /// Close the devices that podnet has opened: `Event::Closed`.
    CloseDevices,
    /// Ask the members of a cluster: `Event::Asked`.
    AskMembers(Box<Question>),
    /// Ask the members no longer: the port is free for the next question after this.
    StopAsking,
    /// Send echoes to these peers from now on, and to no others.
    Aim(Targets),
    /// Announce on its link where the node's address is.
    Announce(Seat),
}

/// Something that is written to files.
#[derive(Debug)]
pub enum Write {
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
    #[must_use]
    pub const fn is_volatile(&self) -> bool {
        matches!(self, Self::Pod(_) | Self::NoPod(_) | Self::Freed(_))
    }
}

/// Under which of its gossip ids a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// This one.
    Known(u64),
    /// A new one, drawn so that no other node can guess it.
    Fresh,
}

/// What gossip starts with.
#[derive(Debug, Clone)]
pub struct Start {
    /// The membership.
    pub member: Member,
    /// Where the members were last.
    pub peers: PeerBook,
    /// The epoch is to be higher than this.
    pub above: u64,
    /// An epoch that was drawn before, and that no start has used.
    pub unused: Option<u64>,
    /// Under which of its gossip ids the node is to speak.
    pub generation: Generation,
    /// What the node says, but for the record of itself.
    pub values: BTreeMap<Key, String>,
}

/// A pod that is to be attached.
#[derive(Debug, Clone)]
pub struct Attach {
    /// How.
    pub link: PodLink,
    /// Another pod had its address before.
    pub reused: bool,
    /// The inode numbers of the namespaces that other pods have.
    pub namespaces: Vec<u64>,
}

/// Repairs of what belongs to no pod on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loose {
    /// Neighbour entries on the bridge.
    Neighbours,
    /// Host ends of no pod, and what is held of them.
    Strays,
}

/// What the members of a cluster are asked before this node joins.
#[derive(Debug, Clone)]
pub struct Question {
    /// Which attempt to join it belongs to.
    pub attempt: Ticket,
    /// Where answers are to arrive.
    pub bind: SocketAddrV4,
    /// What seals the question.
    pub key: GossipKey,
    /// Who asks.
    pub hello: Hello,
    /// Who is asked.
    pub targets: Vec<SocketAddrV4>,
    /// How long to wait for the first answer.
    pub patience: Duration,
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
