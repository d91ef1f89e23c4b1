//! Which pods to attach, to repair and to detach.

use std::collections::BTreeMap;

use super::seen::{self, Inside, ObservedHostEnd};
use super::{Contested, Op, PodLink};
use crate::kernel::bridge;
use crate::kernel::desired::Desired;
use crate::kernel::diff::Draft;
use crate::kernel::observed::{Observed, Place};

pub(in crate::kernel) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    for pod in desired.settled_pods() {
        if bridge::is_foreign(observed) {
            continue;
        }
        let host_ifname = &pod.host_ifname;
        let looked_into = observed.pods.contains_key(host_ifname);
        let Some(host_end) = seen::place(host_ifname, observed) else {
            continue;
        };
        if let Place::Foreign(found) = host_end {
            let object = Contested::HostEnd {
                host_ifname: host_ifname.clone(),
                pod: pod.pod.clone(),
            };
            draft.contest(object, found);
        } else if observed.hidden.contains_key(host_ifname) {
            // Nothing is known of it.
        } else if looked_into {
            looked_at(pod, host_end, observed.insides.get(host_ifname), draft);
        } else if !matches!(host_end, Place::Ours(end) if end.defects(pod).is_empty()) {
            draft.plan.unclear.insert(host_ifname.clone());
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
            draft.remove(Op::Detach {
                host_ifname: host_ifname.clone(),
                netns: None,
            });
        }
    }
}

/// Judges a pod whose namespace was looked into.
fn looked_at(
    pod: &PodLink,
    host_end: &Place<ObservedHostEnd>,
    inside: Option<&Inside>,
    draft: &mut Draft,
) {
    let same = |inside: &&Inside| pod.netns.inode.is_none_or(|inode| inode == inside.inode);
    let Some(inside) = inside.filter(same) else {
        draft.plan.gone.insert(pod.host_ifname.clone());
        return;
    };
    match (host_end, &inside.interface) {
        (Place::Ours(end), Some(interface)) => {
            if !(end.defects(pod).is_empty() && interface.defects(pod).is_empty()) {
                draft.add(Op::Repair(pod.clone()));
            }
        }
        // One end of a veth never outlives the other: this interface is not podnet's.
        (Place::Absent | Place::Foreign(_), Some(_)) => {
            let object = Contested::Interface {
                ifname: pod.ifname.clone(),
                host_ifname: pod.host_ifname.clone(),
                pod: pod.pod.clone(),
            };
            draft.contest(object, "an interface of the same name");
        }
        (Place::Ours(_) | Place::Absent | Place::Foreign(_), None) => {
            draft.add(Op::Attach(pod.clone()));
        }
    }
}
