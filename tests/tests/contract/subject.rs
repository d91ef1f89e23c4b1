//! Shorthand for what scenarios do to a data plane, and the objects that they do it with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use podnet_core::kernel::{
    Bridge, IfName, Inside, Kind, Kinds, MacAddr, Mtu, Netns, NetnsState, NextHop, Observed,
    ObservedBridge, ObservedFirewall, ObservedHostEnd, ObservedPort, ObservedRoute, Op, OpError,
    OpErrorKind, Place, PodLink, PodView, Route, RouteKey, bridge, host_ifname,
};

use crate::world::World;

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn mac(last: u8) -> MacAddr {
    MacAddr([0x0a, 0x70, 10, 244, 0, last])
}

/// The bridge of a node with the first block.
pub(crate) fn bridge() -> Bridge {
    Bridge {
        name: IfName::bridge(),
        mac: mac(1),
        mtu: Mtu(1500),
        addresses: vec![net("10.244.0.1/24")],
    }
}

/// The change that gives the bridge its address.
pub(crate) fn add_address(address: &str) -> Op {
    Op::Bridge(bridge::Op::AddAddress {
        device: IfName::bridge(),
        address: net(address),
    })
}

/// The number of the pod's address is its number and two.
pub(crate) fn pod(number: u8, path: &Path, made: bool) -> PodLink {
    let pod = format!("p{number}").parse().unwrap();
    PodLink {
        host_ifname: host_ifname(&pod, &IfName::pod()),
        pod,
        netns: Netns {
            path: path.to_owned(),
            made,
            inode: None,
        },
        ifname: IfName::pod(),
        mac: mac(number + 2),
        mtu: Mtu(1500),
        addresses: vec![net(&format!("10.244.0.{}/24", number + 2))],
        gateways: vec![addr("10.244.0.1")],
        gateway_mac: mac(1),
        trusted: false,
    }
}

pub(crate) fn netns(number: u8) -> PathBuf {
    PathBuf::from(format!("/run/netns/p{number}"))
}

/// A pod that podnet makes the namespace of.
pub(crate) fn made_pod(number: u8) -> PodLink {
    pod(number, &netns(number), true)
}

/// The device to the peers, with the host's address on it.
pub(crate) fn add_underlay(world: &dyn World) -> IfName {
    world.add_link(&name("eth0"), Mtu(1500));
    world.add_address(&name("eth0"), net("192.0.2.9/24"));
    name("eth0")
}

/// The bridge with its address.
pub(crate) async fn add_bridge(world: &dyn World) {
    apply(
        world,
        &[
            Op::Bridge(bridge::Op::Create(bridge())),
            add_address("10.244.0.1/24"),
        ],
    )
    .await;
}

/// A route to a peer's block.
pub(crate) fn to_peer(destination: &str, via: &str, device: &IfName) -> Route {
    let next_hop = NextHop::Gateway {
        via: addr(via),
        device: device.clone(),
        source: addr("10.244.0.1"),
        mtu: Mtu(1500),
    };
    Route {
        destination: net(destination),
        next_hop,
    }
}

pub(crate) fn unreachable(destination: &str) -> Route {
    Route {
        destination: net(destination),
        next_hop: NextHop::Unreachable,
    }
}

/// Applies changes that must all succeed.
pub(crate) async fn apply(world: &dyn World, ops: &[Op]) {
    let results = world.dataplane().apply(ops).await;
    assert_eq!(results.len(), ops.len());
    for (op, result) in ops.iter().zip(results) {
        assert!(result.is_ok(), "{op}: {result:?}");
    }
}

/// Applies a change that must fail.
pub(crate) async fn refused(world: &dyn World, op: Op) -> OpError {
    let results = world.dataplane().apply(std::slice::from_ref(&op)).await;
    match &results[..] {
        [Err(error)] => error.clone(),
        other => panic!("{op}: {other:?}"),
    }
}

/// Applies a change that something foreign is in the way of.
pub(crate) async fn refused_as_foreign(world: &dyn World, op: Op) {
    let error = refused(world, op).await;
    assert_eq!(error.kind, OpErrorKind::Foreign, "{error}");
}

/// Applies a change that does not find what it builds on.
pub(crate) async fn refused_as_missing(world: &dyn World, op: Op) {
    let error = refused(world, op).await;
    assert_eq!(error.kind, OpErrorKind::NotFound, "{error}");
}

pub(crate) async fn observe(world: &dyn World, kinds: &Kinds) -> Observed {
    world.dataplane().observe(kinds).await.unwrap()
}

pub(crate) async fn seen_bridge(world: &dyn World) -> Place<ObservedBridge> {
    let kinds = Kinds::from([Kind::Bridge]);
    observe(world, &kinds).await.bridge.unwrap()
}

pub(crate) async fn our_bridge(world: &dyn World) -> ObservedBridge {
    match seen_bridge(world).await {
        Place::Ours(bridge) => bridge,
        other @ (Place::Absent | Place::Foreign(_)) => panic!("{other:?}"),
    }
}

/// Podnet's routes, and others at one destination.
pub(crate) async fn seen_routes(
    world: &dyn World,
    destination: &str,
) -> BTreeMap<RouteKey, ObservedRoute> {
    let kinds = Kinds::from([Kind::Routes, Kind::RoutesIn(net(destination))]);
    observe(world, &kinds).await.routes.unwrap()
}

/// How a route of podnet's is seen.
pub(crate) fn as_seen(route: &Route) -> (RouteKey, ObservedRoute) {
    (
        route.key(),
        ObservedRoute::Ours {
            next_hop: Some(route.next_hop.clone()),
        },
    )
}

pub(crate) fn view(pod: &PodLink) -> PodView {
    PodView::of(pod)
}

/// A pod, from outside and from inside.
pub(crate) async fn seen_pod(
    world: &dyn World,
    pod: &PodLink,
) -> (Place<ObservedHostEnd>, Option<Inside>) {
    let kinds = Kinds::from([Kind::Pod(view(pod))]);
    let mut observed = observe(world, &kinds).await;
    let host_end = observed.pods.remove(&pod.host_ifname).unwrap();
    (host_end, observed.insides.remove(&pod.host_ifname))
}

/// Checks that a pod is all that it should be.
pub(crate) async fn assert_whole(world: &dyn World, pod: &PodLink) {
    let (host_end, inside) = seen_pod(world, pod).await;
    let right = ObservedHostEnd {
        on_bridge: true,
        mtu: pod.mtu,
        up: true,
        blocked: false,
        link_local: false,
        port: ObservedPort {
            learning: pod.trusted,
            flooded: pod.trusted,
            locked: Some(!pod.trusted),
            bypassed: pod.trusted,
            fixed: BTreeSet::from([pod.mac]),
        },
    };
    assert_eq!(host_end, Place::Ours(right));
    let interface = inside.unwrap().interface.unwrap();
    assert_eq!(
        (interface.mac, interface.mtu, interface.up),
        (pod.mac, pod.mtu, true)
    );
    assert_eq!(interface.addresses, pod.addresses.iter().copied().collect());
    assert_eq!(interface.gateways, pod.gateways.iter().copied().collect());
    let neighbours = pod
        .gateways
        .iter()
        .map(|gateway| (*gateway, pod.gateway_mac));
    assert_eq!(interface.neighbours, neighbours.collect());
    assert_eq!(interface.parameters, pod.parameters());
    let known = our_bridge(world).await.neighbours;
    assert!(
        pod.addresses
            .iter()
            .all(|address| known.get(&address.ip()) == Some(&pod.mac))
    );
}

/// Checks that nothing of a pod's is on the host.
pub(crate) async fn assert_no_host_end(world: &dyn World, pod: &PodLink) {
    assert_eq!(seen_pod(world, pod).await.0, Place::Absent);
}

pub(crate) async fn seen_netns(world: &dyn World, path: &Path) -> NetnsState {
    let kinds = Kinds::from([Kind::Namespace(path.to_owned())]);
    observe(world, &kinds).await.netns[path]
}

pub(crate) async fn seen_firewall(world: &dyn World) -> Vec<ObservedFirewall> {
    let kinds = Kinds::from([Kind::Firewall]);
    observe(world, &kinds).await.firewall.unwrap()
}
