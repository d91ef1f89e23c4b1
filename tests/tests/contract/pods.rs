//! Pods: namespaces, and veth pairs that lead into them.

use podnet_core::kernel::{IfName, Kind, Kinds, Mtu, NetnsState, Op, Place, PodLink, pod};

use crate::subject::{
    add_bridge, apply, assert_no_host_end, assert_whole, made_pod, net, netns, observe, our_bridge,
    pod, refused_as_foreign, refused_as_missing, seen_netns, seen_pod,
};
use crate::world::{MORE, OTHER_MAC, Spoil, World};

fn attach(pod: &PodLink) -> Op {
    Op::Pod(pod::Op::Attach(pod.clone()))
}

fn detach(pod: &PodLink) -> Op {
    let netns = pod.netns.made.then(|| pod.netns.path.clone());
    Op::Pod(pod::Op::Detach {
        host_ifname: pod.host_ifname.clone(),
        netns,
    })
}

/// A pod that is attached, with its namespace's number.
async fn attached(world: &dyn World, number: u8) -> PodLink {
    add_bridge(world).await;
    let mut pod = made_pod(number);
    apply(world, &[attach(&pod)]).await;
    pod.netns.inode = Some(inode(world, &pod).await);
    pod
}

async fn inode(world: &dyn World, pod: &PodLink) -> u64 {
    match seen_netns(world, &pod.netns.path).await {
        NetnsState::Netns { inode } => inode,
        other @ (NetnsState::Missing | NetnsState::NotANetns | NetnsState::Host) => {
            panic!("{other:?}")
        }
    }
}

pub(crate) async fn a_pod_in_a_namespace_of_ours_is_whole(world: &dyn World) {
    add_bridge(world).await;
    let mut pod = made_pod(0);
    pod.mtu = Mtu(1400);
    assert_eq!(
        seen_netns(world, &pod.netns.path).await,
        NetnsState::Missing
    );
    let (host_end, inside) = seen_pod(world, &pod).await;
    assert_eq!((host_end, inside), (Place::Absent, None));
    apply(world, &[attach(&pod)]).await;
    assert_whole(world, &pod).await;
    let listed = observe(world, &Kinds::from([Kind::HostEnds])).await;
    assert_eq!(
        listed.host_ends.unwrap().keys().collect::<Vec<_>>(),
        [&pod.host_ifname]
    );
    let inside = seen_pod(world, &pod).await.1.unwrap();
    assert_eq!(inside.inode, inode(world, &pod).await);
}

pub(crate) async fn a_pod_in_a_namespace_of_others_is_whole(world: &dyn World) {
    add_bridge(world).await;
    world.add_netns(&netns(0));
    let mut pod = pod(0, &netns(0), false);
    assert!(seen_pod(world, &pod).await.1.unwrap().interface.is_none());
    pod.netns.inode = Some(inode(world, &pod).await);
    apply(world, &[attach(&pod)]).await;
    assert_whole(world, &pod).await;
}

pub(crate) async fn a_trusted_pod_is_not_held(world: &dyn World) {
    add_bridge(world).await;
    let mut pod = made_pod(0);
    pod.trusted = true;
    apply(world, &[attach(&pod)]).await;
    assert_whole(world, &pod).await;
    world.forget_port(&pod.host_ifname, pod.mac);
    apply(world, &[Op::Pod(pod::Op::Repair(pod.clone()))]).await;
    assert_whole(world, &pod).await;
}

pub(crate) async fn attaching_twice_changes_nothing(world: &dyn World) {
    let pod = attached(world, 0).await;
    let before = seen_pod(world, &pod).await;
    apply(world, &[attach(&pod)]).await;
    assert_eq!(seen_pod(world, &pod).await, before);
    // As after a crash, before the namespace's number was written down.
    apply(world, &[attach(&made_pod(0))]).await;
    assert_eq!(seen_pod(world, &pod).await, before);
    assert_whole(world, &pod).await;
}

pub(crate) async fn many_pods_are_attached_at_once(world: &dyn World) {
    add_bridge(world).await;
    let pods: Vec<_> = (0..20).map(made_pod).collect();
    let ops: Vec<_> = pods.iter().map(attach).collect();
    apply(world, &ops).await;
    for pod in &pods {
        assert_whole(world, pod).await;
    }
    assert_eq!(our_bridge(world).await.neighbours.len(), 20);
    let ops: Vec<_> = pods.iter().map(detach).collect();
    apply(world, &ops).await;
    let listed = observe(world, &Kinds::from([Kind::HostEnds])).await;
    assert!(listed.host_ends.unwrap().is_empty());
    assert_eq!(seen_netns(world, &netns(19)).await, NetnsState::Missing);
}

pub(crate) async fn a_namespace_that_is_not_there_is_not_found(world: &dyn World) {
    add_bridge(world).await;
    let pod = pod(0, &netns(0), false);
    refused_as_missing(world, attach(&pod)).await;
    assert_no_host_end(world, &pod).await;
    assert_eq!(seen_netns(world, &netns(0)).await, NetnsState::Missing);
}

pub(crate) async fn a_file_is_no_namespace(world: &dyn World) {
    add_bridge(world).await;
    world.add_file(&netns(0));
    let before = world.foreign();
    assert_eq!(seen_netns(world, &netns(0)).await, NetnsState::NotANetns);
    let others = pod(0, &netns(0), false);
    assert_eq!(seen_pod(world, &others).await.1, None);
    refused_as_missing(world, attach(&others)).await;
    refused_as_foreign(world, attach(&made_pod(0))).await;
    assert_no_host_end(world, &others).await;
    assert_eq!(
        seen_netns(world, &netns(0)).await,
        NetnsState::NotANetns,
        "it is still there"
    );
    assert_eq!(world.foreign(), before);
}

pub(crate) async fn the_hosts_namespace_is_refused(world: &dyn World) {
    add_bridge(world).await;
    world.add_host_netns(&netns(0));
    assert_eq!(seen_netns(world, &netns(0)).await, NetnsState::Host);
    for pod in [pod(0, &netns(0), false), made_pod(0)] {
        refused_as_foreign(world, attach(&pod)).await;
        assert_no_host_end(world, &pod).await;
    }
    assert_eq!(seen_netns(world, &netns(0)).await, NetnsState::Host);
}

pub(crate) async fn another_namespace_at_the_path_is_not_found(world: &dyn World) {
    let pod = attached(world, 0).await;
    let before = inode(world, &pod).await;
    // Linux gives the lowest number that is free: the new one may get that of the last, unless another has it.
    for spare in 1..10 {
        world.remove_netns(&pod.netns.path);
        world.add_netns(&netns(spare));
        world.add_netns(&pod.netns.path);
        if inode(world, &pod).await != before {
            break;
        }
    }
    refused_as_missing(world, attach(&pod)).await;
    refused_as_missing(world, Op::Pod(pod::Op::Repair(pod.clone()))).await;
    assert!(seen_pod(world, &pod).await.1.unwrap().interface.is_none());
}

pub(crate) async fn a_foreign_namespace_is_not_taken_for_ours(world: &dyn World) {
    add_bridge(world).await;
    world.add_netns(&netns(0));
    let pod = made_pod(0);
    let before = inode(world, &pod).await;
    refused_as_foreign(world, attach(&pod)).await;
    assert_no_host_end(world, &pod).await;
    assert_eq!(inode(world, &pod).await, before);
}

pub(crate) async fn a_taken_interface_name_is_foreign(world: &dyn World) {
    add_bridge(world).await;
    world.add_netns(&netns(0));
    world.add_interface(&netns(0), &IfName::pod());
    let before = world.foreign();
    let pod = pod(0, &netns(0), false);
    refused_as_foreign(world, attach(&pod)).await;
    assert_no_host_end(world, &pod).await;
    assert!(seen_pod(world, &pod).await.1.unwrap().interface.is_some());
    assert!(our_bridge(world).await.neighbours.is_empty());
    assert_eq!(world.foreign(), before);
}

pub(crate) async fn a_taken_host_end_is_foreign(world: &dyn World) {
    add_bridge(world).await;
    let pod = made_pod(0);
    world.add_link(&pod.host_ifname, Mtu(1500));
    let before = world.foreign();
    refused_as_foreign(world, attach(&pod)).await;
    let (host_end, inside) = seen_pod(world, &pod).await;
    assert!(matches!(host_end, Place::Foreign(_)), "{host_end:?}");
    assert_eq!(
        inside, None,
        "the namespace that was made for it is gone again"
    );
    let listed = observe(world, &Kinds::from([Kind::HostEnds])).await;
    assert!(matches!(
        listed.host_ends.unwrap()[&pod.host_ifname],
        Place::Foreign(_)
    ));
    assert_eq!(world.foreign(), before);
}

pub(crate) async fn a_pod_needs_the_bridge(world: &dyn World) {
    let pod = made_pod(0);
    refused_as_missing(world, attach(&pod)).await;
    assert_eq!(seen_netns(world, &netns(0)).await, NetnsState::Missing);
}

pub(crate) async fn what_differs_inside_is_repaired(world: &dyn World) {
    let pod = attached(world, 0).await;
    let path = &pod.netns.path;
    let right = seen_pod(world, &pod).await;
    for spoil in Spoil::ALL {
        world.spoil(path, &pod.ifname, spoil);
        assert_ne!(seen_pod(world, &pod).await, right, "{spoil:?} is seen");
        apply(world, &[Op::Pod(pod::Op::Repair(pod.clone()))]).await;
        assert_eq!(seen_pod(world, &pod).await, right, "{spoil:?} is repaired");
    }
    // All at once; the address takes the route along.
    for spoil in [Spoil::Mac, Spoil::Mtu, Spoil::Addresses, Spoil::Down] {
        world.spoil(path, &pod.ifname, spoil);
    }
    apply(world, &[Op::Pod(pod::Op::Repair(pod.clone()))]).await;
    assert_eq!(seen_pod(world, &pod).await, right);
}

pub(crate) async fn what_differs_outside_is_repaired(world: &dyn World) {
    let mut pod = attached(world, 0).await;
    world.set_up(&pod.host_ifname, false);
    world.set_mtu(&pod.host_ifname, Mtu(1300));
    world.release_port(&pod.host_ifname);
    world.allow_link_local(&pod.host_ifname);
    world.delete_neighbour(&IfName::bridge(), pod.addresses[0].ip());
    let Place::Ours(spoilt) = seen_pod(world, &pod).await.0 else {
        panic!("it has gone")
    };
    assert_eq!(
        (spoilt.on_bridge, spoilt.mtu, spoilt.up, spoilt.link_local),
        (false, Mtu(1300), false, true)
    );
    apply(world, &[Op::Pod(pod::Op::Repair(pod.clone()))]).await;
    assert_whole(world, &pod).await;
    world.add_neighbour(&IfName::bridge(), pod.addresses[0].ip(), OTHER_MAC);
    pod.mtu = Mtu(1400);
    apply(world, &[Op::Pod(pod::Op::Repair(pod.clone()))]).await;
    assert_whole(world, &pod).await;
}

pub(crate) async fn what_the_user_adds_stays(world: &dyn World) {
    let pod = attached(world, 0).await;
    world.spoil(&pod.netns.path, &pod.ifname, Spoil::More);
    world.spoil(&pod.netns.path, &pod.ifname, Spoil::Mtu);
    apply(world, &[Op::Pod(pod::Op::Repair(pod.clone()))]).await;
    let interface = seen_pod(world, &pod).await.1.unwrap().interface.unwrap();
    assert_eq!(interface.addresses, [pod.addresses[0], net(MORE)].into());
    assert_eq!(interface.mtu, pod.mtu);
}

pub(crate) async fn a_deleted_interface_takes_the_host_end_along(world: &dyn World) {
    let pod = attached(world, 0).await;
    world.delete_interface(&pod.netns.path, &pod.ifname);
    assert_no_host_end(world, &pod).await;
    assert!(seen_pod(world, &pod).await.1.unwrap().interface.is_none());
    apply(world, &[attach(&pod)]).await;
    assert_whole(world, &pod).await;
}

pub(crate) async fn a_deleted_host_end_takes_the_interface_along(world: &dyn World) {
    let pod = attached(world, 0).await;
    world.delete_link(&pod.host_ifname);
    assert!(seen_pod(world, &pod).await.1.unwrap().interface.is_none());
    apply(world, &[attach(&pod)]).await;
    assert_whole(world, &pod).await;
}

pub(crate) async fn a_removed_namespace_takes_the_pod_along(world: &dyn World) {
    let pod = attached(world, 0).await;
    world.remove_netns(&pod.netns.path);
    assert_eq!(
        seen_netns(world, &pod.netns.path).await,
        NetnsState::Missing
    );
    // The kernel takes its time to clean up.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while seen_pod(world, &pod).await != (Place::Absent, None) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the host end is still there"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// A pod that was removed and came back elsewhere, and nobody saw it.
pub(crate) async fn a_host_end_that_leads_elsewhere_is_made_anew(world: &dyn World) {
    attached(world, 0).await;
    world.add_netns(&netns(1));
    let elsewhere = pod(0, &netns(1), false);
    assert!(
        seen_pod(world, &elsewhere)
            .await
            .1
            .unwrap()
            .interface
            .is_none()
    );
    apply(world, &[attach(&elsewhere)]).await;
    assert_whole(world, &elsewhere).await;
    assert!(
        seen_pod(world, &made_pod(0))
            .await
            .1
            .unwrap()
            .interface
            .is_none()
    );
}

pub(crate) async fn a_repair_needs_the_pod(world: &dyn World) {
    add_bridge(world).await;
    world.add_netns(&netns(0));
    let pod = pod(0, &netns(0), false);
    refused_as_missing(world, Op::Pod(pod::Op::Repair(pod.clone()))).await;
    refused_as_missing(world, Op::Pod(pod::Op::Repair(made_pod(1)))).await;
    assert_no_host_end(world, &pod).await;
}

pub(crate) async fn detaching_removes_pod_and_namespace(world: &dyn World) {
    let pod = attached(world, 0).await;
    apply(world, &[detach(&pod)]).await;
    assert_eq!(seen_pod(world, &pod).await, (Place::Absent, None));
    assert_eq!(
        seen_netns(world, &pod.netns.path).await,
        NetnsState::Missing
    );
    apply(world, &[detach(&pod)]).await;
    // The name is free again at once.
    apply(world, &[attach(&made_pod(0))]).await;
    assert_whole(world, &made_pod(0)).await;
}

pub(crate) async fn detaching_leaves_a_namespace_of_others(world: &dyn World) {
    add_bridge(world).await;
    world.add_netns(&netns(0));
    let pod = pod(0, &netns(0), false);
    let before = inode(world, &pod).await;
    apply(world, &[attach(&pod), detach(&pod)]).await;
    let (host_end, inside) = seen_pod(world, &pod).await;
    assert_eq!(host_end, Place::Absent);
    assert!(inside.unwrap().interface.is_none());
    assert_eq!(inode(world, &pod).await, before);
}

pub(crate) async fn detaching_leaves_a_foreign_link(world: &dyn World) {
    add_bridge(world).await;
    let pod = made_pod(0);
    world.add_link(&pod.host_ifname, Mtu(1500));
    let before = world.foreign();
    refused_as_foreign(
        world,
        Op::Pod(pod::Op::Detach {
            host_ifname: pod.host_ifname,
            netns: None,
        }),
    )
    .await;
    assert_eq!(world.foreign(), before);
}
