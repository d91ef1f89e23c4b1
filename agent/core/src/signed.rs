//! Signed records: each is signed by the key whose hash is its node's id.
//!
//! A host with the token can write into gossip under any id. A record that the id's key has not
//! signed is not heard: it is as if it had not been written.

mod ear;
mod voice;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use podnet_proto::NodeId;
use podnet_proto::gossip::{Key, SIGNATURE_LEN};

pub use ear::{Ear, Hearing};
pub use voice::{Sign, Voice};

use crate::time::Moment;

/// The length of an ed25519 public key, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// One entry of the gossip state, as it travels: a node at an address, or a host that claims to be it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEntry {
    /// The node.
    pub node: NodeId,
    /// Where it gossips.
    pub address: SocketAddrV4,
    /// [`RawEntry::live`](crate::view::RawEntry::live).
    pub live: bool,
    /// [`RawEntry::last_seen`](crate::view::RawEntry::last_seen).
    pub last_seen: Option<Moment>,
    /// Its values, each a signed record. If it is the same allocation again, none has changed.
    pub values: Arc<BTreeMap<Key, String>>,
}

/// How signatures are checked.
pub trait Verify: fmt::Debug {
    /// The node that a key is of.
    fn node_of(&self, key: &[u8; KEY_LEN]) -> NodeId {
        NodeId::of_public_key(key)
    }

    /// Whether the key has signed the payload.
    fn has_signed(
        &self,
        key: &[u8; KEY_LEN],
        payload: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool;
}

impl<V: Verify + ?Sized> Verify for &V {
    fn node_of(&self, key: &[u8; KEY_LEN]) -> NodeId {
        (**self).node_of(key)
    }

    fn has_signed(
        &self,
        key: &[u8; KEY_LEN],
        payload: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool {
        (**self).has_signed(key, payload, signature)
    }
}

/// Signatures by ed25519.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519;

impl Verify for Ed25519 {
    fn has_signed(
        &self,
        key: &[u8; KEY_LEN],
        payload: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(payload, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests;
