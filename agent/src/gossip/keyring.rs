//! The keys that seal and open datagrams.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use data_encoding::HEXLOWER;
use podnet_proto::secret::GossipKey;
use sha2::{Digest, Sha256};

/// The most keys of a ring: more than any rotation needs, few enough to show.
pub const MAX_KEYS: usize = 8;

/// The public name of a key: 64 bits of a hash of it. It travels in every datagram, so that one
/// that is sealed with an unknown key is dropped without a try.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The name of a key.
    #[must_use]
    pub fn of(key: &GossipKey) -> Self {
        let digest = Sha256::new()
            .chain_update(b"podnet gossip key id 1")
            .chain_update(key.expose())
            .finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }

    pub(super) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a ring does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It holds [`MAX_KEYS`] keys already.
    #[error("the key ring is full: it holds {MAX_KEYS} keys")]
    Full,
    /// It has no such key.
    #[error("the key ring has no key {0}")]
    Unknown(KeyId),
    /// The key that encrypts cannot go.
    #[error("key {0} is in use: let another key encrypt first")]
    InUse(KeyId),
}

/// A ring of up to [`MAX_KEYS`] keys: one encrypts, all decrypt. Clones share the ring, so a
/// running transport follows every change at once.
///
/// A rotation without loss installs the new key on all nodes, then lets it encrypt on all, then
/// removes the old one from all.
#[derive(Debug, Clone)]
pub struct Keyring(Arc<RwLock<Keys>>);

#[derive(Debug)]
struct Keys {
    encrypts: (KeyId, GossipKey),
    others: Vec<(KeyId, GossipKey)>,
}

impl Keyring {
    /// A ring of one key, which encrypts.
    #[must_use]
    pub fn new(key: GossipKey) -> Self {
        Self(Arc::new(RwLock::new(Keys {
            encrypts: (KeyId::of(&key), key),
            others: Vec::new(),
        })))
    }

    /// Adds a key that decrypts. One that is there already changes nothing.
    ///
    /// # Errors
    /// When the ring is full.
    pub fn install(&self, key: GossipKey) -> Result<KeyId, KeyringError> {
        let id = KeyId::of(&key);
        let mut keys = self.write();
        if keys.get(id).is_some() {
            return Ok(id);
        }
        if keys.others.len() + 1 >= MAX_KEYS {
            return Err(KeyringError::Full);
        }
        keys.others.push((id, key));
        Ok(id)
    }

    /// Lets an installed key encrypt; the one before it goes on to decrypt.
    ///
    /// # Errors
    /// When the key is not on the ring.
    pub fn encrypt_with(&self, id: KeyId) -> Result<(), KeyringError> {
        let mut keys = self.write();
        let Keys { encrypts, others } = &mut *keys;
        if encrypts.0 == id {
            return Ok(());
        }
        let chosen = others
            .iter_mut()
            .find(|(other, _)| *other == id)
            .ok_or(KeyringError::Unknown(id))?;
        std::mem::swap(encrypts, chosen);
        Ok(())
    }

    /// Removes a key: what it sealed is dropped from now on.
    ///
    /// # Errors
    /// When the key is not on the ring, or is the one that encrypts.
    pub fn remove(&self, id: KeyId) -> Result<(), KeyringError> {
        let mut keys = self.write();
        if keys.encrypts.0 == id {
            return Err(KeyringError::InUse(id));
        }
        let place = keys
            .others
            .iter()
            .position(|(other, _)| *other == id)
            .ok_or(KeyringError::Unknown(id))?;
        keys.others.remove(place);
        Ok(())
    }

    /// The names of the keys, the one that encrypts first.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        let keys = self.read();
        let others = keys.others.iter().map(|(id, _)| *id);
        std::iter::once(keys.encrypts.0).chain(others).collect()
    }

    /// The key that encrypts.
    pub(super) fn sealing_key(&self) -> (KeyId, GossipKey) {
        self.read().encrypts.clone()
    }

    /// The key with this name.
    pub(super) fn opening_key(&self, id: KeyId) -> Option<GossipKey> {
        self.read().get(id).cloned()
    }

    // A panic elsewhere leaves the ring whole, since no change of it is done half; so a poisoned
    // lock is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn get(&self, id: KeyId) -> Option<&GossipKey> {
        std::iter::once(&self.encrypts)
            .chain(&self.others)
            .find(|(other, _)| *other == id)
            .map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> GossipKey {
        GossipKey::from_bytes([byte; 32])
    }

    #[test]
    fn a_ring_rotates() {
        let ring = Keyring::new(key(1));
        let old = KeyId::of(&key(1));
        let new = ring.install(key(2)).unwrap();
        assert_eq!(ring.sealing_key().0, old);
        assert_eq!(ring.remove(old), Err(KeyringError::InUse(old)));

        ring.encrypt_with(new).unwrap();
        assert_eq!(ring.ids(), [new, old]);
        assert!(ring.opening_key(old).is_some());

        ring.remove(old).unwrap();
        assert!(ring.opening_key(old).is_none());
        assert_eq!(ring.encrypt_with(old), Err(KeyringError::Unknown(old)));
        assert_eq!(ring.remove(old), Err(KeyringError::Unknown(old)));
    }

    #[test]
    fn a_ring_has_an_end() {
        let ring = Keyring::new(key(0));
        for byte in 1..8 {
            ring.install(key(byte)).unwrap();
        }
        assert_eq!(ring.install(key(8)), Err(KeyringError::Full));
        assert!(ring.install(key(3)).is_ok(), "it is there already");
        assert_eq!(ring.ids().len(), MAX_KEYS);
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", Keyring::new(key(0x41)));
        assert!(text.contains("redacted"), "{text}");
        assert!(!text.contains("65, 65"), "{text}");
    }
}
