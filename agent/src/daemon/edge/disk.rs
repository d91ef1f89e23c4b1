//! The state directory: what is written there is written beside the loop, and in order.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use podnet_core::node::{Event, Write};
use podnet_proto::{ApiError, ErrorCode, NodeId};
use tokio::sync::{mpsc, oneshot};

use super::News;
use crate::daemon::error;
use crate::store::{StateDir, StoreError, new_boot};
use crate::vital;

/// How many writes wait for a slow disk at most.
const MOST_WAITING: usize = 64;

/// Writes to the state directory.
pub(super) struct Disk {
    jobs: SyncSender<Job>,
}

/// Something that is to be done on disk.
enum Job {
    Store(Write),
    Note(Write),
    End,
    /// An epoch higher than this.
    Epoch(u64, oneshot::Sender<Result<u64, ApiError>>),
}

/// The directories that are written to.
pub(super) struct Place {
    pub(super) state_dir: StateDir,
    pub(super) run_dir: PathBuf,
    pub(super) boot_id_file: PathBuf,
    pub(super) node: NodeId,
}

impl Disk {
    /// Starts the thread that writes. Outcomes are sent to `events`.
    pub(super) fn start(place: Place, events: mpsc::Sender<News>) -> Self {
        let (jobs, queue) = sync_channel(MOST_WAITING);
        vital::thread("disk", move || {
            while let Ok(job) = queue.recv() {
                if let Some(event) = place.carry_out(job) {
                    // The loop ends only with the process.
                    let _ = events.blocking_send(News::Event(event));
                }
            }
        });
        Self { jobs }
    }

    /// Writes something. Returns the outcome at once if the disk is so slow that there is no room to wait.
    pub(super) fn store(&self, write: Write) -> Option<Event> {
        match self.jobs.try_send(Job::Store(write)) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => match job {
                Job::Store(write) => Some(Event::Stored(write, Err(slow()))),
                Job::Note(_) | Job::End | Job::Epoch(..) => None,
            },
        }
    }

    /// Writes something, and reports no outcome.
    pub(super) fn note(&self, write: Write) {
        if let Err(TrySendError::Full(Job::Note(write))) = self.jobs.try_send(Job::Note(write)) {
            tracing::warn!(%write, error = slow().message, "a record is not written to the state directory");
        }
    }

    /// Ends the membership. Returns the outcome at once if the disk is so slow that there is no room to wait.
    pub(super) fn end_membership(&self) -> Option<Event> {
        let full = self.jobs.try_send(Job::End).is_err();
        full.then(|| Event::Ended(Err(slow())))
    }

    /// Draws an epoch of gossip that is higher than every one before, and than this.
    pub(super) fn epoch(&self, above: u64) -> impl Future<Output = Result<u64, ApiError>> + use<> {
        let (answer, drawn) = oneshot::channel();
        // If there is no room to wait, the sender is dropped, and `drawn` ends with an error.
        let _ = self.jobs.try_send(Job::Epoch(above, answer));
        async { drawn.await.unwrap_or_else(|_| Err(slow())) }
    }
}

fn slow() -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        "the state directory: the disk takes too long to write",
    )
}

impl Place {
    fn carry_out(&self, job: Job) -> Option<Event> {
        match job {
            Job::Store(write) => {
                let result = self.write(&write).map_err(|e| error::store(&e));
                Some(Event::Stored(write, result))
            }
            Job::Note(write) => {
                if let Err(store_error) = self.write(&write) {
                    let error = error::chain(&store_error);
                    tracing::warn!(%write, error, "a record cannot be written to the state directory");
                }
                None
            }
            Job::End => Some(Event::Ended(self.end().map_err(|e| error::store(&e)))),
            Job::Epoch(above, answer) => {
                let drawn = self.state_dir.next_epoch(above);
                // The start of gossip that asked may have ended.
                let _ = answer.send(drawn.map_err(|e| error::store(&e)));
                None
            }
        }
    }

    fn write(&self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Membership(membership) => {
                let (member, durable) = membership.as_ref();
                self.state_dir.become_member(member, durable)
            }
            Write::NoMembership => self.state_dir.forget(),
            Write::Member(member) => self.state_dir.save_member(member),
            Write::Durable(durable) => self.state_dir.save_durable(durable),
            Write::Peers(peers) => self.state_dir.save_peers(peers),
            // These are written to the run directory.
            Write::Pod(_) | Write::NoPod(_) | Write::Freed(_) => Ok(()),
        }
    }

    /// Ends the membership, and draws a new boot: the one that was released never uses a block again.
    fn end(&self) -> Result<Option<podnet_proto::Boot>, StoreError> {
        self.state_dir.forget()?;
        let boot = new_boot(&self.run_dir, &self.boot_id_file, self.node);
        Ok(boot
            .inspect_err(|e| {
                tracing::error!(
                    error = error::chain(e),
                    "the number of a new boot cannot be written"
                );
            })
            .ok())
    }
}
