//! Addresses of the bridge, and of the host.

use podnet_core::kernel::{HostAddress, IfName, Kind, Kinds, Mtu, Op, bridge, route};

use crate::subject::{
    add_address, add_bridge, add_underlay, apply, as_seen, name, net, observe, our_bridge,
    refused_as_missing, seen_routes, to_peer,
};
use crate::world::World;

fn delete_address(address: &str) -> Op {
    Op::Bridge(bridge::Op::DeleteAddress {
        device: IfName::bridge(),
        address: net(address),
    })
}

pub(crate) async fn addresses_come_and_go(world: &dyn World) {
    add_bridge(world).await;
    let add = add_address("10.244.7.1/24");
    apply(world, &[add.clone(), add]).await;
    let both = [net("10.244.0.1/24"), net("10.244.7.1/24")].into();
    assert_eq!(our_bridge(world).await.addresses, both);
    let delete = delete_address("10.244.0.1/24");
    apply(world, &[delete.clone(), delete]).await;
    assert_eq!(
        our_bridge(world).await.addresses,
        [net("10.244.7.1/24")].into()
    );
}

pub(crate) async fn addresses_need_their_bridge(world: &dyn World) {
    refused_as_missing(world, add_address("10.244.0.1/24")).await;
    apply(world, &[delete_address("10.244.0.1/24")]).await;
}

/// The kernel takes the later addresses of a range along with the first one, unless it is told not
/// to (`promote_secondaries`).
pub(crate) async fn an_older_address_of_the_block_goes_alone(world: &dyn World) {
    let eth0 = add_underlay(world);
    apply(
        world,
        &[Op::Bridge(bridge::Op::Create(crate::subject::bridge()))],
    )
    .await;
    world.add_address(&IfName::bridge(), net("10.244.0.77/24"));
    let route = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    apply(
        world,
        &[
            add_address("10.244.0.1/24"),
            Op::Route(route::Op::Add(route.clone())),
        ],
    )
    .await;
    apply(world, &[delete_address("10.244.0.77/24")]).await;
    assert_eq!(
        our_bridge(world).await.addresses,
        [net("10.244.0.1/24")].into()
    );
    assert_eq!(
        seen_routes(world, "10.244.1.0/24").await,
        [as_seen(&route)].into()
    );
}

pub(crate) async fn the_hosts_addresses_are_not_the_bridges(world: &dyn World) {
    let eth0 = add_underlay(world);
    world.set_mtu(&name("eth0"), Mtu(1400));
    add_bridge(world).await;
    let kinds = Kinds::from([Kind::Underlay]);
    let found = observe(world, &kinds).await.addresses.unwrap();
    assert!(
        !found
            .iter()
            .any(|address| address.ifname == IfName::bridge()),
        "{found:?}"
    );
    let on_eth0 = |address: &&HostAddress| address.ifname == eth0 && address.address.is_ipv4();
    let own: Vec<_> = found.iter().filter(on_eth0).collect();
    let [own] = own[..] else { panic!("{found:?}") };
    assert_eq!(
        (own.address, own.ifname.as_str()),
        (net("192.0.2.9/24"), "eth0")
    );
    assert_eq!((own.mtu, own.up, own.global), (Mtu(1400), true, true));
    let loopback = found
        .iter()
        .find(|address| address.address == net("127.0.0.1/8"))
        .unwrap();
    assert!(!loopback.global);
    world.set_up(&name("eth0"), false);
    let found = observe(world, &kinds).await.addresses.unwrap();
    assert!(
        !found
            .iter()
            .find(|address| address.ifname == eth0)
            .unwrap()
            .up
    );
}
