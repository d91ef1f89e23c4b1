//! Tasks without which an agent is one in name only.

use std::panic::AssertUnwindSafe;
use std::process;

use futures::FutureExt;

/// Runs a task in the background. Should it panic, the process ends: whoever supervises the agent
/// starts another one, which finds the data path as it is. An agent that went on would wait for the
/// task for ever, and yet look well.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async {
        // What the panic left behind is used by nobody any more.
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!("a task has failed without which the agent cannot go on");
            process::abort();
        }
    });
}
