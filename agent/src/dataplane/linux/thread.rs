//! Threads for work that blocks, or that is done in another namespace.

use std::thread;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::errno::KernelError;
use super::socket::DEADLINE;

/// Does blocking work on a thread of its own, with a deadline. A thread that does not come back is
/// left behind.
pub(super) async fn on_thread<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, KernelError> {
    let (result, answer) = oneshot::channel();
    thread::Builder::new()
        .name("podnet-netns".to_owned())
        .spawn(move || {
            // The receiver may have given up.
            let _ = result.send(work());
        })?;
    match timeout(DEADLINE, answer).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(KernelError::Lost),
        Err(_) => Err(KernelError::Timeout),
    }
}
