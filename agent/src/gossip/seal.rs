//! Messages sealed into datagrams, and opened again.
//!
//! A message is compressed, cut into chunks, and each chunk is encrypted with XChaCha20-Poly1305
//! under a header that is authenticated with it. A datagram that cannot be opened gets no answer:
//! no oracle, no amplification.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use podnet_proto::secret::GossipKey;

use super::counters::{Counters, Dropped};
use super::fragment::Reassembler;
use super::header::{
    HEADER_LEN, Header, MAX_CHUNK, MAX_DATAGRAM, MAX_FRAGMENTS, MessageId, SenderInstance, TAG_LEN,
};
use super::keyring::Keyring;
use super::payload::{Malformed, Payload};
use super::replay::ReplayGuard;

/// The longest message in bytes, before compression; chitchat's own are at most 65,507 bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The fastest level of zstd: gossip is text with much repetition, which any level finds.
const COMPRESSION_LEVEL: i32 = 1;

/// Why a message cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is longer than [`MAX_MESSAGE`], or than 64 fragments hold.
    #[error("a message of {len} bytes is too long to send")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The message has no bytes.
    #[error("a message cannot be encoded")]
    Encoding(#[source] serde_json::Error),
    /// The compressor failed.
    #[error("a message cannot be compressed")]
    Compression(#[source] io::Error),
    /// The cipher failed.
    #[error("a message cannot be encrypted")]
    Encryption,
}

/// A message in datagrams of at most 1,200 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The message.
    pub id: MessageId,
    /// Its fragments in order.
    pub datagrams: Vec<Vec<u8>>,
}

/// Seals messages with the key of a ring that encrypts.
///
/// Each sealer draws an instance of its own and counts from zero, so no two datagrams of one key
/// ever share a nonce, also across restarts.
pub struct Sealer {
    keyring: Keyring,
    pub(super) instance: SenderInstance,
    counter: u64,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Sealer {
    /// A sealer with a new instance.
    ///
    /// # Errors
    /// When there is no memory for the compressor.
    pub fn new(keyring: Keyring) -> io::Result<Self> {
        Ok(Self {
            keyring,
            instance: SenderInstance(rand::random()),
            counter: 0,
            compressor: zstd::bulk::Compressor::new(COMPRESSION_LEVEL)?,
        })
    }

    /// This sender's instance.
    #[must_use]
    pub const fn instance(&self) -> SenderInstance {
        self.instance
    }

    /// Seals a message.
    ///
    /// # Errors
    /// When it is too long, or a step fails.
    pub fn seal(&mut self, payload: &Payload) -> Result<Sealed, SealError> {
        let plain = payload.encode().map_err(SealError::Encoding)?;
        if plain.len() > MAX_MESSAGE {
            return Err(SealError::TooLong { len: plain.len() });
        }
        let packed = self
            .compressor
            .compress(&plain)
            .map_err(SealError::Compression)?;
        self.seal_packed(&packed)
    }

    /// Seals what is compressed already.
    pub(super) fn seal_packed(&mut self, packed: &[u8]) -> Result<Sealed, SealError> {
        let count = match u8::try_from(packed.len().div_ceil(MAX_CHUNK)) {
            Ok(count) if count <= MAX_FRAGMENTS => count,
            Ok(_) | Err(_) => return Err(SealError::TooLong { len: packed.len() }),
        };
        let (key_id, key) = self.keyring.sealing_key();
        let id = MessageId {
            sender: self.instance,
            counter: self.counter,
        };
        // Counted before anything can fail: a counter is never used twice.
        self.counter += 1;
        let datagrams = (0..count)
            .zip(packed.chunks(MAX_CHUNK))
            .map(|(index, chunk)| {
                let header = Header {
                    key: key_id,
                    message: id,
                    index,
                    count,
                };
                seal_chunk(&key, &header, chunk)
            })
            .collect::<Result<_, _>>()?;
        Ok(Sealed { id, datagrams })
    }
}

fn seal_chunk(key: &GossipKey, header: &Header, chunk: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
    datagram.extend(header.to_bytes());
    datagram.extend(chunk);
    let (associated, body) = datagram.split_at_mut(HEADER_LEN);
    let tag = XChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(&header.nonce().into(), associated, body.into())
        .map_err(|_| SealError::Encryption)?;
    datagram.extend(tag);
    Ok(datagram)
}

/// A message that has arrived, whole and authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message.
    pub id: MessageId,
    /// What it says.
    pub payload: Payload,
}

/// Opens datagrams, and puts messages together from them.
///
/// It has no socket and no clock, and takes any bytes: this is what a fuzzer feeds.
pub struct Opener {
    keyring: Keyring,
    own: Option<SenderInstance>,
    replay: ReplayGuard,
    fragments: Reassembler,
    decompressor: zstd::bulk::Decompressor<'static>,
    counters: Arc<Counters>,
}

impl Opener {
    /// An opener that knows no sender yet. It drops datagrams of `own`: sent back by another host, or
    /// sent by the node to itself.
    ///
    /// # Errors
    /// When there is no memory for the decompressor.
    pub fn new(
        keyring: Keyring,
        own: Option<SenderInstance>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        Ok(Self {
            keyring,
            own,
            replay: ReplayGuard::default(),
            fragments: Reassembler::default(),
            decompressor: zstd::bulk::Decompressor::new()?,
            counters,
        })
    }

    /// Takes a datagram that came at `now`: the message that it completes, if it does.
    ///
    /// # Errors
    /// Why it was dropped; that is counted.
    pub fn open(&mut self, datagram: &[u8], now: Instant) -> Result<Option<Message>, Dropped> {
        self.counters.count_in(datagram.len());
        let opened = self.try_open(datagram, now);
        if let Err(reason) = opened {
            self.counters.count_dropped(reason, 1);
        }
        opened
    }

    fn try_open(&mut self, datagram: &[u8], now: Instant) -> Result<Option<Message>, Dropped> {
        let (header, sealed) = Header::parse(datagram)?;
        if self.own == Some(header.message.sender) {
            return Err(Dropped::Own);
        }
        let key = self
            .keyring
            .opening_key(header.key)
            .ok_or(Dropped::UnknownKey)?;
        let chunk = open_chunk(&key, &header, sealed).ok_or(Dropped::Authentication)?;
        // From here on, only a datagram of a sender with a key changes any state.
        if !self.replay.accept(header.message, header.index) {
            return Err(Dropped::Replay);
        }
        let added = self
            .fragments
            .add(header.message, header.index, header.count, chunk, now);
        self.counters
            .count_dropped(Dropped::Reassembly, added.abandoned);
        let Some(packed) = added.message else {
            return Ok(None);
        };
        let plain = self
            .decompressor
            .decompress(&packed, MAX_MESSAGE)
            .map_err(|_| Dropped::Malformed)?;
        let payload = Payload::decode(&plain).map_err(|Malformed| Dropped::Malformed)?;
        Ok(Some(Message {
            id: header.message,
            payload,
        }))
    }
}

fn open_chunk(key: &GossipKey, header: &Header, sealed: &[u8]) -> Option<Vec<u8>> {
    let (body, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let mut chunk = body.to_vec();
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt_inout_detached(
            &header.nonce().into(),
            &header.to_bytes(),
            chunk.as_mut_slice().into(),
            tag.into(),
        )
        .ok()?;
    Some(chunk)
}

#[cfg(test)]
mod tests;
