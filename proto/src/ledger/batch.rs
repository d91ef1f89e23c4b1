//! What one slot decides.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::raw::Raw;
use super::settings::Settings;
use crate::id::{Boot, NodeId};
use crate::network::BlockIndex;

/// One change of the ledger. A new kind, or a new field of one, is proposed only when every voter
/// knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Operation {
    /// A node becomes a member with this boot. If it owns a block already, only its boot
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

/// The kind of an operation, whatever else it says.
#[derive(Deserialize)]
struct Kind {
    op: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    #[serde(rename = "op")]
    _op: de::IgnoredAny,
    node: NodeId,
    boot: Boot,
    index: BlockIndex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    #[serde(rename = "op")]
    _op: de::IgnoredAny,
    node: NodeId,
    boot: Boot,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    #[serde(rename = "op")]
    _op: de::IgnoredAny,
    settings: Settings,
}

impl Operation {
    /// Reads an operation; `None` if this version does not know all of it.
    fn read(raw: &Raw) -> Option<Self> {
        match raw.read::<Kind>().ok()?.op.as_str() {
            "join" => raw.read().ok().map(|join: Join| Self::Join {
                node: join.node,
                boot: join.boot,
                index: join.index,
            }),
            "release" => raw.read().ok().map(|release: Release| Self::Release {
                node: release.node,
                boot: release.boot,
            }),
            "set" => raw.read().ok().map(|set: Set| Self::Set {
                settings: set.settings,
            }),
            _ => None,
        }
    }
}

/// What one slot decides, as it was proposed: at most [`Batch::MAX`] operations, applied in order.
/// A voter votes on what is written, also if it does not know all of it.
#[derive(Debug, Clone)]
pub struct Batch {
    text: Arc<str>,
    len: usize,
    operations: Option<Arc<[Operation]>>,
}

impl Batch {
    /// The most operations of one slot.
    pub const MAX: usize = 64;

    /// A batch of these operations.
    #[must_use]
    pub fn of(operations: Vec<Operation>) -> Self {
        Self {
            text: Raw::of(&operations).text().into(),
            len: operations.len(),
            operations: Some(operations.into()),
        }
    }

    /// Reads what was proposed.
    fn read(raw: &Raw) -> Result<Self, serde_json::Error> {
        let operations: Vec<Raw> = raw.read()?;
        Ok(Self {
            text: raw.text().into(),
            len: operations.len(),
            operations: operations.iter().map(Operation::read).collect(),
        })
    }

    /// The operations; `None` if this version does not know all that they say. Then it cannot know
    /// what becomes of the ledger.
    #[must_use]
    pub fn operations(&self) -> Option<&[Operation]> {
        self.operations.as_deref()
    }

    /// How many operations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Batch {}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What was read as JSON is JSON.
        let raw: Raw = serde_json::from_str(&self.text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        Self::read(&raw).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let node = NodeId::from_bytes([1; 16]);
        let (boot, index) = (Boot(1), BlockIndex(1));
        let settings = Settings::default();
        Batch::of(vec![
            Operation::Join { node, boot, index },
            Operation::Release { node, boot },
            Operation::Set { settings },
        ])
    }

    fn read(text: &str) -> Batch {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_batch_reads_back() {
        let text = serde_json::to_string(&batch()).unwrap();
        assert_eq!(read(&text), batch());
        assert_eq!(read(&text).operations(), batch().operations());
        assert_eq!((read(&text).len(), Batch::default().len()), (3, 0));
    }

    #[test]
    fn what_this_version_does_not_know_of_a_batch_is_voted_on_as_it_is_written() {
        let known = serde_json::to_string(&batch()).unwrap();
        for (of, by) in [
            ("\"op\":\"join\"", "\"op\":\"join\",\"family\":6"),
            ("\"op\":\"release\"", "\"op\":\"forget\""),
            ("\"index\":1", "\"index\":[1,2]"),
        ] {
            let text = known.replacen(of, by, 1);
            assert_ne!(text, known);
            let batch = read(&text);
            assert_eq!(batch.operations(), None, "{text}");
            assert_eq!(batch.len(), 3);
            assert_eq!(serde_json::to_string(&batch).unwrap(), text);
        }
        let setting = known.replacen("\"exclude_cidrs\"", "\"mtu\":1400,\"exclude_cidrs\"", 1);
        assert!(
            read(&setting).operations().is_some(),
            "a setting is a value"
        );
    }
}
