//! Everything that the kernel should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::Ipv4Network;
use podnet_proto::{NodeId, PodNetwork};

use super::bridge::{self, Bridge};
use super::firewall::{self, RuleSet};
use super::forwarding::Forwarding;
use super::holding::{self, Holding};
use super::link::{IfName, Mtu};
use super::pod::PodLink;
use super::route::{self, Route, RouteKey};
use super::underlay::UnderlayPath;

/// A block of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerBlock {
    /// Its owner.
    pub node: NodeId,
    /// The block.
    pub block: Ipv4Network,
    /// The owner's address on the underlay, if anything was ever heard of it.
    pub address: Option<IpAddr>,
}

/// What [`desired`] is computed from, for a node that uses a block.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The cluster's pod networks.
    pub networks: &'a [PodNetwork],
    /// Destinations outside of the pod networks: traffic to them keeps the pod's source address.
    pub excluded: &'a [Ipv4Network],
    /// The node's own block.
    pub block: Ipv4Network,
    /// The MTU of the underlay device.
    pub mtu: Mtu,
    /// The blocks of all other members.
    pub peers: &'a [PeerBlock],
    /// How the addresses of their owners are reached.
    pub underlay: &'a BTreeMap<IpAddr, UnderlayPath>,
    /// The pods that are attached.
    pub pods: &'a [PodLink],
    /// The pods that are being attached or detached right now, with their addresses: they stay as
    /// they are.
    pub in_flight: &'a BTreeMap<IfName, BTreeSet<IpAddr>>,
    /// What of the host's packets is forwarded.
    pub forwarding: &'a Forwarding,
    /// The devices that podnet has opened.
    pub opened: &'a BTreeSet<IfName>,
}

/// Everything that the kernel should hold. The default is nothing: this is right for a node that is
/// no longer a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The bridge.
    pub bridge: Option<Bridge>,
    /// The attached pods, by host end.
    pub pods: BTreeMap<IfName, PodLink>,
    /// The pods that are being attached or detached right now, with their addresses: to be left
    /// alone.
    pub in_flight: BTreeMap<IfName, BTreeSet<IpAddr>>,
    /// The routes.
    pub routes: BTreeMap<RouteKey, Route>,
    /// The firewall rules.
    pub firewall: RuleSet,
    /// What nftables holds pods to, if the host can do that.
    pub holding: Option<Holding>,
    /// Whether what comes in by these devices is forwarded.
    pub forwarding: BTreeMap<IfName, bool>,
}

impl Desired {
    /// What the kernel should hold of a node that uses no block: nothing, and what podnet has opened is
    /// closed again.
    #[must_use]
    pub fn nothing(forwarding: &Forwarding, opened: &BTreeSet<IfName>) -> Self {
        Self {
            forwarding: forwarding.closing(opened),
            ..Self::default()
        }
    }

    /// The pods that are not being attached or detached right now.
    pub(super) fn settled_pods(&self) -> impl Iterator<Item = &PodLink> {
        let settled = |(host_ifname, _): &(&IfName, _)| !self.in_flight.contains_key(*host_ifname);
        self.pods.iter().filter(settled).map(|(_, pod)| pod)
    }

    /// Whether a host end is of no pod, of a node that uses a block.
    pub(super) fn is_stray(&self, host_ifname: &IfName) -> bool {
        self.bridge.is_some() && !self.pods.contains_key(host_ifname)
    }
}

/// Computes everything that the kernel should hold.
///
/// A peer's block has a route by way of the peer's address if that is on the link. All other
/// addresses of the pod networks are unreachable: traffic to a free block, to an unknown one, or to
/// that of a peer which cannot be reached fails at once, and never leaks to the default gateway.
#[must_use]
pub fn desired(input: &Input<'_>) -> Desired {
    Desired {
        bridge: Some(bridge::wanted(input)),
        pods: input
            .pods
            .iter()
            .map(|pod| (pod.host_ifname.clone(), pod.clone()))
            .collect(),
        in_flight: input.in_flight.clone(),
        routes: route::wanted(input),
        firewall: firewall::wanted(input),
        holding: Some(holding::wanted(input)),
        forwarding: input.forwarding.wanted(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(number: u8) -> PeerBlock {
        PeerBlock {
            node: NodeId::from_bytes([number; 16]),
            block: Ipv4Network::new(Ipv4Addr::new(10, 244, number, 0), 24).unwrap(),
            address: Some(Ipv4Addr::new(192, 0, 2, number).into()),
        }
    }

    fn desired_with(peers: &[PeerBlock], underlay: &BTreeMap<IpAddr, UnderlayPath>) -> Desired {
        desired(&Input {
            networks: &[PodNetwork::parse("10.244.0.0/16", 24).unwrap()],
            excluded: &[],
            block: "10.244.0.0/24".parse().unwrap(),
            mtu: Mtu(1500),
            peers,
            underlay,
            pods: &[],
            in_flight: &BTreeMap::new(),
            forwarding: &Forwarding::default(),
            opened: &BTreeSet::new(),
        })
    }

    #[test]
    fn a_peer_on_the_link_gets_a_route_and_the_rest_is_unreachable() {
        let on_link = UnderlayPath::OnLink {
            ifname: "eth0".parse().unwrap(),
            mtu: Mtu(1500),
            source: Ipv4Addr::new(192, 0, 2, 9).into(),
        };
        let routed = UnderlayPath::Routed {
            via: Ipv4Addr::new(192, 0, 2, 254).into(),
            source: Ipv4Addr::new(192, 0, 2, 9).into(),
        };
        let underlay = BTreeMap::from([
            (peer(1).address.unwrap(), on_link),
            (peer(2).address.unwrap(), routed),
        ]);
        let desired = desired_with(&[peer(1), peer(2), peer(3)], &underlay);
        let text: Vec<_> = desired.routes.values().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["unreachable 10.244.0.0/16", "10.244.1.0/24 via 192.0.2.1"]
        );
        let bridge = desired.bridge.unwrap();
        assert_eq!(bridge.addresses[0].to_string(), "10.244.0.1/24");
        assert_eq!(bridge.mac.to_string(), "0a:70:0a:f4:00:01");
    }
}
