//! What the kernel holds, as far as it concerns podnet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::bridge::ObservedBridge;
use super::error::OpError;
use super::firewall::ObservedFirewall;
use super::forwarding::Forwarding;
use super::holding::ObservedHolding;
use super::link::IfName;
use super::pod::{Inside, NetnsState, ObservedHostEnd};
use super::route::{ObservedRoute, RouteKey};
use super::underlay::{HostAddress, HostRoute, UnderlayPath};
use super::way::{Packet, Policy, Way};
use crate::nft::Ruleset;

/// What was found where an object of podnet's belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<T> {
    /// Nothing.
    Absent,
    /// An object that podnet made.
    Ours(T),
    /// Something else, which podnet leaves alone; in words.
    Foreign(String),
}

/// What the kernel holds. A field is `None`, or its map lacks a key, if the [`super::Kinds`] did not
/// ask for it: then nothing is known, and nothing is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The bridge.
    pub bridge: Option<Place<ObservedBridge>>,
    /// All links that are named as host ends.
    pub host_ends: Option<BTreeMap<IfName, Place<ObservedHostEnd>>>,
    /// The host ends of the pods that were asked for.
    pub pods: BTreeMap<IfName, Place<ObservedHostEnd>>,
    /// What is inside of the pods that were asked for, by host end; no entry if there is no such
    /// namespace.
    pub insides: BTreeMap<IfName, Inside>,
    /// Why some of the pods that were asked for could not be looked into, by host end.
    pub hidden: BTreeMap<IfName, OpError>,
    /// Podnet's routes, and foreign ones at the destinations that were asked for and inside of them. The kernel's own
    /// routes that come with the bridge's addresses are neither.
    pub routes: Option<BTreeMap<RouteKey, ObservedRoute>>,
    /// Podnet's firewall chains.
    pub firewall: Option<Vec<ObservedFirewall>>,
    /// Podnet's table of the bridge, beside its chains; `None` also if it could not be read.
    pub holding: Option<ObservedHolding>,
    /// The chains of all programs that pods' packets pass; `None` also if they cannot be read.
    pub chains: Option<Ruleset>,
    /// What of the host's packets is forwarded.
    pub forwarding: Option<Forwarding>,
    /// The addresses of the host, except for the bridge's.
    pub addresses: Option<Vec<HostAddress>>,
    /// The routes of the host, except for podnet's.
    pub host_routes: Option<Vec<HostRoute>>,
    /// How the addresses that were asked for are reached.
    pub underlay: BTreeMap<IpAddr, UnderlayPath>,
    /// Which ways the packets take that were asked for; no entry if the kernel does not say.
    pub ways: BTreeMap<Packet, Way>,
    /// The rules of policy routing, and the routes that concern the addresses that were asked for.
    pub policy: Option<Policy>,
    /// What the paths that were asked for lead to.
    pub netns: BTreeMap<PathBuf, NetnsState>,
}
