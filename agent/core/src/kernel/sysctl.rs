//! Kernel parameters.

use std::fmt;

/// A kernel parameter in the node's own network namespace, by its path below `/proc/sys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`: packets that arrive on one interface leave by another.
    Ipv4Forward,
}

/// The value of a kernel parameter, as its file shows it, without the line's end.
pub type SysctlValue = String;

impl Sysctl {
    /// All parameters that podnet may change.
    pub const ALL: [Self; 1] = [Self::Ipv4Forward];

    /// The path below `/proc/sys`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Ipv4Forward => "net/ipv4/ip_forward",
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path().replace('/', "."))
    }
}
