//! What the kernel tells of.

use std::time::Duration;

use podnet_core::kernel::{Change, IfName, Kind, Mtu, Op, RouteKey, bridge, pod, route};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::subject::{
    add_address, add_bridge, add_underlay, apply, made_pod, name, net, to_peer, unreachable,
};
use crate::world::{STATIC, World};

/// How long the news of a change may take; in truth it is microseconds.
const SOON: Duration = Duration::from_secs(10);

/// Waits until one of these is told.
async fn hears(changes: &mut mpsc::Receiver<Change>, expected: &[Kind]) -> Vec<Change> {
    let mut heard = Vec::new();
    let told = timeout(SOON, async {
        while let Some(change) = changes.recv().await {
            assert!(!change.what.is_empty());
            let fits = expected.contains(&change.kind);
            heard.push(change);
            if fits {
                return;
            }
        }
        panic!("the watch has ended");
    });
    assert!(told.await.is_ok(), "none of {expected:?} but {heard:?}");
    heard
}

pub(crate) async fn changes_by_others_are_told(world: &dyn World) {
    let eth0 = add_underlay(world);
    add_bridge(world).await;
    let pod = made_pod(0);
    let route = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    let whole = unreachable("10.244.0.0/16");
    apply(
        world,
        &[
            Op::Pod(pod::Op::Attach(pod.clone())),
            Op::Route(route::Op::Add(route.clone())),
            Op::Route(route::Op::Add(whole.clone())),
        ],
    )
    .await;
    let mut changes = world.dataplane().watch().await.unwrap();
    let bridge = IfName::bridge();

    world.delete_neighbour(&bridge, pod.addresses[0].ip());
    hears(&mut changes, &[Kind::Neighbours]).await;
    world.set_mtu(&bridge, Mtu(1300));
    hears(&mut changes, &[Kind::Bridge]).await;
    world.set_up(&pod.host_ifname, false);
    hears(&mut changes, &[Kind::HostEnd(pod.host_ifname.clone())]).await;
    world.delete_link(&pod.host_ifname);
    hears(&mut changes, &[Kind::HostEnd(pod.host_ifname)]).await;
    world.delete_route(whole.key());
    hears(&mut changes, &[Kind::Routes]).await;
    world.add_route(RouteKey::to(route.destination), STATIC, Some(&name("eth0")));
    hears(&mut changes, &[Kind::OtherRoutes]).await;
    world.delete_address(&bridge, net("10.244.0.1/24"));
    hears(&mut changes, &[Kind::Bridge]).await;
    world.set_up(&name("eth0"), false);
    hears(&mut changes, &[Kind::Underlay]).await;
    world.set_up(&name("eth0"), true);
    hears(&mut changes, &[Kind::Underlay]).await;
    world.add_address(&name("eth0"), net("203.0.113.9/24"));
    hears(&mut changes, &[Kind::Underlay]).await;
    world.delete_link(&bridge);
    hears(&mut changes, &[Kind::Bridge]).await;
}

/// Else each pass would wake up the next one.
pub(crate) async fn own_changes_are_not_told(world: &dyn World) {
    let eth0 = add_underlay(world);
    add_bridge(world).await;
    let mut changes = world.dataplane().watch().await.unwrap();
    let route = to_peer("10.244.1.0/24", "192.0.2.1", &eth0);
    apply(
        world,
        &[
            add_address("10.244.7.1/24"),
            Op::Route(route::Op::Add(route.clone())),
            Op::Route(route::Op::Replace(unreachable("10.244.1.0/24"))),
            Op::Route(route::Op::Delete(route.key())),
            Op::Bridge(bridge::Op::DeleteAddress {
                device: IfName::bridge(),
                address: net("10.244.7.1/24"),
            }),
        ],
    )
    .await;
    world.add_address(&name("eth0"), net("203.0.113.9/24"));
    let heard = hears(&mut changes, &[Kind::Underlay]).await;
    let own = |change: &&Change| change.what.contains("10.244.") || change.kind == Kind::Everything;
    assert_eq!(heard.iter().find(own), None);
}
