//! Names of labs and of what is in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// The most nodes that one lab holds: the underlay is laid out for them.
pub const MAX_NODES: u8 = 250;

/// The longest lab name, in bytes. With it the path of every agent's socket stays below the limit
/// of 107 bytes that `sun_path` sets (unix(7)).
const MAX_LAB_NAME_LEN: usize = 32;

/// The name of a lab: `[a-z0-9-]`, at most 32 bytes, with a letter or digit in front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(name: &str) -> Result<Self, LabError> {
        let valid = !name.is_empty()
            && name.len() <= MAX_LAB_NAME_LEN
            && !name.starts_with('-')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(LabError::BadName {
                name: name.escape_default().take(80).collect(),
            })
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = LabError;

    fn try_from(name: String) -> Result<Self, LabError> {
        name.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Something that has namespaces of its own in a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The underlay: a bridge that the nodes are plugged into, which also routes to the internet.
    Router,
    /// A host beyond the router that knows no pod address.
    Internet,
    /// A node, counted from 1.
    Node(u8),
}

impl Member {
    /// The nodes of a lab of `count`.
    pub fn nodes(count: u8) -> impl Iterator<Item = Self> {
        (1..=count).map(Self::Node)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router => f.pad("router"),
            Self::Internet => f.pad("internet"),
            Self::Node(number) => f.pad(&format!("node{number}")),
        }
    }
}

/// The text names no member that a lab could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchMember;

impl FromStr for Member {
    type Err = NoSuchMember;

    fn from_str(name: &str) -> Result<Self, NoSuchMember> {
        match name {
            "router" => Ok(Self::Router),
            "internet" => Ok(Self::Internet),
            name => {
                let number = name.strip_prefix("node").ok_or(NoSuchMember)?;
                let parsed: u8 = number.parse().map_err(|_| NoSuchMember)?;
                // `node01` and `node+1` parse as numbers, but nothing is called that.
                if parsed.to_string() == number && (1..=MAX_NODES).contains(&parsed) {
                    Ok(Self::Node(parsed))
                } else {
                    Err(NoSuchMember)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_called_by_one_name_each() {
        for name in ["router", "internet", "node1", "node250"] {
            assert_eq!(name.parse::<Member>().unwrap().to_string(), name);
        }
        for name in [
            "", "node", "node0", "node01", "node+1", "node251", "node1 ", "Node1",
        ] {
            assert_eq!(name.parse::<Member>(), Err(NoSuchMember), "{name}");
        }
    }

    #[test]
    fn lab_names_are_short_and_plain() {
        for good in ["lab", "demo-4711", "1", &"x".repeat(32)] {
            assert_eq!(good.parse::<LabName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a_b", "..", "a/b", "a b", &"x".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad:?}");
        }
    }
}
