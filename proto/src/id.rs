//! Identities: of clusters, nodes, boots and processes.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A string that is no valid identity of the named kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}")]
pub struct InvalidId {
    kind: &'static str,
}

macro_rules! text_serde {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// A node's identity: the first 128 bits of the SHA-256 of its ed25519 public key. Written as 26
/// characters of lower-case base32 (RFC 4648, without padding), which is also its chitchat id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The identity that belongs to an ed25519 public key.
    #[must_use]
    pub fn of_public_key(public_key: &[u8; 32]) -> Self {
        let digest = Sha256::digest(public_key);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// An identity from its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const INVALID: InvalidId = InvalidId { kind: "node id" };
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(INVALID);
        }
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| INVALID)?;
        Ok(Self(bytes.try_into().map_err(|_| INVALID)?))
    }
}

text_serde!(NodeId);

/// A cluster's identity: 128 random bits, made by `init`. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// An identity from its 16 (random) bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const INVALID: InvalidId = InvalidId { kind: "cluster id" };
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| INVALID)?;
        Ok(Self(bytes.try_into().map_err(|_| INVALID)?))
    }
}

text_serde!(ClusterId);

macro_rules! random_number {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{:016x}", self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                const INVALID: InvalidId = InvalidId { kind: $kind };
                let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if text.len() != 16 || !digits {
                    return Err(INVALID);
                }
                u64::from_str_radix(text, 16).map(Self).map_err(|_| INVALID)
            }
        }

        text_serde!($name);
    };
}

random_number! {
    /// One boot of a host: a random number in the run directory. It survives a restart of the agent
    /// and dies with the boot. Written as 16 hexadecimal digits.
    Boot, "boot"
}

random_number! {
    /// One agent process: a random number that it draws when it starts. Written as 16 hexadecimal
    /// digits.
    Instance, "instance"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_is_26_characters_and_reads_back() {
        let id = NodeId::of_public_key(&[7; 32]);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(text.parse::<NodeId>().unwrap(), id);
        assert!(
            text.to_ascii_uppercase().parse::<NodeId>().is_err(),
            "one spelling per id"
        );
        assert!("".parse::<NodeId>().is_err());
        assert!(text[..25].parse::<NodeId>().is_err());
    }

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(Boot(10).to_string(), "000000000000000a");
        assert_eq!("000000000000000a".parse::<Boot>().unwrap(), Boot(10));
        for bad in [
            "a",
            "000000000000000A",
            "+00000000000000a",
            "00000000000000000a",
        ] {
            assert!(bad.parse::<Instance>().is_err(), "{bad}");
        }
    }
}
