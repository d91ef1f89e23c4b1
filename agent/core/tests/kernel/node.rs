//! A node: the model of its kernel, and what the agent knows of its pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_core::kernel::model::{Hop, Kernel};
use podnet_core::kernel::{
    Desired, IfName, Input, Kind, Kinds, MacAddr, Made, Mtu, Netns, Op, PeerBlock, Plan, PodLink,
    RouteKey, desired, diff, forwarding, host_ifname, pod,
};
use podnet_proto::{BlockIndex, NodeId, PodNetwork, network};

/// What the node's user and its cluster wish for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Whether the node is a member of a cluster at all.
    pub(crate) member: bool,
    /// Whether the cluster has a second network, of a single block.
    pub(crate) second_network: bool,
    /// Whether traffic to one range keeps its source address.
    pub(crate) excluded: bool,
    pub(crate) block: u8,
    pub(crate) mtu: u32,
    pub(crate) peers: BTreeMap<u8, Whereabouts>,
    /// The numbers of the pods, and whether podnet makes their namespaces.
    pub(crate) pods: BTreeMap<u8, bool>,
    /// The numbers of the pods that are being attached or detached.
    pub(crate) in_flight: BTreeSet<u8>,
}

/// Where a peer is on the underlay.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whereabouts {
    Unknown,
    OnEth0,
    OnEth1,
    BehindRouter,
    AtOwnAddress,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kernel: Kernel,
    pods: BTreeMap<u8, PodLink>,
    /// The devices that podnet has opened, as its record has them.
    pub(crate) opened: BTreeSet<IfName>,
}

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

pub(crate) fn netns_path(pod: u8) -> PathBuf {
    PathBuf::from(format!("/run/netns/p{pod}"))
}

pub(crate) fn host_end(pod: u8) -> IfName {
    host_ifname(&format!("p{pod}").parse().unwrap(), &IfName::pod())
}

pub(crate) fn block(index: u8) -> Ipv4Network {
    cluster_network().block(BlockIndex(index.into())).unwrap()
}

fn cluster_network() -> PodNetwork {
    PodNetwork::parse("10.244.0.0/16", 24).unwrap()
}

pub(crate) fn pod_address(own: u8, pod: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network::gateway(block(own))) + 1 + u32::from(pod))
}

impl Node {
    /// A host with two underlay devices and a default route, where podnet never ran.
    pub(crate) fn new() -> Self {
        let mut kernel = Kernel::default();
        let eth0 = kernel.add_link(&name("eth0"), Mtu(1500));
        kernel.add_address(&name("eth0"), net("192.0.2.9/24"));
        kernel.add_link(&name("eth1"), Mtu(1400));
        kernel.add_address(&name("eth1"), net("203.0.113.9/24"));
        let router = Hop::Gateway(Ipv4Addr::new(192, 0, 2, 254).into(), eth0);
        kernel.add_route(RouteKey::to(net("0.0.0.0/0")), 16, router);
        Self {
            kernel,
            pods: BTreeMap::new(),
            opened: BTreeSet::new(),
        }
    }

    /// Everything that the kernel should hold, with the underlay as it is now.
    pub(crate) fn desired(&self, wish: &Wish) -> Desired {
        let looked = self.kernel.observe(&forwarding_of(&self.opened));
        let forwarding = looked.forwarding.unwrap();
        if !wish.member {
            return Desired::nothing(&forwarding, &self.opened);
        }
        let single = PodNetwork::parse("10.9.0.0/24", 24).unwrap();
        let networks: Vec<_> = wish
            .second_network
            .then_some(single)
            .into_iter()
            .chain([cluster_network()])
            .collect();
        let excluded: &[Ipv4Network] = if wish.excluded {
            &["172.16.0.0/12".parse().unwrap()]
        } else {
            &[]
        };
        let peers: Vec<_> = wish
            .peers
            .iter()
            .filter(|(number, _)| **number != wish.block)
            .map(|(number, whereabouts)| PeerBlock {
                node: NodeId::from_bytes([*number; 16]),
                block: block(*number),
                address: whereabouts.address(*number),
            })
            .collect();
        let addresses = peers.iter().filter_map(|peer| peer.address);
        let paths: Kinds = addresses.map(Kind::Path).collect();
        let pods: Vec<_> = wish
            .pods
            .keys()
            .filter_map(|pod| self.pods.get(pod))
            .map(|pod| PodLink {
                mtu: Mtu(wish.mtu),
                ..pod.clone()
            })
            .collect();
        let in_flight = wish
            .in_flight
            .iter()
            .map(|pod| (host_end(*pod), self.addresses(*pod, wish)))
            .collect();
        desired(&Input {
            networks: &networks,
            excluded,
            block: block(wish.block),
            mtu: Mtu(wish.mtu),
            peers: &peers,
            underlay: &self.kernel.observe(&paths).underlay,
            pods: &pods,
            in_flight: &in_flight,
            forwarding: &forwarding,
            opened: &self.opened,
        })
    }

    /// The addresses of a pod that is there, or to be.
    pub(crate) fn addresses(&self, pod: u8, wish: &Wish) -> BTreeSet<IpAddr> {
        match self.pods.get(&pod) {
            Some(pod) => pod.addresses.iter().map(IpNetwork::ip).collect(),
            None => BTreeSet::from([pod_address(wish.block, pod).into()]),
        }
    }

    /// The difference, with everything looked at.
    pub(crate) fn plan(&self, desired: &Desired) -> Plan {
        diff(desired, &self.kernel.observe(&everything(desired)))
    }

    /// What the agent puts on record before it makes such a change.
    pub(crate) fn remember(&mut self, op: &Op) {
        if let Op::Forwarding(forwarding::Op::Set { device, on: true }) = op {
            self.opened.insert(device.clone());
        }
    }

    /// One pass, in which changes may fail.
    pub(crate) fn pass(&mut self, desired: &Desired) {
        for op in self.plan(desired).ops {
            self.remember(&op);
            let _ = self.kernel.apply(&op);
        }
    }

    /// What an agent does that runs for a while with this wish: it forgets the pods that have
    /// gone, makes the namespaces of new ones, and attaches them.
    pub(crate) fn live(&mut self, wish: &Wish) {
        let gone = self.plan(&self.desired(wish)).gone;
        for pod in self
            .pods
            .values()
            .filter(|pod| gone.contains(&pod.host_ifname))
        {
            let netns = pod.netns.made.then(|| pod.netns.path.clone());
            let op = Op::Pod(pod::Op::Detach {
                host_ifname: pod.host_ifname.clone(),
                netns,
            });
            let _ = self.kernel.apply(&op);
        }
        self.pods.retain(|_, pod| !gone.contains(&pod.host_ifname));
        self.pass(&self.desired(wish));
        for (&number, &made) in &wish.pods {
            self.add_pod(number, made, wish);
        }
        self.pass(&self.desired(wish));
    }

    fn add_pod(&mut self, number: u8, made: bool, wish: &Wish) {
        if self.pods.contains_key(&number) || !wish.member {
            return;
        }
        let path = netns_path(number);
        let found = if made {
            None
        } else {
            Some(self.kernel.add_netns(&path))
        };
        let gateway = network::gateway(block(wish.block));
        let address = pod_address(wish.block, number);
        let mut pod = PodLink {
            pod: format!("p{number}").parse().unwrap(),
            netns: Netns {
                path: path.clone(),
                made,
                inode: found,
            },
            host_ifname: host_end(number),
            ifname: IfName::pod(),
            mac: MacAddr::of_address(address),
            mtu: Mtu(wish.mtu),
            addresses: vec![IpNetwork::new(address.into(), 24).unwrap()],
            gateways: vec![gateway.into()],
            gateway_mac: MacAddr::of_address(gateway),
            trusted: false,
        };
        let attach = Op::Pod(pod::Op::Attach(pod.clone()));
        let Ok(Made::Namespace(inode)) = self.kernel.apply(&attach) else {
            return;
        };
        pod.netns.inode = Some(inode);
        self.pods.insert(number, pod);
    }
}

/// What is forwarded, also from these devices.
pub(crate) fn forwarding_of(devices: &BTreeSet<IfName>) -> Kinds {
    let devices = devices.iter().cloned().map(Kind::Ingress);
    devices.chain([Kind::Forwarding]).collect()
}

/// Everything that a full resync looks at.
pub(crate) fn everything(desired: &Desired) -> Kinds {
    let mut kinds = Kinds::all().aimed(desired);
    kinds.merge(forwarding_of(&desired.forwarding.keys().cloned().collect()));
    kinds
}

impl Whereabouts {
    fn address(self, peer: u8) -> Option<IpAddr> {
        match self {
            Self::Unknown => None,
            Self::OnEth0 => Some(Ipv4Addr::new(192, 0, 2, 100 + peer).into()),
            Self::OnEth1 => Some(Ipv4Addr::new(203, 0, 113, 100 + peer).into()),
            Self::BehindRouter => Some(Ipv4Addr::new(198, 51, 100, 100 + peer).into()),
            Self::AtOwnAddress => Some(Ipv4Addr::new(192, 0, 2, 9).into()),
        }
    }
}
