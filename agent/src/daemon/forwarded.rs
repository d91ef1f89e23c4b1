//! Whether packets of pods pass where the node's own do.
//!
//! What the node sends itself is not forwarded, and passes other rules. So a pod is borrowed for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use podnet_core::kernel::PodLink;
use podnet_proto::api::Severity;
use podnet_proto::network::gateway;
use podnet_proto::{ApiError, ErrorCode, NodeId, PodName};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::agent::{Agent, Event};
use super::problems::label;
use crate::dataplane::Dataplane;
use crate::probe::PodSocket;
use crate::vital;

/// How long to wait between two tries.
const STEADY: Duration = Duration::from_secs(10);

/// The same while packets are lost.
const SOON: Duration = Duration::from_secs(2);

/// How many pods are borrowed before their packets count as lost: one may drop echoes itself.
const MOST_PODS: usize = 3;

/// What is known of the packets of pods.
pub(super) struct Forwarded {
    due: Instant,
    running: bool,
    /// The peers from which none come back, and a pod that has tried.
    lost: BTreeMap<NodeId, PodName>,
}

impl Forwarded {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            due: now,
            running: false,
            lost: BTreeMap::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.running).then_some(self.due)
    }
}

impl Agent {
    /// Starts a try if one is due and none is under way.
    pub(super) fn start_due_echoes_of_pods(&mut self, now: Instant) {
        if self.forwarded.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        let gateways = self.gateways_that_answer();
        let pods: Vec<PodLink> = self.pods.attached().into_iter().take(MOST_PODS).collect();
        if gateways.is_empty() || pods.is_empty() {
            self.forwarded.lost.clear();
            self.forwarded.due = now + STEADY;
            return;
        }
        self.forwarded.running = true;
        let (dataplane, events) = (Arc::clone(&self.dataplane), self.events.clone());
        vital::spawn(async move {
            let lost = lost(dataplane.as_ref(), &pods, gateways).await;
            // The loop ends only with the process.
            let _ = events.send(Event::EchoesOfPods(lost)).await;
        });
    }

    pub(super) fn on_echoes_of_pods(&mut self, lost: BTreeMap<NodeId, PodName>) {
        let attached: BTreeSet<PodName> = self
            .pods
            .attached()
            .into_iter()
            .map(|pod| pod.pod)
            .collect();
        // One that was removed meanwhile got no answers.
        let lost: BTreeMap<_, _> = lost
            .into_iter()
            .filter(|(_, pod)| attached.contains(pod))
            .collect();
        for (node, pod) in &lost {
            if !self.forwarded.lost.contains_key(node) {
                tracing::warn!(%node, %pod, "packets of pods do not come back from a peer");
            }
        }
        self.forwarded.running = false;
        let pause = if lost.is_empty() { STEADY } else { SOON };
        self.forwarded.due = Instant::now() + pause;
        self.forwarded.lost = lost;
    }

    /// The gateways of the peers that answer the node itself.
    fn gateways_that_answer(&self) -> BTreeMap<NodeId, IpAddr> {
        let Some(membership) = &self.membership else {
            return BTreeMap::new();
        };
        let peers = membership.peer_blocks(self.identity.node()).into_iter();
        let answers = |node: &NodeId| {
            let report = self.paths.get(node);
            report.is_some_and(|report| report.outcome.is_ok())
                && !self.reconciling.astray.contains_key(node)
        };
        peers
            .filter(|peer| membership.using.is_some() && answers(&peer.node))
            .map(|peer| (peer.node, gateway(peer.block).into()))
            .collect()
    }

    /// What is wrong with the packets of pods, though all else looks well.
    pub(super) fn problems_of_pods_packets(&self) -> Vec<(Severity, ApiError)> {
        let answering = self.gateways_that_answer();
        let nodes = self.nodes();
        let lost = nodes.iter().filter_map(|node| {
            let pod = self.forwarded.lost.get(&node.id)?;
            answering.get(&node.id)?;
            let message = format!(
                "path to node {}: no echo comes back to pod {pod}, though the node's own do",
                label(node)
            );
            let cure = format!(
                "let what pods send pass the firewalls of both nodes and between them, those of \
                 iptables-legacy too; if pod {pod} drops ICMP echo itself, all is well"
            );
            let api_error = ApiError::new(ErrorCode::Unreachable, message).hint(cure);
            Some((Severity::Warning, api_error))
        });
        lost.collect()
    }
}

/// The peers from which nothing comes back to any of these pods, and the pod that tried first.
async fn lost(
    dataplane: &dyn Dataplane,
    pods: &[PodLink],
    mut gateways: BTreeMap<NodeId, IpAddr>,
) -> BTreeMap<NodeId, PodName> {
    let mut first = None;
    for pod in pods {
        let Some(socket) = open(dataplane, pod).await else {
            continue;
        };
        first.get_or_insert(&pod.pod);
        let lost = socket.lost(&gateways).await;
        gateways.retain(|node, _| lost.contains(node));
        if gateways.is_empty() {
            break;
        }
    }
    // Where no pod can be borrowed, nothing is known.
    let Some(first) = first else {
        return BTreeMap::new();
    };
    gateways
        .into_keys()
        .map(|node| (node, first.clone()))
        .collect()
}

/// Opens a socket in the namespace of a pod.
async fn open(dataplane: &dyn Dataplane, pod: &PodLink) -> Option<PodSocket> {
    let address = pod.addresses.first().map(IpNetwork::ip)?;
    let ifname = pod.ifname.clone();
    let (opened, socket) = oneshot::channel();
    let runtime = Handle::current();
    let work = Box::new(move || {
        let _reactor = runtime.enter();
        // The receiver may have given up.
        let _ = opened.send(PodSocket::open(address, ifname.as_str()));
    });
    let entered = dataplane.inside(&pod.netns.path, pod.netns.inode?, work);
    if let Err(error) = entered.await {
        tracing::debug!(pod = %pod.pod, %error, "a pod cannot be borrowed");
        return None;
    }
    socket.await.ok()?.ok()
}
