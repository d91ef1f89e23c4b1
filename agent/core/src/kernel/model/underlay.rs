//! The host's own network.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Kernel;
use super::route::Hop;
use crate::kernel::{HostAddress, HostRoute, PROTOCOL, UnderlayPath};

impl Kernel {
    pub(super) fn host_addresses(&self) -> Vec<HostAddress> {
        let others = self.links.iter().filter(|(_, link)| !link.ours);
        others
            .flat_map(|(name, link)| link.addresses.iter().map(move |own| (name, link, own)))
            .map(|(name, link, address)| HostAddress {
                address: *address,
                index: link.index,
                ifname: name.clone(),
                mac: Some(link.mac),
                mtu: link.mtu,
                up: link.up,
                global: !address.ip().is_loopback(),
                uplink: false,
            })
            .collect()
    }

    pub(super) fn host_routes(&self) -> Vec<HostRoute> {
        self.table()
            .filter(|(_, entry)| entry.protocol != PROTOCOL && !self.leaves_by_own_link(entry))
            .filter_map(|(key, entry)| {
                let (device, _) = self.link_of(entry.hop.device()?)?;
                Some(HostRoute {
                    destination: key.destination,
                    device: Some(device.clone()),
                })
            })
            .collect()
    }

    /// How an address is reached: by the longest prefix, then the lowest metric.
    pub(super) fn path(&self, address: IpAddr) -> UnderlayPath {
        if self.has_address(address) {
            return UnderlayPath::Local;
        }
        let matching = self
            .table()
            .filter(|(key, _)| key.destination.contains(address));
        let best = matching
            .max_by_key(|(key, _)| (key.destination.prefix(), std::cmp::Reverse(key.metric)));
        let Some((_, entry)) = best else {
            return UnderlayPath::None("no route".to_owned());
        };
        let device = entry.hop.device().and_then(|device| self.link_of(device));
        let Some((ifname, link)) = device else {
            return UnderlayPath::None("unreachable".to_owned());
        };
        let first = link.addresses.first().map(IpNetwork::ip);
        let Some(source) = entry.source.or(first) else {
            return UnderlayPath::None(format!("{ifname} has no address"));
        };
        match entry.hop {
            Hop::Gateway(via, _) => UnderlayPath::Routed { via, source },
            Hop::Link(_) | Hop::Unreachable => UnderlayPath::OnLink {
                ifname: ifname.clone(),
                mtu: link.mtu,
                source,
            },
        }
    }
}
