//! The node's bridge, and its addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use podnet_proto::network;

use super::conflict::{self, Disputed};
use super::desired::{Desired, Input};
use super::diff::Draft;
use super::kinds::{Kind, Kinds};
use super::link::{IfIndex, IfName, MacAddr, Mtu};
use super::observed::{Observed, Place};
use super::op::Operation;
use super::route::RouteKey;
use super::sysctl::{self, LinkParameter, LinkParameters};

/// The node's bridge, as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: IfName,
    /// Its link-layer address: fixed, since a bridge without one takes the address of a port, and every
    /// pod's neighbour entry is wrong once that port is removed.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: Mtu,
    /// The gateway address of each block, with the block's prefix length.
    pub addresses: Vec<IpNetwork>,
}

impl Bridge {
    /// What its kernel parameters should be: the host takes no addresses and routes from what pods
    /// advertise on it, forwards what they send unless its source lies elsewhere, and when an address is
    /// removed, those that came later in its range stay.
    #[must_use]
    pub fn parameters(&self) -> LinkParameters {
        LinkParameters::from([
            (LinkParameter::AcceptRa, 0),
            (LinkParameter::Forwarding, 1),
            (LinkParameter::PromoteSecondaries, 1),
            (LinkParameter::ReversePathFilter, 1),
        ])
    }

    /// What is wrong with the bridge that was found, except for its addresses; in words.
    fn defects(&self, found: &ObservedBridge) -> Vec<String> {
        let mut defects = Vec::new();
        if found.mac != self.mac {
            defects.push(format!("link-layer address {}", found.mac));
        }
        if found.mtu != self.mtu {
            defects.push(format!("MTU {}", found.mtu.0));
        }
        if !found.up {
            defects.push("down".to_owned());
        }
        if found.link_local {
            defects.push("with link-local addresses".to_owned());
        }
        let parameters = sysctl::defects(&self.name, &self.parameters(), &found.parameters);
        defects.extend(parameters);
        defects
    }
}

/// The bridge of a node that uses a block.
pub(super) fn wanted(input: &Input<'_>) -> Bridge {
    let gateway = network::gateway(input.block);
    let address = IpNetwork::new(gateway.into(), input.block.prefix()).ok();
    Bridge {
        name: IfName::bridge(),
        mac: MacAddr::of_address(gateway),
        mtu: input.mtu,
        addresses: address.into_iter().collect(),
    }
}

/// The bridge, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedBridge {
    /// Its number.
    pub index: IfIndex,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its addresses of global scope.
    pub addresses: BTreeSet<IpNetwork>,
    /// Whether the kernel gives it a link-local IPv6 address.
    pub link_local: bool,
    /// The permanent neighbours on it.
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// Its kernel parameters; a parameter that this kernel does not have, or not at this MTU, is absent.
    pub parameters: LinkParameters,
}

/// Podnet's bridge, if it was looked at and is there.
pub(super) fn seen(observed: &Observed) -> Option<&ObservedBridge> {
    if let Some(Place::Ours(found)) = &observed.bridge {
        Some(found)
    } else {
        None
    }
}

/// Whether something foreign bears the bridge's name: then nothing can be built on it, but what is
/// no longer wanted can still be removed.
pub(super) const fn is_foreign(observed: &Observed) -> bool {
    matches!(observed.bridge, Some(Place::Foreign(_)))
}

/// A change of the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes the bridge, sets it up; its addresses come with [`Op::AddAddress`].
    Create(Bridge),
    /// Gives the bridge its link-layer address and MTU, sets it up.
    Update(Bridge),
    /// Removes the bridge.
    Delete(IfName),
    /// Gives the bridge an address.
    AddAddress {
        /// The bridge.
        device: IfName,
        /// The address.
        address: IpNetwork,
    },
    /// Removes an address from the bridge.
    DeleteAddress {
        /// The bridge.
        device: IfName,
        /// The address.
        address: IpNetwork,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(bridge) => write!(f, "create bridge {}", bridge.name),
            Self::Update(bridge) => write!(f, "update bridge {}", bridge.name),
            Self::Delete(name) => write!(f, "delete bridge {name}"),
            Self::AddAddress { device, address } => write!(f, "add address {address} to {device}"),
            Self::DeleteAddress { device, address } => {
                write!(f, "delete address {address} from {device}")
            }
        }
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, observed: &Observed) -> Vec<String> {
        match self {
            Self::Update(wanted) => {
                seen(observed).map_or_else(Vec::new, |found| wanted.defects(found))
            }
            Self::DeleteAddress { address, .. } => vec![address.to_string()],
            Self::Create(_) | Self::Delete(_) | Self::AddAddress { .. } => Vec::new(),
        }
    }

    fn is_drift(&self, held: &Desired) -> bool {
        let Some(bridge) = &held.bridge else {
            return false;
        };
        match self {
            Self::Create(wanted) | Self::Update(wanted) => bridge == wanted,
            Self::AddAddress { address, .. } => bridge.addresses.contains(address),
            // An address that should not be there, and was not there before: another program has added it.
            Self::DeleteAddress { address, .. } => !bridge.addresses.contains(address),
            Self::Delete(_) => false,
        }
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        keep(held, before);
    }

    fn causes(&self) -> Vec<Kind> {
        vec![Kind::Bridge]
    }
}

/// Keeps what was known of the bridge before.
pub(super) fn keep(held: &mut Desired, before: &Desired) {
    held.bridge.clone_from(&before.bridge);
}

pub(super) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    let add = |draft: &mut Draft, bridge: &Bridge, present: &BTreeSet<_>| {
        let missing = bridge
            .addresses
            .iter()
            .filter(|address| !present.contains(*address));
        for &address in missing {
            let device = bridge.name.clone();
            draft.add(Op::AddAddress { device, address });
        }
    };
    match (&desired.bridge, &observed.bridge) {
        (_, None) | (None, Some(Place::Absent | Place::Foreign(_))) => {}
        (None, Some(Place::Ours(_))) => draft.remove(Op::Delete(IfName::bridge())),
        (Some(bridge), Some(Place::Absent)) => {
            draft.add(Op::Create(bridge.clone()));
            add(draft, bridge, &BTreeSet::new());
        }
        (Some(bridge), Some(Place::Foreign(found))) => {
            draft.contest(Contested(bridge.name.clone()), found);
        }
        (Some(bridge), Some(Place::Ours(found))) => {
            if !bridge.defects(found).is_empty() {
                draft.add(Op::Update(bridge.clone()));
            }
            add(draft, bridge, &found.addresses);
            let extra = found
                .addresses
                .iter()
                .filter(|a| !bridge.addresses.contains(a));
            for &address in extra {
                let device = bridge.name.clone();
                let op = Op::DeleteAddress { device, address };
                // The kernel's own route to an old block must make room for the one to the peer
                // that has the block now.
                let makes_room = IpNetwork::new(address.network(), address.prefix())
                    .is_ok_and(|network| desired.routes.contains_key(&RouteKey::to(network)));
                if makes_room {
                    draft.add(op);
                } else {
                    draft.remove(op);
                }
            }
        }
    }
}

/// The bridge, by its name, if something foreign bears that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contested(pub IfName);

impl fmt::Display for Contested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bridge {}", self.0)
    }
}

impl Disputed for Contested {
    fn cure(&self) -> String {
        conflict::removal()
    }

    fn looks(&self) -> Kinds {
        Kinds::from([Kind::Bridge])
    }

    fn cause(&self) -> Kind {
        Kind::Bridge
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        keep(held, before);
    }
}
