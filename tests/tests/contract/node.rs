//! A whole node: what the agent wants by way of the data plane, and gets.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::Ipv4Network;
use podnet_agent::dataplane::Dataplane;
use podnet_core::kernel::firewall::Chain;
use podnet_core::kernel::{
    Desired, IfName, Input, Kind, Kinds, LinkParameter, MacAddr, Mtu, NetnsState, Observed, Op,
    PROTOCOL, PeerBlock, Place, Plan, PodLink, RouteKey, desired, diff, pod,
};
use podnet_proto::{NodeId, PodNetwork, network};

use crate::subject::{
    add_underlay, addr, apply, assert_whole, made_pod, name, net, netns, observe, pod, seen_netns,
};
use crate::world::{OTHER_MAC, Spoil, World};

const PEERS: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "198.51.100.14"];

/// What a node with two pods should hold, that has one of the first blocks; its peers have the
/// others.
async fn wanted(world: &dyn World, own: u8, pods: &[PodLink]) -> Desired {
    // What the agent has on record.
    let opened = BTreeSet::from([name("eth0")]);
    let block = |number| -> Ipv4Network { format!("10.244.{number}.0/24").parse().unwrap() };
    let peers: Vec<_> = (0..)
        .filter(|number| *number != own)
        .zip(PEERS)
        .map(|(number, address)| PeerBlock {
            node: NodeId::from_bytes([number; 16]),
            block: block(number),
            address: Some(addr(address)),
        })
        .collect();
    let devices = opened.iter().cloned().map(Kind::Ingress);
    let paths = PEERS.map(addr).map(Kind::Path);
    let kinds = devices.chain(paths).chain([Kind::Forwarding]);
    let kinds: Kinds = kinds.collect();
    let found = observe(world, &kinds).await;
    desired(&Input {
        networks: &[PodNetwork::parse("10.244.0.0/16", 24).unwrap()],
        excluded: &["172.16.0.0/12".parse().unwrap()],
        block: block(own),
        mtu: Mtu(1500),
        peers: &peers,
        underlay: &found.underlay,
        pods,
        in_flight: &BTreeMap::new(),
        forwarding: &found.forwarding.unwrap(),
        opened: &opened,
    })
}

/// Looks at everything.
async fn look(dataplane: &dyn Dataplane, desired: &Desired) -> Observed {
    let mut kinds = Kinds::all().aimed(desired).and(Kind::Forwarding);
    kinds.extend(desired.forwarding.keys().cloned().map(Kind::Ingress));
    dataplane.observe(&kinds).await.unwrap()
}

async fn plan(dataplane: &dyn Dataplane, desired: &Desired) -> Plan {
    diff(desired, &look(dataplane, desired).await)
}

/// One pass, after which the kernel holds what is desired. Returns what it took.
async fn pass(world: &dyn World, desired: &Desired) -> Vec<Op> {
    let before = world.foreign();
    let todo = plan(world.dataplane(), desired).await;
    assert!(
        todo.gone.is_empty() && todo.conflicts.is_empty(),
        "{todo:?}"
    );
    apply(world, &todo.ops).await;
    assert_eq!(plan(world.dataplane(), desired).await, Plan::default());
    assert_eq!(world.foreign(), before);
    todo.ops
}

/// A node with two pods, as it should be.
async fn settled(world: &dyn World) -> (Desired, Vec<PodLink>) {
    add_underlay(world);
    world.add_default_route(addr("192.0.2.254"));
    world.add_netns(&netns(1));
    let mut pods = [made_pod(0), pod(1, &netns(1), false)];
    pass(world, &wanted(world, 0, &[]).await).await;
    for pod in &mut pods {
        apply(world, &[Op::Pod(pod::Op::Attach(pod.clone()))]).await;
        let NetnsState::Netns { inode } = seen_netns(world, &pod.netns.path).await else {
            panic!("{}: no namespace", pod.pod);
        };
        pod.netns.inode = Some(inode);
    }
    let desired = wanted(world, 0, &pods).await;
    pass(world, &desired).await;
    (desired, pods.into())
}

pub(crate) async fn a_whole_node_converges_in_one_pass(world: &dyn World) {
    world.add_foreign_rule();
    let (desired, pods) = settled(world).await;
    for pod in &pods {
        assert_whole(world, pod).await;
    }
    assert_eq!(
        desired.routes.len(),
        4,
        "three peers on the link, and the rest"
    );
}

pub(crate) async fn a_new_agent_adopts_everything(world: &dyn World) {
    let (desired, _) = settled(world).await;
    let restarted = world.restarted().await;
    assert_eq!(plan(restarted.as_ref(), &desired).await, Plan::default());
}

pub(crate) async fn a_node_that_moves_to_another_block_converges(world: &dyn World) {
    let (_, pods) = settled(world).await;
    let moved = wanted(world, 2, &pods[..1]).await;
    let ops = pass(world, &moved).await;
    assert!(
        ops.iter()
            .any(|op| matches!(op, Op::Pod(pod::Op::Detach { .. }))),
        "{ops:?}"
    );
    let back = wanted(world, 0, &pods).await;
    pass(world, &back).await;
    for pod in &pods {
        assert_whole(world, pod).await;
    }
}

pub(crate) async fn a_node_that_leaves_leaves_nothing(world: &dyn World) {
    let (_, pods) = settled(world).await;
    let detach = pods.iter().map(|pod| {
        Op::Pod(pod::Op::Detach {
            host_ifname: pod.host_ifname.clone(),
            netns: pod.netns.made.then(|| pod.netns.path.clone()),
        })
    });
    let detach: Vec<_> = detach.collect();
    apply(world, &detach).await;
    let nothing = Desired::default();
    pass(world, &nothing).await;
    let left = look(world.dataplane(), &nothing).await;
    assert_eq!(left.bridge, Some(Place::Absent));
    assert!(left.host_ends.unwrap().is_empty() && left.routes.unwrap().is_empty());
    assert!(
        left.firewall
            .unwrap()
            .iter()
            .all(|backend| backend.chains.is_empty())
    );
    let kept = network::gateway("10.244.0.0/24".parse().unwrap());
    let kinds = Kinds::from([Kind::Underlay]);
    let addresses = observe(world, &kinds).await.addresses.unwrap();
    assert!(!addresses.iter().any(|address| address.address.ip() == kept));
}

/// Each of podnet's objects, spoilt in each way that ip(8) and iptables(8) offer.
pub(crate) async fn what_others_break_is_repaired(world: &dyn World) {
    let (desired, pods) = settled(world).await;
    let bridge = IfName::bridge();
    let host_end = &pods[0].host_ifname;
    let peer = RouteKey::to(net("10.244.1.0/24"));
    let whole = RouteKey::to(net("10.244.0.0/16"));
    let gateway = net("10.244.0.1/24");
    let [own, stray] = [addr("10.244.0.2"), addr("10.244.0.99")];
    let mut tampers: Vec<Box<dyn Fn()>> = vec![
        Box::new(|| world.delete_link(&bridge)),
        Box::new(|| world.set_up(&bridge, false)),
        Box::new(|| world.set_mac(&bridge, OTHER_MAC)),
        Box::new(|| world.set_mtu(&bridge, Mtu(1300))),
        Box::new(|| world.delete_address(&bridge, gateway)),
        Box::new(|| world.add_address(&bridge, net("10.244.0.77/24"))),
        Box::new(|| world.add_address(&bridge, net("10.244.1.1/24"))),
        Box::new(|| {
            world.delete_address(&bridge, gateway);
            world.add_address(&bridge, net("10.244.0.77/24"));
        }),
        Box::new(|| world.delete_neighbour(&bridge, own)),
        Box::new(|| world.add_neighbour(&bridge, own, OTHER_MAC)),
        Box::new(|| world.add_neighbour(&bridge, stray, MacAddr([0x02; 6]))),
        Box::new(|| world.delete_link(host_end)),
        Box::new(|| world.set_up(host_end, false)),
        Box::new(|| world.set_mtu(host_end, Mtu(1300))),
        Box::new(|| world.release_port(host_end)),
        Box::new(|| world.open_port(host_end)),
        Box::new(|| world.forget_port(host_end, pods[0].mac)),
        Box::new(|| world.delete_interface(&pods[1].netns.path, &pods[1].ifname)),
        Box::new(|| world.delete_route(peer)),
        Box::new(|| world.delete_route(whole)),
        Box::new(|| world.add_route(peer, PROTOCOL, None)),
        Box::new(|| world.add_route(RouteKey { metric: 7, ..peer }, PROTOCOL, None)),
        Box::new(|| world.add_route(RouteKey::to(net("10.244.99.0/24")), PROTOCOL, None)),
        Box::new(|| world.set_forwarding(&name("eth0"), false)),
        Box::new(|| world.set_link_parameter(&bridge, LinkParameter::Forwarding, 0)),
        Box::new(|| world.set_link_parameter(&bridge, LinkParameter::ReversePathFilter, 0)),
        Box::new(|| {
            let eth0 = name("eth0");
            world.set_up(&eth0, false);
            world.set_up(&eth0, true);
            world.add_default_route(addr("192.0.2.254"));
        }),
    ];
    for spoil in Spoil::ALL {
        let pods = &pods;
        tampers.push(Box::new(move || {
            world.spoil(&pods[0].netns.path, &pods[0].ifname, spoil);
        }));
    }
    for chain in Chain::ALL {
        tampers.push(Box::new(move || world.flush_chain(chain)));
        tampers.push(Box::new(move || world.add_strange_rule(chain)));
        tampers.push(Box::new(move || world.add_jump(chain)));
        tampers.push(Box::new(move || world.delete_jump(chain)));
    }
    tampers.push(Box::new(|| world.flush_holding()));
    tampers.push(Box::new(|| world.delete_holding()));
    for (number, tamper) in tampers.iter().enumerate() {
        tamper();
        let ops = pass(world, &desired).await;
        assert!(!ops.is_empty(), "number {number} was not seen");
    }
    let host_ends: BTreeSet<_> = pods.iter().map(|pod| pod.host_ifname.clone()).collect();
    let listed = observe(world, &Kinds::from([Kind::HostEnds])).await;
    assert_eq!(
        listed
            .host_ends
            .unwrap()
            .into_keys()
            .collect::<BTreeSet<_>>(),
        host_ends
    );
}
