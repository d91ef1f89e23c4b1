//! The range of the address that peers are told, as the user has set it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use podnet_proto::PodNetworkError;
use podnet_proto::network::parse_range;
use serde::Deserialize;

use crate::kernel::HostAddress;

/// A range of addresses, or a single one. The address that peers are told is within it, unless a
/// command names another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Range(Ipv4Network);

/// Why a text is no [`Range`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It is no address.
    #[error("'{0}' is neither an IPv4 address nor a range such as 192.0.2.0/24")]
    NotAnAddress(String),
    /// It has a slash and is no range.
    #[error(transparent)]
    Range(#[from] PodNetworkError),
}

impl Default for Range {
    /// All addresses.
    fn default() -> Self {
        // Only a prefix longer than 32 is refused.
        let all = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0);
        Self(all.unwrap_or_else(|_| Ipv4Addr::UNSPECIFIED.into()))
    }
}

impl Range {
    /// Whether an address is within the range.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(ip) if self.0.contains(ip))
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') {
            return Ok(Self(parse_range(text)?));
        }
        let address: Result<Ipv4Addr, _> = text.parse();
        let address = address
            .map_err(|_| RangeError::NotAnAddress(text.escape_default().take(80).collect()))?;
        Ok(Self(address.into()))
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix() == 32 {
            self.0.ip().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

/// The addresses of the host that peers may be told.
#[must_use]
pub fn within(range: Range, addresses: &[HostAddress]) -> Vec<HostAddress> {
    let may = |found: &&HostAddress| range.has(found.address.ip());
    addresses.iter().filter(may).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<Range, String> {
        text.parse().map_err(|error: RangeError| error.to_string())
    }

    #[test]
    fn a_range_is_one_address_or_a_cidr() {
        let one = range("192.0.2.1").unwrap();
        assert_eq!(one, range("192.0.2.1/32").unwrap());
        assert_eq!(one.to_string(), "192.0.2.1");
        let many = range("192.0.2.0/24").unwrap();
        assert_eq!(many.to_string(), "192.0.2.0/24");
        let has = |range: Range, text: &str| range.has(text.parse().unwrap());
        assert!(has(one, "192.0.2.1") && !has(one, "192.0.2.2"));
        assert!(has(many, "192.0.2.2") && !has(many, "192.0.3.2"));
        assert!(!has(range("0.0.0.0/0").unwrap(), "::1"));
    }

    #[test]
    fn what_is_no_range_is_named() {
        for bad in ["", "eth1", "192.0.2.1:7846", "::1", "192.0.2.0/33", "a/24"] {
            let error = range(bad).unwrap_err();
            assert!(error.contains(&format!("'{bad}'")), "{error}");
        }
        assert!(range("192.0.2.1/24").unwrap_err().contains("192.0.2.0/24"));
    }
}
