use netlink_packet_route::route::RouteCacheInfo;

use super::*;

fn read(mtu: Option<u32>, expires: u32) -> KernelRoute {
    let mut message = unicast(AddressFamily::Inet);
    let mut cached = RouteCacheInfo::parse(&[0; 32]).unwrap();
    cached.expires = expires;
    let metrics = mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    message.attributes.extend(metrics);
    message.attributes.push(RouteAttribute::CacheInfo(cached));
    KernelRoute::read(&message).unwrap()
}

#[test]
fn what_is_learned_of_a_path_does_not_hide_the_operators_mtu() {
    for (learned, expires, of_table, expected) in [
        (Some(1400), 0, None, Some(1400)),
        (Some(600), 599, Some(1400), Some(1400)),
        (Some(600), 599, None, None),
        (None, 599, Some(1400), Some(1400)),
    ] {
        let mut route = read(learned, expires);
        let of_table = read(of_table, 0);
        route.forget_learned(Some(&of_table));
        assert_eq!(route.mtu, expected, "{learned:?} {expires} {of_table:?}");
    }
    let mut route = read(Some(600), 599);
    let passing = route.clone();
    for of_table in [None, Some(&passing)] {
        route.forget_learned(of_table);
        assert_eq!(route.mtu, None, "nothing is known of the table");
    }
}
