//! The records that nodes publish by gossip: one fixed set of keys, the same on every node.
//!
//! Every record is JSON, or empty for "nothing". Each kind has a version of its own, and another one
//! is not read; unknown fields are ignored. A value is at most [`MAX_VALUE_LEN`] bytes: chitchat never
//! replicates a value above some 65 KB, and says nothing.
//!
//! A value is a record with the signature of its node ([`Signed`]). The types here are what travels. What
//! is on disk has types of its own.

use std::net::SocketAddrV4;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::wire::{AccWire, PropWire};
use crate::id::{Boot, NodeId};
use crate::ledger::{Acceptor, Ballot, Batch, Decided, Slot, is_zero};
use crate::name::NodeName;
use crate::network::BlockIndex;

mod signed;
mod wire;

pub use signed::{MAX_ENVELOPE_LEN, SIGNATURE_LEN, Signed, Speaker, Stamp};

/// The UDP port of gossip if the user gives no other.
pub const DEFAULT_PORT: u16 = 7846;

/// The longest value of a key, in bytes.
pub const MAX_VALUE_LEN: usize = 32 * 1024;

/// The longest record, in bytes: with its signature it is a value.
pub const MAX_RECORD_LEN: usize = MAX_VALUE_LEN - MAX_ENVELOPE_LEN;

/// A kind of record, which has a version of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// The version that this program writes and reads. Another one has fields of other meaning.
    const VERSION: u32;
}

macro_rules! versions {
    ($($kind:ty: $version:literal),+ $(,)?) => {
        $(impl Record for $kind {
            const VERSION: u32 = $version;
        })+
    };
}

versions! {
    NodeRecord: 1,
    UseRecord: 1,
    Want: 1,
    AccRecord: 1,
    PropRecord: 1,
    SnapRecord: 1,
}

/// The keys that every node publishes, also the empty ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// [`NodeRecord`].
    Node,
    /// [`UseRecord`].
    Use,
    /// [`Want`].
    Want,
    /// [`AccRecord`], of voters.
    Acc,
    /// [`PropRecord`], of proposing voters.
    Prop,
    /// [`SnapRecord`], of voters.
    Snap,
}

impl Key {
    /// All keys.
    pub const ALL: [Self; 6] = [
        Self::Node,
        Self::Use,
        Self::Want,
        Self::Acc,
        Self::Prop,
        Self::Snap,
    ];

    /// The key's name in gossip.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Use => "use",
            Self::Want => "want",
            Self::Acc => "acc",
            Self::Prop => "prop",
            Self::Snap => "snap",
        }
    }
}

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Longer than [`MAX_RECORD_LEN`].
    #[error("a record of {len} bytes is longer than {MAX_RECORD_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Of another version.
    #[error("a record of version {version}: this podnet reads version {known}")]
    Version {
        /// Its version.
        version: u32,
        /// The one that is read.
        known: u32,
    },
    /// Not JSON, or not this record.
    #[error("a malformed record")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// Writes a record as text.
///
/// # Errors
/// When it is longer than [`MAX_RECORD_LEN`].
pub fn encode<T: Record>(record: &T) -> Result<String, RecordError> {
    let text = serde_json::to_string(&Versioned {
        v: T::VERSION,
        record,
    })
    .map_err(RecordError::Malformed)?;
    if text.len() > MAX_RECORD_LEN {
        return Err(RecordError::TooLong { len: text.len() });
    }
    Ok(text)
}

/// Reads a record; an empty text is `None`.
///
/// # Errors
/// When it is too long, of another version, or not this record.
pub fn decode<T: Record>(text: &str) -> Result<Option<T>, RecordError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_RECORD_LEN {
        return Err(RecordError::TooLong { len: text.len() });
    }
    let VersionOnly { v: version } = serde_json::from_str(text).map_err(RecordError::Malformed)?;
    if version != T::VERSION {
        let known = T::VERSION;
        return Err(RecordError::Version { version, known });
    }
    // Not by way of a flattened `Versioned`: serde buffers that, and a buffered map cannot have
    // numbers as keys, which the ledger's have. The record ignores `v` as an unknown field.
    serde_json::from_str(text)
        .map(Some)
        .map_err(RecordError::Malformed)
}

/// `node`: what a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its label.
    pub name: NodeName,
    /// Its ed25519 public key, in base64.
    pub public_key: String,
    /// Where the other nodes reach it, the best first.
    pub endpoints: Vec<SocketAddrV4>,
    /// Which of two records of one node is newer: the start counter of the agent.
    pub counter: u64,
    /// The agent's version.
    pub agent_version: String,
}

impl NodeRecord {
    /// Whether the record carries the public key whose hash is the node's id: else it is not that
    /// node's.
    #[must_use]
    pub fn is_of(&self, node: NodeId) -> bool {
        key_of(&self.public_key).is_some_and(|key| NodeId::of_public_key(&key) == node)
    }
}

/// The public key in what a node says of itself, also in a later version of the record: what the
/// node says else can then be heard.
#[must_use]
pub fn public_key(record: &str) -> Option<[u8; 32]> {
    #[derive(Deserialize)]
    struct OfKey {
        public_key: String,
    }
    let record: OfKey = serde_json::from_str(record).ok()?;
    key_of(&record.public_key)
}

fn key_of(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// `use`: what a node's data path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseRecord {
    /// The slot of its ledger.
    pub slot: Slot,
    /// Its boot.
    pub boot: Boot,
    /// Its block, if it uses one.
    pub block: Option<BlockIndex>,
}

/// What a node asks the voters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WantKind {
    /// To become a member with this boot.
    Join,
    /// To give its blocks back; this boot never uses them again.
    Release,
}

/// `want`: what a node asks the voters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Its boot.
    pub boot: Boot,
    /// What it asks for.
    pub want: WantKind,
    /// The boot that the ledger registers for it, as far as it knows. A voter heeds a wish to join
    /// only while this is so: a voter that has not seen the newest wish yet would else put an
    /// earlier boot back, and the node would take itself for a duplicate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Boot>,
    /// [`Ledger::released`](crate::ledger::Ledger::released), as far as it knows. A voter heeds the wish of a node that is no member
    /// only while this is so: who records what a node said before it left, and says it again to a
    /// voter that has forgotten, would else make it a member again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released: Slot,
}

/// `acc`: a voter's acceptor state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AccWire", into = "AccWire")]
pub struct AccRecord {
    /// What it has promised and accepted, on its disk by now.
    pub acceptor: Acceptor,
}

/// `prop`: a voter's open proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PropWire", into = "PropWire")]
pub struct PropRecord {
    /// The slot that it would decide.
    pub slot: Slot,
    /// Its number.
    pub ballot: Ballot,
    /// What it would decide; `None` while it asks for promises.
    pub batch: Option<Batch>,
}

/// `snap`: the ledger as a voter knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapRecord {
    /// The ledger, as it was decided.
    pub ledger: Decided,
}

/// The question that a joining node puts to a member, before it has any state of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who asks.
    pub node: NodeId,
    /// The name that it would bear.
    pub name: NodeName,
}

/// A member's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who answers.
    pub node: NodeId,
    /// The member that bears the asked name already, if another does.
    pub name_taken_by: Option<NodeId>,
    /// The ledger's slot.
    pub slot: Slot,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ClusterId;
    use crate::ledger::{Ledger, Settings};
    use crate::network::PodNetwork;

    fn record() -> NodeRecord {
        NodeRecord {
            name: "node1".parse().unwrap(),
            public_key: String::new(),
            endpoints: vec!["192.0.2.1:7846".parse().unwrap()],
            counter: 3,
            agent_version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn records_read_back() {
        let text = encode(&record()).unwrap();
        assert_eq!(decode::<NodeRecord>(&text).unwrap(), Some(record()));
        assert_eq!(decode::<NodeRecord>("").unwrap(), None);
    }

    #[test]
    fn the_ledger_of_a_full_cluster_fits_and_reads_back() {
        let network = PodNetwork::parse("10.244.0.0/16", 24).unwrap();
        let node = |n: u8| NodeId::of_public_key(&[n; 32]);
        let cluster = ClusterId::from_bytes([1; 16]);
        let boot = Boot(u64::MAX);
        let genesis = Ledger::genesis(cluster, vec![network], Settings::default(), node(0), boot);
        let ledger = genesis.changed(|ledger| {
            for n in 0..=255 {
                ledger.blocks.insert(BlockIndex(n.into()), node(n));
                ledger.boots.insert(node(n), boot);
            }
            ledger.voters = (0..5).map(node).collect();
        });
        let snap = SnapRecord { ledger };
        let text = encode(&snap).unwrap();
        assert_eq!(decode::<SnapRecord>(&text).unwrap(), Some(snap));
    }

    #[test]
    fn unknown_fields_are_ignored_and_other_versions_are_not_read() {
        let text = encode(&record()).unwrap();
        let more = text.replacen('{', r#"{"later":{"x":1},"#, 1);
        assert_eq!(decode::<NodeRecord>(&more).unwrap(), Some(record()));
        let newer = text.replacen("\"v\":1", "\"v\":2", 1);
        assert!(matches!(
            decode::<NodeRecord>(&newer),
            Err(RecordError::Version {
                version: 2,
                known: 1
            })
        ));
        let older = text.replacen("\"v\":1", "\"v\":0", 1);
        assert!(decode::<NodeRecord>(&older).is_err());
    }

    #[test]
    fn what_voters_say_reads_back() {
        let ballot = Ballot {
            round: 7,
            node: NodeId::of_public_key(&[1; 32]),
            instance: crate::id::Instance(9),
        };
        let batch = || Some(Batch::default());
        for accepted in [None, Some((ballot, Batch::default()))] {
            let acceptor = Acceptor {
                slot: 3,
                promised: Some(ballot),
                accepted,
            };
            let acc = AccRecord { acceptor };
            assert_eq!(decode(&encode(&acc).unwrap()).unwrap(), Some(acc));
        }
        for batch in [None, batch()] {
            let prop = PropRecord {
                slot: 3,
                ballot,
                batch,
            };
            assert_eq!(decode(&encode(&prop).unwrap()).unwrap(), Some(prop));
        }
    }

    #[test]
    fn long_and_malformed_records_are_refused() {
        let long = "x".repeat(MAX_VALUE_LEN + 1);
        assert!(matches!(
            encode(&NodeRecord {
                agent_version: long.clone(),
                ..record()
            }),
            Err(RecordError::TooLong { .. })
        ));
        assert!(matches!(
            decode::<Want>(&long),
            Err(RecordError::TooLong { .. })
        ));
        for bad in ["x", "{}", "[]", r#"{"v":1}"#, r#"{"v":-1}"#] {
            assert!(decode::<Want>(bad).is_err(), "{bad}");
        }
    }
}
