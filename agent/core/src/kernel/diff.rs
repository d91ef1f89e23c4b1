//! The difference between what the kernel should hold and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::desired::Desired;
use super::link::{Bridge, IfName, MacAddr, PodLink};
use super::observed::{Inside, Observed, ObservedBridge, ObservedHostEnd, ObservedRoute, Place};
use super::op::Op;
use super::route::Route;
use crate::firewall::{Chain, Rule, RuleSet};

/// Something foreign that stands in the place of an object of podnet's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The object of podnet's.
    pub object: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is in the way", self.object, self.found)
    }
}

/// What to do so that the kernel holds what it should.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The changes, in an order in which each finds what it builds on; additions come before
    /// removals.
    pub ops: Vec<Op>,
    /// What cannot be done, since something foreign is in the way.
    pub conflicts: BTreeSet<Conflict>,
    /// Pods (by host end) that need a look into their namespace before they can be judged.
    pub unclear: BTreeSet<IfName>,
    /// Pods (by host end) whose namespace has vanished, or is another by now.
    pub gone: BTreeSet<IfName>,
}

/// Compares what the kernel should hold with what it holds, as far as that was observed: what was
/// not looked at is left alone. Walks both, so that nothing that should not be there is missed.
#[must_use]
pub fn diff(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut removals = Vec::new();

    sysctls(desired, observed, &mut plan);
    let usable = bridge(desired, observed, &mut plan, &mut removals);
    if usable {
        pods(desired, observed, &mut plan, &mut removals);
        neighbours(desired, observed, &mut plan, &mut removals);
    }
    firewall(desired, observed, &mut plan, &mut removals);
    if usable {
        routes(desired, observed, &mut plan, &mut removals);
    }

    // What was built last goes first.
    plan.ops.extend(removals.into_iter().rev());
    plan
}

fn sysctls(desired: &Desired, observed: &Observed, plan: &mut Plan) {
    let Some(found) = &observed.sysctls else { return };
    for (&sysctl, value) in &desired.sysctls {
        if found.get(&sysctl).is_some_and(|found| found != value) {
            plan.ops.push(Op::SetSysctl { sysctl, value: value.clone() });
        }
    }
}

/// Returns whether what builds on the bridge can be judged: not while something foreign bears its
/// name.
fn bridge(
    desired: &Desired,
    observed: &Observed,
    plan: &mut Plan,
    removals: &mut Vec<Op>,
) -> bool {
    let add = |plan: &mut Plan, bridge: &Bridge, present: &BTreeSet<_>| {
        let missing = bridge.addresses.iter().filter(|address| !present.contains(*address));
        plan.ops.extend(missing.map(|&address| Op::AddAddress {
            device: bridge.name.clone(),
            address,
        }));
    };
    match (&desired.bridge, &observed.bridge) {
        (_, None) | (None, Some(Place::Absent | Place::Foreign(_))) => {}
        (None, Some(Place::Ours(_))) => removals.push(Op::DeleteBridge(IfName::bridge())),
        (Some(bridge), Some(Place::Absent)) => {
            plan.ops.push(Op::CreateBridge(bridge.clone()));
            add(plan, bridge, &BTreeSet::new());
        }
        (Some(bridge), Some(Place::Foreign(found))) => {
            let object = format!("bridge {}", bridge.name);
            plan.conflicts.insert(Conflict { object, found: found.clone() });
            return false;
        }
        (Some(bridge), Some(Place::Ours(found))) => {
            if (found.mac, found.mtu, found.up) != (bridge.mac, bridge.mtu, true) {
                plan.ops.push(Op::UpdateBridge(bridge.clone()));
            }
            add(plan, bridge, &found.addresses);
            let extra = found.addresses.iter().filter(|a| !bridge.addresses.contains(a));
            removals.extend(extra.map(|&address| Op::DeleteAddress {
                device: bridge.name.clone(),
                address,
            }));
        }
    }
    true
}

fn pods(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    for (host_ifname, pod) in &desired.pods {
        if desired.in_flight.contains_key(host_ifname) {
            continue;
        }
        let looked_into = observed.pods.get(host_ifname);
        let listed = observed
            .host_ends
            .as_ref()
            .map(|all| all.get(host_ifname).unwrap_or(&Place::Absent));
        let Some(host_end) = looked_into.or(listed) else { continue };
        if let Place::Foreign(found) = host_end {
            let object = format!("host end {host_ifname} of pod {}", pod.pod);
            plan.conflicts.insert(Conflict { object, found: found.clone() });
        } else if looked_into.is_some() {
            looked_at_pod(pod, host_end, observed.insides.get(host_ifname), plan);
        } else if !matches!(host_end, Place::Ours(end) if host_end_is_right(pod, end)) {
            plan.unclear.insert(host_ifname.clone());
        }
    }
    for (host_ifname, place) in observed.host_ends.iter().flatten() {
        let known = desired.pods.contains_key(host_ifname)
            || desired.in_flight.contains_key(host_ifname);
        if !known && matches!(place, Place::Ours(_)) {
            removals.push(Op::DetachPod { host_ifname: host_ifname.clone(), netns: None });
        }
    }
}

/// Judges a pod whose namespace was looked into.
fn looked_at_pod(
    pod: &PodLink,
    host_end: &Place<ObservedHostEnd>,
    inside: Option<&Inside>,
    plan: &mut Plan,
) {
    match inside {
        Some(inside) if pod.netns.inode.is_none_or(|inode| inode == inside.inode) => {
            match (host_end, &inside.interface) {
                (Place::Ours(end), Some(_)) => {
                    if !(host_end_is_right(pod, end) && inside_is_right(pod, inside)) {
                        plan.ops.push(Op::RepairPod(pod.clone()));
                    }
                }
                // An end without the other cannot be: the one that is here is another pair's.
                (Place::Ours(_) | Place::Absent | Place::Foreign(_), _) => {
                    plan.ops.push(Op::AttachPod(pod.clone()));
                }
            }
        }
        Some(_) | None => {
            plan.gone.insert(pod.host_ifname.clone());
        }
    }
}

fn host_end_is_right(pod: &PodLink, end: &ObservedHostEnd) -> bool {
    *end == ObservedHostEnd { on_bridge: true, mtu: pod.mtu, up: true }
}

fn inside_is_right(pod: &PodLink, inside: &Inside) -> bool {
    inside.interface.as_ref().is_some_and(|interface| {
        interface.up
            && interface.mac == pod.mac
            && interface.mtu == pod.mtu
            // A pod may have more of everything: what its user adds is not podnet's.
            && pod.addresses.iter().all(|address| interface.addresses.contains(address))
            && pod.gateways.iter().all(|gateway| {
                interface.gateways.contains(gateway)
                    && interface.neighbours.get(gateway) == Some(&pod.gateway_mac)
            })
    })
}

fn neighbours(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let none = BTreeMap::new();
    let found: &BTreeMap<IpAddr, MacAddr> = match &observed.bridge {
        Some(Place::Ours(ObservedBridge { neighbours, .. })) => neighbours,
        Some(Place::Absent) if desired.bridge.is_some() => &none,
        Some(Place::Absent | Place::Foreign(_)) | None => return,
    };
    let Some(bridge) = &desired.bridge else { return };
    let wanted: BTreeMap<IpAddr, MacAddr> = desired
        .pods
        .values()
        .flat_map(|pod| pod.addresses.iter().map(|address| (address.ip(), pod.mac)))
        .collect();
    let device = &bridge.name;
    for (&address, &mac) in &wanted {
        if found.get(&address) != Some(&mac) {
            plan.ops.push(Op::SetNeighbour { device: device.clone(), address, mac });
        }
    }
    let in_flight = |address| desired.in_flight.values().any(|pod| pod.contains(address));
    for address in found.keys() {
        if !wanted.contains_key(address) && !in_flight(address) {
            let device = device.clone();
            removals.push(Op::DeleteNeighbour { device, address: *address });
        }
    }
}

fn routes(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let Some(found) = &observed.routes else { return };
    for (key, route) in &desired.routes {
        match found.get(key) {
            None => plan.ops.push(Op::AddRoute(*route)),
            Some(ObservedRoute::Ours { next_hop }) if *next_hop == Some(route.next_hop) => {}
            Some(ObservedRoute::Ours { .. }) => plan.ops.push(Op::ReplaceRoute(*route)),
            Some(ObservedRoute::Foreign(found)) => {
                plan.conflicts.insert(route_conflict(route, found));
            }
        }
    }
    for (key, route) in found {
        if matches!(route, ObservedRoute::Ours { .. }) && !desired.routes.contains_key(key) {
            removals.push(Op::DeleteRoute(*key));
        }
    }
}

fn route_conflict(route: &Route, found: &str) -> Conflict {
    Conflict { object: format!("route {route}"), found: found.to_owned() }
}

fn firewall(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let Some(backends) = &observed.firewall else { return };
    let right = backends.iter().all(|backend| {
        let part = if backend.primary {
            desired.firewall.clone()
        } else {
            desired.firewall.forwarding()
        };
        holds(&backend.chains, &backend.jumps, &part)
    });
    if right {
        return;
    }
    if desired.firewall.chains.is_empty() {
        removals.push(Op::RemoveFirewall);
    } else {
        plan.ops.push(Op::SetFirewall(desired.firewall.clone()));
    }
}

/// Whether a back end holds exactly these rules, and each chain is jumped to once.
fn holds(
    chains: &BTreeMap<Chain, Vec<Option<Rule>>>,
    jumps: &BTreeMap<Chain, usize>,
    rules: &RuleSet,
) -> bool {
    Chain::ALL.iter().all(|chain| {
        let jumps = jumps.get(chain).copied().unwrap_or(0);
        match (rules.chains.get(chain), chains.get(chain)) {
            (None, None) => jumps == 0,
            (Some(rules), Some(found)) => {
                jumps == 1 && found.iter().copied().eq(rules.iter().copied().map(Some))
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    })
}
