//! Permanent neighbours on the bridge: they are exempt from the limits of the neighbour table, which all
//! namespaces of a host share.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::bridge;
use super::desired::Desired;
use super::diff::Draft;
use super::kinds::Kind;
use super::link::{IfName, MacAddr};
use super::observed::{Observed, Place};
use super::op::Operation;

/// A change of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes a permanent neighbour on the bridge.
    Set {
        /// The bridge.
        device: IfName,
        /// The pod's address.
        address: IpAddr,
        /// The pod's link-layer address.
        mac: MacAddr,
    },
    /// Removes a neighbour from the bridge.
    Delete {
        /// The bridge.
        device: IfName,
        /// The address.
        address: IpAddr,
    },
}

impl Op {
    /// The address of the neighbour.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        match self {
            Self::Set { address, .. } | Self::Delete { address, .. } => *address,
        }
    }

    /// The bridge.
    #[must_use]
    pub const fn device(&self) -> &IfName {
        match self {
            Self::Set { device, .. } | Self::Delete { device, .. } => device,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set {
                device,
                address,
                mac,
            } => write!(f, "set neighbour {address} to {mac} on {device}"),
            Self::Delete { device, address } => {
                write!(f, "delete neighbour {address} on {device}")
            }
        }
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, observed: &Observed) -> Vec<String> {
        let address = self.address();
        let found = bridge::seen(observed).and_then(|bridge| bridge.neighbours.get(&address));
        let words = found.map(|mac| format!("{address} at {mac}"));
        words.into_iter().collect()
    }

    fn is_drift(&self, held: &Desired) -> bool {
        let mut pods = held.pods.values();
        match self {
            Self::Set { address, mac, .. } => pods.any(|pod| pod.mac == *mac && pod.has(*address)),
            // A neighbour that should not be there, and was not there before: another program has added it.
            Self::Delete { address, .. } => {
                held.bridge.is_some() && !pods.any(|pod| pod.has(*address))
            }
        }
    }

    /// The records of pods say what became of them.
    fn keep(&self, _held: &mut Desired, _before: &Desired) {}

    fn causes(&self) -> Vec<Kind> {
        vec![Kind::Neighbours, Kind::Bridge]
    }
}

pub(super) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    let Some(bridge) = &desired.bridge else {
        return;
    };
    let none = BTreeMap::new();
    let found: &BTreeMap<IpAddr, MacAddr> = match &observed.bridge {
        Some(Place::Ours(found)) if found.mac == bridge.mac => &found.neighbours,
        // The kernel forgets all neighbours, the permanent ones too, when the bridge's own link-layer
        // address changes (`neigh_changeaddr` in net/core/neighbour.c).
        Some(Place::Ours(_) | Place::Absent) => &none,
        Some(Place::Foreign(_)) | None => return,
    };
    let wanted: BTreeMap<IpAddr, MacAddr> = desired
        .settled_pods()
        .flat_map(|pod| pod.addresses.iter().map(|address| (address.ip(), pod.mac)))
        .collect();
    for (&address, &mac) in &wanted {
        if found.get(&address) != Some(&mac) {
            let device = bridge.name.clone();
            draft.add(Op::Set {
                device,
                address,
                mac,
            });
        }
    }
    let in_flight = |address| desired.in_flight.values().any(|pod| pod.contains(address));
    for address in found.keys() {
        if !wanted.contains_key(address) && !in_flight(address) {
            let device = bridge.name.clone();
            let address = *address;
            draft.remove(Op::Delete { device, address });
        }
    }
}
