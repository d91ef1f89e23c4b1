//! A host's kernel that takes its time: between any two of its calls something else may happen.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use podnet_agent::dataplane::Dataplane;
use podnet_agent::dataplane::fake::Fake;
use podnet_agent::reconciler::OpenedDevices;
use podnet_core::kernel::{Change, IfName, Kinds, Made, ObserveError, Observed, Op, OpError};
use tokio::sync::mpsc;

/// A kernel whose calls take time.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) fake: Fake,
    pace: Arc<Mutex<Pace>>,
}

#[derive(Debug)]
struct Pace {
    rng: fastrand::Rng,
    /// How long a call takes at most, in microseconds.
    most: u64,
    /// How long the call takes that has just begun.
    wanted: Option<u64>,
}

/// How long a call takes at most while nothing is wrong, in microseconds.
const USUAL: u64 = 400;

impl Slow {
    pub(crate) fn new(fake: Fake, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let pace = Pace {
            rng,
            most: USUAL,
            wanted: None,
        };
        Self {
            fake,
            pace: Arc::new(Mutex::new(pace)),
        }
    }

    /// Lets calls take up to so many microseconds from now on; as long as usual without it.
    pub(crate) fn slow_down(&self, most: Option<u64>) {
        self.pace().most = most.unwrap_or(USUAL);
    }

    /// How long the call takes that has just begun.
    pub(crate) fn take_wanted(&self) -> Option<u64> {
        self.pace().wanted.take()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self) -> Pause<'_> {
        Pause {
            kernel: self,
            begun: false,
        }
    }
}

struct Pause<'a> {
    kernel: &'a Slow,
    begun: bool,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.begun {
            return Poll::Ready(());
        }
        self.begun = true;
        let mut pace = self.kernel.pace();
        let most = pace.most;
        pace.wanted = Some(pace.rng.u64(1..=most));
        Poll::Pending
    }
}

#[async_trait]
impl Dataplane for Slow {
    async fn observe(&self, kinds: &Kinds) -> Result<Observed, ObserveError> {
        self.pause().await;
        self.fake.observe(kinds).await
    }

    async fn apply(&self, ops: &[Op]) -> Vec<Result<Made, OpError>> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            self.pause().await;
            results.extend(self.fake.apply(slice::from_ref(op)).await);
        }
        results
    }

    async fn inside(
        &self,
        netns: &Path,
        inode: u64,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<(), ObserveError> {
        self.fake.inside(netns, inode, work).await
    }

    async fn watch(&self) -> Result<mpsc::Receiver<Change>, ObserveError> {
        self.fake.watch().await
    }
}

/// The record of opened devices, in a run directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened(Arc<Mutex<BTreeSet<IfName>>>);

impl Opened {
    /// Another record of the same.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.devices().clone())))
    }

    pub(crate) fn devices(&self) -> MutexGuard<'_, BTreeSet<IfName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenedDevices for Opened {
    fn read(&self) -> Result<BTreeSet<IfName>, String> {
        Ok(self.devices().clone())
    }

    fn write(&self, opened: &BTreeSet<IfName>) -> Result<(), String> {
        self.devices().clone_from(opened);
        Ok(())
    }
}
