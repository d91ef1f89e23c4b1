//! What has come of what the node wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use podnet_proto::gossip::{Key, Welcome};
use podnet_proto::{ApiError, Boot, ClusterId, GossipKey, PodName};

use super::echoes::Echoes;
use super::effect::{Loose, Write};
use super::pods::AttachError;
use super::reconcile::Repair;
use super::request::Ticket;
use crate::kernel::{Observed, OpError};
use crate::nft::Suspect;
use crate::pass::Report;
use crate::signed::SignedEntry;

/// What has come of an effect.
#[derive(Debug)]
pub enum Event {
    /// A pass of the reconciler has ended.
    PassDone(Box<Report>),
    /// What decides whether this host can be a node.
    HostSeen(Box<HostSeen>),
    /// Something is written, or cannot be.
    Stored(Write, Result<(), ApiError>),
    /// The membership is ended on disk, with the number of the new boot if one could be drawn; or it cannot be ended.
    Ended(Result<Option<Boot>, ApiError>),
    /// Gossip is started, or cannot be.
    GossipStarted(Box<Started>),
    /// What gossip has heard.
    Heard(Heard),
    /// Values that gossip did not take.
    Unpublished(Vec<Key>),
    /// What there is of the namespace of a pod.
    NetnsSeen(PodName, NetnsSeen),
    /// A pod is attached, and this is the inode number of its namespace; or it cannot be.
    Attached(PodName, Result<u64, AttachError>),
    /// A pod is detached, or cannot be.
    Detached(PodName, Result<(), OpError>),
    /// A pod was put right, or could not be.
    Repaired(PodName, Box<Repair>, Result<(), OpError>),
    /// What no request waits for was put right, or could not be.
    Applied(Loose, Vec<(Repair, Result<(), OpError>)>),
    /// A member of the cluster has answered, or none has.
    Asked(Ticket, Box<Result<Welcomed, ApiError>>),
    /// The chains of other programs were looked at.
    Looked(Looked),
    /// What podnet had opened is closed; what stays, in words.
    Closed(Vec<String>),
    /// Echoes from pods were sent.
    EchoesOfPods(Echoes),
}

/// What decides whether this host can be a node.
#[derive(Debug)]
pub struct HostSeen {
    /// What the kernel holds, or why it could not be looked at.
    pub observed: Result<Observed, ApiError>,
    /// The host's name.
    pub hostname: String,
    /// What a cluster is founded with.
    pub fresh: Fresh,
}

/// Secrets, drawn for a cluster that may be founded now.
#[derive(Debug)]
pub struct Fresh {
    /// Its id.
    pub cluster: ClusterId,
    /// What seals its gossip.
    pub gossip_key: GossipKey,
}

/// What has come of a start of gossip.
#[derive(Debug)]
pub struct Started {
    /// The epoch that was drawn for it.
    pub epoch: Option<u64>,
    /// Under which of its ids the node speaks.
    pub generation: u64,
    /// What the node says now, or why it cannot.
    pub result: Result<BTreeMap<Key, String>, ApiError>,
}

/// What gossip has heard.
#[derive(Debug)]
pub struct Heard {
    /// What each node has published.
    pub entries: Vec<SignedEntry>,
    /// The later epoch under which values of this node were published: by itself before its disk was rolled back, or
    /// by another member.
    pub own_version_ahead: Option<u64>,
    /// Whether the node speaks at all: not while the host does not have the address that peers are told.
    pub speaks: bool,
}

/// What a path leads to where the namespace of a pod is to be, or is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetnsSeen {
    /// Whether something has that name, even a link that leads nowhere.
    pub exists: bool,
    /// The inode number of what it leads to, if it leads somewhere.
    pub inode: Option<u64>,
    /// Whether it is certain that it leads nowhere.
    pub missing: bool,
}

/// A member that answered before this node joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcomed {
    /// Where it was asked.
    pub target: SocketAddrV4,
    /// What it said.
    pub welcome: Welcome,
    /// The address of this host from which packets to it come.
    pub source: Ipv4Addr,
}

/// What a look at the chains of other programs has come to.
#[derive(Debug)]
pub struct Looked {
    /// `None` if the chains could not be read.
    pub found: Option<BTreeSet<Suspect>>,
    /// How long it took.
    pub took: Duration,
}
