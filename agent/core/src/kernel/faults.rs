//! What is wrong with what the kernel holds, in words: where there are none, nothing is.

use std::net::IpAddr;

use super::desired::Desired;
use super::link::{Bridge, IfName, PodLink};
use super::observed::{
    Observed, ObservedBridge, ObservedFirewall, ObservedHostEnd, ObservedInterface, ObservedRoute,
    Place,
};
use super::op::Op;
use super::route::{NextHop, RouteKey};
use super::sysctl::LinkParameters;
use crate::firewall::{Chain, RuleSet};

/// What is wrong with the bridge, but for its addresses.
pub(super) fn bridge(wanted: &Bridge, found: &ObservedBridge) -> Vec<String> {
    let mut faults = Vec::new();
    if found.mac != wanted.mac {
        faults.push(format!("link-layer address {}", found.mac));
    }
    if found.mtu != wanted.mtu {
        faults.push(format!("MTU {}", found.mtu.0));
    }
    if !found.up {
        faults.push("down".to_owned());
    }
    if found.link_local {
        faults.push("with link-local addresses".to_owned());
    }
    faults.extend(parameters(
        &wanted.name,
        &wanted.parameters(),
        &found.parameters,
    ));
    faults
}

/// What is wrong with the kernel parameters of a link. One that is not there needs no value.
fn parameters(link: &IfName, wanted: &LinkParameters, found: &LinkParameters) -> Vec<String> {
    let differing = wanted.iter().filter_map(|(parameter, wanted)| {
        let value = found.get(parameter).filter(|value| *value != wanted)?;
        Some(format!("{} = {value}", parameter.on(link)))
    });
    differing.collect()
}

/// What is wrong with the host end of a pod.
pub(super) fn host_end(pod: &PodLink, found: &ObservedHostEnd) -> Vec<String> {
    let host_ifname = &pod.host_ifname;
    let mut faults = Vec::new();
    if !found.on_bridge {
        faults.push(format!("{host_ifname} not on the bridge"));
    }
    if found.mtu != pod.mtu {
        faults.push(format!("{host_ifname} with MTU {}", found.mtu.0));
    }
    if !found.up {
        faults.push(format!("{host_ifname} down"));
    }
    if found.blocked {
        faults.push(format!("{host_ifname} blocked by the bridge"));
    }
    if found.link_local {
        faults.push(format!("{host_ifname} with link-local addresses"));
    }
    // Where it is no port, there is nothing to hold it by.
    if found.on_bridge {
        faults.extend(found.port.faults(pod));
    }
    faults
}

/// What is wrong with a pod's interface. It may have more of everything: what the pod's user adds is
/// not podnet's.
pub(super) fn interface(pod: &PodLink, found: &ObservedInterface) -> Vec<String> {
    let ifname = &pod.ifname;
    let mut faults = Vec::new();
    if !found.up {
        faults.push(format!("{ifname} down"));
    }
    if found.mac != pod.mac {
        faults.push(format!("{ifname} with link-layer address {}", found.mac));
    }
    if found.mtu != pod.mtu {
        faults.push(format!("{ifname} with MTU {}", found.mtu.0));
    }
    for address in &pod.addresses {
        if !found.addresses.contains(address) {
            faults.push(format!("{ifname} without address {address}"));
        }
    }
    for gateway in &pod.gateways {
        if !found.gateways.contains(gateway) {
            faults.push(format!("no default route via {gateway}"));
        }
        match found.neighbours.get(gateway) {
            Some(mac) if *mac == pod.gateway_mac => {}
            Some(mac) => faults.push(format!("neighbour {gateway} at {mac}")),
            None => faults.push(format!("no neighbour {gateway}")),
        }
    }
    faults.extend(parameters(ifname, &pod.parameters(), &found.parameters));
    faults
}

/// What is wrong with the rules in a back end: it is to hold exactly these, and a single jump to each
/// chain. Of a table that cannot be read nothing is known.
pub(super) fn rules(wanted: &RuleSet, found: &ObservedFirewall) -> Vec<String> {
    let mut faults = Vec::new();
    let readable = |chain: &Chain| !found.unreadable.contains(chain);
    for chain in Chain::ALL.into_iter().filter(readable) {
        let (name, hook) = (chain.name(), chain.hook());
        let backend = &found.backend;
        match (wanted.chains.get(&chain), found.chains.get(&chain)) {
            (Some(_), None) => faults.push(format!("no chain {name} in {backend}")),
            (None, Some(_)) if found.is_husk(chain) => {}
            (None, Some(_)) => faults.push(format!("a chain {name} in {backend}")),
            (Some(rules), Some(held))
                if !held.iter().map(Option::as_ref).eq(rules.iter().map(Some)) =>
            {
                faults.push(format!("other rules in {name} of {backend}"));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        let jumps = found.jumps.get(&chain).copied().unwrap_or(0);
        if jumps != usize::from(wanted.chains.contains_key(&chain)) {
            faults.push(format!("{jumps} jumps from {hook} to {name} in {backend}"));
        }
    }
    faults
}

/// The part of the rules that a back end is to hold.
pub(super) fn share(wanted: &RuleSet, backend: &ObservedFirewall) -> RuleSet {
    if backend.primary {
        wanted.clone()
    } else {
        wanted.forwarding()
    }
}

/// What was found where a change puts something right.
#[must_use]
pub fn found(op: &Op, desired: &Desired, observed: &Observed) -> String {
    let faults = match op {
        Op::SetForwarding { device, .. } => {
            let forwarding = observed.forwarding.as_ref();
            let ingress = forwarding.and_then(|found| found.devices.get(device));
            ingress
                .map(|ingress| u8::from(ingress.on).to_string())
                .into_iter()
                .collect()
        }
        Op::UpdateBridge(wanted) => {
            the_bridge(observed).map_or_else(Vec::new, |found| bridge(wanted, found))
        }
        Op::DeleteAddress { address, .. } => vec![address.to_string()],
        Op::RepairPod(pod) => pod_faults(pod, observed),
        Op::DetachPod { host_ifname, .. } => vec![format!("{host_ifname} of no pod")],
        Op::SetNeighbour { address, .. } | Op::DeleteNeighbour { address, .. } => {
            neighbour(*address, observed).into_iter().collect()
        }
        Op::AddRoute(route) | Op::ReplaceRoute(route) => {
            standing(&route.key(), observed).into_iter().collect()
        }
        Op::DeleteRoute(key) => standing(key, observed).into_iter().collect(),
        Op::SetFirewall(_) | Op::RemoveFirewall => {
            let backends = observed.firewall.iter().flatten();
            backends
                .flat_map(|backend| rules(&share(&desired.firewall, backend), backend))
                .collect()
        }
        Op::SetHolding(wanted) => {
            let found = observed.holding.as_ref();
            found.map_or_else(Vec::new, |found| found.faults(wanted))
        }
        Op::HoldPod { holding, .. } => holding.missing().collect(),
        Op::ReleasePod { holding, .. } => holding.extra().collect(),
        Op::CreateBridge(_)
        | Op::RemoveHolding
        | Op::DeleteBridge(_)
        | Op::AddAddress { .. }
        | Op::AttachPod(_)
        | Op::FlushConnections(_) => Vec::new(),
    };
    if faults.is_empty() {
        "nothing".to_owned()
    } else {
        faults.join(", ")
    }
}

fn the_bridge(observed: &Observed) -> Option<&ObservedBridge> {
    if let Some(Place::Ours(found)) = &observed.bridge {
        Some(found)
    } else {
        None
    }
}

fn pod_faults(pod: &PodLink, observed: &Observed) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(Place::Ours(found)) = place(&pod.host_ifname, observed) {
        faults.extend(host_end(pod, found));
    }
    let inside = observed.insides.get(&pod.host_ifname);
    if let Some(found) = inside.and_then(|inside| inside.interface.as_ref()) {
        faults.extend(interface(pod, found));
    }
    faults
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

fn neighbour(address: IpAddr, observed: &Observed) -> Option<String> {
    let mac = the_bridge(observed)?.neighbours.get(&address)?;
    Some(format!("{address} at {mac}"))
}

fn standing(key: &RouteKey, observed: &Observed) -> Option<String> {
    let found = observed.routes.as_ref()?.get(key)?;
    Some(match found {
        ObservedRoute::Ours {
            next_hop: Some(NextHop::Gateway { via, .. }),
        } => format!("a route via {via}"),
        ObservedRoute::Ours {
            next_hop: Some(NextHop::Unreachable),
        } => "an unreachable route".to_owned(),
        ObservedRoute::Ours { next_hop: None } => "a route as podnet makes none".to_owned(),
        ObservedRoute::Foreign(words) => words.clone(),
    })
}
