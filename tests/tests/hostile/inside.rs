//! Work of the tests themselves in the namespaces of nodes.

use std::fs::File;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};
use podnet_lab::Node;
use tokio::runtime::Builder;

/// Starts a thread in the network namespace of a node, with timers and sockets of its own.
pub(crate) fn spawn_in<F: Future<Output = ()>>(
    node: Node<'_>,
    work: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<()> {
    let path = format!("/proc/{}/ns/net", node.holder().unwrap().pid);
    thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    })
}
