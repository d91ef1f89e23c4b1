//! What may have happened to a host before: podnet ran on it, and others did things to it.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use podnet_core::kernel::firewall::Chain;
use podnet_core::kernel::model::{Backend, Hop};
use podnet_core::kernel::{
    IfName, LinkParameter, MacAddr, Mtu, ObservedInterface, PROTOCOL, RouteKey,
};
use proptest::prelude::*;

use crate::node::{Node, Whereabouts, Wish, block, host_end, name, net, netns_path, pod_address};

/// Something that happened to the host.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Podnet ran, with this wish.
    Lived(Wish),
    /// Somebody changed what is podnet's, or what it builds on.
    Tampered(Tamper),
    /// Somebody put something of their own where podnet may want to be.
    Obstructed(Obstacle),
}

#[derive(Debug, Clone)]
pub(crate) enum Tamper {
    DeleteLink(IfName),
    SetDown(IfName),
    SetUp(IfName),
    SetMac(IfName),
    SetMtu(IfName, Mtu),
    Release(IfName),
    AllowLinkLocal(IfName),
    SetParameter(LinkParameter),
    AddAddress(IfName, IpNetwork),
    DeleteAddress(IfName, IpNetwork),
    AddNeighbour(IpAddr),
    DeleteNeighbour(IpAddr),
    DeleteRoute(RouteKey),
    /// With podnet's mark on it.
    AddRoute(RouteKey, Option<IfName>),
    FlushChain(Chain),
    StrangeRule(Chain),
    SetJumps(Chain, usize),
    ClearFirewall,
    SecondBackend,
    Router(bool),
    Forwarding(IfName, bool),
    RemoveNetns(u8),
    DeleteInterface(u8),
    ChangeInterface(u8, Inner),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Inner {
    Down,
    Mac,
    Mtu,
    NoAddress,
    MoreAddresses,
    NoGateway,
    NoNeighbour,
    OtherNeighbour,
    OtherParameters,
}

#[derive(Debug, Clone)]
pub(crate) enum Obstacle {
    Link(IfName),
    Route(RouteKey, Option<IfName>),
    Address(IfName, IpNetwork),
    Interface(u8),
    Netns(u8),
    File(u8),
    HostNetns(u8),
    FirewallRule,
}

impl Event {
    pub(crate) fn happen(&self, node: &mut Node) {
        match self {
            Self::Lived(wish) => node.live(wish),
            Self::Tampered(tamper) => tamper.happen(node),
            Self::Obstructed(obstacle) => obstacle.happen(node),
        }
    }
}

impl Tamper {
    pub(crate) fn happen(&self, node: &mut Node) {
        let bridge = IfName::bridge();
        let kernel = &mut node.kernel;
        let mac = MacAddr([0x02, 9, 9, 9, 9, 9]);
        match self {
            Self::DeleteLink(link) => kernel.delete_link(link),
            Self::SetDown(link) => kernel.set_link_down(link),
            Self::SetUp(link) => kernel.set_link_up(link),
            Self::SetMac(link) => kernel.set_link_mac(link, mac),
            Self::SetMtu(link, mtu) => kernel.set_link_mtu(link, *mtu),
            Self::Release(link) => kernel.release_port(link),
            Self::AllowLinkLocal(link) => kernel.allow_link_local(link),
            Self::SetParameter(parameter) => kernel.set_link_parameter(&bridge, *parameter, 2),
            Self::AddAddress(link, address) => kernel.add_address(link, *address),
            Self::DeleteAddress(link, address) => kernel.delete_address(link, *address),
            Self::AddNeighbour(address) => kernel.add_neighbour(&bridge, *address, mac),
            Self::DeleteNeighbour(address) => kernel.delete_neighbour(&bridge, *address),
            Self::DeleteRoute(key) => kernel.delete_route(key),
            Self::AddRoute(key, device) => {
                let hop = hop(node, device.as_ref());
                node.kernel.add_route(*key, PROTOCOL, hop);
            }
            Self::FlushChain(chain) => {
                kernel
                    .firewall_mut()
                    .iter_mut()
                    .for_each(|backend| backend.flush(*chain));
            }
            Self::StrangeRule(chain) => {
                kernel
                    .firewall_mut()
                    .iter_mut()
                    .for_each(|backend| backend.add_strange_rule(*chain));
            }
            Self::SetJumps(chain, count) => {
                kernel
                    .firewall_mut()
                    .iter_mut()
                    .for_each(|backend| backend.set_jumps(*chain, *count));
            }
            Self::ClearFirewall => kernel.firewall_mut().iter_mut().for_each(Backend::clear),
            Self::SecondBackend => {
                kernel.firewall_mut().truncate(1);
                kernel
                    .firewall_mut()
                    .push(Backend::new("iptables-legacy", false));
            }
            Self::Router(router) => kernel.set_router(*router),
            Self::Forwarding(device, on) => kernel.set_link_forwarding(device, *on),
            Self::RemoveNetns(pod) => kernel.remove_path(&netns_path(*pod)),
            Self::DeleteInterface(pod) => {
                kernel.delete_interface(&netns_path(*pod), &IfName::pod());
            }
            Self::ChangeInterface(pod, inner) => {
                kernel.change_interface(&netns_path(*pod), &IfName::pod(), |interface| {
                    inner.happen(interface, mac);
                });
            }
        }
    }

    /// Whether something of it stays after podnet's next pass.
    pub(crate) fn lasts(&self) -> bool {
        !self.is_curable()
            || matches!(
                self,
                Self::SecondBackend | Self::ChangeInterface(_, Inner::MoreAddresses)
            )
    }

    /// Whether podnet can put this right: not what takes away what it builds on.
    pub(crate) fn is_curable(&self) -> bool {
        !matches!(self, Self::RemoveNetns(_))
    }
}

impl Inner {
    fn happen(self, interface: &mut ObservedInterface, mac: MacAddr) {
        match self {
            Self::Down => {
                interface.up = false;
                interface.gateways.clear();
                interface.neighbours.clear();
            }
            Self::Mac => {
                interface.mac = mac;
                interface.neighbours.clear();
            }
            Self::Mtu => interface.mtu = Mtu(1300),
            Self::NoAddress => interface.addresses.clear(),
            Self::MoreAddresses => {
                interface.addresses.insert(net("172.20.0.1/24"));
            }
            Self::NoGateway => interface.gateways.clear(),
            Self::NoNeighbour => interface.neighbours.clear(),
            Self::OtherNeighbour => interface
                .neighbours
                .values_mut()
                .for_each(|found| *found = mac),
            Self::OtherParameters => interface
                .parameters
                .values_mut()
                .for_each(|found| *found = 2),
        }
    }
}

impl Obstacle {
    fn happen(&self, node: &mut Node) {
        let kernel = &mut node.kernel;
        match self {
            Self::Link(link) => {
                kernel.add_link(link, Mtu(1500));
            }
            Self::Route(key, device) => {
                let hop = hop(node, device.as_ref());
                node.kernel.add_route(*key, 4, hop);
            }
            Self::Address(link, address) => kernel.add_address(link, *address),
            Self::Interface(pod) => kernel.add_interface(&netns_path(*pod), &IfName::pod()),
            Self::Netns(pod) => {
                kernel.add_netns(&netns_path(*pod));
            }
            Self::File(pod) => {
                kernel.remove_path(&netns_path(*pod));
                kernel.add_file(&netns_path(*pod));
            }
            Self::HostNetns(pod) => {
                kernel.remove_path(&netns_path(*pod));
                kernel.add_host_netns(&netns_path(*pod));
            }
            Self::FirewallRule => {
                for backend in kernel.firewall_mut() {
                    backend.add_foreign("-A FORWARD -j DOCKER-USER");
                }
            }
        }
    }
}

/// By way of a device, or refused.
fn hop(node: &mut Node, device: Option<&IfName>) -> Hop {
    device.map_or(Hop::Unreachable, |device| {
        Hop::Link(node.kernel.add_link(device, Mtu(1500)))
    })
}

fn pod_number() -> impl Strategy<Value = u8> {
    0u8..4
}

fn block_number() -> impl Strategy<Value = u8> {
    0u8..4
}

fn own_link() -> impl Strategy<Value = IfName> {
    prop_oneof![
        2 => Just(IfName::bridge()),
        3 => pod_number().prop_map(host_end),
    ]
}

fn link() -> impl Strategy<Value = IfName> {
    prop_oneof![5 => own_link(), 1 => Just(name("eth0")), 1 => Just(name("eth1"))]
}

fn underlay() -> impl Strategy<Value = IfName> {
    prop::sample::select(vec![name("eth0"), name("eth1")])
}

fn destination() -> impl Strategy<Value = RouteKey> {
    let network = prop_oneof![
        4 => block_number().prop_map(|number| IpNetwork::V4(block(number))),
        1 => Just(net("10.244.0.0/16")),
        1 => Just(net("10.9.0.0/24")),
        1 => Just(net("198.18.0.0/15")),
    ];
    let metric = prop_oneof![3 => Just(0), 1 => Just(100)];
    (network, metric).prop_map(|(destination, metric)| RouteKey {
        destination,
        metric,
    })
}

fn device() -> impl Strategy<Value = Option<IfName>> {
    prop::option::of(Just(name("eth1")))
}

fn bridge_address() -> impl Strategy<Value = IpNetwork> {
    block_number().prop_map(|number| {
        let gateway = u32::from(block(number).network()) + 1;
        IpNetwork::new(Ipv4Addr::from(gateway).into(), 24).unwrap()
    })
}

fn neighbour() -> impl Strategy<Value = IpAddr> {
    (block_number(), pod_number()).prop_map(|(own, pod)| pod_address(own, pod).into())
}

fn chain() -> impl Strategy<Value = Chain> {
    prop::sample::select(&Chain::ALL[..])
}

pub(crate) fn tamper() -> impl Strategy<Value = Tamper> {
    let inner = prop::sample::select(vec![
        Inner::Down,
        Inner::Mac,
        Inner::Mtu,
        Inner::NoAddress,
        Inner::MoreAddresses,
        Inner::NoGateway,
        Inner::NoNeighbour,
        Inner::OtherNeighbour,
        Inner::OtherParameters,
    ]);
    prop_oneof![
        own_link().prop_map(Tamper::DeleteLink),
        link().prop_map(Tamper::SetDown),
        link().prop_map(Tamper::SetUp),
        own_link().prop_map(Tamper::SetMac),
        (link(), prop::sample::select(vec![Mtu(1300), Mtu(1450)]))
            .prop_map(|(link, mtu)| Tamper::SetMtu(link, mtu)),
        own_link().prop_map(Tamper::Release),
        own_link().prop_map(Tamper::AllowLinkLocal),
        prop::sample::select(&LinkParameter::OF_BRIDGE[..]).prop_map(Tamper::SetParameter),
        bridge_address().prop_map(|address| Tamper::AddAddress(IfName::bridge(), address)),
        bridge_address().prop_map(|address| Tamper::DeleteAddress(IfName::bridge(), address)),
        Just(Tamper::DeleteAddress(name("eth1"), net("203.0.113.9/24"))),
        neighbour().prop_map(Tamper::AddNeighbour),
        neighbour().prop_map(Tamper::DeleteNeighbour),
        destination().prop_map(Tamper::DeleteRoute),
        (destination(), device()).prop_map(|(key, device)| Tamper::AddRoute(key, device)),
        chain().prop_map(Tamper::FlushChain),
        chain().prop_map(Tamper::StrangeRule),
        (chain(), 0usize..3).prop_map(|(chain, count)| Tamper::SetJumps(chain, count)),
        Just(Tamper::ClearFirewall),
        Just(Tamper::SecondBackend),
        any::<bool>().prop_map(Tamper::Router),
        (underlay(), any::<bool>()).prop_map(|(device, on)| Tamper::Forwarding(device, on)),
        pod_number().prop_map(Tamper::RemoveNetns),
        pod_number().prop_map(Tamper::DeleteInterface),
        (pod_number(), inner).prop_map(|(pod, inner)| Tamper::ChangeInterface(pod, inner)),
    ]
}

fn obstacle() -> impl Strategy<Value = Obstacle> {
    prop_oneof![
        own_link().prop_map(Obstacle::Link),
        (destination(), device()).prop_map(|(key, device)| Obstacle::Route(key, device)),
        bridge_address().prop_map(|address| Obstacle::Address(name("eth1"), address)),
        pod_number().prop_map(Obstacle::Interface),
        pod_number().prop_map(Obstacle::Netns),
        pod_number().prop_map(Obstacle::File),
        pod_number().prop_map(Obstacle::HostNetns),
        Just(Obstacle::FirewallRule),
    ]
}

pub(crate) fn wish() -> impl Strategy<Value = Wish> {
    let whereabouts = prop::sample::select(vec![
        Whereabouts::Unknown,
        Whereabouts::OnEth0,
        Whereabouts::OnEth0,
        Whereabouts::OnEth1,
        Whereabouts::BehindRouter,
        Whereabouts::AtOwnAddress,
    ]);
    (
        prop::bool::weighted(0.9),
        any::<bool>(),
        any::<bool>(),
        block_number(),
        prop::sample::select(vec![1500, 1400]),
        prop::collection::btree_map(block_number(), whereabouts, 0..4),
        prop::collection::btree_map(pod_number(), any::<bool>(), 0..4),
        prop::collection::btree_set(pod_number(), 0..2),
    )
        .prop_map(
            |(member, second_network, excluded, block, mtu, peers, pods, in_flight)| Wish {
                member,
                second_network,
                excluded,
                block,
                mtu,
                peers,
                pods,
                in_flight,
            },
        )
}

/// A wish of a member that has nothing in flight.
pub(crate) fn settled_wish() -> impl Strategy<Value = Wish> {
    wish().prop_map(|wish| Wish {
        member: true,
        in_flight: Default::default(),
        ..wish
    })
}

/// What happened, with or without foreign things in the way.
pub(crate) fn history(obstacles: bool) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => wish().prop_map(Event::Lived),
        3 => tamper().prop_map(Event::Tampered),
        u32::from(obstacles) => obstacle().prop_map(Event::Obstructed),
    ];
    prop::collection::vec(event, 0..12)
}

/// The host after its history.
pub(crate) fn after(history: &[Event]) -> Node {
    let mut node = Node::new();
    for event in history {
        event.happen(&mut node);
    }
    node
}
