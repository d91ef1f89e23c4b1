//! How large the packets of a node may be.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::name::Member;
use crate::node::Node;
use crate::record::{load, save};

/// What IPv4 needs at least (RFC 791, 3.2), and what jumbo frames have.
const RANGE: RangeInclusive<u16> = 68..=9000;

/// The largest packet of a link, in bytes without the Ethernet header: 68 to 9000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mtu(u16);

impl Default for Mtu {
    /// That of Ethernet.
    fn default() -> Self {
        Self(1500)
    }
}

impl Mtu {
    /// An MTU of so many bytes.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] out of range.
    pub fn new(bytes: u16) -> Result<Self, LabError> {
        if RANGE.contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(LabError::Unsupported {
                what: format!(
                    "an MTU of {bytes}: {} to {} is possible",
                    RANGE.start(),
                    RANGE.end()
                ),
            })
        }
    }
}

impl FromStr for Mtu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text
            .parse()
            .map_err(|e| format!("'{text}' is no MTU: {e}"))?;
        Self::new(bytes).map_err(|e| e.to_string())
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Node<'_> {
    /// The MTU of the node's `eth0`, as the underlay has it.
    ///
    /// # Errors
    /// [`LabError::Record`] when the lab's file about it is damaged.
    pub fn mtu(&self) -> Result<Mtu, LabError> {
        Ok(load(&self.dir().mtu())?.unwrap_or_default())
    }

    /// Sets the MTU of the node's link to the underlay, on both ends; a reboot keeps it. The
    /// router's end of the subnet follows the largest of its nodes: what a smaller one cannot
    /// receive is lost on its link without a word, as behind a real switch.
    ///
    /// # Errors
    /// [`LabError::Broken`] when the namespaces of the node or of the router are gone.
    pub fn set_mtu(&self, mtu: Mtu) -> Result<(), LabError> {
        let lab = self.lab();
        let number = self.number()?;
        let _lock = lab.lock()?;
        let underlay = lab.underlay();
        let mut largest = mtu.max(Mtu::default());
        for other in underlay
            .on_link(number, lab.size())
            .filter(|n| *n != number)
        {
            largest = largest.max(Node::new(lab, Member::Node(other)).mtu()?);
        }
        self.ip_batch(&format!("link set eth0 mtu {mtu}\n"))?;
        lab.router().ip_batch(&format!(
            "link set {} mtu {mtu}\nlink set {} mtu {largest}\n",
            self.name(),
            underlay.bridge(number),
        ))?;
        save(&self.dir().mtu(), &mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_is_that_of_a_link_for_ipv4() {
        for good in ["68", "1280", "9000"] {
            assert_eq!(good.parse::<Mtu>().unwrap().to_string(), good);
        }
        for bad in ["67", "9001", "70000", "-1", "", "x"] {
            assert!(bad.parse::<Mtu>().is_err(), "{bad}");
        }
    }
}
