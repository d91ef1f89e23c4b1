//! What every link has: a name, a number, a link-layer address, an MTU.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use podnet_proto::PodName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name of the node's bridge.
pub const BRIDGE: &str = "podnet0";

/// The beginning of the names of all pods' host ends.
pub const HOST_END_PREFIX: &str = "pn";

/// The name of a pod's interface, inside its namespace.
pub const POD_IFNAME: &str = "eth0";

/// The longest name of a link, in bytes: `IFNAMSIZ` without the final NUL.
const MAX_IFNAME_LEN: usize = 15;

/// The number of a link in its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// The largest packet that a link takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mtu(pub u32);

impl Mtu {
    /// The largest that the kernel takes for a bridge, or for a veth (`ETH_MAX_MTU`).
    pub const MOST: Self = Self(65_535);
}

/// A string that is no valid name of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a link name: 1 to 15 bytes, no '/', ':' or white space")]
pub struct InvalidIfName(String);

/// The name of a link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// The bridge's name, [`BRIDGE`].
    #[must_use]
    pub fn bridge() -> Self {
        Self(BRIDGE.to_owned())
    }

    /// The name of pods' interfaces, [`POD_IFNAME`].
    #[must_use]
    pub fn pod() -> Self {
        Self(POD_IFNAME.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a link of this name could be the host end of a pod.
    #[must_use]
    pub fn is_host_end(&self) -> bool {
        self.0.starts_with(HOST_END_PREFIX)
    }
}

impl FromStr for IfName {
    type Err = InvalidIfName;

    fn from_str(name: &str) -> Result<Self, InvalidIfName> {
        // What dev_valid_name() in the kernel's net/core/dev.c refuses.
        let refused = name.is_empty()
            || name.len() > MAX_IFNAME_LEN
            || matches!(name, "." | "..")
            || name
                .bytes()
                .any(|b| matches!(b, b'/' | b':' | 0) || b.is_ascii_whitespace());
        if refused {
            Err(InvalidIfName(name.escape_default().take(40).collect()))
        } else {
            Ok(Self(name.to_owned()))
        }
    }
}

impl TryFrom<String> for IfName {
    type Error = InvalidIfName;

    fn try_from(name: String) -> Result<Self, InvalidIfName> {
        name.parse()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The link-layer address of a pod or gateway: locally administered, unicast (IEEE 802,
    /// section 8.2.2), and a function of its IP address, so that it never changes under a
    /// neighbour's permanent entry.
    #[must_use]
    pub fn of_address(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x0a, 0x70, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for MacAddr {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|part| {
                (part.len() == 2)
                    .then(|| u8::from_str_radix(part, 16).ok())
                    .flatten()
            })
            .collect();
        let bytes = bytes.ok_or("not a MAC address")?;
        bytes.try_into().map(Self).map_err(|_| "not a MAC address")
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

/// The name of a pod's host end: a hash, since a pod's name may be longer than a link's.
#[must_use]
pub fn host_ifname(pod: &PodName, ifname: &IfName) -> IfName {
    let digest = Sha256::digest(format!("{pod}/{ifname}"));
    let hash = BASE32_NOPAD.encode(&digest[..8]).to_ascii_lowercase();
    IfName(format!("{HOST_END_PREFIX}{hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_are_what_the_kernel_takes() {
        for good in ["eth0", "podnet0", "a", "123456789012345", "br-lan.7"] {
            assert_eq!(good.parse::<IfName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a:b",
            "1234567890123456",
            "a\0",
        ] {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_end_has_a_valid_name_of_its_own() {
        let long: PodName = "x".repeat(63).parse().unwrap();
        let name = host_ifname(&long, &IfName::pod());
        assert!(
            name.is_host_end() && name.as_str().parse::<IfName>().is_ok(),
            "{name}"
        );
        assert_ne!(name, host_ifname(&"red".parse().unwrap(), &IfName::pod()));
        assert_ne!(name, host_ifname(&long, &"eth1".parse().unwrap()));
    }

    #[test]
    fn mac_addresses_are_local_unicast_and_read_back() {
        let mac = MacAddr::of_address(Ipv4Addr::new(10, 244, 0, 2));
        assert_eq!(mac.to_string(), "0a:70:0a:f4:00:02");
        assert_eq!(mac.0[0] & 0b11, 0b10, "local, unicast");
        assert_eq!(MacAddr::try_from(mac.to_string()).unwrap(), mac);
        for bad in [
            "",
            "0a:70",
            "0a:70:0a:f4:00:0",
            "0a:70:0a:f4:00:02:03",
            "+a:70:0a:f4:00:02x",
        ] {
            assert!(MacAddr::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
