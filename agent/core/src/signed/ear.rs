//! What is heard of what is said: only what the id that it speaks for has signed.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use podnet_proto::gossip::{Key, Signed, Speaker, Stamp, public_key};
use podnet_proto::{ClusterId, NodeId};

use super::{Ed25519, KEY_LEN, SignedEntry, Verify};
use crate::view::RawEntry;

/// Hears the gossip state again and again. A signature is checked once: what has not changed in
/// between is not looked at again, and nothing is kept of an entry that is gone.
#[derive(Debug)]
pub struct Ear<V = Ed25519> {
    cluster: ClusterId,
    pub(super) verify: V,
    pub(super) heard: BTreeMap<(NodeId, SocketAddrV4), Heard>,
}

/// What was said, and what of it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hearing {
    /// The entries whose node has signed at least what it says of itself, with the records that it has
    /// signed; and those whose key is not known yet, which say nothing and are not known to live.
    pub entries: Vec<RawEntry>,
    /// What was said since the last time in the name of a node that has not signed it, or has said
    /// something newer since. What it had said before stands.
    pub unheard: Vec<(NodeId, SocketAddrV4, Key)>,
}

/// What was heard of an entry.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// As it was said last, whether it counts or not.
    said: Arc<BTreeMap<Key, String>>,
    /// The key that the node's id is the hash of.
    key: Option<[u8; KEY_LEN]>,
    records: Arc<BTreeMap<Key, String>>,
    stamps: BTreeMap<Key, Stamp>,
}

impl Ear {
    /// Hears what the nodes of a cluster say.
    #[must_use]
    pub const fn new(cluster: ClusterId) -> Self {
        Self::with(cluster, Ed25519)
    }
}

impl<V: Verify> Ear<V> {
    /// The same with another check of signatures.
    pub const fn with(cluster: ClusterId, verify: V) -> Self {
        Self {
            cluster,
            verify,
            heard: BTreeMap::new(),
        }
    }

    /// Hears the gossip state as it is now.
    pub fn hear(&mut self, said: Vec<SignedEntry>) -> Hearing {
        let mut last = std::mem::take(&mut self.heard);
        let mut hearing = Hearing::default();
        for entry in said {
            let at = (entry.node, entry.address);
            let speaker = Speaker {
                cluster: self.cluster,
                node: entry.node,
                address: entry.address,
            };
            let known = last.remove(&at).or_else(|| self.heard.remove(&at));
            let mut heard = known.unwrap_or_default();
            let unheard = heard.update(&speaker, &entry.values, &self.verify);
            let unheard = unheard.into_iter().map(|key| (at.0, at.1, key));
            hearing.unheard.extend(unheard);
            let signs = heard.key.is_some();
            // Of a node that is new, others may have told all else before the record with its key.
            if signs || !heard.said.contains_key(&Key::Node) {
                hearing.entries.push(RawEntry {
                    node: entry.node,
                    address: entry.address,
                    live: entry.live && signs,
                    last_seen: entry.last_seen,
                    values: Arc::clone(&heard.records),
                });
            }
            self.heard.insert(at, heard);
        }
        hearing
    }
}

impl Heard {
    /// Takes over what is said now; returns the keys whose new values do not count.
    fn update(
        &mut self,
        speaker: &Speaker,
        said: &Arc<BTreeMap<Key, String>>,
        verify: &impl Verify,
    ) -> Vec<Key> {
        if Arc::ptr_eq(&self.said, said) {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.said, Arc::clone(said));
        let knew = self.key.is_some();
        if let Some(text) = said.get(&Key::Node).filter(|_| !knew) {
            self.key = own_key(speaker, text, verify);
        }
        let mut unheard = Vec::new();
        let mut records = None;
        for (key, text) in said.iter() {
            // Without the node's key nothing was checked before.
            if knew && (before.get(key) == Some(text) || self.stands(*key, text)) {
                continue;
            }
            match self.check(speaker, *key, text, verify) {
                Some((stamp, record)) => {
                    self.stamps.insert(*key, stamp);
                    let records = records.get_or_insert_with(|| (*self.records).clone());
                    records.insert(*key, record.to_owned());
                }
                None => {
                    // A key counts once it has signed that it is the node's, which comes first.
                    if !knew && *key == Key::Node {
                        self.key = None;
                    }
                    if before.get(key) != Some(text) && said.contains_key(&Key::Node) {
                        unheard.push(*key);
                    }
                }
            }
        }
        if let Some(records) = records {
            self.records = Arc::new(records);
        }
        unheard
    }

    /// Whether this is what was heard last under the key: gossip had forgotten it in between.
    fn stands(&self, key: Key, text: &str) -> bool {
        Signed::read(text).is_some_and(|signed| {
            let record = self.records.get(&key).map(String::as_str);
            self.stamps.get(&key) == Some(&signed.stamp) && record == Some(signed.record)
        })
    }

    /// The record, if the node has signed it and has said nothing newer under this key.
    fn check<'a>(
        &self,
        speaker: &Speaker,
        key: Key,
        text: &'a str,
        verify: &impl Verify,
    ) -> Option<(Stamp, &'a str)> {
        let public = self.key.as_ref()?;
        let Signed {
            stamp,
            signature,
            record,
        } = Signed::read(text)?;
        let is_newer = self.stamps.get(&key).is_none_or(|last| *last < stamp);
        let payload = || speaker.payload(key, stamp, record);
        (is_newer && verify.has_signed(public, &payload(), &signature)).then_some((stamp, record))
    }
}

/// The key in what a node says of itself, if the node's id is the hash of it.
fn own_key(speaker: &Speaker, text: &str, verify: &impl Verify) -> Option<[u8; KEY_LEN]> {
    let key = public_key(Signed::read(text)?.record)?;
    (verify.node_of(&key) == speaker.node).then_some(key)
}
