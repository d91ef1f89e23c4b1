//! The bridge.

use podnet_core::kernel::{
    Bridge, IfName, LinkParameter, MacAddr, Mtu, Op, Place, bridge, neighbour, pod, route,
};

use crate::subject::{
    add_address, add_bridge, addr, apply, bridge, mac, made_pod, net, our_bridge,
    refused_as_foreign, refused_as_missing, seen_bridge, seen_pod, seen_routes, to_peer,
};
use crate::world::{OTHER_MAC, World};

pub(crate) async fn a_bridge_is_made_as_told(world: &dyn World) {
    assert_eq!(seen_bridge(world).await, Place::Absent);
    refused_as_missing(world, Op::Bridge(bridge::Op::Update(bridge()))).await;
    apply(
        world,
        &[Op::Bridge(bridge::Op::Create(Bridge {
            mtu: Mtu(1400),
            ..bridge()
        }))],
    )
    .await;
    let found = our_bridge(world).await;
    assert_eq!((found.mac, found.mtu, found.up), (mac(1), Mtu(1400), true));
    assert!(
        found.addresses.is_empty() && found.neighbours.is_empty(),
        "{found:?}"
    );
}

pub(crate) async fn a_bridge_that_is_there_is_adopted(world: &dyn World) {
    add_bridge(world).await;
    let before = our_bridge(world).await;
    apply(world, &[Op::Bridge(bridge::Op::Create(bridge()))]).await;
    assert_eq!(our_bridge(world).await, before);
    // What differs is made right on the way.
    apply(
        world,
        &[Op::Bridge(bridge::Op::Create(Bridge {
            mtu: Mtu(1300),
            ..bridge()
        }))],
    )
    .await;
    let after = our_bridge(world).await;
    assert_eq!((after.index, after.mtu), (before.index, Mtu(1300)));
    assert_eq!(after.addresses, before.addresses);
}

pub(crate) async fn a_bridge_gets_back_what_it_lost(world: &dyn World) {
    add_bridge(world).await;
    let before = our_bridge(world).await;
    world.set_mac(&IfName::bridge(), OTHER_MAC);
    world.set_mtu(&IfName::bridge(), Mtu(1300));
    world.set_up(&IfName::bridge(), false);
    world.allow_link_local(&IfName::bridge());
    let parameters = [
        (LinkParameter::AcceptRa, 2),
        (LinkParameter::Forwarding, 0),
        (LinkParameter::PromoteSecondaries, 0),
        (LinkParameter::ReversePathFilter, 0),
    ];
    for (parameter, value) in parameters {
        world.set_link_parameter(&IfName::bridge(), parameter, value);
    }
    let broken = our_bridge(world).await;
    assert!(broken.link_local);
    assert_eq!(broken.parameters, parameters.into());
    assert_eq!(
        (broken.mac, broken.mtu, broken.up),
        (OTHER_MAC, Mtu(1300), false)
    );
    apply(world, &[Op::Bridge(bridge::Op::Update(bridge()))]).await;
    assert_eq!(our_bridge(world).await, before);
}

pub(crate) async fn another_mtu_leaves_neighbours_and_addresses(world: &dyn World) {
    add_bridge(world).await;
    let set = Op::Neighbour(neighbour::Op::Set {
        device: IfName::bridge(),
        address: addr("10.244.0.2"),
        mac: mac(2),
    });
    apply(
        world,
        &[
            set,
            Op::Bridge(bridge::Op::Update(Bridge {
                mtu: Mtu(1400),
                ..bridge()
            })),
        ],
    )
    .await;
    let found = our_bridge(world).await;
    assert_eq!(found.mtu, Mtu(1400));
    assert_eq!(found.neighbours, [(addr("10.244.0.2"), mac(2))].into());
    assert_eq!(found.addresses, [net("10.244.0.1/24")].into());
}

/// What the difference of desired and observed counts with.
pub(crate) async fn another_mac_takes_the_neighbours_along(world: &dyn World) {
    add_bridge(world).await;
    let set = Op::Neighbour(neighbour::Op::Set {
        device: IfName::bridge(),
        address: addr("10.244.0.2"),
        mac: mac(2),
    });
    let other = MacAddr([0x0a, 0x70, 10, 244, 7, 1]);
    apply(
        world,
        &[
            set,
            Op::Bridge(bridge::Op::Update(Bridge {
                mac: other,
                ..bridge()
            })),
        ],
    )
    .await;
    let found = our_bridge(world).await;
    assert_eq!(found.mac, other);
    assert!(found.neighbours.is_empty(), "{found:?}");
    assert_eq!(found.addresses, [net("10.244.0.1/24")].into());
}

pub(crate) async fn ports_do_not_change_the_bridge(world: &dyn World) {
    add_bridge(world).await;
    let mut pod = made_pod(0);
    pod.mtu = Mtu(1300);
    let before = our_bridge(world).await;
    apply(world, &[Op::Pod(pod::Op::Attach(pod.clone()))]).await;
    let with_port = our_bridge(world).await;
    assert_eq!((with_port.mac, with_port.mtu), (before.mac, before.mtu));
    let path = Some(pod.netns.path.clone());
    apply(
        world,
        &[Op::Pod(pod::Op::Detach {
            host_ifname: pod.host_ifname,
            netns: path,
        })],
    )
    .await;
    let without = our_bridge(world).await;
    assert_eq!((without.mac, without.mtu), (before.mac, before.mtu));
}

pub(crate) async fn a_foreign_bridge_is_left_alone(world: &dyn World) {
    world.add_bridge(&IfName::bridge());
    left_alone(world).await;
}

pub(crate) async fn a_foreign_link_in_the_bridges_place_is_left_alone(world: &dyn World) {
    world.add_link(&IfName::bridge(), Mtu(1500));
    left_alone(world).await;
}

async fn left_alone(world: &dyn World) {
    world.add_address(&IfName::bridge(), net("10.244.0.1/24"));
    world.add_neighbour(&IfName::bridge(), addr("10.244.0.2"), mac(2));
    let before = world.foreign();
    let Place::Foreign(words) = seen_bridge(world).await else {
        panic!("taken for podnet's")
    };
    assert!(!words.is_empty());
    let device = IfName::bridge();
    let set = Op::Neighbour(neighbour::Op::Set {
        device: device.clone(),
        address: addr("10.244.0.3"),
        mac: mac(3),
    });
    for op in [
        Op::Bridge(bridge::Op::Create(bridge())),
        Op::Bridge(bridge::Op::Update(Bridge {
            mtu: Mtu(1300),
            ..bridge()
        })),
        add_address("10.244.0.7/24"),
        Op::Pod(pod::Op::Attach(made_pod(0))),
        set,
        Op::Bridge(bridge::Op::Delete(device.clone())),
    ] {
        refused_as_foreign(world, op).await;
    }
    let address = net("10.244.0.1/24");
    apply(
        world,
        &[
            Op::Bridge(bridge::Op::DeleteAddress {
                device: device.clone(),
                address,
            }),
            Op::Neighbour(neighbour::Op::Delete {
                device,
                address: addr("10.244.0.2"),
            }),
        ],
    )
    .await;
    assert_eq!(world.foreign(), before);
}

pub(crate) async fn a_bridge_goes_with_all_that_is_on_it(world: &dyn World) {
    let eth0 = crate::subject::add_underlay(world);
    add_bridge(world).await;
    let pod = made_pod(0);
    let route = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    apply(
        world,
        &[
            Op::Pod(pod::Op::Attach(pod.clone())),
            Op::Route(route::Op::Add(route.clone())),
        ],
    )
    .await;
    let delete = Op::Bridge(bridge::Op::Delete(IfName::bridge()));
    apply(world, std::slice::from_ref(&delete)).await;
    assert_eq!(seen_bridge(world).await, Place::Absent);
    assert!(
        seen_routes(world, "10.244.1.0/24").await.is_empty(),
        "its source address has gone"
    );
    let Place::Ours(host_end) = seen_pod(world, &pod).await.0 else {
        panic!("the pod has gone")
    };
    assert!(!host_end.on_bridge);
    apply(world, &[delete]).await;
}
