//! Routes to the blocks of peers.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::link::{IfIndex, Mtu};

/// The routing protocol number that marks a route as podnet's (`rtm_protocol`, rtnetlink(7)).
pub const PROTOCOL: u8 = 112;

/// What tells two routes of the main table apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Where packets go.
    pub destination: IpNetwork,
    /// The route's priority; podnet's have 0, which none beats.
    pub metric: u32,
}

impl RouteKey {
    /// The key of podnet's route to a destination.
    #[must_use]
    pub const fn to(destination: IpNetwork) -> Self {
        Self {
            destination,
            metric: 0,
        }
    }
}

/// What happens to packets on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextHop {
    /// They go to a peer on the link.
    Gateway {
        /// The peer's address.
        via: IpAddr,
        /// The device that they leave by.
        device: IfIndex,
        /// The source address of what the host itself sends: the node's gateway address, which
        /// every encapsulation carries.
        source: IpAddr,
        /// The MTU of the device.
        mtu: Mtu,
    },
    /// They are refused, and the sender is told (ICMP "host unreachable").
    Unreachable,
}

/// A route of podnet's, in the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where packets go.
    pub destination: IpNetwork,
    /// What happens to them.
    pub next_hop: NextHop,
}

impl Route {
    /// The route's key.
    #[must_use]
    pub const fn key(&self) -> RouteKey {
        RouteKey::to(self.destination)
    }
}
