//! The host: its parameters, and the way to the peers.

use std::collections::BTreeSet;
use std::path::Path;

use podnet_core::kernel::{
    Forwarding, IfName, Ingress, Kind, Kinds, Mtu, NetnsState, Observed, Op, Place, RouteKey,
    UnderlayPath, bridge, connections, firewall, forwarding, pod, route,
};

use crate::subject::{
    add_bridge, add_underlay, addr, apply, made_pod, name, net, netns, observe, refused_as_missing,
    seen_netns, seen_routes, to_peer, unreachable,
};
use crate::world::{STATIC, World};

async fn forwarding(world: &dyn World, asked: &[&str]) -> Forwarding {
    let kinds = asked
        .iter()
        .map(|device| name(device))
        .map(Kind::Ingress)
        .chain([Kind::Forwarding])
        .collect::<Kinds>();
    observe(world, &kinds).await.forwarding.unwrap()
}

async fn set(world: &dyn World, device: &str, on: bool) {
    let device = name(device);
    apply(world, &[Op::Forwarding(forwarding::Op::Set { device, on })]).await;
}

fn ingress(on: bool, way: bool, bridge: bool) -> Ingress {
    Ingress { on, way, bridge }
}

pub(crate) async fn devices_are_opened_one_by_one(world: &dyn World) {
    add_underlay(world);
    world.add_link(&name("eth1"), Mtu(1500));
    add_bridge(world).await;
    apply(world, &[Op::Pod(pod::Op::Attach(made_pod(0)))]).await;
    let before = forwarding(world, &["eth1", "gone"]).await;
    let closed = ingress(false, true, false);
    let idle = ingress(false, false, false);
    let devices = [(name("eth0"), closed), (name("eth1"), idle)];
    assert_eq!(
        before.devices,
        devices.into(),
        "neither podnet's nor loopback"
    );
    for on in [true, true, false] {
        set(world, "eth0", on).await;
        let found = forwarding(world, &["eth1"]).await;
        let open = ingress(on, true, false);
        assert_eq!(
            found.devices,
            [(name("eth0"), open), (name("eth1"), idle)].into()
        );
        assert!(!found.router);
    }
    let device = name("gone");
    refused_as_missing(
        world,
        Op::Forwarding(forwarding::Op::Set { device, on: true }),
    )
    .await;
}

/// To write the switch sets every device, and those to come; to write what is there changes nothing.
pub(crate) async fn the_switch_sets_all_devices(world: &dyn World) {
    add_underlay(world);
    set(world, "eth0", true).await;
    world.set_router(false);
    let found = forwarding(world, &[]).await;
    assert_eq!(
        (found.router, found.devices[&name("eth0")].on),
        (false, true)
    );
    for router in [true, false] {
        world.set_router(router);
        let later = name(if router { "on0" } else { "off0" });
        world.add_link(&later, Mtu(1500));
        let found = forwarding(world, &[later.as_str()]).await;
        assert_eq!(found.router, router);
        assert!(
            found.devices.values().all(|ingress| ingress.on == router),
            "{found:?}"
        );
        assert_eq!(found.devices.len(), 2);
    }
    world.set_router(true);
    world.set_forwarding(&name("eth0"), false);
    let found = forwarding(world, &[]).await;
    assert_eq!(
        (found.router, found.devices[&name("eth0")].on),
        (true, false)
    );
}

/// By a device that a route leads out of packets come back.
pub(crate) async fn routes_make_ways(world: &dyn World) {
    let [tun, br] = ["tun0", "br0"].map(name);
    world.add_link(&tun, Mtu(1500));
    world.add_bridge(&br);
    assert_eq!(forwarding(world, &[]).await.devices, [].into());
    let key = RouteKey::to(net("198.51.100.0/24"));
    world.add_route(key, STATIC, Some(&tun));
    world.add_address(&br, net("203.0.113.9/24"));
    let right = [
        (br, ingress(false, true, true)),
        (tun.clone(), ingress(false, true, false)),
    ];
    assert_eq!(forwarding(world, &[]).await.devices, right.into());
    world.delete_route(key);
    assert!(!forwarding(world, &[]).await.devices.contains_key(&tun));
}

pub(crate) async fn what_was_not_asked_for_is_not_told(world: &dyn World) {
    let eth0 = add_underlay(world);
    add_bridge(world).await;
    let route = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    apply(
        world,
        &[
            Op::Pod(pod::Op::Attach(made_pod(0))),
            Op::Route(route::Op::Add(route.clone())),
        ],
    )
    .await;
    assert_eq!(observe(world, &Kinds::default()).await, Observed::default());

    let kinds = [
        Kind::Bridge,
        Kind::HostEnds,
        Kind::Routes,
        Kind::Firewall,
        Kind::Holding,
        Kind::Forwarding,
        Kind::Underlay,
        Kind::OtherRoutes,
    ];
    for (at, kind) in kinds.iter().enumerate() {
        let observed = observe(world, &Kinds::from([kind.clone()])).await;
        let told = [
            observed.bridge.is_some(),
            observed.host_ends.is_some(),
            observed.routes.is_some(),
            observed.firewall.is_some(),
            observed.holding.is_some(),
            observed.forwarding.is_some(),
            observed.addresses.is_some(),
            observed.host_routes.is_some(),
        ];
        let right: Vec<_> = (0..kinds.len()).map(|other| other == at).collect();
        assert_eq!(told[..], right[..]);
        assert!(observed.pods.is_empty() && observed.insides.is_empty());
        assert!(observed.underlay.is_empty() && observed.netns.is_empty());
    }
}

pub(crate) async fn paths_to_peers_are_told(world: &dyn World) {
    add_underlay(world);
    world.set_mtu(&name("eth0"), Mtu(1400));
    let [peer, own, far] = ["192.0.2.1", "192.0.2.9", "198.51.100.1"].map(addr);
    let kinds = Kinds::from([Kind::Path(peer), Kind::Path(own), Kind::Path(far)]);
    let paths = observe(world, &kinds).await.underlay;
    let on_link = UnderlayPath::OnLink {
        ifname: name("eth0"),
        mtu: Mtu(1400),
        source: own,
    };
    assert_eq!(paths[&peer], on_link);
    assert_eq!(paths[&own], UnderlayPath::Local);
    assert!(matches!(paths[&far], UnderlayPath::None(_)), "{paths:?}");

    world.add_default_route(addr("192.0.2.254"));
    let paths = observe(world, &kinds).await.underlay;
    assert_eq!(
        paths[&far],
        UnderlayPath::Routed {
            via: addr("192.0.2.254"),
            source: own
        }
    );

    apply(
        world,
        &[Op::Route(route::Op::Add(unreachable("198.51.100.0/24")))],
    )
    .await;
    let paths = observe(world, &kinds).await.underlay;
    assert!(matches!(paths[&far], UnderlayPath::None(_)), "{paths:?}");

    world.set_up(&name("eth0"), false);
    let paths = observe(world, &kinds).await.underlay;
    assert!(matches!(paths[&peer], UnderlayPath::None(_)), "{paths:?}");
}

pub(crate) async fn the_hosts_routes_are_not_podnets(world: &dyn World) {
    let eth0 = add_underlay(world);
    add_bridge(world).await;
    world.add_default_route(addr("192.0.2.254"));
    world.add_route(RouteKey::to(net("198.51.100.0/24")), STATIC, None);
    let peer = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    apply(
        world,
        &[
            Op::Route(route::Op::Add(unreachable("10.244.0.0/16"))),
            Op::Route(route::Op::Add(peer.clone())),
        ],
    )
    .await;
    let kinds = Kinds::from([Kind::OtherRoutes]);
    let found = observe(world, &kinds).await.host_routes.unwrap();
    let found: BTreeSet<_> = found
        .into_iter()
        .filter(|route| route.destination.is_ipv4())
        .map(|route| (route.destination, route.device))
        .collect();
    let eth0 = Some(name("eth0"));
    let right = BTreeSet::from([
        (net("0.0.0.0/0"), eth0.clone()),
        (net("192.0.2.0/24"), eth0),
    ]);
    assert_eq!(found, right);
}

pub(crate) async fn paths_are_told_apart(world: &dyn World) {
    let state = seen_netns(world, Path::new("/run/netns/none/at/all")).await;
    assert_eq!(state, NetnsState::Missing);
    world.add_netns(&netns(0));
    world.add_netns(&netns(1));
    world.add_file(&netns(2));
    world.add_host_netns(&netns(3));
    let paths: BTreeSet<_> = (0..4).map(netns).collect();
    let kinds = paths.into_iter().map(Kind::Namespace).collect::<Kinds>();
    let found = observe(world, &kinds).await.netns;
    let (first, second) = (found[&netns(0)], found[&netns(1)]);
    assert!(
        matches!(first, NetnsState::Netns { .. }) && first != second,
        "{found:?}"
    );
    assert!(matches!(second, NetnsState::Netns { .. }), "{found:?}");
    assert_eq!(found[&netns(2)], NetnsState::NotANetns);
    assert_eq!(found[&netns(3)], NetnsState::Host);
}

pub(crate) async fn nothing_is_there_on_a_fresh_host(world: &dyn World) {
    let kinds = Kinds::from([
        Kind::Bridge,
        Kind::HostEnds,
        Kind::Routes,
        Kind::RoutesIn(net("10.244.0.0/16")),
    ]);
    let observed = observe(world, &kinds).await;
    assert_eq!(observed.bridge, Some(Place::Absent));
    assert!(observed.host_ends.unwrap().is_empty());
    assert!(observed.routes.unwrap().is_empty());
    assert!(seen_routes(world, "10.244.1.0/24").await.is_empty());
    apply(
        world,
        &[
            Op::Bridge(bridge::Op::Delete(IfName::bridge())),
            Op::Route(route::Op::Delete(RouteKey::to(net("10.244.0.0/16")))),
            Op::Pod(pod::Op::Detach {
                host_ifname: made_pod(0).host_ifname,
                netns: Some(netns(0)),
            }),
            Op::Firewall(firewall::Op::Remove),
            Op::Connections(connections::Op::Flush(addr("10.244.0.2"))),
        ],
    )
    .await;
}
