//! The words for what the kernel holds, and the decisions about it.
//!
//! ```text
//! cluster, pods, settings -> desired() -> Desired --+
//! kernel -> observe(Scope) -> Observed -------------+-> diff() -> Plan of Ops -> apply
//! ```

mod conflict;
mod desired;
mod diff;
mod drift;
mod faults;
mod forwarding;
mod holding;
mod intruder;
mod link;
pub mod model;
mod observed;
mod op;
mod port;
mod route;
mod scope;
mod way;

pub use conflict::{Conflict, Contested, Owner};
pub use desired::{Desired, Input, PeerBlock, desired, path_problem};
pub use diff::{Plan, diff};
pub use drift::{Passed, held, is_drift};
pub use faults::found;
pub use forwarding::{Forwarding, Ingress, can_be_guarded, forwarding_device, forwarding_path};
pub use holding::{Holding, Meanwhile, ObservedHolding, Source};
pub use intruder::{addresses as intruding_addresses, is_inside};
pub use link::{
    BRIDGE, Bridge, HOST_END_PREFIX, IfIndex, IfName, InvalidIfName, MacAddr, Mtu, Netns,
    POD_IFNAME, PodLink, host_ifname,
};
pub use observed::{
    Bystander, HostAddress, HostRoute, Inside, NetnsState, Observed, ObservedBridge,
    ObservedFirewall, ObservedHostEnd, ObservedInterface, ObservedRoute, Place, UnderlayPath,
};
pub use op::{Op, OpError, OpErrorClass, OpErrorKind};
pub use port::ObservedPort;
pub use route::{NextHop, PROTOCOL, Route, RouteKey};
pub use scope::{PodView, Scope};
pub use sysctl::{LinkParameter, LinkParameters};
pub use way::{
    Astray, Course, Outcome, Packet, Policy, PolicyAction, PolicyRoute, PolicyRule, Way, courses,
    destinations, explain, strays,
};

mod sysctl;
