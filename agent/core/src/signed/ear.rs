//! Hearing gossip: only records that the id which they speak for has signed.

use std::collections::{BTreeMap, BTreeSet};
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

/// The records that count, and those that do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hearing {
    /// The entries whose node has signed at least what it says of itself, with the records that it has
    /// signed; and those whose key is not known yet, which say nothing and are not known to live.
    pub entries: Vec<RawEntry>,
    /// What was said since the last time in the name of a node that has not signed it, or has said
    /// something newer since. What it had said before stands.
    pub unheard: Vec<(NodeId, SocketAddrV4, Key)>,
}

/// What is known of an entry.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// As it was said last under each id, whether it counts or not.
    said: Vec<Arc<BTreeMap<Key, String>>>,
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

    /// Hears the gossip state as it is now. A node may be there at one address under several ids of gossip, some of
    /// which others have made up: of each record the newest counts, whoever passed it on.
    pub fn hear(&mut self, said: Vec<SignedEntry>) -> Hearing {
        let mut last = std::mem::take(&mut self.heard);
        let mut hearing = Hearing::default();
        let mut places: BTreeMap<(NodeId, SocketAddrV4), Vec<SignedEntry>> = BTreeMap::new();
        for entry in said {
            let at = (entry.node, entry.address);
            places.entry(at).or_default().push(entry);
        }
        for (at, ids) in places {
            let speaker = Speaker {
                cluster: self.cluster,
                node: at.0,
                address: at.1,
            };
            let mut heard = last.remove(&at).unwrap_or_default();
            let values: Vec<_> = ids.iter().map(|id| Arc::clone(&id.values)).collect();
            let unheard = heard.update(&speaker, values, &self.verify);
            let unheard = unheard.into_iter().map(|key| (at.0, at.1, key));
            hearing.unheard.extend(unheard);
            let signs = heard.key.is_some();
            // Of a node that is new, others may have told all else before the record with its key.
            if signs || !ids.iter().any(|id| id.values.contains_key(&Key::Node)) {
                // What does not say what the node last said of itself does not tell whether it lives.
                let current = |id: &&SignedEntry| ids.len() == 1 || heard.is_current(&id.values);
                let current = || ids.iter().filter(current);
                hearing.entries.push(RawEntry {
                    node: at.0,
                    address: at.1,
                    live: signs && current().any(|id| id.live),
                    last_seen: current().filter_map(|id| id.last_seen).max(),
                    values: Arc::clone(&heard.records),
                });
            }
            self.heard.insert(at, heard);
        }
        hearing
    }

    /// The latest start of its gossip under which a node has signed something that was heard; 0 if nothing was.
    #[must_use]
    pub fn latest_start(&self, node: NodeId) -> u64 {
        let heard = self.heard.iter().filter(|((of, _), _)| *of == node);
        let stamps = heard.flat_map(|(_, heard)| heard.stamps.values());
        stamps.map(|stamp| stamp.epoch).max().unwrap_or_default()
    }
}

impl Heard {
    /// Takes over what is said now, under each id; returns the keys whose new values do not count.
    fn update(
        &mut self,
        speaker: &Speaker,
        said: Vec<Arc<BTreeMap<Key, String>>>,
        verify: &impl Verify,
    ) -> Vec<Key> {
        let mut same = self.said.iter().zip(&said);
        if self.said.len() == said.len() && same.all(|(before, now)| Arc::ptr_eq(before, now)) {
            return Vec::new();
        }
        let knew = self.key.is_some();
        if !knew {
            let of_itself = said.iter().filter_map(|said| said.get(&Key::Node));
            let mut known = of_itself.filter_map(|text| self.own_key(speaker, text, verify));
            if let Some((key, stamp, record)) = known.next() {
                self.key = Some(key);
                self.take(Key::Node, stamp, record);
            }
        }
        let before = std::mem::replace(&mut self.said, said.clone());
        let before: BTreeSet<(&Key, &String)> =
            before.iter().flat_map(|said| said.iter()).collect();
        let mut unheard = Vec::new();
        for said in said {
            for (key, text) in said.iter() {
                // Without the node's key nothing was checked before.
                if (knew && before.contains(&(key, text))) || self.stands(*key, text) {
                    continue;
                }
                match self.check(self.key.as_ref(), speaker, *key, text, verify) {
                    Some((stamp, record)) => self.take(*key, stamp, record),
                    None if !before.contains(&(key, text)) && said.contains_key(&Key::Node) => {
                        unheard.push(*key);
                    }
                    None => {}
                }
            }
        }
        unheard
    }

    fn take(&mut self, key: Key, stamp: Stamp, record: &str) {
        self.stamps.insert(key, stamp);
        Arc::make_mut(&mut self.records).insert(key, record.to_owned());
    }

    /// Whether these are values of the node as it last said who it is.
    fn is_current(&self, said: &BTreeMap<Key, String>) -> bool {
        let of_itself = said.get(&Key::Node);
        of_itself.is_some_and(|text| self.stands(Key::Node, text))
    }

    /// The key in what a node says of itself, if the node's id is the hash of it, and it has signed that.
    fn own_key<'a>(
        &self,
        speaker: &Speaker,
        text: &'a str,
        verify: &impl Verify,
    ) -> Option<([u8; KEY_LEN], Stamp, &'a str)> {
        let key = public_key(Signed::read(text)?.record)?;
        let is_own = verify.node_of(&key) == speaker.node;
        let checked = || self.check(Some(&key), speaker, Key::Node, text, verify);
        let (stamp, record) = is_own.then(checked).flatten()?;
        Some((key, stamp, record))
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
        public: Option<&[u8; KEY_LEN]>,
        speaker: &Speaker,
        key: Key,
        text: &'a str,
        verify: &impl Verify,
    ) -> Option<(Stamp, &'a str)> {
        let public = public?;
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
