//! A record as it travels: with the signature of the node that says it.
//!
//! ```text
//! 1 EPOCH COUNTER SIGNATURE RECORD
//! ```
//!
//! The signature covers the cluster, the node, where it gossips, the key, the stamp and the record: so
//! it counts nowhere else, and what was said before does not count again. An empty record is signed
//! too, since it says something.

use std::net::SocketAddrV4;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Key;
use crate::id::{ClusterId, NodeId};

/// The version of the form in which records travel.
const VERSION: &str = "1";

/// What every signed text begins with, so that it is a signature of nothing else.
const DOMAIN: &[u8] = b"podnet record 1\n";

/// The length of an ed25519 signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// The most that travels of a record besides itself, in bytes: two numbers, the signature in base64, the
/// version, and the spaces between.
pub const MAX_ENVELOPE_LEN: usize = 2 * 20 + 86 + 1 + 4;

/// Who speaks, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Where it gossips.
    pub address: SocketAddrV4,
}

/// Which of two records of one key and speaker is the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp {
    /// The start counter of the speaker's gossip.
    pub epoch: u64,
    /// Counts what it has said since.
    pub counter: u64,
}

impl Speaker {
    /// What the signature of a record covers.
    #[must_use]
    pub fn payload(&self, key: Key, stamp: Stamp, record: &str) -> Vec<u8> {
        let mut payload = Vec::with_capacity(128 + record.len());
        payload.extend(DOMAIN);
        payload.extend(self.cluster.as_bytes());
        payload.extend(self.node.as_bytes());
        payload.extend(self.address.ip().octets());
        payload.extend(self.address.port().to_be_bytes());
        payload.extend(stamp.epoch.to_be_bytes());
        payload.extend(stamp.counter.to_be_bytes());
        payload.extend(key.as_str().bytes());
        payload.push(b'\n');
        payload.extend(record.bytes());
        payload
    }
}

/// A record and its signature, which is not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Which of the speaker's records it is.
    pub stamp: Stamp,
    /// The signature.
    pub signature: [u8; SIGNATURE_LEN],
    /// The record; empty for nothing.
    pub record: &'a str,
}

impl<'a> Signed<'a> {
    /// The value as it travels.
    #[must_use]
    pub fn write(&self) -> String {
        let Stamp { epoch, counter } = self.stamp;
        let signature = STANDARD_NO_PAD.encode(self.signature);
        format!("{VERSION} {epoch} {counter} {signature} {}", self.record)
    }

    /// Reads a value; `None` if it is none of this form.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let mut part = || parts.next();
        let (version, epoch, counter) = (part()?, part()?, part()?);
        let (signature, record) = (part()?, part()?);
        let signature = STANDARD_NO_PAD.decode(signature).ok()?;
        (version == VERSION).then_some(())?;
        Some(Self {
            stamp: Stamp {
                epoch: epoch.parse().ok()?,
                counter: counter.parse().ok()?,
            },
            signature: signature.try_into().ok()?,
            record,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: Signed<'_> = Signed {
        stamp: Stamp {
            epoch: u64::MAX,
            counter: u64::MAX,
        },
        signature: [0xff; SIGNATURE_LEN],
        record: "{\"a\": 1}",
    };

    #[test]
    fn a_signed_record_reads_back() {
        let text = SIGNED.write();
        assert_eq!(Signed::read(&text), Some(SIGNED));
        assert_eq!(text.len(), MAX_ENVELOPE_LEN + SIGNED.record.len());
        let nothing = Signed {
            record: "",
            ..SIGNED
        };
        assert_eq!(Signed::read(&nothing.write()), Some(nothing));
    }

    #[test]
    fn what_is_not_of_this_form_is_not_read() {
        let good = SIGNED.write();
        for bad in [
            String::new(),
            SIGNED.record.to_owned(),
            good.replacen("1 ", "2 ", 1),
            good.replacen("1 ", "1 -", 1),
            good.replacen("//", "/", 1),
            good[..100].to_owned(),
        ] {
            assert_eq!(Signed::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn the_signature_covers_everything_that_a_record_depends_on() {
        let speaker = Speaker {
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId::from_bytes([2; 16]),
            address: "192.0.2.1:7846".parse().unwrap(),
        };
        let stamp = Stamp::default();
        let mut payloads = vec![
            speaker.payload(Key::Use, stamp, ""),
            speaker.payload(Key::Use, stamp, "{}"),
            speaker.payload(Key::Want, stamp, ""),
            speaker.payload(Key::Use, Stamp { epoch: 1, ..stamp }, ""),
            speaker.payload(
                Key::Use,
                Stamp {
                    counter: 1,
                    ..stamp
                },
                "",
            ),
        ];
        for other in [
            Speaker {
                cluster: ClusterId::from_bytes([2; 16]),
                ..speaker
            },
            Speaker {
                node: NodeId::from_bytes([1; 16]),
                ..speaker
            },
            Speaker {
                address: "192.0.2.1:7847".parse().unwrap(),
                ..speaker
            },
            Speaker {
                address: "192.0.2.2:7846".parse().unwrap(),
                ..speaker
            },
        ] {
            payloads.push(other.payload(Key::Use, stamp, ""));
        }
        let count = payloads.len();
        payloads.sort();
        payloads.dedup();
        assert_eq!(payloads.len(), count);
    }
}
