//! The table of the bridge that holds pods to their addresses.

use std::slice;

use podnet_core::kernel::{Holding, Kind, Kinds, ObservedHolding, Op, PodLink, holding, pod};

use crate::subject::{add_bridge, apply, made_pod, observe};
use crate::world::World;

async fn seen(world: &dyn World) -> ObservedHolding {
    let kinds = Kinds::from([Kind::Holding]);
    observe(world, &kinds).await.holding.unwrap()
}

async fn assert_holds(world: &dyn World, holding: &Holding) {
    let right = ObservedHolding::Table {
        ruled: true,
        holding: holding.clone(),
    };
    assert_eq!(seen(world).await, right);
}

/// Two pods, and a third one that is trusted.
fn pods() -> [PodLink; 3] {
    let [first, second, mut third] = [made_pod(0), made_pod(1), made_pod(2)];
    third.trusted = true;
    [first, second, third]
}

fn release(pod: &PodLink) -> Op {
    Op::Holding(holding::Op::Release {
        host_ifname: pod.host_ifname.clone(),
        holding: Holding::of(pod),
    })
}

pub(crate) async fn what_is_held_is_held_as_told(world: &dyn World) {
    assert_eq!(seen(world).await, ObservedHolding::Absent);
    let pods = pods();
    for held in [&pods[..], &pods[..1], &[], &pods[1..]] {
        let holding = Holding::of_all(held);
        for _ in 0..2 {
            apply(world, &[Op::Holding(holding::Op::Set(holding.clone()))]).await;
            assert_holds(world, &holding).await;
        }
    }
    for _ in 0..2 {
        apply(world, &[Op::Holding(holding::Op::Remove)]).await;
        assert_eq!(seen(world).await, ObservedHolding::Absent);
    }
}

pub(crate) async fn pods_are_held_from_attaching_to_release(world: &dyn World) {
    add_bridge(world).await;
    apply(world, &[Op::Holding(holding::Op::Set(Holding::default()))]).await;
    let pods = pods();
    let attach: Vec<_> = pods
        .iter()
        .cloned()
        .map(|x| Op::Pod(pod::Op::Attach(x)))
        .collect();
    apply(world, &attach).await;
    assert_holds(world, &Holding::of_all(&pods)).await;
    assert_eq!(Holding::of_all(&pods).ports.len(), 2);
    // What is not there keeps nothing else.
    let mut more = pods[0].clone();
    more.addresses.push("10.244.0.77/24".parse().unwrap());
    for _ in 0..2 {
        apply(world, &[release(&more)]).await;
        assert_holds(world, &Holding::of(&pods[1])).await;
    }
    let hold = Op::Holding(holding::Op::Hold {
        host_ifname: pods[0].host_ifname.clone(),
        holding: Holding::of(&pods[0]),
    });
    for _ in 0..2 {
        apply(world, slice::from_ref(&hold)).await;
        assert_holds(world, &Holding::of_all(&pods)).await;
    }
}

pub(crate) async fn without_a_table_nothing_is_held(world: &dyn World) {
    add_bridge(world).await;
    let [pod, ..] = pods();
    let hold = Op::Holding(holding::Op::Hold {
        host_ifname: pod.host_ifname.clone(),
        holding: Holding::of(&pod),
    });
    let release = release(&pod);
    apply(world, &[Op::Pod(pod::Op::Attach(pod)), hold, release]).await;
    assert_eq!(seen(world).await, ObservedHolding::Absent);
}

pub(crate) async fn a_tampered_table_is_seen_and_set_right(world: &dyn World) {
    let holding = Holding::of_all(pods());
    let set = [Op::Holding(holding::Op::Set(holding.clone()))];
    apply(world, &set).await;
    world.flush_holding();
    let flushed = seen(world).await;
    assert!(
        matches!(flushed, ObservedHolding::Table { ruled: false, .. }),
        "{flushed:?}"
    );
    apply(world, &set).await;
    assert_holds(world, &holding).await;
    world.delete_holding();
    assert_eq!(seen(world).await, ObservedHolding::Absent);
    apply(world, &set).await;
    assert_holds(world, &holding).await;
}

/// Also if one of them is not held any more, which keeps the rest of its transaction.
pub(crate) async fn pods_that_go_at_once_are_all_let_go_of(world: &dyn World) {
    let pods: Vec<PodLink> = (0..200).map(made_pod).collect();
    let stays = made_pod(200);
    let held = Holding::of_all(pods[1..].iter().chain([&stays]));
    apply(world, &[Op::Holding(holding::Op::Set(held))]).await;
    let ops: Vec<Op> = pods.iter().map(release).collect();
    let released = ops.chunks(1).map(|op| world.dataplane().apply(op));
    for results in futures::future::join_all(released).await {
        assert!(matches!(results[..], [Ok(_)]), "{results:?}");
    }
    assert_holds(world, &Holding::of(&stays)).await;
}
