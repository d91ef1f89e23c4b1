//! Pod networks and their blocks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

/// How many pods a node has room for: as many as Linux gives ports to a bridge (`BR_MAX_PORTS` in
/// `net/bridge/br_private.h`; no port has the number 0).
pub const MAX_PORTS: u32 = 1023;

/// The length of a block's prefix if the user asks for no other.
pub const DEFAULT_BLOCK_PREFIX: u8 = 24;

/// The longest prefix of a block: a /30 holds the gateway and one pod.
pub const MAX_BLOCK_PREFIX: u8 = 30;

/// The most blocks of one pod network: what the ledger and the gossip records are sized for.
pub const MAX_BLOCKS: u32 = 256;

/// The number of a block in its pod network, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockIndex(pub u16);

impl fmt::Display for BlockIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a pod network is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodNetworkError {
    /// Not of the form `a.b.c.d/len`.
    #[error("'{0}' is not a CIDR such as 10.244.0.0/16")]
    NotACidr(String),
    /// Address bits are set behind the prefix.
    #[error("{cidr} has host bits set; did you mean {network}?")]
    HostBits {
        /// As it was given.
        cidr: Ipv4Network,
        /// With the host bits cleared.
        network: Ipv4Network,
    },
    /// The block prefix does not fit the network's.
    #[error("blocks of /{block_prefix} do not fit {cidr}: from /{least} to /{most} do")]
    BlockPrefix {
        /// The pod network.
        cidr: Ipv4Network,
        /// What was asked for.
        block_prefix: u8,
        /// The shortest prefix that fits.
        least: u8,
        /// The longest prefix that fits.
        most: u8,
    },
    /// Not an address range that hosts may use.
    #[error("{cidr} is {what}: choose a private range, such as 10.244.0.0/16")]
    Reserved {
        /// The pod network.
        cidr: Ipv4Network,
        /// What it is.
        what: &'static str,
    },
}

/// Parses a range of addresses, such as one that is excluded from masquerading.
///
/// # Errors
/// When it is not of the form `a.b.c.d/len`, or has host bits set.
pub fn parse_range(text: &str) -> Result<Ipv4Network, PodNetworkError> {
    let not_a_cidr = || PodNetworkError::NotACidr(text.escape_default().take(80).collect());
    // `Ipv4Network` takes a bare address for a /32; a user who types one does not mean that.
    if !text.contains('/') {
        return Err(not_a_cidr());
    }
    without_host_bits(Ipv4Network::from_str(text).map_err(|_| not_a_cidr())?)
}

fn without_host_bits(cidr: Ipv4Network) -> Result<Ipv4Network, PodNetworkError> {
    let network = Ipv4Network::new(cidr.network(), cidr.prefix()).unwrap_or(cidr);
    if network == cidr {
        Ok(cidr)
    } else {
        Err(PodNetworkError::HostBits { cidr, network })
    }
}

/// A pod network: a range of addresses, cut into blocks of one size, one for each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawPodNetwork")]
pub struct PodNetwork {
    cidr: Ipv4Network,
    block_prefix: u8,
}

#[derive(Deserialize)]
struct RawPodNetwork {
    cidr: Ipv4Network,
    block_prefix: u8,
}

impl TryFrom<RawPodNetwork> for PodNetwork {
    type Error = PodNetworkError;

    fn try_from(raw: RawPodNetwork) -> Result<Self, PodNetworkError> {
        Self::new(raw.cidr, raw.block_prefix)
    }
}

impl PodNetwork {
    /// Checks and builds a pod network.
    ///
    /// # Errors
    /// When the range has host bits set, is not for unicast, or the block prefix is outside of
    /// what fits: at most [`MAX_BLOCKS`] blocks, at least one, none smaller than a /30.
    pub fn new(cidr: Ipv4Network, block_prefix: u8) -> Result<Self, PodNetworkError> {
        let cidr = without_host_bits(cidr)?;
        if let Some(what) = reserved(cidr) {
            return Err(PodNetworkError::Reserved { cidr, what });
        }
        let least = cidr.prefix();
        let most = MAX_BLOCK_PREFIX.min(cidr.prefix() + MAX_BLOCKS.ilog2() as u8);
        if block_prefix < least || block_prefix > most {
            return Err(PodNetworkError::BlockPrefix {
                cidr,
                block_prefix,
                least,
                most,
            });
        }
        Ok(Self { cidr, block_prefix })
    }

    /// Parses the range and builds a pod network.
    ///
    /// # Errors
    /// As [`PodNetwork::new`], and when `cidr` is not a CIDR at all.
    pub fn parse(cidr: &str, block_prefix: u8) -> Result<Self, PodNetworkError> {
        Self::new(parse_range(cidr)?, block_prefix)
    }

    /// The whole range.
    #[must_use]
    pub const fn cidr(&self) -> Ipv4Network {
        self.cidr
    }

    /// The prefix length of each block.
    #[must_use]
    pub const fn block_prefix(&self) -> u8 {
        self.block_prefix
    }

    /// How many blocks there are, 1 to [`MAX_BLOCKS`].
    #[must_use]
    pub fn block_count(&self) -> u16 {
        1 << (self.block_prefix - self.cidr.prefix())
    }

    /// The range of the block with this number; `None` if there is none.
    #[must_use]
    pub fn block(&self, index: BlockIndex) -> Option<Ipv4Network> {
        if index.0 >= self.block_count() {
            return None;
        }
        let base =
            u32::from(self.cidr.network()) + (u32::from(index.0) << (32 - self.block_prefix));
        Ipv4Network::new(Ipv4Addr::from(base), self.block_prefix).ok()
    }
}

impl fmt::Display for PodNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in /{}", self.cidr, self.block_prefix)
    }
}

/// The gateway of a block: its first host address, held by the node's bridge.
#[must_use]
pub fn gateway(block: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(block.network()) + 1)
}

/// Whether two ranges share an address.
#[must_use]
pub fn overlaps(a: Ipv4Network, b: Ipv4Network) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

fn reserved(cidr: Ipv4Network) -> Option<&'static str> {
    let range = |text: &str| Ipv4Network::from_str(text).is_ok_and(|range| overlaps(cidr, range));
    if cidr.prefix() < 8 {
        Some("wider than /8")
    } else if range("0.0.0.0/8") {
        Some("in \"this network\" (RFC 1122)")
    } else if range("127.0.0.0/8") {
        Some("in the loopback range (RFC 1122)")
    } else if range("169.254.0.0/16") {
        Some("in the link-local range (RFC 3927)")
    } else if range("224.0.0.0/3") {
        Some("in the multicast or reserved range (RFC 5771, RFC 1112)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(cidr: &str, prefix: u8) -> PodNetwork {
        PodNetwork::parse(cidr, prefix).unwrap()
    }

    #[test]
    fn a_slash_16_holds_256_blocks() {
        let network = network("10.244.0.0/16", 24);
        assert_eq!(network.block_count(), 256);
        assert_eq!(
            network.block(BlockIndex(0)).unwrap().to_string(),
            "10.244.0.0/24"
        );
        assert_eq!(
            network.block(BlockIndex(255)).unwrap().to_string(),
            "10.244.255.0/24"
        );
        assert_eq!(network.block(BlockIndex(256)), None);
        assert_eq!(
            gateway(network.block(BlockIndex(1)).unwrap()).to_string(),
            "10.244.1.1"
        );
    }

    #[test]
    fn small_networks_work() {
        assert_eq!(network("192.168.9.0/24", 24).block_count(), 1);
        assert_eq!(network("192.168.8.0/29", 30).block_count(), 2);
    }

    #[test]
    fn bad_networks_are_named() {
        for (cidr, prefix, expect) in [
            ("banana", 24, "'banana' is not a CIDR"),
            ("10.244.0.0", 24, "is not a CIDR"),
            ("10.244.0.0/33", 24, "is not a CIDR"),
            ("fd00::/48", 24, "is not a CIDR"),
            ("10.244.1.0/16", 24, "did you mean 10.244.0.0/16?"),
            ("10.244.0.0/16", 15, "from /16 to /24 do"),
            ("10.244.0.0/16", 25, "from /16 to /24 do"),
            ("10.244.0.0/28", 31, "from /28 to /30 do"),
            ("127.0.0.0/16", 24, "loopback"),
            ("224.0.0.0/16", 24, "multicast"),
            ("0.0.0.0/0", 8, "wider than /8"),
        ] {
            let error = PodNetwork::parse(cidr, prefix).unwrap_err().to_string();
            assert!(error.contains(expect), "{cidr}/{prefix}: {error}");
        }
    }

    #[test]
    fn json_is_checked_too() {
        let bad = r#"{"cidr":"10.244.0.0/16","block_prefix":40}"#;
        assert!(serde_json::from_str::<PodNetwork>(bad).is_err());
    }
}
