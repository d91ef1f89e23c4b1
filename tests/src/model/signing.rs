//! Signatures that cost nothing: here nobody forges any, and what is tried is what follows from the
//! order in which records are heard.

use std::net::SocketAddrV4;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use podnet_core::signed::{Verify, Voice};
use podnet_proto::gossip::{SIGNATURE_LEN, Speaker};
use podnet_proto::{ClusterId, NodeId};

/// The cluster of schedules in which there is but one.
pub const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

/// The key of a node, which is its id.
fn key(node: NodeId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(node.as_bytes());
    key
}

/// The key of a node, as its record names it.
#[must_use]
pub fn public_key(node: NodeId) -> String {
    STANDARD.encode(key(node))
}

/// A key, as the record of its node names it.
#[must_use]
pub fn key_text(key: &[u8; 32]) -> String {
    STANDARD.encode(key)
}

/// A checksum of the payload and the key.
fn signature(key: &[u8; 32], payload: &[u8]) -> [u8; SIGNATURE_LEN] {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for bytes in [key.as_slice(), payload] {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            sum = (sum ^ u64::from_le_bytes(padded)).wrapping_mul(0x0000_0100_0000_01b3);
            sum ^= sum >> 29;
        }
    }
    let mut signature = [0; SIGNATURE_LEN];
    signature[..8].copy_from_slice(&sum.to_le_bytes());
    signature
}

/// Checksums in the place of signatures, where a node's id is the hash of its key, as it is in truth.
#[derive(Debug)]
pub struct HashedChecksums;

impl Verify for HashedChecksums {
    fn has_signed(&self, key: &[u8; 32], payload: &[u8], found: &[u8; SIGNATURE_LEN]) -> bool {
        signature(key, payload) == *found
    }
}

/// Checksums in the place of signatures, where a node's id is its key.
#[derive(Debug)]
pub struct Checksums;

impl Verify for Checksums {
    fn node_of(&self, key: &[u8; 32]) -> NodeId {
        let (id, _) = key.split_first_chunk().expect("an id");
        NodeId::from_bytes(*id)
    }

    fn has_signed(&self, key: &[u8; 32], payload: &[u8], found: &[u8; SIGNATURE_LEN]) -> bool {
        signature(key, payload) == *found
    }
}

/// The voice of a node whose id is its key.
#[must_use]
pub fn voice(cluster: ClusterId, node: NodeId, address: SocketAddrV4, epoch: u64) -> Voice {
    voice_with(key(node), cluster, node, address, epoch)
}

/// The voice of a node with a key of its own.
#[must_use]
pub fn voice_with(
    key: [u8; 32],
    cluster: ClusterId,
    node: NodeId,
    address: SocketAddrV4,
    epoch: u64,
) -> Voice {
    let speaker = Speaker {
        cluster,
        node,
        address,
    };
    let sign = move |payload: &[u8]| signature(&key, payload);
    Voice::new(speaker, epoch, Box::new(sign))
}
