//! Signing what a node publishes.

use std::collections::BTreeMap;
use std::fmt;

use podnet_proto::gossip::{Key, SIGNATURE_LEN, Signed, Speaker, Stamp};

/// Signs a payload with the node's key.
pub type Sign = Box<dyn Fn(&[u8]) -> [u8; SIGNATURE_LEN] + Send + Sync>;

/// Signs what a node publishes, from one start of its gossip to the next.
pub struct Voice {
    speaker: Speaker,
    last: Stamp,
    sign: Sign,
}

impl Voice {
    /// The voice of a node whose gossip has started for the `epoch`th time.
    #[must_use]
    pub fn new(speaker: Speaker, epoch: u64, sign: Sign) -> Self {
        Self {
            speaker,
            last: Stamp { epoch, counter: 0 },
            sign,
        }
    }

    /// These records, as they are published.
    #[must_use]
    pub fn say(&mut self, records: &BTreeMap<Key, String>) -> BTreeMap<Key, String> {
        let said = records.iter();
        said.map(|(key, record)| (*key, self.sign(*key, record)))
            .collect()
    }

    /// These records and an empty one for each other key: that a key has no record is signed too.
    #[must_use]
    pub fn say_all(&mut self, records: &BTreeMap<Key, String>) -> BTreeMap<Key, String> {
        let mut all: BTreeMap<Key, String> =
            Key::ALL.iter().map(|key| (*key, String::new())).collect();
        all.extend(records.clone());
        self.say(&all)
    }

    fn sign(&mut self, key: Key, record: &str) -> String {
        self.last.counter += 1;
        let stamp = self.last;
        let signature = (self.sign)(&self.speaker.payload(key, stamp, record));
        let signed = Signed {
            stamp,
            signature,
            record,
        };
        signed.write()
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice")
            .field("speaker", &self.speaker)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
