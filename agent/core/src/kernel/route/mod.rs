//! Routes to the blocks of peers, and what other programs have in their way.

mod intruder;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use podnet_proto::{PodNetwork, network};

pub use self::intruder::{Intruder, Owner, addresses as intruding_addresses, is_inside};
use super::bridge;
use super::conflict::{self, Disputed};
use super::desired::{Desired, Input, PeerBlock};
use super::diff::Draft;
use super::kinds::{Kind, Kinds};
use super::link::{IfName, Mtu};
use super::observed::Observed;
use super::op::Operation;
use super::path::Path;

/// The routing protocol number that marks a route as podnet's (`rtm_protocol`, rtnetlink(7)).
pub const PROTOCOL: u8 = 112;

/// What distinguishes two routes of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Where packets go.
    pub destination: IpNetwork,
    /// The route's priority; podnet's have 0, the highest.
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextHop {
    /// They go to a peer on the link.
    Gateway {
        /// The peer's address.
        via: IpAddr,
        /// The device that they leave by: its name, since it may be one that podnet makes first.
        device: IfName,
        /// The source address of what the host itself sends: the node's gateway address, which
        /// every encapsulation carries.
        source: IpAddr,
        /// The MTU of the device.
        mtu: Mtu,
    },
    /// They are refused, with an answer to the sender (ICMP "host unreachable").
    Unreachable,
}

/// A route of podnet's, in the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The device that packets leave by, if they do.
    #[must_use]
    pub const fn device(&self) -> Option<&IfName> {
        match &self.next_hop {
            NextHop::Gateway { device, .. } => Some(device),
            NextHop::Unreachable => None,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.next_hop {
            NextHop::Gateway { via, .. } => write!(f, "{} via {via}", self.destination),
            NextHop::Unreachable => write!(f, "unreachable {}", self.destination),
        }
    }
}

/// The routes of a node that uses a block: to the blocks of the peers on the link; the rest of the pod networks
/// is refused.
pub(super) fn wanted(input: &Input<'_>) -> BTreeMap<RouteKey, Route> {
    let peers = input.peers.iter();
    unreachable_networks(input)
        .chain(peers.filter_map(|peer| peer_route(input, peer)))
        .map(|route| (route.key(), route))
        .collect()
}

/// The pod networks, refused as a whole: more specific routes make the exceptions. A network of a
/// single block is all the node's own, to which the bridge's address has a route.
fn unreachable_networks(input: &Input<'_>) -> impl Iterator<Item = Route> {
    let cidrs = input.networks.iter().map(PodNetwork::cidr);
    cidrs.filter(|cidr| *cidr != input.block).map(|cidr| Route {
        destination: IpNetwork::V4(cidr),
        next_hop: NextHop::Unreachable,
    })
}

fn peer_route(input: &Input<'_>, peer: &PeerBlock) -> Option<Route> {
    let path = Path::choose(peer.address, input.underlay);
    let Path::Direct {
        via, device, mtu, ..
    } = path
    else {
        return None;
    };
    Some(Route {
        destination: IpNetwork::V4(peer.block),
        next_hop: NextHop::Gateway {
            via,
            device,
            source: network::gateway(input.block).into(),
            mtu,
        },
    })
}

/// A route in the main table, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedRoute {
    /// A route with podnet's protocol number.
    Ours {
        /// What happens to packets on it; `None` for a kind of route that podnet never makes.
        next_hop: Option<NextHop>,
    },
    /// A route of another program at a destination that was asked for, or inside of it; in words.
    Foreign(String),
}

impl fmt::Display for ObservedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours {
                next_hop: Some(NextHop::Gateway { via, .. }),
            } => write!(f, "a route via {via}"),
            Self::Ours {
                next_hop: Some(NextHop::Unreachable),
            } => f.write_str("an unreachable route"),
            Self::Ours { next_hop: None } => f.write_str("a route as podnet makes none"),
            Self::Foreign(words) => f.write_str(words),
        }
    }
}

/// A change of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Adds a route to a destination that has none.
    Add(Route),
    /// Changes a route of podnet's.
    Replace(Route),
    /// Removes a route of podnet's.
    Delete(RouteKey),
}

impl Op {
    /// The route as it should be; `None` if it should not be there.
    #[must_use]
    pub const fn route(&self) -> Option<&Route> {
        match self {
            Self::Add(route) | Self::Replace(route) => Some(route),
            Self::Delete(_) => None,
        }
    }

    /// What distinguishes the route from others.
    #[must_use]
    pub const fn key(&self) -> RouteKey {
        match self {
            Self::Add(route) | Self::Replace(route) => route.key(),
            Self::Delete(key) => *key,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(route) => write!(f, "add route {route}"),
            Self::Replace(route) => write!(f, "replace route {route}"),
            Self::Delete(key) => write!(f, "delete route {}", key.destination),
        }
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, observed: &Observed) -> Vec<String> {
        let routes = observed.routes.as_ref();
        let found = routes.and_then(|routes| routes.get(&self.key()));
        found.map(ToString::to_string).into_iter().collect()
    }

    fn is_drift(&self, held: &Desired) -> bool {
        match self {
            Self::Add(route) | Self::Replace(route) => held.routes.get(&route.key()) == Some(route),
            // A route that should not be there, and was not there before: another program has added it.
            Self::Delete(key) => held.bridge.is_some() && !held.routes.contains_key(key),
        }
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        keep_one(held, before, self.key());
    }

    fn causes(&self) -> Vec<Kind> {
        vec![
            Kind::Routes,
            Kind::Bridge,
            Kind::Everything,
            Kind::Underlay,
            Kind::OtherRoutes,
        ]
    }
}

/// Keeps what was known of the routes before.
pub(super) fn keep(held: &mut Desired, before: &Desired) {
    held.routes.clone_from(&before.routes);
}

/// Keeps what was known of a route before.
pub(super) fn keep_one(held: &mut Desired, before: &Desired, key: RouteKey) {
    match before.routes.get(&key) {
        Some(route) => drop(held.routes.insert(key, route.clone())),
        None => drop(held.routes.remove(&key)),
    }
}

pub(super) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    let Some(found) = &observed.routes else {
        return;
    };
    for (object, words) in intruder::routes(desired, found) {
        draft.contest(object, words);
    }
    for (key, route) in &desired.routes {
        let op = match found.get(key) {
            Some(ObservedRoute::Ours { next_hop })
                if next_hop.as_ref() == Some(&route.next_hop) =>
            {
                continue;
            }
            Some(ObservedRoute::Ours { .. }) => Op::Replace(route.clone()),
            Some(ObservedRoute::Foreign(found)) => {
                draft.contest(route.clone(), found);
                continue;
            }
            None => Op::Add(route.clone()),
        };
        // Without the bridge there is no gateway address that such a route could have as its source.
        let needs_bridge = matches!(route.next_hop, NextHop::Gateway { .. });
        if !(needs_bridge && bridge::is_foreign(observed)) {
            draft.add(op);
        }
    }
    for (key, route) in found {
        if matches!(route, ObservedRoute::Ours { .. }) && !desired.routes.contains_key(key) {
            draft.remove(Op::Delete(*key));
        }
    }
}

/// A foreign route stands where one of podnet's belongs.
impl Disputed for Route {
    fn cure(&self) -> String {
        conflict::removal()
    }

    fn looks(&self) -> Kinds {
        Kinds::from([Kind::Routes])
    }

    fn cause(&self) -> Kind {
        Kind::OtherRoutes
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        keep_one(held, before, self.key());
    }
}
