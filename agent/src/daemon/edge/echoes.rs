//! Echoes from pods: a pod is borrowed for a moment.

use ipnetwork::IpNetwork;
use podnet_core::kernel::PodLink;
use podnet_core::node::{Borrowed, Echoes};
use podnet_proto::PodName;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::dataplane::Dataplane;
use crate::probe::EchoSocket;

/// Sends echoes from some of these pods, until each gateway has answered one of them. A gateway that is silent to
/// the node itself as well has gone meanwhile.
pub(super) async fn ask(dataplane: &dyn Dataplane, borrowed: Borrowed) -> Echoes {
    let Borrowed {
        pods,
        most,
        own,
        mut gateways,
    } = borrowed;
    let mut tried: Vec<&PodName> = Vec::new();
    let mut next = None;
    for (pod, after) in pods.iter().zip(pods.iter().cycle().skip(1)) {
        let Some(socket) = open(dataplane, pod).await else {
            continue;
        };
        tried.push(&pod.pod);
        let silent = socket.silent(&gateways).await;
        gateways.retain(|node, _| silent.contains(node));
        next = Some(if gateways.is_empty() { pod } else { after });
        if gateways.is_empty() || tried.len() == most {
            break;
        }
    }
    let next = next.map(|pod| pod.pod.clone());
    // If no pod can be borrowed, or the node's own echoes cannot be sent, nothing is known.
    let (Some(first), false) = (tried.first(), gateways.is_empty()) else {
        return Echoes {
            next,
            ..Echoes::default()
        };
    };
    let silent = match EchoSocket::of_node(own) {
        Ok(socket) => socket.silent(&gateways).await,
        Err(error) => {
            tracing::debug!(%own, %error, "this node cannot send echoes");
            gateways.keys().copied().collect()
        }
    };
    gateways.retain(|node, _| !silent.contains(node));
    let lost = gateways.into_keys().map(|node| (node, (*first).clone()));
    Echoes {
        lost: lost.collect(),
        next,
    }
}

/// Opens a socket in the namespace of a pod.
async fn open(dataplane: &dyn Dataplane, pod: &PodLink) -> Option<EchoSocket> {
    let address = pod.addresses.first().map(IpNetwork::ip)?;
    let ifname = pod.ifname.clone();
    let (opened, socket) = oneshot::channel();
    let runtime = Handle::current();
    let work = Box::new(move || {
        let _reactor = runtime.enter();
        // The receiver may have given up.
        let _ = opened.send(EchoSocket::of_pod(address, ifname.as_str()));
    });
    let entered = dataplane.inside(&pod.netns.path, pod.netns.inode?, work);
    if let Err(error) = entered.await {
        tracing::debug!(pod = %pod.pod, %error, "a pod cannot be borrowed for echoes");
        return None;
    }
    socket.await.ok()?.ok()
}
