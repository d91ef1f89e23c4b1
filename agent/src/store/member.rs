//! What makes this node a member of a cluster.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use podnet_core::claim::Durable;
use podnet_core::node::{Joined, Member, PeerBook};
use podnet_proto::{ClusterId, GossipKey, NodeId, NodeName};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::content::{
    CheckpointContent, DurableContent, NetworkContent, PeersContent, peer_book, peers_content,
};
use super::file::{self, StoreError};
use super::kind::Kind;

const CLUSTER: Kind = Kind::Cluster;
const LEDGER: Kind = Kind::Ledger;
const PEERS: Kind = Kind::Peers;
const EPOCH: Kind = Kind::Epoch;

#[derive(Serialize, Deserialize)]
pub(super) struct MemberContent {
    cluster: ClusterId,
    name: NodeName,
    advertise: SocketAddrV4,
    advertise_fixed: bool,
    /// The gossip keys in base64, the one that encrypts first.
    keys: Vec<String>,
    networks: Vec<NetworkContent>,
    checkpoint: CheckpointContent,
    seeds: Vec<SocketAddrV4>,
}

impl MemberContent {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            cluster: member.cluster,
            name: member.name.clone(),
            advertise: member.advertise,
            advertise_fixed: member.advertise_fixed,
            keys: vec![STANDARD.encode(member.gossip_key.expose())],
            networks: member.networks.iter().map(NetworkContent::of).collect(),
            checkpoint: CheckpointContent::of(member.checkpoint),
            seeds: member.seeds.clone(),
        }
    }
}

impl Drop for MemberContent {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

/// The state directory of a node.
#[derive(Clone)]
pub struct StateDir {
    dir: PathBuf,
    node: NodeId,
}

impl fmt::Debug for StateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDir({})", self.dir.display())
    }
}

impl StateDir {
    /// The state directory at `dir`, of this node.
    #[must_use]
    pub const fn new(dir: PathBuf, node: NodeId) -> Self {
        Self { dir, node }
    }

    /// Reads the node's membership; `None` if it has none. Removes what an interrupted `init`, `join`
    /// or `leave` has left behind.
    ///
    /// # Errors
    /// When a file is damaged, of a newer version or of another node.
    pub fn load(&self) -> Result<Option<Joined>, StoreError> {
        file::sweep(&self.dir)?;
        let path = self.path(CLUSTER);
        let Some(content) = file::read::<MemberContent>(&path, CLUSTER, Some(self.node))? else {
            self.forget()?;
            return Ok(None);
        };
        let ledger = self.path(LEDGER);
        let durable: DurableContent = file::read(&ledger, LEDGER, Some(self.node))?
            .ok_or_else(|| file::corrupt(&ledger, LEDGER, "it is missing"))?;
        let peers: Option<PeersContent> = file::read(&self.path(PEERS), PEERS, Some(self.node))?;
        Ok(Some(Joined {
            member: member(&path, &content)?,
            durable: durable.into_durable(),
            peers: peers.map(peer_book).unwrap_or_default(),
        }))
    }

    /// Makes the node a member: the whole of it, or nothing.
    ///
    /// # Errors
    /// When the file system refuses; then the node is no member.
    pub fn become_member(&self, member: &Member, durable: &Durable) -> Result<(), StoreError> {
        file::remove(&self.path(PEERS))?;
        self.save_durable(durable)?;
        self.save_member(member).inspect_err(|_| {
            // `cluster` may be written already, but not safe on disk. The next start removes what is left.
            let _ = self.forget();
        })
    }

    /// Writes the membership.
    ///
    /// # Errors
    /// When the file system refuses; then the old membership stays.
    pub fn save_member(&self, member: &Member) -> Result<(), StoreError> {
        let content = MemberContent::of(member);
        file::write(&self.path(CLUSTER), CLUSTER, self.node, &content)
    }

    /// Writes the state of the claim protocol.
    ///
    /// # Errors
    /// When the file system refuses; then nothing of it may be published.
    pub fn save_durable(&self, durable: &Durable) -> Result<(), StoreError> {
        let content = DurableContent::of(durable);
        file::write(&self.path(LEDGER), LEDGER, self.node, &content)
    }

    /// Writes what the members last said of themselves.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_peers(&self, peers: &PeerBook) -> Result<(), StoreError> {
        let content = peers_content(peers);
        file::write(&self.path(PEERS), PEERS, self.node, &content)
    }

    /// Counts a start of gossip, and returns the new number: higher than that of every start before, also
    /// of earlier memberships, since peers remember those.
    ///
    /// # Errors
    /// When the file system refuses; then gossip must not start.
    pub fn next_epoch(&self, at_least: u64) -> Result<u64, StoreError> {
        let path = self.path(EPOCH);
        let last: u64 = file::read(&path, EPOCH, Some(self.node))?.unwrap_or(0);
        let next = last.max(at_least).saturating_add(1);
        file::write(&path, EPOCH, self.node, &next)?;
        Ok(next)
    }

    /// Ends the membership on disk. The node's identity stays.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn forget(&self) -> Result<(), StoreError> {
        // `cluster` first: without it the others mean nothing.
        for kind in [CLUSTER, LEDGER, PEERS] {
            let path = self.path(kind);
            // A file system that is read-only refuses also to remove what is not there.
            let found = path.symlink_metadata();
            if !found.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                file::remove(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, kind: Kind) -> PathBuf {
        self.dir.join(kind.as_str())
    }
}

pub(super) fn member(path: &Path, content: &MemberContent) -> Result<Member, StoreError> {
    let key = content
        .keys
        .first()
        .and_then(|key| STANDARD.decode(key).ok())
        .map(Zeroizing::new)
        .and_then(|key| key.as_slice().try_into().ok())
        .ok_or_else(|| file::corrupt(path, CLUSTER, "its gossip key is not 32 bytes long"))?;
    let networks = content.networks.iter().map(NetworkContent::network);
    let networks = networks.collect::<Result<_, _>>();
    Ok(Member {
        cluster: content.cluster,
        name: content.name.clone(),
        advertise: content.advertise,
        advertise_fixed: content.advertise_fixed,
        gossip_key: GossipKey::from_bytes(key),
        networks: networks.map_err(|why| file::corrupt(path, CLUSTER, &why.to_string()))?,
        checkpoint: content.checkpoint.checkpoint(),
        seeds: content.seeds.clone(),
    })
}
