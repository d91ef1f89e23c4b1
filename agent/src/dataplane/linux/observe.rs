//! Looking at what the kernel holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures::stream::{self, StreamExt};
use netlink_packet_route::link::InfoKind;
use podnet_core::kernel::{
    IfName, Inside, MacAddr, Mtu, NetnsState, Observed, ObservedBridge, ObservedHolding,
    ObservedHostEnd, Place, PodView, Scope,
};

use super::super::ObserveError;
use super::address::Address;
use super::errno::KernelError;
use super::link;
use super::netns;
use super::socket::Socket;
use super::thread::on_thread;
use super::{
    Host, PODS_AT_ONCE, address, forwarding, inside, neighbour, port, route, sysctl, underlay, way,
};

/// Looks at what a scope names.
pub(super) async fn observe(host: &Host, scope: &Scope) -> Result<Observed, ObserveError> {
    let socket = &host.socket;
    let mut observed = Observed::default();
    if scope.bridge {
        observed.bridge = Some(bridge(socket).await.map_err(|e| e.looking_at("bridge"))?);
    }
    if scope.host_ends {
        let found = host_ends(socket)
            .await
            .map_err(|e| e.looking_at("host ends of pods"))?;
        observed.host_ends = Some(found);
    }
    if !scope.pods.is_empty() {
        observed.pods = pods(socket, &scope.pods)
            .await
            .map_err(|e| e.looking_at("pods"))?;
        look_inside(host, &scope.pods, &mut observed).await;
    }
    if let Some(wanted) = &scope.routes {
        let found = route::observe(socket, wanted)
            .await
            .map_err(|e| e.looking_at("routes"))?;
        observed.routes = Some(found);
    }
    if scope.firewall {
        observed.firewall = Some(host.firewall.observe().await?);
    }
    if scope.holding {
        observed.holding = Some(holding(host).await);
    }
    if scope.chains {
        observed.chains = host.firewall.others().await;
    }
    if let Some(asked) = &scope.forwarding {
        let found = forwarding::observe(socket, asked)
            .await
            .map_err(|e| e.looking_at("forwarding"))?;
        observed.forwarding = Some(found);
    }
    if scope.addresses {
        let found = underlay::addresses(socket)
            .await
            .map_err(|e| e.looking_at("addresses"))?;
        observed.addresses = Some(found);
    }
    if scope.host_routes {
        let found = underlay::routes(socket)
            .await
            .map_err(|e| e.looking_at("the host's routes"))?;
        observed.host_routes = Some(found);
    }
    if !scope.underlay.is_empty() {
        let found = underlay::paths(socket, &scope.underlay).await;
        observed.underlay = found.map_err(|e| e.looking_at("the ways to the peers"))?;
    }
    if !scope.ways.is_empty() {
        let found = way::observe(socket, &scope.ways).await;
        observed.ways = found.map_err(|e| e.looking_at("the ways of packets"))?;
    }
    if let Some(destinations) = &scope.policy {
        let found = way::policy(socket, destinations).await;
        observed.policy = Some(found.map_err(|e| e.looking_at("the rules of policy routing"))?);
    }
    if !scope.netns.is_empty() {
        let found = namespaces(scope.netns.clone(), host.netns_inode).await;
        observed.netns = found.map_err(|e| e.looking_at("network namespaces"))?;
    }
    Ok(observed)
}

/// What nftables holds pods to. Where it cannot, the reason names what is lacking of the rest that holds them, too.
async fn holding(host: &Host) -> ObservedHolding {
    let found = host.held.observe().await;
    let ObservedHolding::Impossible(mut why) = found else {
        return found;
    };
    let links = link::list(&host.socket, Some(InfoKind::Veth)).await;
    let links = links.unwrap_or_default();
    if links
        .iter()
        .any(|link| link.is_our_host_end() && link.port.is_unlockable())
    {
        why.push_str(
            "; nor does the bridge of this kernel hold pods to their MAC addresses: boot Linux 5.18 or later",
        );
    }
    if sysctl::takes_any_source().await == Ok(true) {
        why.push_str(
            "; nor does the host drop what comes from addresses of no pod, since net.ipv4.conf.all.rp_filter \
             is 2: set it to 1",
        );
    }
    ObservedHolding::Impossible(why)
}

async fn bridge(socket: &Socket) -> Result<Place<ObservedBridge>, KernelError> {
    let Some(link) = link::look_up(socket, &IfName::bridge()).await? else {
        return Ok(Place::Absent);
    };
    if !link.is_our_bridge() {
        return Ok(Place::Foreign(link.foreign()));
    }
    let index = link.index;
    let addresses = address::list(socket, Some(index)).await?;
    let own = |address: &&Address| address.index == index;
    let link_local = addresses.iter().filter(own).any(Address::is_link_local);
    let addresses = addresses
        .into_iter()
        .filter(|found| found.index == index && found.global)
        .map(|found| found.address);
    Ok(Place::Ours(ObservedBridge {
        index: link::index_of(&link),
        mac: link
            .mac
            .ok_or(KernelError::Incomplete("link-layer address"))?,
        mtu: Mtu(link.mtu),
        up: link.up,
        addresses: addresses.collect(),
        link_local: link.link_local || link_local,
        neighbours: neighbour::list(socket, index).await?,
        parameters: sysctl::of_bridge(&IfName::bridge()).await?,
    }))
}

async fn host_ends(
    socket: &Socket,
) -> Result<BTreeMap<IfName, Place<ObservedHostEnd>>, KernelError> {
    let bridge = link::bridge_index(socket).await?;
    let link_local = address::link_local(socket).await?;
    let links = link::list(socket, Some(InfoKind::Veth)).await?;
    let mut fixed: BTreeMap<u32, BTreeSet<MacAddr>> = BTreeMap::new();
    if let Some(bridge) = bridge {
        for entry in port::list(socket, bridge).await? {
            fixed.entry(entry.index).or_default().insert(entry.mac);
        }
    }
    let named = links.iter().filter_map(|link| {
        let name: IfName = link.name.parse().ok()?;
        let fixed = fixed.remove(&link.index).unwrap_or_default();
        let host_end = || (name.clone(), link.host_end(bridge, &link_local, fixed));
        name.is_host_end().then(host_end)
    });
    Ok(named.collect())
}

async fn pods(
    socket: &Socket,
    pods: &BTreeSet<PodView>,
) -> Result<BTreeMap<IfName, Place<ObservedHostEnd>>, KernelError> {
    let bridge = link::bridge_index(socket).await?;
    let link_local = address::link_local(socket).await?;
    let links = pods.iter().map(|pod| (link::get(&pod.host_ifname), 0));
    let links = socket.batch(links.collect()).await;
    let fixed = match bridge {
        Some(bridge) => {
            let entries = pods.iter().map(|pod| (port::get(bridge, pod.mac), 0));
            socket.batch(entries.collect()).await
        }
        None => pods.iter().map(|_| Ok(Vec::new())).collect(),
    };
    let mut places = BTreeMap::new();
    for ((pod, link), fixed) in pods.iter().zip(links).zip(fixed) {
        let place = match (link::found(link)?, port::found(fixed)?) {
            (Some(link), fixed) => {
                let here = fixed.filter(|entry| entry.index == link.index);
                let fixed = here.into_iter().map(|entry| entry.mac);
                link.host_end(bridge, &link_local, fixed.collect())
            }
            (None, _) => Place::Absent,
        };
        places.insert(pod.host_ifname.clone(), place);
    }
    Ok(places)
}

/// Looks into the namespaces of pods. One that cannot be looked into keeps no other from it.
async fn look_inside(host: &Host, pods: &BTreeSet<PodView>, observed: &mut Observed) {
    let looks: Vec<_> = pods
        .iter()
        .map(|pod| async move { (pod, inside(host, pod).await) })
        .collect();
    let mut found = stream::iter(looks).buffer_unordered(PODS_AT_ONCE);
    while let Some((pod, found)) = found.next().await {
        let host_ifname = pod.host_ifname.clone();
        match found {
            Ok(Some(inside)) => drop(observed.insides.insert(host_ifname, inside)),
            Ok(None) => {}
            Err(error) => {
                let error = error.at(format!("namespace {}", pod.netns.display()));
                observed.hidden.insert(host_ifname, error);
            }
        }
    }
}

/// What is inside of a pod's namespace; `None` where there is none.
async fn inside(host: &Host, pod: &PodView) -> Result<Option<Inside>, KernelError> {
    let ifname = pod.ifname.clone();
    let read = move || sysctl::of_pod_interface(&ifname);
    let entered = netns::enter_and(&pod.netns, host.driver.runtime(), read).await?;
    let Some((entered, parameters)) = entered else {
        return Ok(None);
    };
    let interface = inside::observe(&entered, &pod.ifname, parameters?).await?;
    let inode = entered.netns.inode();
    Ok(Some(Inside { inode, interface }))
}

async fn namespaces(
    paths: BTreeSet<PathBuf>,
    own_inode: u64,
) -> Result<BTreeMap<PathBuf, NetnsState>, KernelError> {
    on_thread(move || {
        let states = paths.into_iter().map(|path| {
            let state = netns::state(&path, own_inode)?;
            Ok((path, state))
        });
        states.collect()
    })
    .await?
}
