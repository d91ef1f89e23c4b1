//! The cluster's secret.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The key that seals gossip: 256 random bits. It has no `Display` and no `Serialize`, its `Debug`
/// is redacted, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct GossipKey([u8; 32]);

impl GossipKey {
    /// A key from its 32 (random) bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes. Handle with care: never log or print them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GossipKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", GossipKey::from_bytes([0x41; 32])),
            "GossipKey(redacted)"
        );
    }
}
