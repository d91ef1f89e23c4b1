//! The connections that the kernel tracks (conntrack): they are not looked at, so there is no difference, only a
//! change.

use std::fmt;
use std::net::IpAddr;

use super::desired::Desired;
use super::kinds::Kind;
use super::observed::Observed;
use super::op::Operation;

/// A change of the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Removes the connections of an address that is about to go to another pod.
    Flush(IpAddr),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Flush(address) = self;
        write!(f, "flush connections of {address}")
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, _observed: &Observed) -> Vec<String> {
        Vec::new()
    }

    fn is_drift(&self, _held: &Desired) -> bool {
        false
    }

    fn keep(&self, _held: &mut Desired, _before: &Desired) {}

    fn causes(&self) -> Vec<Kind> {
        Vec::new()
    }
}
