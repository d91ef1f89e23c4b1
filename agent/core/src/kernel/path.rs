//! By which path the pods of a peer are reached, or why by none.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::link::{IfName, Mtu};
use super::underlay::UnderlayPath;

/// The path to the pods of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Directly: the peer is on the link.
    Direct {
        /// The peer's address.
        via: IpAddr,
        /// The device that leads to it.
        device: IfName,
        /// How large packets may be.
        mtu: Mtu,
    },
    /// There is none.
    None(NoPath),
}

/// Why no path leads to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPath {
    /// The peer's address was never heard of.
    AddressUnknown,
    /// No pass has looked yet how its address is reached.
    NotLooked(IpAddr),
    /// It is behind a router, where packets with pod addresses get lost.
    BehindRouter {
        /// Its address.
        address: IpAddr,
        /// The router.
        via: IpAddr,
    },
    /// This host has its address too.
    OwnAddress(IpAddr),
    /// The kernel has no route to its address.
    NoRoute {
        /// Its address.
        address: IpAddr,
        /// What the kernel says.
        reason: String,
    },
}

impl Path {
    /// Chooses the path to a peer with this address, if one is known, by how addresses are reached.
    #[must_use]
    pub fn choose(address: Option<IpAddr>, underlay: &BTreeMap<IpAddr, UnderlayPath>) -> Self {
        let Some(address) = address else {
            return Self::None(NoPath::AddressUnknown);
        };
        let reason = match underlay.get(&address) {
            Some(UnderlayPath::OnLink { ifname, mtu, .. }) => {
                return Self::Direct {
                    via: address,
                    device: ifname.clone(),
                    mtu: *mtu,
                };
            }
            None => NoPath::NotLooked(address),
            Some(UnderlayPath::Routed { via, .. }) => NoPath::BehindRouter { address, via: *via },
            Some(UnderlayPath::Local) => NoPath::OwnAddress(address),
            Some(UnderlayPath::None(reason)) => NoPath::NoRoute {
                address,
                reason: reason.clone(),
            },
        };
        Self::None(reason)
    }

    /// Why there is no path; `None` if there is one.
    #[must_use]
    pub const fn problem(&self) -> Option<&NoPath> {
        match self {
            Self::Direct { .. } => None,
            Self::None(reason) => Some(reason),
        }
    }
}

impl NoPath {
    /// Whether the reason holds until something changes; else no pass has looked yet.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::AddressUnknown | Self::NotLooked(_))
    }
}

impl fmt::Display for NoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressUnknown => f.write_str("its address is not known yet"),
            Self::NotLooked(address) => write!(f, "the way to {address} is not known yet"),
            Self::BehindRouter { address, via } => write!(
                f,
                "{address} is not on the link but behind the router {via}, which knows no pod addresses"
            ),
            Self::OwnAddress(address) => write!(f, "{address} is an address of this host too"),
            Self::NoRoute { address, reason } => write!(f, "no route to {address}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_peer_has_a_path_if_it_is_on_the_link_and_else_a_reason() {
        let peer = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        let source = IpAddr::from(Ipv4Addr::new(192, 0, 2, 9));
        let chosen = |way: Option<UnderlayPath>| {
            let underlay = way.into_iter().map(|way| (peer, way)).collect();
            Path::choose(Some(peer), &underlay)
        };
        let told = |way| chosen(way).problem().unwrap().to_string();
        let unknown = Path::choose(None, &BTreeMap::new());
        let unknown = unknown.problem().unwrap();
        assert_eq!(unknown.to_string(), "its address is not known yet");
        assert!(!unknown.is_known());
        assert_eq!(told(None), "the way to 192.0.2.1 is not known yet");
        let via = Ipv4Addr::new(192, 0, 2, 254).into();
        assert_eq!(
            told(Some(UnderlayPath::Routed { via, source })),
            "192.0.2.1 is not on the link but behind the router 192.0.2.254, which knows no pod addresses"
        );
        assert_eq!(
            told(Some(UnderlayPath::Local)),
            "192.0.2.1 is an address of this host too"
        );
        let none = UnderlayPath::None("network is unreachable".to_owned());
        assert_eq!(
            told(Some(none)),
            "no route to 192.0.2.1: network is unreachable"
        );
        let direct = chosen(Some(UnderlayPath::OnLink {
            ifname: "eth0".parse().unwrap(),
            mtu: Mtu(1500),
            source,
        }));
        assert!(matches!(direct, Path::Direct { via, .. } if via == peer));
        assert_eq!(direct.problem(), None);
    }
}
