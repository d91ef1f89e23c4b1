//! Routes.

use podnet_core::kernel::{
    IfName, Mtu, NextHop, ObservedRoute, Op, OpErrorKind, PROTOCOL, Route, RouteKey, bridge, route,
};

use crate::subject::{
    add_bridge, add_underlay, addr, apply, as_seen, name, net, refused, refused_as_foreign,
    refused_as_missing, seen_routes, to_peer, unreachable,
};
use crate::world::{STATIC, World};

const BLOCK: &str = "10.244.1.0/24";

fn key() -> RouteKey {
    RouteKey::to(net(BLOCK))
}

/// The underlay and the bridge.
async fn host(world: &dyn World) -> IfName {
    let eth0 = add_underlay(world);
    add_bridge(world).await;
    eth0
}

pub(crate) async fn routes_are_held_as_told(world: &dyn World) {
    let eth0 = host(world).await;
    let whole = unreachable("10.244.0.0/16");
    let peer = to_peer(BLOCK, "192.0.2.1", &eth0);
    apply(
        world,
        &[
            Op::Route(route::Op::Add(whole.clone())),
            Op::Route(route::Op::Add(peer.clone())),
        ],
    )
    .await;
    let both = [as_seen(&whole), as_seen(&peer)].into();
    assert_eq!(seen_routes(world, BLOCK).await, both);
    apply(
        world,
        &[
            Op::Route(route::Op::Add(whole.clone())),
            Op::Route(route::Op::Add(peer.clone())),
        ],
    )
    .await;
    assert_eq!(
        seen_routes(world, BLOCK).await,
        both,
        "once more changes nothing"
    );
    let delete = Op::Route(route::Op::Delete(whole.key()));
    apply(world, &[delete.clone(), delete]).await;
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&peer)].into());
}

pub(crate) async fn a_route_is_replaced(world: &dyn World) {
    let eth0 = host(world).await;
    let first = to_peer(BLOCK, "192.0.2.1", &eth0);
    let mut smaller = to_peer(BLOCK, "192.0.2.1", &eth0);
    if let NextHop::Gateway { mtu, .. } = &mut smaller.next_hop {
        *mtu = Mtu(1280);
    }
    for route in [
        first.clone(),
        to_peer(BLOCK, "192.0.2.2", &eth0),
        smaller,
        unreachable(BLOCK),
        first,
    ] {
        apply(world, &[Op::Route(route::Op::Replace(route.clone()))]).await;
        assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&route)].into());
    }
    // What stands there already is podnet's: an addition changes it.
    let other = to_peer(BLOCK, "192.0.2.3", &eth0);
    apply(world, &[Op::Route(route::Op::Add(other.clone()))]).await;
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&other)].into());
}

pub(crate) async fn a_route_that_is_gone_is_put_back_by_a_replacement(world: &dyn World) {
    let eth0 = host(world).await;
    let route = to_peer(BLOCK, "192.0.2.1", &eth0);
    apply(world, &[Op::Route(route::Op::Add(route.clone()))]).await;
    world.delete_route(key());
    assert!(seen_routes(world, BLOCK).await.is_empty());
    apply(world, &[Op::Route(route::Op::Replace(route.clone()))]).await;
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&route)].into());
}

pub(crate) async fn a_foreign_route_is_left_alone(world: &dyn World) {
    let eth0 = host(world).await;
    world.add_route(key(), STATIC, Some(&name("eth0")));
    let before = world.foreign();
    for route in [to_peer(BLOCK, "192.0.2.1", &eth0), unreachable(BLOCK)] {
        refused_as_foreign(world, Op::Route(route::Op::Add(route.clone()))).await;
        refused_as_foreign(world, Op::Route(route::Op::Replace(route.clone()))).await;
    }
    apply(world, &[Op::Route(route::Op::Delete(key()))]).await;
    let seen = seen_routes(world, BLOCK).await;
    assert!(
        matches!(seen.get(&key()), Some(ObservedRoute::Foreign(_))),
        "{seen:?}"
    );
    assert!(
        seen_routes(world, "10.244.2.0/24").await.is_empty(),
        "nobody asked for it"
    );
    assert_eq!(world.foreign(), before);
}

pub(crate) async fn a_foreign_route_of_another_metric_is_not_in_the_way(world: &dyn World) {
    let eth0 = host(world).await;
    let theirs = RouteKey {
        metric: 100,
        ..key()
    };
    world.add_route(theirs, STATIC, Some(&name("eth0")));
    let before = world.foreign();
    let route = to_peer(BLOCK, "192.0.2.1", &eth0);
    apply(world, &[Op::Route(route::Op::Add(route.clone()))]).await;
    let seen = seen_routes(world, BLOCK).await;
    assert_eq!(seen.get(&key()), Some(&as_seen(&route).1));
    apply(world, &[Op::Route(route::Op::Delete(key()))]).await;
    let seen = seen_routes(world, BLOCK).await;
    assert!(
        matches!(seen.get(&theirs), Some(ObservedRoute::Foreign(_))),
        "{seen:?}"
    );
    assert_eq!(seen.len(), 1);
    assert_eq!(world.foreign(), before);
}

pub(crate) async fn only_the_named_metric_is_removed(world: &dyn World) {
    let eth0 = host(world).await;
    let route = to_peer(BLOCK, "192.0.2.1", &eth0);
    apply(world, &[Op::Route(route::Op::Add(route.clone()))]).await;
    let stray = RouteKey {
        metric: 100,
        ..key()
    };
    world.add_route(stray, PROTOCOL, None);
    assert_eq!(seen_routes(world, BLOCK).await.len(), 2);
    apply(world, &[Op::Route(route::Op::Delete(stray))]).await;
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&route)].into());
}

pub(crate) async fn a_route_needs_its_source_address(world: &dyn World) {
    let eth0 = add_underlay(world);
    let error = refused(
        world,
        Op::Route(route::Op::Add(to_peer(BLOCK, "192.0.2.1", &eth0))),
    )
    .await;
    assert_eq!(error.kind, OpErrorKind::Other(22), "{error}: EINVAL");
    assert!(seen_routes(world, BLOCK).await.is_empty());
    apply(world, &[Op::Route(route::Op::Add(unreachable(BLOCK)))]).await;
}

pub(crate) async fn a_route_needs_its_device(world: &dyn World) {
    host(world).await;
    refused_as_missing(
        world,
        Op::Route(route::Op::Add(to_peer(BLOCK, "192.0.2.1", &name("none0")))),
    )
    .await;
    assert!(seen_routes(world, BLOCK).await.is_empty());
}

pub(crate) async fn a_route_needs_its_gateway_on_the_link(world: &dyn World) {
    let eth0 = host(world).await;
    refused_as_missing(
        world,
        Op::Route(route::Op::Add(to_peer(BLOCK, "198.51.100.1", &eth0))),
    )
    .await;
    world.set_up(&name("eth0"), false);
    refused_as_missing(
        world,
        Op::Route(route::Op::Add(to_peer(BLOCK, "192.0.2.1", &eth0))),
    )
    .await;
    assert!(seen_routes(world, BLOCK).await.is_empty());
}

pub(crate) async fn one_bad_route_hides_no_other(world: &dyn World) {
    let eth0 = host(world).await;
    let first = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    let bad = to_peer("10.244.2.0/24", "198.51.100.1", &eth0);
    let last = to_peer("10.244.3.0/24", "192.0.2.3", &eth0);
    for make in [
        |x: &Route| Op::Route(route::Op::Add(x.clone())),
        |x: &Route| Op::Route(route::Op::Replace(x.clone())),
    ] {
        let results = world
            .dataplane()
            .apply(&[make(&first), make(&bad), make(&last)])
            .await;
        assert!(matches!(results[..], [Ok(_), Err(_), Ok(_)]), "{results:?}");
        assert_eq!(
            seen_routes(world, BLOCK).await,
            [as_seen(&first), as_seen(&last)].into()
        );
    }
}

pub(crate) async fn an_address_takes_its_routes_along(world: &dyn World) {
    let eth0 = host(world).await;
    let whole = unreachable("10.244.0.0/16");
    apply(
        world,
        &[
            Op::Route(route::Op::Add(whole.clone())),
            Op::Route(route::Op::Add(to_peer(BLOCK, "192.0.2.1", &eth0))),
        ],
    )
    .await;
    world.delete_address(&IfName::bridge(), net("10.244.0.1/24"));
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&whole)].into());
}

pub(crate) async fn a_link_that_goes_down_takes_its_routes_along(world: &dyn World) {
    let eth0 = host(world).await;
    let whole = unreachable("10.244.0.0/16");
    let peer = to_peer(BLOCK, "192.0.2.1", &eth0);
    apply(
        world,
        &[
            Op::Route(route::Op::Add(whole.clone())),
            Op::Route(route::Op::Add(peer.clone())),
        ],
    )
    .await;
    world.set_up(&IfName::bridge(), false);
    let both = [as_seen(&whole), as_seen(&peer)].into();
    assert_eq!(
        seen_routes(world, BLOCK).await,
        both,
        "the bridge is not on the way"
    );
    world.set_up(&name("eth0"), false);
    world.set_up(&name("eth0"), true);
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&whole)].into());
}

/// A block that the node gives up may be a peer's in the next moment: the kernel's route that came
/// with the gateway address must not pass for somebody else's.
pub(crate) async fn the_bridges_own_route_is_not_foreign(world: &dyn World) {
    let eth0 = host(world).await;
    apply(world, &[crate::subject::add_address("10.244.7.1/24")]).await;
    assert!(seen_routes(world, "10.244.0.0/24").await.is_empty());
    let mut route = to_peer("10.244.0.0/24", "192.0.2.1", &eth0);
    if let NextHop::Gateway { source, .. } = &mut route.next_hop {
        *source = addr("10.244.7.1");
    }
    let device = IfName::bridge();
    let give_up = Op::Bridge(bridge::Op::DeleteAddress {
        device,
        address: net("10.244.0.1/24"),
    });
    apply(world, &[give_up, Op::Route(route::Op::Add(route.clone()))]).await;
    assert_eq!(
        seen_routes(world, "10.244.0.0/24").await,
        [as_seen(&route)].into()
    );
}

pub(crate) async fn strange_routes_with_our_mark_are_seen_as_ours(world: &dyn World) {
    let eth0 = host(world).await;
    world.add_route(key(), PROTOCOL, Some(&name("eth0")));
    let strange = [(key(), ObservedRoute::Ours { next_hop: None })].into();
    assert_eq!(seen_routes(world, BLOCK).await, strange);
    let route: Route = to_peer(BLOCK, "192.0.2.1", &eth0);
    apply(world, &[Op::Route(route::Op::Replace(route.clone()))]).await;
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&route)].into());
    world.add_route(
        RouteKey::to(net("198.18.0.0/15")),
        PROTOCOL,
        Some(&name("eth0")),
    );
    assert_eq!(
        seen_routes(world, BLOCK).await.len(),
        2,
        "also where nobody asked"
    );
    apply(
        world,
        &[Op::Route(route::Op::Delete(RouteKey::to(net(
            "198.18.0.0/15",
        ))))],
    )
    .await;
    assert_eq!(seen_routes(world, BLOCK).await, [as_seen(&route)].into());
}
