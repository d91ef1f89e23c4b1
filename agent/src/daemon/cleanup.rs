//! `podnetd cleanup` and `podnetd reset`: without an agent.

use std::collections::BTreeMap;

use podnet_core::kernel::{Desired, Kind, Kinds, ObserveError, Place, diff};
use podnet_proto::{ApiError, ErrorCode};

use super::forwarding::close_devices;
use super::{error, lock};
use crate::config::Config;
use crate::dataplane::Dataplane;
use crate::dataplane::linux::Linux;
use crate::pods::detach;
use crate::store::{Identity, RunDir, StateDir, StoreError, reset_identity};

/// What [`cleanup`] or [`reset`] did, for the user.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// What was removed.
    pub removed: Vec<String>,
    /// What was left, and why.
    pub left: Vec<String>,
}

impl Cleaned {
    /// Throws away who this node is.
    fn reset_identity(&mut self, config: &Config) -> Result<(), ApiError> {
        let paths = reset_identity(&config.state_dir, &config.run_dir).map_err(|store_error| {
            let mut api_error = error::store(&store_error);
            // The hint would name the very command that is at work.
            if api_error.code == ErrorCode::StateCorrupt {
                api_error.hint = None;
            }
            api_error
        })?;
        let paths = paths.iter().map(|path| path.display().to_string());
        self.removed.extend(paths);
        Ok(())
    }
}

/// Removes from this host everything that podnet owns in the kernel; with `purge` its state too.
///
/// # Errors
/// When an agent runs on the state directory, or the kernel refuses.
pub async fn cleanup(config: &Config, purge: bool) -> Result<Cleaned, ApiError> {
    let _locks = lock(config).map_err(|e| error::store(&e))?;
    let dataplane = Linux::new().map_err(|e| error::observe(&e))?;
    let identity = Identity::load(&config.state_dir, config.machine_id_file.as_deref())
        .map_err(|e| error::store(&e))?;
    let node = identity.map(|identity| identity.node());
    let run_dir = node
        .map(|node| RunDir::open(config.run_dir.clone(), node))
        .transpose()
        .map_err(|e| error::store(&e))?;
    let mut cleaned = Cleaned::default();
    let failed = clear_kernel(&dataplane, run_dir.as_ref(), &mut cleaned).await;
    if let Some(first) = failed.into_iter().next() {
        return Err(first);
    }
    if let Some(run_dir) = run_dir {
        run_dir.clear().map_err(|e| error::store(&e))?;
    }
    if purge {
        cleaned.reset_identity(config)?;
    } else if let Some(node) = node {
        // Loading removes what is left of a membership that was not written as a whole.
        StateDir::new(config.state_dir.clone(), node)
            .load()
            .map_err(|e| error::store(&e))?;
    }
    Ok(cleaned)
}

/// Removes from the kernel what this node has put there. Which namespaces it made is known only
/// from its run directory. A failure keeps nothing else from being removed. Returns the failures.
async fn clear_kernel(
    dataplane: &dyn Dataplane,
    run_dir: Option<&RunDir>,
    cleaned: &mut Cleaned,
) -> Vec<ApiError> {
    let mut failed = Vec::new();
    let pods = run_dir.map_or_else(|| Ok(BTreeMap::new()), RunDir::pods);
    let pods = pods.unwrap_or_else(|store_error| {
        failed.push(error::store(&store_error));
        BTreeMap::new()
    });
    for (name, record) in pods {
        match detach(dataplane, &record.link).await {
            Ok(()) => cleaned.removed.push(format!("pod {name}")),
            Err(op_error) => failed.push(error::op(&op_error)),
        }
    }
    cleaned.left.extend(close_devices(dataplane, run_dir).await);
    failed.extend(remove_all(dataplane, cleaned).await);
    failed
}

/// Makes the kernel hold nothing of podnet's, as far as that is possible. Returns the failures.
async fn remove_all(dataplane: &dyn Dataplane, cleaned: &mut Cleaned) -> Vec<ApiError> {
    let mut failed = Vec::new();
    let mut kinds = Kinds::from([
        Kind::Bridge,
        Kind::HostEnds,
        Kind::Routes,
        Kind::Firewall,
        Kind::Holding,
    ]);
    let observed = match dataplane.observe(&kinds).await {
        Ok(observed) => Ok(observed),
        Err(observe_error) => {
            // Without iptables there are no rules of podnet's either.
            if !matches!(observe_error, ObserveError::MissingBinary { .. }) {
                failed.push(error::observe(&observe_error));
            }
            kinds.remove(&Kind::Firewall);
            dataplane.observe(&kinds).await
        }
    };
    let Ok(mut observed) = observed.map_err(|e| failed.push(error::observe(&e))) else {
        return failed;
    };
    if let Some(Place::Foreign(found)) = &observed.bridge {
        cleaned.left.push(format!("link podnet0: {found}"));
        observed.bridge = None;
    }
    for backend in observed.firewall.iter().flatten() {
        cleaned.left.extend(backend.namesakes());
        cleaned.left.extend(backend.relied_on());
        cleaned.left.extend(backend.out_of_reach());
    }
    let plan = diff(&Desired::default(), &observed);
    let results = dataplane.apply(&plan.ops).await;
    for (op, result) in plan.ops.iter().zip(results) {
        match result {
            Ok(_) => cleaned.removed.push(op.to_string()),
            Err(op_error) => failed.push(error::op(&op_error)),
        }
    }
    failed
}

/// Throws away identity and membership, and what they have put into the kernel: the next start
/// makes this node another one.
///
/// It is the cure of damaged files too: what only those would show is left in the kernel, and named,
/// and so is what the kernel does not let go.
///
/// # Errors
/// When an agent runs on the state directory, or the file system refuses.
pub async fn reset(config: &Config) -> Result<Cleaned, ApiError> {
    let mut cleaned = Cleaned::default();
    // If nothing is at the path, there is no state; a path that cannot be looked at is refused by `lock`.
    if matches!(config.state_dir.try_exists(), Ok(false)) {
        return Ok(cleaned);
    }
    let _locks = lock(config).map_err(|e| error::store(&e))?;
    let dataplane = Linux::new().map_err(|e| error::observe(&e))?;
    let run_dir = readable_run_dir(config).unwrap_or_else(|store_error| {
        let why = error::chain(&store_error);
        let what = "the namespaces that podnet made";
        cleaned.left.push(format!("{what}: {why}"));
        None
    });
    let failed = clear_kernel(&dataplane, run_dir.as_ref(), &mut cleaned).await;
    let failed = failed.into_iter().map(|api_error| api_error.message);
    cleaned.left.extend(failed);
    cleaned.reset_identity(config)?;
    Ok(cleaned)
}

/// The run directory of this node, if this host has an identity and all records in there can be read.
fn readable_run_dir(config: &Config) -> Result<Option<RunDir>, StoreError> {
    let machine_file = config.machine_id_file.as_deref();
    let Some(identity) = Identity::load(&config.state_dir, machine_file)? else {
        return Ok(None);
    };
    let run_dir = RunDir::open(config.run_dir.clone(), identity.node())?;
    run_dir.pods()?;
    Ok(Some(run_dir))
}
