//! A node that decides, and a loop that drives it.
//!
//! ```text
//! control socket --+                            +--> disk (state before word in public)
//! gossip ----------+                            +--> gossip (values, nudges)
//! kernel changes --+--> loop --> Node::handle --+--> a pass of the reconciler
//! echoes ----------+      ^                     +--> attaching and detaching pods
//! timers, signals -+      +------ events -------+--> answers
//! ```
//!
//! The node waits for nothing: what it wants goes out as effects, which are carried out in their order, and
//! what has come of them comes back as an event. Only files of the run directory, which is in memory, are
//! written by the loop itself.

mod agent;
mod allowance;
mod claim;
mod cleanup;
mod edge;
mod effect;
mod entry;
mod error;
mod follow;
mod forwarded;
mod forwarding;
#[cfg(test)]
mod fuzz;
mod gossip;
mod host;
mod init;
mod join;
mod leave;
mod membership;
mod node;
mod patience;
mod pods;
mod problems;
mod reconcile;
mod request;
mod retry;
mod status;
mod supervisor;
mod suspicion;
mod waiters;

use std::sync::Arc;

use podnet_proto::{ApiError, ErrorCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

pub use cleanup::{Cleaned, cleanup, reset};

use crate::config::Config;
use crate::control::Listener;
use crate::dataplane::Dataplane;
use crate::dataplane::linux::Linux;
use crate::probe::Prober;
use crate::store::{
    Identity, RunDir, StateDir, StateLock, StoreError, make_run_dir, make_state_dir, new_boot,
    read_boot, require_possible_dir,
};
use crate::vital;

/// How many events wait for the loop at most; whoever has more waits.
const EVENTS: usize = 1024;

/// Makes the directories of state files, and locks them: also where only one of them is another
/// agent's, two would undo each other's work.
fn lock(config: &Config) -> Result<[StateLock; 2], StoreError> {
    make_state_dir(&config.state_dir)?;
    let state = StateLock::acquire(&config.state_dir)?;
    make_run_dir(&config.run_dir)?;
    let run = StateLock::acquire(&config.run_dir)?;
    Ok([state, run])
}

/// Runs the agent until it is told to stop (SIGTERM, SIGINT). The data path stays.
///
/// # Errors
/// When it cannot start: with the code, the reason and the cure, for the user.
pub async fn run(config: Config) -> Result<(), ApiError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| error::signals(&e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| error::signals(&e))?;

    require_possible_dir(&config.netns_dir).map_err(|e| error::store(&e))?;
    let _locks = lock(&config).map_err(|e| error::store(&e))?;
    let identity = Identity::load_or_create(&config.state_dir, config.machine_id_file.as_deref())
        .map_err(|e| error::store(&e))?;
    let node = identity.node();
    let joined = StateDir::new(config.state_dir.clone(), node)
        .load()
        .map_err(|e| error::store(&e))?;
    let known = joined
        .as_ref()
        .map(|_| read_boot(&config.run_dir, &config.boot_id_file, node))
        .transpose()
        .map_err(|e| error::store(&e))?;
    let run_dir = RunDir::open(config.run_dir.clone(), node).map_err(|e| error::store(&e))?;

    let dataplane = Linux::new().map_err(|e| error::observe(&e))?;
    let changes = dataplane.watch().await.map_err(|e| error::observe(&e))?;
    let (news, mut done) = mpsc::channel(EVENTS);
    let (reports, paths) = mpsc::channel(EVENTS);
    let prober = Prober::start(reports).map_err(|source| {
        ApiError::new(
            ErrorCode::NotPermitted,
            format!("cannot open a raw ICMP socket: {source}"),
        )
        .hint("run podnetd with the capability CAP_NET_RAW")
    })?;
    let listener = Listener::bind(&config.socket)
        .await
        .map_err(|e| error::listen(&e))?;
    let boot = match known {
        Some(boot) => boot,
        // The last agent may have been killed when it had given its boot back and not drawn another.
        None => {
            new_boot(&config.run_dir, &config.boot_id_file, node).map_err(|e| error::store(&e))?
        }
    };

    let dataplane = Arc::new(dataplane);
    let mut agent = agent::Agent::new(config, identity, boot, run_dir, dataplane, prober, news);
    agent.resume(joined, &mut done).await?;

    let (requests, asked) = mpsc::channel(EVENTS);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = vital::spawn(listener.serve(requests, async { drop(stopped.await) }));
    tracing::info!(%node, version = env!("PODNET_VERSION"), "podnetd is ready");
    let inputs = agent::Inputs {
        news: done,
        asked,
        changes,
        paths,
    };
    tokio::select! {
        () = agent.run(inputs) => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping, the data path stays"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping, the data path stays"),
    }
    drop(stop);
    agent.stop().await;
    // It cannot fail: a panic would have ended the process.
    let _ = server.await;
    Ok(())
}
