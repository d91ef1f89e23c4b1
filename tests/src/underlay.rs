//! The plan of the underlay: who has which address, and which commands make it so. Pure.
//!
//! ```text
//!  node1 eth0 192.168.56.11 --+
//!  node2 eth0 192.168.56.12 --+-- br0 192.168.56.1 (router) 203.0.113.1 -- 203.0.113.10 internet
//!  ...                      --+
//! ```
//!
//! Neither the router nor the internet has a route to pod addresses, as on a real network.

use std::fmt;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use sha2::{Digest as _, Sha256};

use crate::name::{LabName, Member};

/// The first address of the underlay's network.
const NETWORK: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 0);
/// The router on the underlay.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 1);
/// Node i has the address this many above the network's.
const NODE_OFFSET: u32 = 10;
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
}

impl Underlay {
    /// The underlay of a lab of `nodes` nodes.
    #[must_use]
    pub fn new(lab: LabName, nodes: u8) -> Self {
        Self { lab, nodes }
    }

    /// The address by which the nodes reach a member.
    #[must_use]
    pub fn address(&self, member: Member) -> Ipv4Addr {
        match member {
            Member::Router => ROUTER,
            Member::Internet => INTERNET,
            Member::Node(number) => {
                Ipv4Addr::from_bits(NETWORK.to_bits() + NODE_OFFSET + u32::from(number))
            }
        }
    }

    /// The prefix length of the nodes' network: wider only when the lab needs it.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        if self.nodes <= NODES_IN_24 { 24 } else { 23 }
    }

    /// A member's Ethernet address: the same whenever a lab of this name is started, and a locally
    /// administered unicast one.
    #[must_use]
    pub fn mac(&self, member: Member) -> Mac {
        let hash = Sha256::digest(format!("{}/{member}", self.lab));
        Mac([0x02, hash[0], hash[1], hash[2], hash[3], hash[4]])
    }

    /// The router's part, as lines for `ip -batch`: the bridge and its addresses.
    #[must_use]
    pub fn router_batch(&self) -> String {
        format!(
            "link set lo up\n\
             link add br0 address {mac} type bridge\n\
             address add {ROUTER}/{prefix} dev br0\n\
             link set br0 up\n",
            mac = self.mac(Member::Router),
            prefix = self.prefix_len(),
        )
    }

    /// Plugs a member's `eth0` in, as lines for `ip -batch` in the router: both ends of the pair
    /// are born where they belong, so that the host never sees them.
    #[must_use]
    pub fn plug_batch(&self, member: Member, pid: i32) -> String {
        let mac = self.mac(member);
        let place = match member {
            Member::Router => return String::new(),
            Member::Internet => {
                format!("address add {INTERNET_GATEWAY}/24 dev {member}\nlink set {member} up\n")
            }
            Member::Node(_) => format!("link set {member} master br0 up\n"),
        };
        format!(
            "link add name {member} type veth peer name eth0 address {mac} netns {pid}\n{place}"
        )
    }

    /// A member's own part, as lines for `ip -batch`.
    #[must_use]
    pub fn member_batch(&self, member: Member) -> String {
        let prefix = self.prefix_len();
        let address = self.address(member);
        let own = match member {
            Member::Router => String::new(),
            Member::Internet => format!(
                "link set lo up\n\
                 address add {address}/24 dev eth0\n\
                 link set eth0 up\n\
                 route add {NETWORK}/{prefix} via {INTERNET_GATEWAY}\n"
            ),
            Member::Node(_) => format!(
                "link set lo up\n\
                 address add {address}/{prefix} dev eth0\n\
                 link set eth0 up\n\
                 route add default via {ROUTER}\n"
            ),
        };
        own + &self.neighbours(member)
    }

    fn neighbours(&self, member: Member) -> String {
        let device = match member {
            Member::Router => "br0",
            Member::Node(_) => "eth0",
            Member::Internet => return String::new(),
        };
        let mut batch = String::new();
        if self.nodes >= PERMANENT_NEIGHBOURS_FROM {
            let others = Member::nodes(self.nodes).chain([Member::Router]);
            for other in others.filter(|other| *other != member) {
                let (address, mac) = (self.address(other), self.mac(other));
                // Writing to a String does not fail.
                let _ = writeln!(
                    batch,
                    "neighbour add {address} lladdr {mac} dev {device} nud permanent"
                );
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::name::MAX_NODES;

    fn underlay(nodes: u8) -> Underlay {
        Underlay::new("lab".parse().unwrap(), nodes)
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
            let underlay = underlay(nodes);
            let size = 1_u32 << (32 - u32::from(underlay.prefix_len()));
            let last = underlay.address(Member::Node(nodes)).to_bits();
            assert!(last < NETWORK.to_bits() + size - 1, "{nodes} nodes");
        }
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
        let smaller = Underlay::new("lab".parse().unwrap(), 3);
        assert_eq!(
            smaller.mac(Member::Node(2)),
            underlay.mac(Member::Node(2)),
            "a lab of another size"
        );
    }

    #[test]
    fn only_large_labs_have_permanent_neighbours() {
        assert!(!underlay(3).member_batch(Member::Node(1)).contains("neigh"));
        let large = underlay(40).member_batch(Member::Node(1));
        assert_eq!(large.matches("nud permanent").count(), 40);
    }
}
