//! `podnetd cleanup` and `podnetd reset`: without an agent.

use std::path::PathBuf;

use podnet_core::kernel::{Desired, Place, Scope, diff};
use podnet_proto::{ApiError, ErrorCode};

use super::leave::restore_sysctls;
use super::{error, lock};
use crate::config::Config;
use crate::dataplane::Dataplane;
use crate::dataplane::linux::Linux;
use crate::pods::detach;
use crate::store::{Identity, RunDir, StateDir, reset_identity};

/// What [`cleanup`] did, for the user.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// What it removed.
    pub removed: Vec<String>,
    /// What it left, and why.
    pub left: Vec<String>,
}

/// Removes from this host everything that podnet owns in the kernel; with `purge` its state too.
///
/// # Errors
/// When an agent runs on the state directory, or the kernel refuses.
pub async fn cleanup(config: &Config, purge: bool) -> Result<Cleaned, ApiError> {
    let _locks = lock(config).map_err(|e| error::store(&e))?;
    let dataplane = Linux::new().map_err(|e| error::observe(&e))?;
    let mut cleaned = Cleaned::default();
    let identity = Identity::load_or_create(&config.state_dir, config.machine_id_file.as_deref())
        .map_err(|e| error::store(&e))?;
    let run_dir =
        RunDir::open(config.run_dir.clone(), identity.node()).map_err(|e| error::store(&e))?;

    for (name, record) in run_dir.pods().map_err(|e| error::store(&e))? {
        detach(&dataplane, &record.link)
            .await
            .map_err(|e| error::op(&e))?;
        cleaned.removed.push(format!("pod {name}"));
    }
    remove_all(&dataplane, &mut cleaned).await?;
    cleaned
        .left
        .extend(restore_sysctls(&dataplane, &run_dir).await);
    run_dir.clear().map_err(|e| error::store(&e))?;
    if purge {
        let paths =
            reset_identity(&config.state_dir, &config.run_dir).map_err(|e| error::store(&e))?;
        cleaned
            .removed
            .extend(paths.iter().map(|path| path.display().to_string()));
    } else {
        // What of a membership was cut short means nothing any more.
        StateDir::new(config.state_dir.clone(), identity.node())
            .load()
            .map_err(|e| error::store(&e))?;
    }
    Ok(cleaned)
}

/// Makes the kernel hold nothing of podnet's.
async fn remove_all(dataplane: &dyn Dataplane, cleaned: &mut Cleaned) -> Result<(), ApiError> {
    let scope = Scope {
        bridge: true,
        host_ends: true,
        routes: Some([].into()),
        firewall: true,
        ..Scope::default()
    };
    let mut observed = match dataplane.observe(&scope).await {
        // Without iptables there are no rules of podnet's either.
        Err(crate::dataplane::ObserveError::MissingBinary { .. }) => {
            let scope = Scope {
                firewall: false,
                ..scope
            };
            dataplane.observe(&scope).await
        }
        observed => observed,
    }
    .map_err(|e| error::observe(&e))?;
    if let Some(Place::Foreign(found)) = &observed.bridge {
        cleaned.left.push(format!("link podnet0: {found}"));
        observed.bridge = None;
    }
    for backend in observed.firewall.iter().flatten() {
        cleaned.left.extend(backend.bystanders());
    }
    let plan = diff(&Desired::default(), &observed);
    let results = dataplane.apply(&plan.ops).await;
    for (op, result) in plan.ops.iter().zip(results) {
        result.map_err(|e| error::op(&e))?;
        cleaned.removed.push(op.to_string());
    }
    Ok(())
}

/// Throws away identity and membership: the next start makes this node another one. Returns the
/// files that it removed.
///
/// # Errors
/// When an agent runs on the state directory, or the file system refuses.
pub fn reset(config: &Config) -> Result<Vec<PathBuf>, ApiError> {
    // What leads to nothing is none; what can lead to nothing, locking refuses.
    if matches!(config.state_dir.try_exists(), Ok(false)) {
        return Ok(Vec::new());
    }
    let _locks = lock(config).map_err(|e| error::store(&e))?;
    reset_identity(&config.state_dir, &config.run_dir).map_err(|store_error| {
        let mut api_error = error::store(&store_error);
        if api_error.code == ErrorCode::StateCorrupt {
            api_error.hint = None;
        }
        api_error
    })
}
