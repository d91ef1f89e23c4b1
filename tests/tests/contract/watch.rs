//! What the kernel tells of.

use std::time::Duration;

use podnet_agent::dataplane::{Change, ChangeScope};
use podnet_core::kernel::{IfName, Mtu, Op, RouteKey};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::subject::{
    add_address, add_bridge, add_underlay, apply, made_pod, name, net, to_peer, unreachable,
};
use crate::world::{STATIC, World};

/// How long the news of a change may take; in truth it is microseconds.
const SOON: Duration = Duration::from_secs(10);

/// Waits until one of these is told.
async fn hears(changes: &mut mpsc::Receiver<Change>, expected: &[ChangeScope]) -> Vec<Change> {
    let mut heard = Vec::new();
    let told = timeout(SOON, async {
        while let Some(change) = changes.recv().await {
            assert!(!change.what.is_empty());
            let fits = expected.contains(&change.scope);
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
    let route = to_peer("10.244.1.0/24", "192.0.2.1", eth0);
    let whole = unreachable("10.244.0.0/16");
    apply(
        world,
        &[
            Op::AttachPod(pod.clone()),
            Op::AddRoute(route),
            Op::AddRoute(whole),
        ],
    )
    .await;
    let mut changes = world.dataplane().watch().await.unwrap();
    let bridge = IfName::bridge();

    world.delete_neighbour(&bridge, pod.addresses[0].ip());
    hears(&mut changes, &[ChangeScope::Neighbours]).await;
    world.set_mtu(&bridge, Mtu(1300));
    hears(&mut changes, &[ChangeScope::Bridge]).await;
    world.set_up(&pod.host_ifname, false);
    hears(
        &mut changes,
        &[ChangeScope::HostEnd(pod.host_ifname.clone())],
    )
    .await;
    world.delete_link(&pod.host_ifname);
    hears(&mut changes, &[ChangeScope::HostEnd(pod.host_ifname)]).await;
    world.delete_route(whole.key());
    hears(&mut changes, &[ChangeScope::Routes]).await;
    world.add_route(RouteKey::to(route.destination), STATIC, Some(&name("eth0")));
    hears(&mut changes, &[ChangeScope::OtherRoutes]).await;
    world.delete_address(&bridge, net("10.244.0.1/24"));
    hears(&mut changes, &[ChangeScope::Bridge]).await;
    world.set_up(&name("eth0"), false);
    hears(&mut changes, &[ChangeScope::Underlay]).await;
    world.set_up(&name("eth0"), true);
    hears(&mut changes, &[ChangeScope::Underlay]).await;
    world.add_address(&name("eth0"), net("203.0.113.9/24"));
    hears(&mut changes, &[ChangeScope::Underlay]).await;
    world.delete_link(&bridge);
    hears(&mut changes, &[ChangeScope::Bridge]).await;
}

/// Else each pass would wake up the next one.
pub(crate) async fn own_changes_are_not_told(world: &dyn World) {
    let eth0 = add_underlay(world);
    add_bridge(world).await;
    let mut changes = world.dataplane().watch().await.unwrap();
    let route = to_peer("10.244.1.0/24", "192.0.2.1", eth0);
    apply(
        world,
        &[
            add_address("10.244.7.1/24"),
            Op::AddRoute(route),
            Op::ReplaceRoute(unreachable("10.244.1.0/24")),
            Op::DeleteRoute(route.key()),
            Op::DeleteAddress {
                device: IfName::bridge(),
                address: net("10.244.7.1/24"),
            },
        ],
    )
    .await;
    world.add_address(&name("eth0"), net("203.0.113.9/24"));
    let heard = hears(&mut changes, &[ChangeScope::Underlay]).await;
    let own = |change: &&Change| {
        change.what.contains("10.244.") || change.scope == ChangeScope::Everything
    };
    assert_eq!(heard.iter().find(own), None);
}
