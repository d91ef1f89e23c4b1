//! Tasks without which an agent is one in name only.

use std::panic::AssertUnwindSafe;
use std::process;

use futures::FutureExt;
use tokio::task::JoinHandle;

/// Runs a task in the background that is [`watched`].
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(watched(task))
}

/// A task whose panic ends the process: the supervisor starts another agent, which finds
/// the data path as it is. An agent that went on would wait for the task for ever, and yet look well.
pub(crate) async fn watched(task: impl Future<Output = ()> + Send) {
    // What the panic left behind is not used any more.
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        tracing::error!("a task has failed without which the agent cannot go on");
        process::abort();
    }
}

/// A thread whose panic ends the process, likewise.
pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) {
    let work = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("a thread has failed without which the agent cannot go on");
            process::abort();
        }
    };
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work);
    if let Err(error) = started {
        tracing::error!(%error, name, "a thread cannot be started without which the agent cannot go on");
        process::abort();
    }
}
