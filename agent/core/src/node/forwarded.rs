//! Whether packets of pods pass where the node's own do.
//!
//! What the node sends itself is not forwarded, and passes other rules. So a pod is borrowed for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::kernel::PodLink;
use crate::time::Moment;
use podnet_proto::api::Severity;
use podnet_proto::network::gateway;
use podnet_proto::{ApiError, ErrorCode, NodeId, PodName};

use super::echoes::{Borrowed, Echoes};
use super::effect::Effect;
use super::machine::Node;
use super::membership::Membership;
use super::problems::label;

/// How long to wait between two tries.
const STEADY: Duration = Duration::from_secs(10);

/// How long to wait while packets are lost.
const SOON: Duration = Duration::from_secs(2);

/// How many pods are borrowed before their packets count as lost: one pod may drop echoes itself.
const MOST_PODS: usize = 3;

/// What is known of the packets of pods.
pub(super) struct Forwarded {
    due: Moment,
    running: bool,
    /// The peers from which no packets come back to pods, and a pod that has tried.
    lost: BTreeMap<NodeId, PodName>,
    /// The pod that the next try begins with.
    next: Option<PodName>,
}

impl Forwarded {
    pub(super) const fn new(now: Moment) -> Self {
        Self {
            due: now,
            running: false,
            lost: BTreeMap::new(),
            next: None,
        }
    }

    /// Forgets what was found: the node is no longer a member.
    pub(super) fn forget(&mut self) {
        self.lost.clear();
        self.next = None;
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        (!self.running).then_some(self.due)
    }
}

impl Node {
    /// Starts a try if one is due and none is under way.
    pub(super) fn start_due_echoes_of_pods(&mut self, now: Moment) {
        if self.forwarded.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        let gateways = self.gateways_that_answer();
        let pods = beginning_with(self.pods.attached(), self.forwarded.next.as_ref());
        let block = self.life.member().and_then(Membership::block);
        let own = block.filter(|_| !gateways.is_empty() && !pods.is_empty());
        let Some(own) = own.map(|block| IpAddr::from(gateway(block))) else {
            self.forwarded.lost.clear();
            self.forwarded.due = now + STEADY;
            return;
        };
        self.forwarded.running = true;
        let borrowed = Borrowed {
            pods,
            most: MOST_PODS,
            own,
            gateways,
        };
        self.effects.push(Effect::SendEchoes(Box::new(borrowed)));
    }

    pub(super) fn on_echoes_of_pods(&mut self, echoes: Echoes) {
        let attached = self.pods.attached().into_iter().map(|pod| pod.pod);
        let attached: BTreeSet<PodName> = attached.collect();
        // A pod that was removed meanwhile got no answers.
        let mut lost = echoes.lost;
        lost.retain(|_, pod| attached.contains(pod));
        for (node, pod) in &mut lost {
            match self.forwarded.lost.get(node) {
                // The first pod that has tried stays named.
                Some(first) if attached.contains(first) => pod.clone_from(first),
                Some(_) => {}
                None => {
                    tracing::warn!(%node, %pod, "packets that pods send to a peer do not come back");
                }
            }
        }
        self.forwarded.running = false;
        let pause = if lost.is_empty() { STEADY } else { SOON };
        self.forwarded.due = self.now() + pause;
        self.forwarded.lost = lost;
        self.forwarded.next = echoes.next;
    }

    /// The gateways of the peers that answer the node itself.
    fn gateways_that_answer(&self) -> BTreeMap<NodeId, IpAddr> {
        let Some(membership) = self.life.member() else {
            return BTreeMap::new();
        };
        let peers = membership.peer_blocks(self.own()).into_iter();
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
            let far_gateway = answering.get(&node.id)?;
            let message = format!(
                "path to node {}: no echo comes back to pod {pod} from the peer's gateway {far_gateway}, though \
                 the node's own do",
                label(node)
            );
            let cure = format!(
                "let what pods send pass the firewalls of both nodes and between them, those of \
                 iptables-legacy too: FORWARD, and for these echoes INPUT of the peer; if pod {pod} drops ICMP \
                 echo itself, or the peer drops that of pods to its gateway, all is well"
            );
            let api_error = ApiError::new(ErrorCode::Unreachable, message).hint(cure);
            Some((Severity::Warning, api_error))
        });
        lost.collect()
    }
}

/// The pods in their order, beginning with this one, or with the next if it is gone.
fn beginning_with(mut pods: Vec<PodLink>, first: Option<&PodName>) -> Vec<PodLink> {
    let mut names = pods.iter().map(|pod| Some(&pod.pod));
    let start = names.position(|name| name >= first).unwrap_or(0);
    pods.rotate_left(start);
    pods
}

#[cfg(test)]
mod tests {
    use crate::kernel::{IfName, MacAddr, Mtu, Netns, host_ifname};

    use super::*;

    fn pod(name: &str) -> PodLink {
        let pod: PodName = name.parse().unwrap();
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        PodLink {
            host_ifname: host_ifname(&pod, &IfName::pod()),
            pod,
            netns: Netns {
                path: "/run/netns/pod".into(),
                made: true,
                inode: None,
            },
            ifname: IfName::pod(),
            mac,
            mtu: Mtu(1500),
            addresses: Vec::new(),
            gateways: Vec::new(),
            gateway_mac: mac,
            trusted: false,
        }
    }

    #[test]
    fn all_pods_have_their_turn() {
        let order = |first: Option<&str>| {
            let pods = ["blue", "green", "red"].map(pod).to_vec();
            let first = first.map(|name| name.parse().unwrap());
            let pods = beginning_with(pods, first.as_ref()).into_iter();
            let names: Vec<String> = pods.map(|pod| pod.pod.to_string()).collect();
            names.join(" ")
        };
        assert_eq!(order(None), "blue green red");
        assert_eq!(order(Some("green")), "green red blue");
        assert_eq!(order(Some("gray")), "green red blue", "gray was removed");
        assert_eq!(order(Some("zoe")), "blue green red");
        assert!(beginning_with(Vec::new(), None).is_empty());
    }
}
