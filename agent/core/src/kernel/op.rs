//! Changes of what the kernel holds, one object each.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::desired::Desired;
use super::kinds::Kind;
use super::link::IfName;
use super::observed::Observed;
use super::pod::PodLink;
use super::{bridge, connections, firewall, forwarding, holding, neighbour, pod, route};

/// One change, of some object. Each is idempotent: what is there already, or gone already, is no error; and each
/// touches podnet's own objects only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A change of the bridge.
    Bridge(bridge::Op),
    /// A change of what pods are held to.
    Holding(holding::Op),
    /// A change of a pod's attachment.
    Pod(pod::Op),
    /// A change of a neighbour on the bridge.
    Neighbour(neighbour::Op),
    /// A change of the firewall rules.
    Firewall(firewall::Op),
    /// A change of what is forwarded.
    Forwarding(forwarding::Op),
    /// A change of a route.
    Route(route::Op),
    /// A change of the connections that the kernel tracks.
    Connections(connections::Op),
}

/// What a change has made, that only the kernel can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Nothing that has to be named.
    Nothing,
    /// A pod is attached in the network namespace with this inode number.
    Namespace(u64),
}

impl From<()> for Made {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

/// What the changes of each object answer.
pub(super) trait Operation: fmt::Display {
    /// What was found that this change puts right, in words.
    fn found(&self, desired: &Desired, observed: &Observed) -> Vec<String>;

    /// Whether this puts back what podnet had brought about before: `held` is what the kernel held
    /// when it was last found to be right.
    fn is_drift(&self, held: &Desired) -> bool;

    /// The change failed: keeps what was known `before` of the object.
    fn keep(&self, held: &mut Desired, before: &Desired);

    /// The kinds of reported changes that may have made it necessary; the likeliest first.
    fn causes(&self) -> Vec<Kind>;
}

impl Op {
    pub(super) fn operation(&self) -> &dyn Operation {
        match self {
            Self::Bridge(op) => op,
            Self::Holding(op) => op,
            Self::Pod(op) => op,
            Self::Neighbour(op) => op,
            Self::Firewall(op) => op,
            Self::Forwarding(op) => op,
            Self::Route(op) => op,
            Self::Connections(op) => op,
        }
    }

    /// How this attaches a pod; `None` if it attaches none.
    #[must_use]
    pub const fn pod_link(&self) -> Option<&PodLink> {
        if let Self::Pod(op) = self {
            op.pod_link()
        } else {
            None
        }
    }

    /// The host end of the pod that this changes; `None` if it changes none.
    #[must_use]
    pub const fn host_end(&self) -> Option<&IfName> {
        if let Self::Pod(op) = self {
            Some(op.host_end())
        } else if let Self::Holding(op) = self {
            op.host_end()
        } else {
            None
        }
    }

    /// The address of the neighbour that this changes; `None` if it changes none.
    #[must_use]
    pub const fn neighbour(&self) -> Option<IpAddr> {
        if let Self::Neighbour(op) = self {
            Some(op.address())
        } else {
            None
        }
    }

    /// Whether the bridge is up after it.
    #[must_use]
    pub const fn brings_bridge_up(&self) -> bool {
        matches!(
            self,
            Self::Bridge(bridge::Op::Create(_) | bridge::Op::Update(_))
        )
    }

    /// Whether this opens a device to whatever comes in by it: rules that let only packets for pods
    /// pass have to be there first.
    #[must_use]
    pub const fn opens(&self) -> bool {
        matches!(self, Self::Forwarding(forwarding::Op::Set { on: true, .. }))
    }

    /// The destination of the route that this changes; `None` if it changes none.
    #[must_use]
    pub const fn destination(&self) -> Option<IpNetwork> {
        if let Self::Route(op) = self {
            Some(op.key().destination)
        } else {
            None
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.operation(), f)
    }
}

/// What was found that a change puts right.
#[must_use]
pub fn found(op: &Op, desired: &Desired, observed: &Observed) -> String {
    let defects = op.operation().found(desired, observed);
    if defects.is_empty() {
        "nothing".to_owned()
    } else {
        defects.join(", ")
    }
}

/// Makes each object's own change an [`Op`].
macro_rules! is_a_change {
    ($($object:ident: $op:ty),+ $(,)?) => {
        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$object(op)
            }
        })+
    };
}

is_a_change! {
    Bridge: bridge::Op,
    Holding: holding::Op,
    Pod: pod::Op,
    Neighbour: neighbour::Op,
    Firewall: firewall::Op,
    Forwarding: forwarding::Op,
    Route: route::Op,
    Connections: connections::Op,
}
