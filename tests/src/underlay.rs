//! The plan of the underlay: who has which address, and which commands make it so. Pure.
//!
//! ```text
//!  node1 eth0 192.168.56.11 --+
//!  node2 eth0 192.168.56.12 --+-- br0 192.168.56.1 (router) 203.0.113.1 -- 203.0.113.10 internet
//!  ...                      --+
//! ```
//!
//! With several subnets, each has a bridge of its own, and the nodes are dealt out to them in turn:
//!
//! ```text
//!  node1 eth0 192.168.56.11 --+-- br0 192.168.56.1 (router) -- internet
//!  node3 eth0 192.168.56.12 --+                       |
//!  node2 eth0 192.168.57.11 ----- br1 192.168.57.1 ---+
//! ```
//!
//! Neither the router nor the internet has a route to pod addresses, as on a real network.

use std::fmt;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use sha2::{Digest as _, Sha256};

use crate::mtu::Mtu;
use crate::name::{LabName, Member};

/// The most subnets that one underlay has.
pub const MAX_SUBNETS: u8 = 100;

/// The first address of the first subnet; the others follow.
const NETWORK: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 0);
/// The router has the address this many above a subnet's.
const ROUTER_OFFSET: u32 = 1;
/// The first node of a subnet has the address this many above the subnet's.
const NODE_OFFSET: u32 = 11;
/// The addresses of a subnet, where there are several.
const SUBNET_SIZE: u32 = 256;
/// The most nodes that fit into a /24 behind the offset, without the broadcast address.
const NODES_IN_24: u8 = 244;
/// The router towards the internet (TEST-NET-3, RFC 5737).
const INTERNET_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The host in the internet.
const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// From this many nodes on all neighbours are permanent. The neighbour table is shared by all
/// namespaces of a host and overflows at 1024 entries (`gc_thresh3`), and N nodes that talk to
/// each other need N x (N - 1) of them; permanent ones do not count.
const PERMANENT_NEIGHBOURS_FROM: u8 = 30;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The underlay of one lab.
#[derive(Debug, Clone)]
pub struct Underlay {
    lab: LabName,
    nodes: u8,
    subnets: u8,
}

impl Underlay {
    /// The underlay of a lab that starts with `nodes` nodes in `subnets` subnets, at least one.
    #[must_use]
    pub fn new(lab: LabName, nodes: u8, subnets: u8) -> Self {
        Self {
            lab,
            nodes,
            subnets: subnets.max(1),
        }
    }

    /// The subnet that a node is in, counted from 0.
    fn subnet(&self, number: u8) -> u8 {
        number.saturating_sub(1) % self.subnets
    }

    fn network(subnet: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(NETWORK.to_bits() + SUBNET_SIZE * u32::from(subnet))
    }

    fn gateway(subnet: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(Self::network(subnet).to_bits() + ROUTER_OFFSET)
    }

    /// The bridge of the router that a node is plugged into.
    #[must_use]
    pub fn bridge(&self, number: u8) -> String {
        bridge(self.subnet(number))
    }

    /// The nodes of a lab of `nodes` that are on-link to a node, itself included.
    pub(crate) fn on_link(&self, number: u8, nodes: u8) -> impl Iterator<Item = u8> {
        let subnet = self.subnet(number);
        (1..=nodes).filter(move |other| self.subnet(*other) == subnet)
    }

    /// Whether there is an address for a node of this number.
    #[must_use]
    pub fn has_room(&self, number: u8) -> bool {
        let size = 1_u32 << (32 - u32::from(self.prefix_len()));
        let broadcast = Self::network(self.subnet(number)).to_bits() + size - 1;
        self.address(Member::Node(number)).to_bits() < broadcast
    }

    /// The address by which the nodes reach a member.
    #[must_use]
    pub fn address(&self, member: Member) -> Ipv4Addr {
        match member {
            Member::Router => Self::gateway(0),
            Member::Internet => INTERNET,
            Member::Node(number) => {
                let place = number.saturating_sub(1) / self.subnets;
                let network = Self::network(self.subnet(number));
                Ipv4Addr::from_bits(network.to_bits() + NODE_OFFSET + u32::from(place))
            }
        }
    }

    /// The prefix length of the nodes' network: wider only when the lab needs it.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        if self.subnets > 1 || self.nodes <= NODES_IN_24 {
            24
        } else {
            23
        }
    }

    /// A member's Ethernet address: the same whenever a lab of this name is started, and a locally
    /// administered unicast one.
    #[must_use]
    pub fn mac(&self, member: Member) -> Mac {
        let hash = Sha256::digest(format!("{}/{member}", self.lab));
        Mac([0x02, hash[0], hash[1], hash[2], hash[3], hash[4]])
    }

    /// The router's part, as lines for `ip -batch`: the bridges and their addresses.
    #[must_use]
    pub fn router_batch(&self) -> String {
        // One Ethernet address does for all: no two of the bridges are on one link.
        let (mac, prefix) = (self.mac(Member::Router), self.prefix_len());
        let mut batch = "link set lo up\n".to_owned();
        for subnet in 0..self.subnets {
            let (bridge, gateway) = (bridge(subnet), Self::gateway(subnet));
            batch += &format!(
                "link add {bridge} address {mac} type bridge\n\
                 address add {gateway}/{prefix} dev {bridge}\n\
                 link set {bridge} up\n"
            );
        }
        batch
    }

    /// Plugs a member's `eth0` in, as lines for `ip -batch` in the router: both ends of the pair
    /// are born where they belong, so that the host never sees them.
    #[must_use]
    pub fn plug_batch(&self, member: Member, mtu: Mtu, pid: i32) -> String {
        let mac = self.mac(member);
        let place = match member {
            Member::Router => return String::new(),
            Member::Internet => {
                format!("address add {INTERNET_GATEWAY}/24 dev {member}\nlink set {member} up\n")
            }
            Member::Node(number) => {
                format!("link set {member} master {} up\n", self.bridge(number))
            }
        };
        format!(
            "link add name {member} mtu {mtu} type veth \
             peer name eth0 address {mac} mtu {mtu} netns {pid}\n{place}"
        )
    }

    /// A member's own part, as lines for `ip -batch`.
    #[must_use]
    pub fn member_batch(&self, member: Member) -> String {
        let prefix = self.prefix_len();
        let address = self.address(member);
        let own = match member {
            Member::Router => String::new(),
            Member::Internet => {
                let links = format!(
                    "link set lo up\n\
                     address add {address}/24 dev eth0\n\
                     link set eth0 up\n"
                );
                (0..self.subnets)
                    .map(Self::network)
                    .fold(links, |batch, network| {
                        batch + &format!("route add {network}/{prefix} via {INTERNET_GATEWAY}\n")
                    })
            }
            Member::Node(number) => format!(
                "link set lo up\n\
                 address add {address}/{prefix} dev eth0\n\
                 link set eth0 up\n\
                 route add default via {gateway}\n",
                gateway = Self::gateway(self.subnet(number)),
            ),
        };
        own + &self.neighbours(member)
    }

    /// The permanent neighbours of a member, as lines for `ip -batch`.
    fn neighbours(&self, member: Member) -> String {
        if self.nodes < PERMANENT_NEIGHBOURS_FROM {
            return String::new();
        }
        let mut batch = String::new();
        let mut add = |address: Ipv4Addr, neighbour: Member, device: &str| {
            let mac = self.mac(neighbour);
            // Writing to a String does not fail.
            let _ = writeln!(
                batch,
                "neighbour add {address} lladdr {mac} dev {device} nud permanent"
            );
        };
        match member {
            Member::Internet => {}
            Member::Router => {
                for number in 1..=self.nodes {
                    let node = Member::Node(number);
                    add(self.address(node), node, &self.bridge(number));
                }
            }
            Member::Node(own) => {
                for number in self.on_link(own, self.nodes).filter(|other| *other != own) {
                    let node = Member::Node(number);
                    add(self.address(node), node, "eth0");
                }
                add(Self::gateway(self.subnet(own)), Member::Router, "eth0");
            }
        }
        batch
    }
}

fn bridge(subnet: u8) -> String {
    format!("br{subnet}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::name::MAX_NODES;

    fn underlay(nodes: u8) -> Underlay {
        routed(nodes, 1)
    }

    fn routed(nodes: u8, subnets: u8) -> Underlay {
        Underlay::new("lab".parse().unwrap(), nodes, subnets)
    }

    #[test]
    fn nodes_have_the_addresses_that_users_are_told() {
        let underlay = underlay(3);
        assert_eq!(
            underlay.address(Member::Node(1)).to_string(),
            "192.168.56.11"
        );
        assert_eq!(underlay.prefix_len(), 24);
        assert_eq!(
            underlay.member_batch(Member::Node(3)),
            "link set lo up\n\
             address add 192.168.56.13/24 dev eth0\n\
             link set eth0 up\n\
             route add default via 192.168.56.1\n"
        );
    }

    #[test]
    fn the_largest_lab_fits_into_its_network() {
        for nodes in [1, NODES_IN_24, NODES_IN_24 + 1, MAX_NODES] {
            assert!(underlay(nodes).has_room(nodes), "{nodes} nodes");
            assert!(routed(nodes, 2).has_room(nodes), "{nodes} nodes in two");
        }
        assert!(!underlay(NODES_IN_24).has_room(NODES_IN_24 + 1));
    }

    #[test]
    fn nodes_are_dealt_out_to_the_subnets() {
        let underlay = routed(5, 2);
        let addresses: Vec<String> = Member::nodes(5)
            .map(|node| underlay.address(node).to_string())
            .collect();
        assert_eq!(
            addresses,
            [
                "192.168.56.11",
                "192.168.57.11",
                "192.168.56.12",
                "192.168.57.12",
                "192.168.56.13"
            ]
        );
        let batch = underlay.member_batch(Member::Node(4));
        assert!(batch.contains("default via 192.168.57.1\n"), "{batch}");
        assert_eq!(underlay.on_link(4, 5).collect::<Vec<_>>(), [2, 4]);
        let all: BTreeSet<Ipv4Addr> = Member::nodes(MAX_NODES)
            .map(|node| routed(MAX_NODES, MAX_SUBNETS).address(node))
            .collect();
        assert_eq!(all.len(), usize::from(MAX_NODES));
    }

    #[test]
    fn ethernet_addresses_differ_and_stay() {
        let underlay = underlay(MAX_NODES);
        let macs: BTreeSet<String> = Member::nodes(MAX_NODES)
            .chain([Member::Router, Member::Internet])
            .map(|member| underlay.mac(member).to_string())
            .collect();
        assert_eq!(macs.len(), usize::from(MAX_NODES) + 2);
        assert!(macs.iter().all(|mac| mac.starts_with("02:")));
        assert_eq!(
            self::underlay(3).mac(Member::Node(2)),
            underlay.mac(Member::Node(2)),
            "a lab of another size"
        );
    }

    #[test]
    fn only_large_labs_have_permanent_neighbours() {
        assert!(!underlay(3).member_batch(Member::Node(1)).contains("neigh"));
        let large = underlay(40).member_batch(Member::Node(1));
        assert_eq!(large.matches("nud permanent").count(), 40);
        let split = routed(40, 2);
        for (member, count) in [(Member::Node(2), 20), (Member::Router, 40)] {
            let batch = split.member_batch(member);
            assert_eq!(batch.matches("nud permanent").count(), count, "{member}");
        }
    }
}
