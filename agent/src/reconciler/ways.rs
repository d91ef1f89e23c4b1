//! Whether packets of pods go where they should, once the routes are in place.

use std::collections::BTreeMap;

use podnet_core::kernel::{
    Astray, Contested, Course, Kind, Kinds, ObserveError, Policy, RouteKey, courses, destinations,
    explain, strays,
};
use podnet_proto::{NodeId, PodNetwork};

use crate::dataplane::Dataplane;
use podnet_core::pass::{Job, Report, Target};

/// Looks at the ways of packets.
pub(super) async fn look(
    dataplane: &dyn Dataplane,
    job: &Job,
    report: &Report,
) -> Result<BTreeMap<NodeId, Astray>, ObserveError> {
    let Some(target) = &job.target else {
        return Ok(BTreeMap::new());
    };
    judge(dataplane, target, &settled(target, report)).await
}

/// The packets whose routes are in place: what keeps a route away is a problem of its own.
fn settled(target: &Target, report: &Report) -> Vec<Course> {
    let failed = report.applied.iter().filter(|(_, result)| result.is_err());
    let failed: Vec<_> = failed
        .filter_map(|(finding, _)| finding.op.destination())
        .collect();
    let contested = |key: RouteKey| {
        let objects = report.conflicts.iter().map(|conflict| &conflict.object);
        objects
            .into_iter()
            .any(|object| matches!(object, Contested::Route(route) if route.key() == key))
    };
    let there = |block| !failed.contains(&block) && !contested(RouteKey::to(block));
    let peers = target.peers.iter().copied();
    let peers: Vec<_> = peers.filter(|peer| there(peer.block.into())).collect();
    courses(target.block, &peers, &report.underlay, &report.desired)
}

async fn judge(
    dataplane: &dyn Dataplane,
    target: &Target,
    courses: &[Course],
) -> Result<BTreeMap<NodeId, Astray>, ObserveError> {
    if courses.is_empty() {
        return Ok(BTreeMap::new());
    }
    let packets = courses.iter().map(|course| course.packet.clone());
    let packets: Kinds = packets.map(Kind::Way).collect();
    let ways = dataplane.observe(&packets).await?.ways;
    let strays = strays(courses, &ways);
    if strays.is_empty() {
        return Ok(BTreeMap::new());
    }
    let policy: Kinds = destinations(&strays)
        .into_iter()
        .map(Kind::Policy)
        .collect();
    // A packet that goes astray is a problem, whether or not the cause is found.
    let policy = match dataplane.observe(&policy).await {
        Ok(observed) => observed.policy.unwrap_or_default(),
        Err(error) => {
            tracing::debug!(%error, "podnet cannot look for what leads packets astray");
            Policy::default()
        }
    };
    let networks: Vec<_> = target.networks.iter().map(PodNetwork::cidr).collect();
    let explained = |(node, strays): (NodeId, Vec<&Course>)| {
        Some((node, explain(&strays, &ways, &policy, &networks)?))
    };
    Ok(strays.into_iter().filter_map(explained).collect())
}
