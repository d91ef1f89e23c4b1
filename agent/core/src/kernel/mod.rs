//! The words for what the kernel holds, by object, and the decisions about it.
//!
//! ```text
//! cluster, pods, settings -> desired() -> Desired --+
//! kernel -> observe(Kinds) -> Observed -------------+-> diff() -> Plan of Ops -> apply
//! ```
//!
//! A module per object says what of it is wanted and what is seen, which changes there are, what the difference
//! is, and in what words all that is reported. The modules beside them put the objects together.

pub mod bridge;
pub mod connections;
pub mod firewall;
pub mod forwarding;
pub mod holding;
pub mod neighbour;
pub mod pod;
pub mod route;

mod changes;
mod conflict;
mod desired;
mod diff;
mod drift;
mod error;
mod kinds;
mod link;
#[cfg(feature = "model")]
pub mod model;
mod observed;
mod op;
mod path;
mod sysctl;
mod underlay;
mod way;

pub use bridge::{Bridge, ObservedBridge};
pub use changes::{Change, Changes};
pub use conflict::{Conflict, Contested};
pub use desired::{Desired, Input, PeerBlock, desired};
pub use diff::{Plan, diff};
pub use drift::{Passed, held, is_drift};
pub use error::{ObserveError, OpError, OpErrorClass, OpErrorKind};
pub use firewall::{Bystander, ObservedFirewall};
pub use forwarding::{Forwarding, Ingress, can_be_guarded, forwarding_device, forwarding_path};
pub use holding::{Holding, Meanwhile, ObservedHolding, Source};
pub use kinds::{Kind, Kinds};
pub use link::{
    BRIDGE, HOST_END_PREFIX, IfIndex, IfName, InvalidIfName, MacAddr, Mtu, POD_IFNAME, host_ifname,
};
pub use observed::{Observed, Place};
pub use op::{Made, Op, found};
pub use path::{NoPath, Path};
pub use pod::{
    Inside, Netns, NetnsState, ObservedHostEnd, ObservedInterface, ObservedPort, PodLink, PodView,
};
pub use route::{
    Intruder, NextHop, ObservedRoute, Owner, PROTOCOL, Route, RouteKey, intruding_addresses,
    is_inside,
};
pub use sysctl::{LinkParameter, LinkParameters};
pub use underlay::{HostAddress, HostRoute, UnderlayPath};
pub use way::{
    Astray, Course, Outcome, Packet, Policy, PolicyAction, PolicyRoute, PolicyRule, Way, courses,
    destinations, explain, strays,
};
