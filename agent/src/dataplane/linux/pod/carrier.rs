//! When packets pass a new pod.

use std::time::Duration;

use futures::future::join;
use tokio::time::{Instant, sleep};

use super::super::errno::KernelError;
use super::super::link;
use super::super::socket::Socket;

/// How long to wait: the kernel looks after links at least once a second.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first pause between two looks; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The links that a pod's packets pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) bridge: u32,
    pub(super) host_end: u32,
    pub(super) pod_end: u32,
}

/// Waits until packets pass a pod that was attached a moment ago.
///
/// The kernel notices behind the scenes that a link has a carrier, and only then lets a bridge
/// forward from and to it (`net/core/link_watch.c`): on a busy host that takes some time, in which
/// packets are lost. To ask for a link makes newer kernels look at once. A pod that takes longer
/// than [`PATIENCE`] is attached all the same.
pub(super) async fn await_packets(host: &Socket, inside: &Socket, way: Way) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    while !matches!(packets_pass(host, inside, way).await, Ok(true)) {
        if Instant::now() >= deadline {
            tracing::debug!(host_end = way.host_end, "packets do not pass a new pod yet");
            return;
        }
        sleep(pause).await;
        pause *= 2;
    }
}

async fn packets_pass(host: &Socket, inside: &Socket, way: Way) -> Result<bool, KernelError> {
    let outside = [way.host_end, way.bridge].map(|index| (link::get_index(index), 0));
    let (outside, pod_end) = join(
        host.batch(outside.into()),
        inside.request(link::get_index(way.pod_end), 0),
    )
    .await;
    let mut links = Vec::new();
    for answer in outside.into_iter().chain([pod_end]) {
        links.extend(link::read_all(&answer?));
    }
    let forwarding = links
        .first()
        .is_some_and(|host_end| host_end.port.forwarding);
    Ok(forwarding && links.iter().all(|link| link.operational))
}
