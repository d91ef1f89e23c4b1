//! Looking at what the kernel holds.

use podnet_core::kernel::{Kind, Kinds, Observed};

use super::super::ObserveError;
use super::{Host, bridge, forwarding, holding, pod, route, underlay, way};

/// Looks at what is named.
pub(super) async fn observe(host: &Host, kinds: &Kinds) -> Result<Observed, ObserveError> {
    let socket = &host.socket;
    let asked = |kind: Kind| kinds.has(&kind);
    let mut observed = Observed::default();
    if asked(Kind::Bridge) {
        let found = bridge::observe(socket).await;
        observed.bridge = Some(found.map_err(|e| e.looking_at("bridge"))?);
    }
    if asked(Kind::HostEnds) {
        let found = pod::host_ends(socket).await;
        observed.host_ends = Some(found.map_err(|e| e.looking_at("host ends of pods"))?);
    }
    let pods = kinds.pods();
    if !pods.is_empty() {
        let looked = pod::look_at(host, &pods, &mut observed).await;
        looked.map_err(|e| e.looking_at("pods"))?;
    }
    if asked(Kind::Routes) {
        let found = route::observe(socket, &kinds.destinations()).await;
        observed.routes = Some(found.map_err(|e| e.looking_at("routes"))?);
    }
    if asked(Kind::Firewall) {
        observed.firewall = Some(host.firewall.observe().await?);
    }
    if asked(Kind::Holding) {
        observed.holding = Some(holding::observe(host).await);
    }
    if asked(Kind::OtherChains) {
        observed.chains = host.firewall.others().await;
    }
    if asked(Kind::Forwarding) {
        let found = forwarding::observe(socket, &kinds.ingresses()).await;
        observed.forwarding = Some(found.map_err(|e| e.looking_at("forwarding"))?);
    }
    if asked(Kind::Underlay) {
        let found = underlay::addresses(socket).await;
        observed.addresses = Some(found.map_err(|e| e.looking_at("addresses"))?);
    }
    if asked(Kind::OtherRoutes) {
        let found = underlay::routes(socket).await;
        observed.host_routes = Some(found.map_err(|e| e.looking_at("the host's routes"))?);
    }
    let paths = kinds.paths();
    if !paths.is_empty() {
        let found = underlay::paths(socket, &paths).await;
        observed.underlay = found.map_err(|e| e.looking_at("the ways to the peers"))?;
    }
    let packets = kinds.packets();
    if !packets.is_empty() {
        let found = way::observe(socket, &packets).await;
        observed.ways = found.map_err(|e| e.looking_at("the ways of packets"))?;
    }
    let destinations = kinds.policy();
    if !destinations.is_empty() {
        let found = way::policy(socket, &destinations).await;
        observed.policy = Some(found.map_err(|e| e.looking_at("the rules of policy routing"))?);
    }
    let namespaces = kinds.namespaces();
    if !namespaces.is_empty() {
        let found = pod::namespaces(namespaces, host.netns_inode).await;
        observed.netns = found.map_err(|e| e.looking_at("network namespaces"))?;
    }
    Ok(observed)
}
