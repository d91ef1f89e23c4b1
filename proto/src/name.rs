//! Names of nodes and pods.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The longest name, in bytes: a DNS label (RFC 1035, section 2.3.4).
pub const MAX_NAME_LEN: usize = 63;

/// A string that is no valid node or pod name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{name}' is not a valid name: 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends"
)]
pub struct InvalidName {
    name: String,
}

fn check(name: &str) -> Result<(), InvalidName> {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let valid = bytes.len() <= MAX_NAME_LEN
        && bytes.first().is_some_and(|b| alphanumeric(*b))
        && bytes.last().is_some_and(|b| alphanumeric(*b))
        && bytes.iter().all(|b| alphanumeric(*b) || *b == b'-');
    if valid {
        Ok(())
    } else {
        Err(InvalidName {
            name: name.escape_default().take(80).collect(),
        })
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                check(name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                check(&name)?;
                Ok(Self(name))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type! {
    /// The label of a node: a DNS label, `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`. It identifies
    /// nothing; that is what [`crate::NodeId`] is for.
    NodeName
}

name_type! {
    /// The name of a pod on its node, also the file name of its namespace: a DNS label,
    /// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
    PodName
}

impl NodeName {
    /// A label for a node that has none of its own.
    #[must_use]
    pub fn of_id(id: NodeId) -> Self {
        Self(format!("node-{}", &id.to_string()[..8]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "0", "red", "node-1", &"x".repeat(63)] {
            assert_eq!(good.parse::<PodName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "..",
            "ä",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn json_is_checked_too() {
        assert!(serde_json::from_str::<PodName>("\"../../etc\"").is_err());
    }

    #[test]
    fn a_refused_name_is_printed_escaped_and_bounded() {
        let text = "\u{1b}[31m"
            .repeat(100)
            .parse::<PodName>()
            .unwrap_err()
            .to_string();
        assert!(!text.contains('\u{1b}') && text.len() < 300, "{text}");
    }
}
