//! Closing the devices that podnet has opened, when a node leaves.

use podnet_agent::dataplane::Dataplane as _;
use podnet_core::kernel::{Desired, Kind, Kinds, ObservedFirewall, OpErrorKind, diff};

use crate::kernel::{Opened, Slow};

/// Closes what was opened, unless the host is a router by now. Returns what stays, in words.
pub(crate) async fn close(kernel: &Slow, opened: &Opened) -> Vec<String> {
    let mut devices = opened.devices().clone();
    if let Ok(observed) = kernel.observe(&Kinds::from([Kind::Firewall])).await {
        let backends = observed.firewall.iter().flatten();
        devices.extend(backends.flat_map(ObservedFirewall::guarded).cloned());
    }
    if devices.is_empty() {
        return Vec::new();
    }
    let ingresses = devices.iter().cloned().map(Kind::Ingress);
    let kinds: Kinds = ingresses.chain([Kind::Forwarding]).collect();
    let observed = match kernel.observe(&kinds).await {
        Ok(observed) => observed,
        Err(why) => return vec![why.to_string()],
    };
    let forwarding = observed.forwarding.clone().unwrap_or_default();
    if forwarding.router {
        let open = forwarding.still_open(&devices);
        return open.map(|device| format!("{device} stays open")).collect();
    }
    let desired = Desired::nothing(&forwarding, &devices);
    let results = kernel.apply(&diff(&desired, &observed).ops).await;
    let errors = results.into_iter().filter_map(Result::err);
    let errors = errors.filter(|op_error| op_error.kind != OpErrorKind::NotFound);
    errors.map(|op_error| op_error.to_string()).collect()
}
