//! The difference between what the kernel should hold and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::conflict::{Conflict, Contested};
use super::desired::Desired;
use super::faults;
use super::holding::ObservedHolding;
use super::intruder;
use super::link::{Bridge, IfName, MacAddr, PodLink};
use super::observed::{Inside, Observed, ObservedHostEnd, ObservedRoute, Place};
use super::op::Op;
use super::route::{NextHop, RouteKey};

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

    bridge(desired, observed, &mut plan, &mut removals);
    // No pod is attached for a moment without being held.
    holding(desired, observed, &mut plan, &mut removals);
    pods(desired, observed, &mut plan, &mut removals);
    neighbours(desired, observed, &mut plan, &mut removals);
    firewall(desired, observed, &mut plan, &mut removals);
    // After the rules that keep strangers out have come, and before they go.
    forwarding(desired, observed, &mut plan);
    routes(desired, observed, &mut plan, &mut removals);

    // What was built last goes first.
    plan.ops.extend(removals.into_iter().rev());
    plan
}

fn forwarding(desired: &Desired, observed: &Observed, plan: &mut Plan) {
    let Some(found) = &observed.forwarding else {
        return;
    };
    for (device, &on) in &desired.forwarding {
        let ingress = found.devices.get(device);
        if ingress.is_some_and(|ingress| ingress.on != on) {
            let device = device.clone();
            plan.ops.push(Op::SetForwarding { device, on });
        }
    }
    let barred = found
        .unguardable
        .iter()
        .filter(|_| desired.bridge.is_some());
    plan.conflicts.extend(barred.map(|device| Conflict {
        object: Contested::Forwarding(device.clone()),
        found: "the device's name, by which no rule could keep strangers out,".to_owned(),
    }));
}

/// Whether something foreign bears the bridge's name: then nothing can be built on it, while what is
/// not wanted any more can go all the same.
const fn bridge_is_foreign(observed: &Observed) -> bool {
    matches!(observed.bridge, Some(Place::Foreign(_)))
}

fn bridge(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let add = |plan: &mut Plan, bridge: &Bridge, present: &BTreeSet<_>| {
        let missing = bridge
            .addresses
            .iter()
            .filter(|address| !present.contains(*address));
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
            plan.conflicts.insert(Conflict {
                object: Contested::Bridge(bridge.name.clone()),
                found: found.clone(),
            });
        }
        (Some(bridge), Some(Place::Ours(found))) => {
            if !faults::bridge(bridge, found).is_empty() {
                plan.ops.push(Op::UpdateBridge(bridge.clone()));
            }
            add(plan, bridge, &found.addresses);
            let extra = found
                .addresses
                .iter()
                .filter(|a| !bridge.addresses.contains(a));
            for &address in extra {
                let op = Op::DeleteAddress {
                    device: bridge.name.clone(),
                    address,
                };
                // The kernel's own route to an old block must make room for the one to the peer
                // that has the block now.
                let makes_room = IpNetwork::new(address.network(), address.prefix())
                    .is_ok_and(|network| desired.routes.contains_key(&RouteKey::to(network)));
                if makes_room {
                    plan.ops.push(op);
                } else {
                    removals.push(op);
                }
            }
        }
    }
}

fn pods(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    for (host_ifname, pod) in &desired.pods {
        if desired.in_flight.contains_key(host_ifname) || bridge_is_foreign(observed) {
            continue;
        }
        let looked_into = observed.pods.contains_key(host_ifname);
        let Some(host_end) = faults::place(host_ifname, observed) else {
            continue;
        };
        if let Place::Foreign(found) = host_end {
            plan.conflicts.insert(Conflict {
                object: Contested::HostEnd(host_ifname.clone(), pod.pod.clone()),
                found: found.clone(),
            });
        } else if observed.hidden.contains_key(host_ifname) {
            // Nothing is known of it.
        } else if looked_into {
            looked_at_pod(pod, host_end, observed.insides.get(host_ifname), plan);
        } else if !matches!(host_end, Place::Ours(end) if faults::host_end(pod, end).is_empty()) {
            plan.unclear.insert(host_ifname.clone());
        }
    }
    let found: BTreeMap<_, _> = observed
        .host_ends
        .iter()
        .flatten()
        .chain(&observed.pods)
        .collect();
    for (host_ifname, place) in found {
        let known =
            desired.pods.contains_key(host_ifname) || desired.in_flight.contains_key(host_ifname);
        if !known && matches!(place, Place::Ours(_)) {
            removals.push(Op::DetachPod {
                host_ifname: host_ifname.clone(),
                netns: None,
            });
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
    let same = |inside: &&Inside| pod.netns.inode.is_none_or(|inode| inode == inside.inode);
    let Some(inside) = inside.filter(same) else {
        plan.gone.insert(pod.host_ifname.clone());
        return;
    };
    match (host_end, &inside.interface) {
        (Place::Ours(end), Some(interface)) => {
            let outside = faults::host_end(pod, end);
            if !(outside.is_empty() && faults::interface(pod, interface).is_empty()) {
                plan.ops.push(Op::RepairPod(pod.clone()));
            }
        }
        // One end of a veth never outlives the other: this interface is none of ours.
        (Place::Absent | Place::Foreign(_), Some(_)) => {
            let ends = (pod.ifname.clone(), pod.host_ifname.clone());
            let object = Contested::Interface(ends.0, ends.1, pod.pod.clone());
            let found = "an interface of the same name".to_owned();
            plan.conflicts.insert(Conflict { object, found });
        }
        (Place::Ours(_) | Place::Absent | Place::Foreign(_), None) => {
            plan.ops.push(Op::AttachPod(pod.clone()));
        }
    }
}

fn neighbours(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let Some(bridge) = &desired.bridge else {
        return;
    };
    let none = BTreeMap::new();
    let found: &BTreeMap<IpAddr, MacAddr> = match &observed.bridge {
        Some(Place::Ours(found)) if found.mac == bridge.mac => &found.neighbours,
        // The kernel forgets them all, the permanent ones too, when the bridge's own link-layer
        // address changes (`neigh_changeaddr` in net/core/neighbour.c).
        Some(Place::Ours(_) | Place::Absent) => &none,
        Some(Place::Foreign(_)) | None => return,
    };
    let settled = desired
        .pods
        .values()
        .filter(|pod| !desired.in_flight.contains_key(&pod.host_ifname));
    let wanted: BTreeMap<IpAddr, MacAddr> = settled
        .flat_map(|pod| pod.addresses.iter().map(|address| (address.ip(), pod.mac)))
        .collect();
    let device = &bridge.name;
    for (&address, &mac) in &wanted {
        if found.get(&address) != Some(&mac) {
            plan.ops.push(Op::SetNeighbour {
                device: device.clone(),
                address,
                mac,
            });
        }
    }
    let in_flight = |address| desired.in_flight.values().any(|pod| pod.contains(address));
    for address in found.keys() {
        if !wanted.contains_key(address) && !in_flight(address) {
            let device = device.clone();
            removals.push(Op::DeleteNeighbour {
                device,
                address: *address,
            });
        }
    }
}

fn routes(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let Some(found) = &observed.routes else {
        return;
    };
    plan.conflicts.extend(intruder::routes(desired, found));
    for (key, route) in &desired.routes {
        let op = match found.get(key) {
            Some(ObservedRoute::Ours { next_hop }) if *next_hop == Some(route.next_hop) => continue,
            Some(ObservedRoute::Ours { .. }) => Op::ReplaceRoute(*route),
            Some(ObservedRoute::Foreign(found)) => {
                plan.conflicts.insert(Conflict {
                    object: Contested::Route(*route),
                    found: found.clone(),
                });
                continue;
            }
            None => Op::AddRoute(*route),
        };
        // Without the bridge there is no gateway address for such a route to come from.
        let needs_bridge = matches!(route.next_hop, NextHop::Gateway { .. });
        if !(needs_bridge && bridge_is_foreign(observed)) {
            plan.ops.push(op);
        }
    }
    for (key, route) in found {
        if matches!(route, ObservedRoute::Ours { .. }) && !desired.routes.contains_key(key) {
            removals.push(Op::DeleteRoute(*key));
        }
    }
}

fn firewall(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let Some(backends) = &observed.firewall else {
        return;
    };
    let wanted = !desired.firewall.chains.is_empty();
    for backend in backends.iter().filter(|_| wanted) {
        let share = faults::share(&desired.firewall, backend);
        let hidden = backend
            .hidden()
            .filter(|(chain, _)| share.chains.contains_key(chain));
        plan.conflicts.extend(hidden.map(|(_, conflict)| conflict));
    }
    // Rules that no back end could hold are tried as well, so that the failure is told.
    let held = !wanted || backends.iter().any(|backend| backend.primary);
    let right = held
        && backends.iter().all(|backend| {
            let share = faults::share(&desired.firewall, backend);
            faults::rules(&share, backend).is_empty()
        });
    if right {
        return;
    }
    if wanted {
        plan.ops.push(Op::SetFirewall(desired.firewall.clone()));
    } else {
        removals.push(Op::RemoveFirewall);
    }
}

fn holding(desired: &Desired, observed: &Observed, plan: &mut Plan, removals: &mut Vec<Op>) {
    let Some(found) = &observed.holding else {
        return;
    };
    if desired.holding.is_some() {
        plan.ops.extend(found.changes(desired));
    } else if matches!(
        found,
        ObservedHolding::Table { .. } | ObservedHolding::Unseen(_)
    ) {
        removals.push(Op::RemoveHolding);
    }
}
