//! Kernel parameters.

use std::fmt;

use super::link::IfName;

/// A kernel parameter in the node's own network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`: packets that arrive on one interface leave by another.
    Ipv4Forward,
    /// `net.ipv4.conf.all.accept_redirects`. To set [`Self::Ipv4Forward`] sets this too, to the
    /// opposite.
    Ipv4AcceptRedirects,
    /// `net.ipv4.conf.INTERFACE.forwarding`. To set [`Self::Ipv4Forward`] sets this too, on every
    /// interface.
    Ipv4ForwardOn(IfName),
}

/// The value of a kernel parameter, as its file shows it, without the line's end.
pub type SysctlValue = String;

/// The value of [`Sysctl::Ipv4Forward`] with which pods reach other nodes.
pub const FORWARDING: &str = "1";

impl Sysctl {
    /// All parameters that podnet changes of its own accord.
    pub const ALL: [Self; 1] = [Self::Ipv4Forward];

    /// The path below `/proc/sys`.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Ipv4Forward => "net/ipv4/ip_forward".to_owned(),
            Self::Ipv4AcceptRedirects => "net/ipv4/conf/all/accept_redirects".to_owned(),
            Self::Ipv4ForwardOn(ifname) => format!("net/ipv4/conf/{ifname}/forwarding"),
        }
    }

    /// The parameter with this path below `/proc/sys`.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let ifname = path
            .strip_prefix("net/ipv4/conf/")
            .and_then(|rest| rest.strip_suffix("/forwarding"));
        let parameter = ifname
            .and_then(|ifname| ifname.parse().ok())
            .map(Self::Ipv4ForwardOn);
        [Self::Ipv4Forward, Self::Ipv4AcceptRedirects]
            .into_iter()
            .chain(parameter)
            .find(|parameter| parameter.path() == path)
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path().replace('/', "."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_known_by_its_path() {
        let on_eth0 = Sysctl::Ipv4ForwardOn("eth0.7".parse().unwrap());
        assert_eq!(on_eth0.path(), "net/ipv4/conf/eth0.7/forwarding");
        for parameter in [Sysctl::Ipv4Forward, Sysctl::Ipv4AcceptRedirects, on_eth0] {
            assert_eq!(Sysctl::of_path(&parameter.path()), Some(parameter));
        }
        assert_eq!(Sysctl::of_path("net/ipv4/conf/../forwarding"), None);
        assert_eq!(Sysctl::of_path("net/ipv4/tcp_sack"), None);
    }
}
