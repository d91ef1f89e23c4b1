//! The kernel, behind one seam: observe and apply, in the words of [`podnet_core::kernel`].

#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod linux;

use std::path::Path;

use async_trait::async_trait;
use podnet_core::kernel::{Change, Kinds, Made, ObserveError, Observed, Op, OpError};
use tokio::sync::mpsc;

/// The kernel.
///
/// Calls run beside one another. A call waits with a deadline, and holds back no other.
#[async_trait]
pub trait Dataplane: Send + Sync + 'static {
    /// Looks at what is named.
    ///
    /// # Errors
    /// When the kernel refuses to be looked at; then nothing is known.
    async fn observe(&self, kinds: &Kinds) -> Result<Observed, ObserveError>;

    /// Applies each change, in order, and says what it made; one that fails hides no other. Neighbours in
    /// the list may be sent to the kernel together.
    async fn apply(&self, ops: &[Op]) -> Vec<Result<Made, OpError>>;

    /// Does work in the network namespace of a pod, on a thread that ends with it. Where the path leads
    /// elsewhere by now, nothing is done.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    async fn inside(
        &self,
        netns: &Path,
        inode: u64,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<(), ObserveError>;

    /// The changes that other programs make, from now on. To be called once.
    ///
    /// # Errors
    /// When the kernel refuses to report them.
    async fn watch(&self) -> Result<mpsc::Receiver<Change>, ObserveError>;
}
