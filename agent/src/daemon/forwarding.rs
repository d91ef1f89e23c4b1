//! The record of the devices that podnet has opened, and closing them.

use std::collections::BTreeSet;

use podnet_core::kernel::{
    Desired, Forwarding, IfName, Kind, Kinds, LinkParameter, ObservedFirewall, OpErrorKind, diff,
};

use super::error;
use crate::dataplane::Dataplane;
use crate::reconciler::OpenedDevices;
use crate::store::RunDir;

impl OpenedDevices for RunDir {
    fn read(&self) -> Result<BTreeSet<IfName>, String> {
        self.opened().map_err(|e| error::chain(&e))
    }

    fn write(&self, opened: &BTreeSet<IfName>) -> Result<(), String> {
        self.save_opened(opened).map_err(|e| error::chain(&e))
    }
}

/// Closes the devices that podnet has opened, unless the owner of this host has declared it a router since:
/// then they stay as they are. To be done while the rules are there that keep strangers out: if the record
/// is lost, these rules show what was opened. Returns what stays, in words.
pub(super) async fn close_devices(
    dataplane: &dyn Dataplane,
    run_dir: Option<&RunDir>,
) -> Vec<String> {
    let left = try_close(dataplane, run_dir).await;
    let left = left.unwrap_or_else(|why| vec![format!("kernel parameters: {why}")]);
    for what in &left {
        tracing::warn!(what, "podnet leaves something on this host as it is");
    }
    left
}

async fn try_close(
    dataplane: &dyn Dataplane,
    run_dir: Option<&RunDir>,
) -> Result<Vec<String>, String> {
    let mut opened = guarded(dataplane).await;
    let mut switched = false;
    if let Some(run_dir) = run_dir {
        opened.extend(run_dir.read()?);
        switched = run_dir.switched().map_err(|e| error::chain(&e))?;
    }
    if opened.is_empty() && !switched {
        return Ok(Vec::new());
    }
    let devices = opened.iter().cloned().map(Kind::Ingress);
    let kinds: Kinds = devices.chain([Kind::Forwarding]).collect();
    let observed = dataplane.observe(&kinds).await;
    let observed = observed.map_err(|e| error::chain(&e))?;
    let forwarding = observed.forwarding.clone().unwrap_or_default();
    if forwarding.router {
        return Ok(staying(&forwarding, &opened, switched));
    }
    let desired = Desired::nothing(&forwarding, &opened);
    let results = dataplane.apply(&diff(&desired, &observed).ops).await;
    let errors = results.into_iter().filter_map(Result::err);
    Ok(errors
        // The parameters of a device that is gone are gone too.
        .filter(|op_error| op_error.kind != OpErrorKind::NotFound)
        .map(|op_error| op_error.to_string())
        .collect())
}

/// The devices that podnet's rules keep strangers out of.
async fn guarded(dataplane: &dyn Dataplane) -> BTreeSet<IfName> {
    match dataplane.observe(&Kinds::from([Kind::Firewall])).await {
        Ok(observed) => {
            let backends = observed.firewall.iter().flatten();
            backends
                .flat_map(ObservedFirewall::guarded)
                .cloned()
                .collect()
        }
        // The failure is reported when the rules are to be removed.
        Err(_) => BTreeSet::new(),
    }
}

/// What stays on a host that its owner has declared a router, in words.
fn staying(forwarding: &Forwarding, opened: &BTreeSet<IfName>, switched: bool) -> Vec<String> {
    let switch = switched.then(|| {
        let value = &forwarding.switch;
        format!("net.ipv4.ip_forward: it stays {value}, as an earlier version of podnet has set it")
    });
    let value = &forwarding.switch;
    let devices = forwarding.still_open(opened).map(|device| {
        let parameter = LinkParameter::Forwarding.on(device);
        format!("{parameter}: it stays {value}, since net.ipv4.ip_forward is {value}")
    });
    switch.into_iter().chain(devices).collect()
}

/// Closes what podnet has opened. Returns what stays on the host, in words.
pub(super) async fn close(dataplane: &dyn Dataplane, run_dir: &RunDir) -> Vec<String> {
    let mut left = close_devices(dataplane, Some(run_dir)).await;
    left.extend(kept_chains(dataplane).await);
    left
}

/// The chains that stay, in words: without rules, since rules of other programs jump to them; or as they
/// are, since iptables cannot show them.
async fn kept_chains(dataplane: &dyn Dataplane) -> Vec<String> {
    let backends = match dataplane.observe(&Kinds::from([Kind::Firewall])).await {
        Ok(observed) => observed.firewall.unwrap_or_default(),
        // The data path is removed, and so are the rules as far as that was possible.
        Err(_) => Vec::new(),
    };
    let kept: Vec<String> = backends
        .iter()
        .flat_map(|backend| backend.relied_on().chain(backend.out_of_reach()))
        .collect();
    for what in &kept {
        tracing::warn!(what, "podnet leaves a chain on this host as it is");
    }
    kept
}
