//! What is seen of a pod's attachment, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{ObservedPort, PodLink};
use crate::kernel::link::{IfName, MacAddr, Mtu};
use crate::kernel::observed::{Observed, Place};
use crate::kernel::sysctl::{self, LinkParameters};

/// The host end of a pod, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedHostEnd {
    /// Whether it is a port of podnet's bridge.
    pub on_bridge: bool,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the bridge keeps packets from it that any port should get.
    pub blocked: bool,
    /// Whether the kernel gives it a link-local IPv6 address.
    pub link_local: bool,
    /// How the bridge treats it.
    pub port: ObservedPort,
}

impl ObservedHostEnd {
    /// What is wrong with it, in words.
    pub(super) fn defects(&self, pod: &PodLink) -> Vec<String> {
        let host_ifname = &pod.host_ifname;
        let mut defects = Vec::new();
        if !self.on_bridge {
            defects.push(format!("{host_ifname} not on the bridge"));
        }
        if self.mtu != pod.mtu {
            defects.push(format!("{host_ifname} with MTU {}", self.mtu.0));
        }
        if !self.up {
            defects.push(format!("{host_ifname} down"));
        }
        if self.blocked {
            defects.push(format!("{host_ifname} blocked by the bridge"));
        }
        if self.link_local {
            defects.push(format!("{host_ifname} with link-local addresses"));
        }
        // What is no port of the bridge cannot be held by the bridge.
        if self.on_bridge {
            defects.extend(self.port.defects(pod));
        }
        defects
    }
}

/// What stands where a host end belongs, if that was looked at.
pub(super) fn place<'a>(
    host_ifname: &IfName,
    observed: &'a Observed,
) -> Option<&'a Place<ObservedHostEnd>> {
    let listed = || {
        let all = observed.host_ends.as_ref()?;
        Some(all.get(host_ifname).unwrap_or(&Place::Absent))
    };
    observed.pods.get(host_ifname).or_else(listed)
}

/// The end of a pod's veth in its namespace, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// The namespace's inode number.
    pub inode: u64,
    /// The interface, if it is there.
    pub interface: Option<ObservedInterface>,
}

/// A pod's interface, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedInterface {
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its addresses of global scope.
    pub addresses: BTreeSet<IpNetwork>,
    /// The next hops of its default routes.
    pub gateways: BTreeSet<IpAddr>,
    /// Its permanent neighbours.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Its kernel parameters; a parameter that this kernel does not have, or not at this MTU, is absent.
    pub parameters: LinkParameters,
}

impl ObservedInterface {
    /// What is wrong with it, in words. It may have more of everything: what the pod's user adds is not
    /// podnet's.
    pub(super) fn defects(&self, pod: &PodLink) -> Vec<String> {
        let ifname = &pod.ifname;
        let mut defects = Vec::new();
        if !self.up {
            defects.push(format!("{ifname} down"));
        }
        if self.mac != pod.mac {
            defects.push(format!("{ifname} with link-layer address {}", self.mac));
        }
        if self.mtu != pod.mtu {
            defects.push(format!("{ifname} with MTU {}", self.mtu.0));
        }
        for address in &pod.addresses {
            if !self.addresses.contains(address) {
                defects.push(format!("{ifname} without address {address}"));
            }
        }
        for gateway in &pod.gateways {
            if !self.gateways.contains(gateway) {
                defects.push(format!("no default route via {gateway}"));
            }
            match self.neighbours.get(gateway) {
                Some(mac) if *mac == pod.gateway_mac => {}
                Some(mac) => defects.push(format!("neighbour {gateway} at {mac}")),
                None => defects.push(format!("no neighbour {gateway}")),
            }
        }
        defects.extend(sysctl::defects(ifname, &pod.parameters(), &self.parameters));
        defects
    }
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetnsState {
    /// Nothing.
    Missing,
    /// Something that is no network namespace.
    NotANetns,
    /// The network namespace of the agent.
    Host,
    /// A network namespace.
    Netns {
        /// Its inode number.
        inode: u64,
    },
}
