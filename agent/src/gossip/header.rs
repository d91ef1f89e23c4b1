//! The header of every datagram: authenticated, not encrypted.

use super::counters::Dropped;
use super::keyring::KeyId;

/// The longest datagram in bytes, header and tag included. It fits IPv6's least MTU of 1,280 bytes
/// with the IP and UDP headers, so no network fragments it.
pub(super) const MAX_DATAGRAM: usize = 1200;

/// The length of the header in bytes.
pub(super) const HEADER_LEN: usize = MAGIC.len() + 1 + 8 + 8 + 8 + 1 + 1;

/// The length of Poly1305's tag in bytes (RFC 8439, section 2.5).
pub(super) const TAG_LEN: usize = 16;

/// The most bytes of a message that one datagram carries.
pub(super) const MAX_CHUNK: usize = MAX_DATAGRAM - HEADER_LEN - TAG_LEN;

/// The most fragments of a message: one bit each in the replay window.
pub(super) const MAX_FRAGMENTS: u8 = 64;

const MAGIC: [u8; 4] = *b"pdnt";
const VERSION: u8 = 2;

/// One sender of datagrams: 64 random bits that it draws when it is made, so that the nonces of
/// two senders never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderInstance(pub(super) [u8; 8]);

/// One message of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Its sender.
    pub sender: SenderInstance,
    /// How many messages the sender sealed before it.
    pub counter: u64,
}

/// The header of a datagram; the associated data of its encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The key that sealed it.
    pub(super) key: KeyId,
    /// The message.
    pub(super) message: MessageId,
    /// Which fragment of the message, below `count`.
    pub(super) index: u8,
    /// How many fragments the message has, 1 to [`MAX_FRAGMENTS`].
    pub(super) count: u8,
}

impl Header {
    /// The bytes on the wire; numbers in network order.
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields: [&[u8]; 6] = [
            &MAGIC,
            &[VERSION],
            self.key.as_bytes(),
            &self.message.sender.0,
            &self.message.counter.to_be_bytes(),
            &[self.index, self.count],
        ];
        let mut rest = bytes.as_mut_slice();
        for field in fields {
            let (place, behind) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = behind;
        }
        bytes
    }

    /// Splits a datagram into its header and the sealed rest.
    ///
    /// # Errors
    /// Why it is none of podnet's.
    pub(super) fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), Dropped> {
        let rest = datagram.strip_prefix(&MAGIC).ok_or(Dropped::Magic)?;
        let (&version, rest) = rest.split_first().ok_or(Dropped::Malformed)?;
        if version != VERSION {
            return Err(Dropped::Version);
        }
        let (&key, rest) = rest.split_first_chunk().ok_or(Dropped::Malformed)?;
        let (&sender, rest) = rest.split_first_chunk().ok_or(Dropped::Malformed)?;
        let (&counter, rest) = rest.split_first_chunk().ok_or(Dropped::Malformed)?;
        let (&[index, count], sealed) = rest.split_first_chunk().ok_or(Dropped::Malformed)?;
        let sound = index < count
            && count <= MAX_FRAGMENTS
            && sealed.len() >= TAG_LEN
            && datagram.len() <= MAX_DATAGRAM;
        if !sound {
            return Err(Dropped::Malformed);
        }
        let header = Self {
            key: KeyId::from_bytes(key),
            message: MessageId {
                sender: SenderInstance(sender),
                counter: u64::from_be_bytes(counter),
            },
            index,
            count,
        };
        Ok((header, sealed))
    }

    /// The nonce: sender, counter, index and count, filled up with zeros. No two datagrams of one
    /// key share it, since no sender uses a counter twice.
    pub(super) fn nonce(&self) -> [u8; 24] {
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&self.message.sender.0);
        nonce[8..16].copy_from_slice(&self.message.counter.to_be_bytes());
        nonce[16] = self.index;
        nonce[17] = self.count;
        nonce
    }
}
