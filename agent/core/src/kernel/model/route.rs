//! The main routing table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Kernel;
use super::change::{foreign, missing, refused};
use crate::kernel::route::Op;
use crate::kernel::{
    IfIndex, IfName, Mtu, NextHop, ObservedRoute, OpError, PROTOCOL, Route, RouteKey, is_inside,
};

/// `EINVAL`, as in errno(3).
const INVALID: i32 = 22;

/// What happens to packets on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// Their destination is on the link of a device.
    Link(IfIndex),
    /// They go to a router on the link of a device.
    Gateway(IpAddr, IfIndex),
    /// They are refused.
    Unreachable,
}

impl Hop {
    pub(super) const fn device(self) -> Option<IfIndex> {
        match self {
            Self::Link(device) | Self::Gateway(_, device) => Some(device),
            Self::Unreachable => None,
        }
    }
}

/// A route in the table. The routes that come with addresses are not in it: they follow from the
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The routing protocol number, which shows whose route it is.
    pub(super) protocol: u8,
    pub(super) hop: Hop,
    pub(super) source: Option<IpAddr>,
    pub(super) mtu: Option<Mtu>,
}

impl Kernel {
    pub(super) fn apply_to_route(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::Add(route) | Op::Replace(route) => self.put_route(route)?,
            Op::Delete(key) => self.take_route(key),
        }
        Ok(())
    }

    /// Podnet's routes, and foreign ones at these destinations and inside of them.
    pub(super) fn observe_routes(
        &self,
        destinations: &BTreeSet<IpNetwork>,
    ) -> BTreeMap<RouteKey, ObservedRoute> {
        let wanted = |key: &RouteKey, protocol: u8| {
            let destination = key.destination;
            protocol == PROTOCOL
                || destinations
                    .iter()
                    .any(|whole| *whole == destination || is_inside(destination, *whole))
        };
        // The routes in the table come last: they stood there first.
        let connected = self
            .table()
            .skip(self.routes.len())
            .filter(|(_, entry)| !self.leaves_by_own_link(entry));
        let in_table = self.routes.iter().map(|(key, entry)| (*key, entry.clone()));
        connected
            .chain(in_table)
            .filter(|(key, entry)| wanted(key, entry.protocol))
            .map(|(key, entry)| (key, self.observed_route(&entry)))
            .collect()
    }

    fn observed_route(&self, entry: &Entry) -> ObservedRoute {
        if entry.protocol != PROTOCOL {
            return ObservedRoute::Foreign(format!("a route of protocol {}", entry.protocol));
        }
        let device = entry.hop.device().and_then(|index| self.link_of(index));
        let device = device.map(|(name, _)| name.clone());
        let next_hop = match (entry.hop, device, entry.source, entry.mtu) {
            (Hop::Gateway(via, _), Some(device), Some(source), Some(mtu)) => {
                Some(NextHop::Gateway {
                    via,
                    device,
                    source,
                    mtu,
                })
            }
            (Hop::Unreachable, None, None, None) => Some(NextHop::Unreachable),
            (Hop::Gateway(..) | Hop::Link(_) | Hop::Unreachable, ..) => None,
        };
        ObservedRoute::Ours { next_hop }
    }

    pub(super) fn leaves_by_own_link(&self, entry: &Entry) -> bool {
        let device = entry.hop.device().and_then(|index| self.link_of(index));
        device.is_some_and(|(_, link)| link.ours)
    }

    fn put_route(&mut self, route: &Route) -> Result<(), OpError> {
        let entry = match &route.next_hop {
            NextHop::Unreachable => Entry {
                protocol: PROTOCOL,
                hop: Hop::Unreachable,
                source: None,
                mtu: None,
            },
            NextHop::Gateway {
                via,
                device,
                source,
                mtu,
            } => {
                let index = self.check_gateway(*via, device, *source)?;
                Entry {
                    protocol: PROTOCOL,
                    hop: Hop::Gateway(*via, index),
                    source: Some(*source),
                    mtu: Some(*mtu),
                }
            }
        };
        let key = route.key();
        if self
            .standing(&key)
            .is_some_and(|standing| standing.protocol != PROTOCOL)
        {
            return Err(foreign(key.destination));
        }
        self.routes.insert(key, entry);
        Ok(())
    }

    fn take_route(&mut self, key: &RouteKey) {
        if self
            .routes
            .get(key)
            .is_some_and(|entry| entry.protocol == PROTOCOL)
        {
            self.routes.remove(key);
        }
    }

    /// The index of the device that a route leaves by, if the kernel would take it.
    fn check_gateway(
        &self,
        via: IpAddr,
        device: &IfName,
        source: IpAddr,
    ) -> Result<IfIndex, OpError> {
        let link = self
            .links
            .get(device)
            .ok_or_else(|| missing("the device"))?;
        if !(link.up && self.on_link(via, link.index)) {
            Err(missing(format_args!("the way to {via}")))
        } else if !self.has_address(source) {
            Err(refused(
                INVALID,
                format_args!("{source} is not an address of this host"),
            ))
        } else {
            Ok(link.index)
        }
    }

    fn on_link(&self, address: IpAddr, device: IfIndex) -> bool {
        self.table()
            .any(|(key, entry)| entry.hop == Hop::Link(device) && key.destination.contains(address))
    }

    /// The route at this key; of several, the one that counts.
    pub(super) fn standing(&self, key: &RouteKey) -> Option<Entry> {
        self.routes.get(key).cloned().or_else(|| {
            self.connected()
                .find(|(other, _)| other == key)
                .map(|(_, entry)| entry)
        })
    }

    /// All routes, those too that come with the addresses of links that are up.
    pub(super) fn table(&self) -> impl Iterator<Item = (RouteKey, Entry)> {
        self.routes
            .iter()
            .map(|(key, entry)| (*key, entry.clone()))
            .chain(self.connected())
    }

    fn connected(&self) -> impl Iterator<Item = (RouteKey, Entry)> {
        let up = self.links.values().filter(|link| link.up);
        up.flat_map(|link| {
            link.addresses
                .iter()
                .filter_map(|address| connected_route(link.index, address))
        })
    }

    /// Removes the routes that leave by a device.
    pub(super) fn drop_routes_by(&mut self, device: IfIndex) {
        self.routes
            .retain(|_, entry| entry.hop.device() != Some(device));
    }

    /// Removes the routes whose source address is no longer an address of the host.
    pub(super) fn drop_routes_without_source(&mut self) {
        let lost: Vec<_> = self
            .routes
            .iter()
            .filter(|(_, entry)| entry.source.is_some_and(|source| !self.has_address(source)))
            .map(|(key, _)| *key)
            .collect();
        for key in lost {
            self.routes.remove(&key);
        }
    }
}

/// The route that comes with an address. Loopback's are in the local table only, as is all that
/// comes with a single address.
fn connected_route(device: IfIndex, address: &IpNetwork) -> Option<(RouteKey, Entry)> {
    /// `RTPROT_KERNEL`, rtnetlink(7).
    const KERNEL: u8 = 2;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if address.ip().is_loopback() || address.prefix() == longest {
        return None;
    }
    let destination = IpNetwork::new(address.network(), address.prefix()).ok()?;
    let (hop, source) = (Hop::Link(device), Some(address.ip()));
    Some((
        RouteKey::to(destination),
        Entry {
            protocol: KERNEL,
            hop,
            source,
            mtu: None,
        },
    ))
}
