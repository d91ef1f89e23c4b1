//! Pods: a veth pair between the namespace of each and the bridge.

mod attach;
mod carrier;
mod detach;
mod inside;
pub(super) mod port;
mod seen;

use std::mem;
use std::path::Path;

use futures::stream::{self, StreamExt};
use podnet_core::kernel::pod::Op;
use podnet_core::kernel::{IfName, Made};

pub(super) use self::detach::Removals;
pub(super) use self::seen::{host_ends, look_at, namespaces};
use super::{Host, Results, nothing_made};

/// How many pods are worked on at the same time.
const PODS_AT_ONCE: usize = 16;

/// Makes changes of pods; those of one sort that follow one another at the same time.
pub(super) async fn apply(host: &Host, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for alike in ops.chunk_by(|a, b| mem::discriminant(*a) == mem::discriminant(*b)) {
        results.extend(carry_out(host, alike).await);
    }
    results
}

/// Makes changes that are all of one sort.
async fn carry_out(host: &Host, ops: &[&Op]) -> Results {
    let pods = ops.iter().filter_map(|op| op.pod_link());
    match ops.first() {
        None => Results::new(),
        Some(Op::Attach(_)) => {
            let work: Vec<_> = pods.map(|pod| attach::attach(host, pod)).collect();
            let attached = stream::iter(work).buffered(PODS_AT_ONCE);
            attached
                .map(|attached| attached.map(Made::Namespace))
                .collect()
                .await
        }
        Some(Op::Repair(_)) => {
            let work: Vec<_> = pods.map(|pod| attach::repair(host, pod)).collect();
            let repaired = stream::iter(work).buffered(PODS_AT_ONCE);
            repaired.map(|done| done.map(Made::from)).collect().await
        }
        Some(Op::Detach { .. }) => {
            let pods: Vec<_> = ops.iter().filter_map(|op| detached(op)).collect();
            nothing_made(host.removals.detach(host, &pods).await)
        }
    }
}

/// The host end to remove, and the namespace.
fn detached(op: &Op) -> Option<(&IfName, Option<&Path>)> {
    if let Op::Detach { host_ifname, netns } = op {
        Some((host_ifname, netns.as_deref()))
    } else {
        None
    }
}
