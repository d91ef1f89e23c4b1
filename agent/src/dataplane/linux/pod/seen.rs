//! Looking at pods.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures::stream::{self, StreamExt};
use netlink_packet_route::link::InfoKind;
use podnet_core::kernel::{
    IfName, Inside, MacAddr, NetnsState, Observed, ObservedHostEnd, Place, PodView,
};

use super::super::errno::KernelError;
use super::super::socket::Socket;
use super::super::thread::on_thread;
use super::super::{Host, address, bridge, link, netns, sysctl};
use super::{PODS_AT_ONCE, inside, port};

/// Lists the host ends of all pods.
pub(in super::super) async fn host_ends(
    socket: &Socket,
) -> Result<BTreeMap<IfName, Place<ObservedHostEnd>>, KernelError> {
    let bridge = bridge::index(socket).await?;
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

/// Looks at pods, each by itself: the host ends, and into the namespaces.
pub(in super::super) async fn look_at(
    host: &Host,
    pods: &BTreeSet<PodView>,
    observed: &mut Observed,
) -> Result<(), KernelError> {
    observed.pods = ends_of(&host.socket, pods).await?;
    look_inside(host, pods, observed).await;
    Ok(())
}

async fn ends_of(
    socket: &Socket,
    pods: &BTreeSet<PodView>,
) -> Result<BTreeMap<IfName, Place<ObservedHostEnd>>, KernelError> {
    let bridge = bridge::index(socket).await?;
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
        .map(|pod| async move { (pod, inside_of(host, pod).await) })
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

/// What is inside of a pod's namespace; `None` if there is none.
async fn inside_of(host: &Host, pod: &PodView) -> Result<Option<Inside>, KernelError> {
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

/// What paths lead to.
pub(in super::super) async fn namespaces(
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
