use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use podnet_core::kernel::{
    IfName, Kind, Kinds, Made, Mtu, NextHop, ObservedRoute, Op, OpErrorKind, Route, RouteKey, route,
};

use super::harness::{apply, look, on_a_host, run, with_bridge};
use crate::dataplane::Dataplane;
use crate::dataplane::linux::Linux;

/// A node with an underlay: `u0` has 192.0.2.9/24.
async fn with_underlay(linux: &Linux) -> IfName {
    with_bridge(linux).await;
    run(
        "ip link add u0 type veth peer name u1 && ip link set u1 up && ip address add 192.0.2.9/24 dev u0 && ip link set u0 up",
    );
    "u0".parse().unwrap()
}

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn to_peer(number: u8, device: &IfName) -> Route {
    Route {
        destination: network(&format!("10.244.{number}.0/24")),
        next_hop: NextHop::Gateway {
            via: format!("192.0.2.{number}").parse().unwrap(),
            device: device.clone(),
            source: "10.244.0.1".parse().unwrap(),
            mtu: Mtu(1500),
        },
    }
}

const UNREACHABLE: &str = "10.244.0.0/16";

async fn observed(linux: &Linux, routes: &[Route]) -> BTreeMap<RouteKey, ObservedRoute> {
    let wanted: BTreeSet<_> = routes.iter().map(|route| route.destination).collect();
    look(
        linux,
        wanted
            .into_iter()
            .map(Kind::RoutesIn)
            .chain([Kind::Routes])
            .collect::<Kinds>(),
    )
    .await
    .routes
    .unwrap()
}

fn as_observed(routes: &[Route]) -> BTreeMap<RouteKey, ObservedRoute> {
    let ours = |route: &Route| ObservedRoute::Ours {
        next_hop: Some(route.next_hop.clone()),
    };
    routes
        .iter()
        .map(|route| (route.key(), ours(route)))
        .collect()
}

#[test]
fn routes_are_read_back_as_they_were_set() {
    on_a_host(async |linux| {
        let device = with_underlay(&linux).await;
        let mut routes: Vec<_> = (1..=200).map(|number| to_peer(number, &device)).collect();
        let destination = network(UNREACHABLE);
        routes.push(Route {
            destination,
            next_hop: NextHop::Unreachable,
        });
        let add: Vec<_> = routes
            .iter()
            .cloned()
            .map(|x| Op::Route(route::Op::Add(x)))
            .collect();
        // The second time finds them there.
        for _twice in 0..2 {
            assert!(linux.apply(&add).await.iter().all(Result::is_ok));
        }
        assert_eq!(observed(&linux, &routes).await, as_observed(&routes));

        let mut changed = to_peer(7, &device);
        changed.next_hop = NextHop::Unreachable;
        apply(&linux, Op::Route(route::Op::Replace(changed.clone())))
            .await
            .unwrap();
        let found = observed(&linux, &[]).await;
        let next_hop = Some(NextHop::Unreachable);
        assert_eq!(found[&changed.key()], ObservedRoute::Ours { next_hop });

        let delete: Vec<_> = routes
            .iter()
            .map(|route| Op::Route(route::Op::Delete(route.key())))
            .collect();
        for _twice in 0..2 {
            assert!(linux.apply(&delete).await.iter().all(Result::is_ok));
        }
        assert_eq!(observed(&linux, &routes).await, BTreeMap::new());
    });
}

#[test]
fn a_foreign_route_stays_and_is_told_of() {
    on_a_host(async |linux| {
        let device = with_underlay(&linux).await;
        run("ip route add 10.244.1.0/24 via 192.0.2.77");
        run("ip route add 10.244.9.0/24 via 192.0.2.77");
        let (in_the_way, free) = (to_peer(1, &device), to_peer(2, &device));
        let ops = [
            Op::Route(route::Op::Add(in_the_way.clone())),
            Op::Route(route::Op::Add(free.clone())),
        ];
        let results = linux.apply(&ops).await;
        let error = results[0].clone().unwrap_err();
        assert_eq!(error.kind, OpErrorKind::Foreign);
        assert!(error.detail.contains("192.0.2.77"), "{error}");
        assert_eq!(results[1], Ok(Made::Nothing));
        let error = apply(&linux, Op::Route(route::Op::Replace(in_the_way.clone())))
            .await
            .unwrap_err();
        assert_eq!(error.kind, OpErrorKind::Foreign);
        apply(&linux, Op::Route(route::Op::Delete(in_the_way.key())))
            .await
            .unwrap();
        assert!(run("ip route show 10.244.1.0/24").contains("192.0.2.77"));

        let found = observed(&linux, &[in_the_way.clone(), free.clone()]).await;
        assert!(matches!(
            &found[&in_the_way.key()],
            ObservedRoute::Foreign(_)
        ));
        assert_eq!(
            found.len(),
            2,
            "what was not asked for is not told: {found:?}"
        );
    });
}

#[test]
fn what_podnet_never_makes_is_told_of() {
    on_a_host(async |linux| {
        let device = with_underlay(&linux).await;
        run("ip route add 10.244.1.0/24 dev u0 proto 112");
        let route = to_peer(1, &device);
        let found = observed(&linux, std::slice::from_ref(&route)).await;
        assert_eq!(found[&route.key()], ObservedRoute::Ours { next_hop: None });
        apply(&linux, Op::Route(route::Op::Replace(route.clone())))
            .await
            .unwrap();
        assert_eq!(
            observed(&linux, std::slice::from_ref(&route)).await,
            as_observed(std::slice::from_ref(&route))
        );
    });
}

#[test]
fn a_route_without_its_source_says_so() {
    on_a_host(async |linux| {
        let device = with_underlay(&linux).await;
        run("ip address flush dev podnet0");
        let error = apply(&linux, Op::Route(route::Op::Add(to_peer(1, &device))))
            .await
            .unwrap_err();
        assert!(
            error.detail.contains("prefsrc"),
            "the kernel's own words: {error}"
        );
    });
}
