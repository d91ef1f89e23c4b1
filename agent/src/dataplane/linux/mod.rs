//! The Linux kernel.

mod address;
mod batch;
mod bounded;
mod carrier;
mod conntrack;
mod detach;
mod errno;
mod firewall;
mod forwarding;
mod inside;
mod link;
mod monitor;
mod neighbour;
mod netns;
mod nft;
mod observe;
mod pod;
mod port;
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
use futures::stream::{self, StreamExt};
use podnet_core::firewall::RuleSet;
use podnet_core::kernel::{Observed, Op, OpError, Scope};
use tokio::sync::mpsc;

use self::batch::Batch;
use self::detach::Removals;
use self::errno::KernelError;
use self::firewall::Firewall;
use self::netns::Netns;
use self::nft::Held;
use self::socket::{Driver, Socket};
use super::{Change, Dataplane, ObserveError};

/// How many pods are worked on at the same time.
const PODS_AT_ONCE: usize = 16;

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
    async fn observe(&self, scope: &Scope) -> Result<Observed, ObserveError> {
        observe::observe(&self.host, scope).await
    }

    async fn apply(&self, ops: &[Op]) -> Vec<Result<(), OpError>> {
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

impl Host {
    async fn carry_out(&self, batch: Batch<'_>) -> Vec<Result<(), OpError>> {
        let socket = &self.socket;
        let one = match batch {
            Batch::SetForwarding(device, on) => forwarding::set(device, on).await,
            Batch::CreateBridge(bridge) => link::create_bridge(socket, bridge).await,
            Batch::UpdateBridge(bridge) => link::update_bridge(socket, bridge).await,
            Batch::DeleteBridge(name) => link::delete_bridge(socket, name).await,
            Batch::AddAddress(bridge, address) => {
                address::add_to_bridge(socket, bridge, address).await
            }
            Batch::DeleteAddress(bridge, address) => {
                address::delete_from_bridge(socket, bridge, address).await
            }
            Batch::SetFirewall(rules) => self.firewall.set(rules).await,
            Batch::RemoveFirewall => self.firewall.set(&RuleSet::default()).await,
            Batch::SetHolding(holding) => self.held.set(holding).await,
            Batch::HoldPod(holding) => nft::hold(self, holding).await,
            Batch::ReleasePod(holding) => nft::release(self, holding).await,
            Batch::RemoveHolding => self.held.remove().await,
            Batch::FlushConnections(address) => {
                conntrack::flush(self.driver.runtime(), address).await
            }
            Batch::Neighbours(bridge, changes) => {
                return neighbour::change_on_bridge(socket, bridge, &changes).await;
            }
            Batch::AttachPods(pods) => {
                let work: Vec<_> = pods
                    .into_iter()
                    .map(|link| pod::attach(self, link))
                    .collect();
                return stream::iter(work).buffered(PODS_AT_ONCE).collect().await;
            }
            Batch::RepairPods(pods) => {
                let work: Vec<_> = pods
                    .into_iter()
                    .map(|link| pod::repair(self, link))
                    .collect();
                return stream::iter(work).buffered(PODS_AT_ONCE).collect().await;
            }
            Batch::DetachPods(pods) => return self.removals.detach(self, &pods).await,
            Batch::AddRoutes(routes) => return route::add(socket, &routes).await,
            Batch::ReplaceRoutes(routes) => return route::replace(socket, &routes).await,
            Batch::DeleteRoutes(keys) => return route::delete(socket, &keys).await,
        };
        vec![one]
    }
}
