//! Permanent neighbours on the bridge.

use podnet_core::kernel::{IfName, MacAddr, Op, neighbour};

use crate::subject::{add_bridge, addr, apply, mac, our_bridge, refused_as_missing};
use crate::world::World;

fn set(address: &str, mac: MacAddr) -> Op {
    Op::Neighbour(neighbour::Op::Set {
        device: IfName::bridge(),
        address: addr(address),
        mac,
    })
}

fn delete(address: &str) -> Op {
    Op::Neighbour(neighbour::Op::Delete {
        device: IfName::bridge(),
        address: addr(address),
    })
}

pub(crate) async fn neighbours_come_and_go(world: &dyn World) {
    add_bridge(world).await;
    let first = set("10.244.0.2", mac(2));
    apply(world, &[first.clone(), first, set("10.244.0.3", mac(3))]).await;
    let both = [(addr("10.244.0.2"), mac(2)), (addr("10.244.0.3"), mac(3))].into();
    assert_eq!(our_bridge(world).await.neighbours, both);
    apply(
        world,
        &[
            set("10.244.0.2", mac(9)),
            delete("10.244.0.3"),
            delete("10.244.0.3"),
        ],
    )
    .await;
    assert_eq!(
        our_bridge(world).await.neighbours,
        [(addr("10.244.0.2"), mac(9))].into()
    );
}

pub(crate) async fn neighbours_need_their_bridge(world: &dyn World) {
    refused_as_missing(world, set("10.244.0.2", mac(2))).await;
    apply(world, &[delete("10.244.0.2")]).await;
}
