//! The Linux kernel.

mod address;
mod batch;
mod bounded;
mod bridge;
mod connections;
mod errno;
mod firewall;
mod forwarding;
mod holding;
mod link;
mod monitor;
mod neighbour;
mod netns;
mod nft;
mod observe;
mod pod;
mod route;
mod socket;
mod sysctl;
mod thread;
mod underlay;
mod uplink;
mod way;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use podnet_core::kernel::{Change, Kinds, Made, ObserveError, Observed, Op, OpError};
use tokio::sync::mpsc;

use self::batch::Batch;
use self::errno::KernelError;
use self::firewall::Firewall;
use self::holding::Held;
use self::netns::Netns;
use self::pod::Removals;
use self::socket::{Driver, Socket};
use super::Dataplane;

/// The kernel of this host, in the network namespace of the thread that opened it.
#[derive(Clone)]
pub struct Linux {
    host: Arc<Host>,
}

/// What all work on the host shares.
struct Host {
    driver: Driver,
    socket: Socket,
    /// The number of the host's own network namespace.
    netns_inode: u64,
    firewall: Firewall,
    held: Held,
    removals: Removals,
}

impl Linux {
    /// Opens the sockets, in the network namespace of the calling thread. What is called later
    /// needs a runtime with time and I/O, all of whose threads are in the same namespaces.
    ///
    /// # Errors
    /// When the kernel refuses; that it lets anybody look means that changes may still be refused.
    pub fn new() -> Result<Self, ObserveError> {
        let open = || {
            let driver = Driver::start()?;
            let socket = Socket::route(driver.runtime())?;
            let netns_inode = Netns::own_inode()?;
            let (firewall, held, removals) = Default::default();
            Ok(Host {
                driver,
                socket,
                netns_inode,
                firewall,
                held,
                removals,
            })
        };
        let host =
            open().map_err(|e: std::io::Error| KernelError::from(e).looking_at("netlink"))?;
        Ok(Self {
            host: Arc::new(host),
        })
    }
}

#[async_trait]
impl Dataplane for Linux {
    async fn observe(&self, kinds: &Kinds) -> Result<Observed, ObserveError> {
        observe::observe(&self.host, kinds).await
    }

    async fn apply(&self, ops: &[Op]) -> Vec<Result<Made, OpError>> {
        let mut results = Vec::with_capacity(ops.len());
        for batch in batch::batches(ops) {
            results.extend(self.host.carry_out(batch).await);
        }
        results
    }

    async fn inside(
        &self,
        netns: &Path,
        inode: u64,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<(), ObserveError> {
        let done = netns::work_in(netns, inode, work).await;
        done.map_err(|error| error.looking_at("the namespace of a pod"))
    }

    async fn watch(&self) -> Result<mpsc::Receiver<Change>, ObserveError> {
        monitor::watch(Arc::clone(&self.host)).await
    }
}

/// What came of changes, one by one.
type Results = Vec<Result<Made, OpError>>;

/// What came of changes that make nothing that has to be named.
fn nothing_made(done: Vec<Result<(), OpError>>) -> Results {
    done.into_iter().map(|done| done.map(Made::from)).collect()
}

impl Host {
    async fn carry_out(&self, batch: Batch<'_>) -> Results {
        let socket = &self.socket;
        match batch {
            Batch::Bridge(ops) => bridge::apply(socket, &ops).await,
            Batch::Holding(ops) => holding::apply(self, &ops).await,
            Batch::Pod(ops) => pod::apply(self, &ops).await,
            Batch::Neighbour(ops) => neighbour::apply(socket, &ops).await,
            Batch::Firewall(ops) => self.firewall.apply(&ops).await,
            Batch::Forwarding(ops) => forwarding::apply(&ops).await,
            Batch::Route(ops) => route::apply(socket, &ops).await,
            Batch::Connections(ops) => connections::apply(self.driver.runtime(), &ops).await,
        }
    }
}
