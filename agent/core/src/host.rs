//! What the host's own addresses and routes mean for the cluster.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_proto::PodNetwork;
use podnet_proto::network::overlaps;

use crate::kernel::{HostAddress, HostRoute, IfName, Mtu, UnderlayPath};

/// A route or address of the host that shares addresses with a pod network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Overlap {
    /// A route.
    #[error("pod network {network} overlaps the route to {destination}{}", by(device.as_ref()))]
    Route {
        /// The pod network.
        network: Ipv4Network,
        /// Where the route leads.
        destination: Ipv4Network,
        /// Its device.
        device: Option<IfName>,
    },
    /// An address.
    #[error("pod network {network} overlaps the address {address} of {ifname}")]
    Address {
        /// The pod network.
        network: Ipv4Network,
        /// The address.
        address: Ipv4Network,
        /// Its interface.
        ifname: IfName,
    },
}

fn by(device: Option<&IfName>) -> String {
    device
        .map(|device| format!(" by {device}"))
        .unwrap_or_default()
}

/// The first address or route of the host that shares addresses with one of the pod networks.
/// Default routes do not count: everything overlaps them.
#[must_use]
pub fn overlap(
    networks: &[PodNetwork],
    addresses: &[HostAddress],
    routes: &[HostRoute],
) -> Option<Overlap> {
    let hit = |other: Ipv4Network| {
        networks
            .iter()
            .map(PodNetwork::cidr)
            .find(|network| overlaps(*network, other))
    };
    let address = addresses.iter().find_map(|found| {
        let IpNetwork::V4(address) = found.address else {
            return None;
        };
        let network = hit(address)?;
        Some(Overlap::Address {
            network,
            address,
            ifname: found.ifname.clone(),
        })
    });
    address.or_else(|| {
        routes.iter().find_map(|found| {
            let IpNetwork::V4(destination) = found.destination else {
                return None;
            };
            if destination.prefix() == 0 {
                return None;
            }
            let network = hit(destination)?;
            Some(Overlap::Route {
                network,
                destination,
                device: found.device.clone(),
            })
        })
    })
}

/// The addresses by which peers could reach this host: IPv4, of global scope, on an interface that
/// is up and no container engine's own.
#[must_use]
pub fn candidates(addresses: &[HostAddress]) -> Vec<(Ipv4Addr, IfName)> {
    addresses
        .iter()
        .filter(|found| found.global && found.up && !is_containers_only(found))
        .filter_map(|found| match found.address.ip() {
            IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local() => {
                Some((ip, found.ifname.clone()))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .collect()
}

/// Whether an interface is one that a container engine has made for containers of this host: other hosts
/// never reach it, unless the administrator has connected it to the outside.
fn is_containers_only(found: &HostAddress) -> bool {
    const NAMES: [&str; 8] = [
        "docker", "virbr", "cni", "podman", "lxcbr", "lxdbr", "incusbr", "flannel",
    ];
    let name = found.ifname.as_str();
    let made = NAMES.iter().any(|made| name.starts_with(made)) || is_network_of_docker(name);
    made && !found.uplink
}

/// Docker names the bridge of a network by the beginning of the network's id. A bridge that an
/// administrator has named `br-lan` or `br-ex` is none of Docker's.
fn is_network_of_docker(name: &str) -> bool {
    let id = name.strip_prefix("br-").unwrap_or_default();
    id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// How large packets of pods may be, so that they pass on all ways to the peers, and on the interface that has
/// the address which peers are told; `None` if there is neither. An address that only this host can use,
/// as on loopback, says nothing of what carries its packets.
#[must_use]
pub fn mtu(
    told: IpAddr,
    addresses: &[HostAddress],
    ways: &BTreeMap<IpAddr, UnderlayPath>,
) -> Option<Mtu> {
    let own = addresses
        .iter()
        .filter(|found| found.address.ip() == told && found.global)
        .map(|found| found.mtu);
    let ways = ways.values().filter_map(|way| {
        if let UnderlayPath::OnLink { mtu, .. } = way {
            Some(*mtu)
        } else {
            None
        }
    });
    own.chain(ways).min().map(|mtu| mtu.min(Mtu::MOST))
}

/// The MTU of the interface that the default route leads out of.
#[must_use]
pub fn default_mtu(routes: &[HostRoute], addresses: &[HostAddress]) -> Option<Mtu> {
    let default =
        |route: &&HostRoute| route.destination.is_ipv4() && route.destination.prefix() == 0;
    let devices = routes
        .iter()
        .filter(default)
        .filter_map(|route| route.device.as_ref());
    let mtus = devices.filter_map(|device| {
        let mut addresses = addresses.iter();
        addresses
            .find(|found| found.ifname == *device)
            .map(|found| found.mtu)
    });
    mtus.min().map(|mtu| mtu.min(Mtu::MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::IfIndex;

    fn address(text: &str, ifname: &str) -> HostAddress {
        HostAddress {
            address: text.parse().unwrap(),
            index: IfIndex(2),
            ifname: ifname.parse().unwrap(),
            mac: None,
            mtu: Mtu(1500),
            up: true,
            global: true,
            uplink: false,
        }
    }

    fn route(text: &str) -> HostRoute {
        HostRoute {
            destination: text.parse().unwrap(),
            device: Some("eth0".parse().unwrap()),
        }
    }

    fn found(addresses: &[HostAddress], routes: &[HostRoute]) -> Option<String> {
        let network = PodNetwork::parse("10.244.0.0/16", 24).unwrap();
        overlap(&[network], addresses, routes).map(|overlap| overlap.to_string())
    }

    #[test]
    fn narrower_equal_and_wider_ranges_overlap_and_the_default_route_does_not() {
        assert_eq!(
            found(&[address("192.0.2.1/24", "eth0")], &[route("0.0.0.0/0")]),
            None
        );
        for cidr in ["10.244.3.0/24", "10.244.0.0/16", "10.0.0.0/8"] {
            assert_eq!(
                found(&[], &[route(cidr)]).unwrap(),
                format!("pod network 10.244.0.0/16 overlaps the route to {cidr} by eth0")
            );
        }
        assert_eq!(
            found(&[address("10.244.9.9/32", "eth0")], &[]).unwrap(),
            "pod network 10.244.0.0/16 overlaps the address 10.244.9.9/32 of eth0"
        );
    }

    #[test]
    fn only_addresses_that_peers_could_reach_are_candidates() {
        let mut down = address("192.0.2.4/24", "eth3");
        down.up = false;
        let mut local = address("192.0.2.5/24", "eth4");
        local.global = false;
        let all = [
            address("192.0.2.1/24", "eth0"),
            address("172.17.0.1/16", "docker0"),
            address("169.254.1.1/16", "eth1"),
            address("127.0.0.1/8", "lo"),
            address("2001:db8::1/64", "eth2"),
            down,
            local,
        ];
        assert_eq!(
            candidates(&all),
            [(Ipv4Addr::new(192, 0, 2, 1), "eth0".parse().unwrap())]
        );
    }

    #[test]
    fn a_bridge_counts_unless_a_container_engine_made_it_and_nothing_leads_out_of_it() {
        let own = address("192.0.2.1/24", "eth0");
        let counts = |name: &str, uplink| {
            let bridge = HostAddress {
                uplink,
                ..address("192.0.2.9/24", name)
            };
            candidates(&[bridge, own.clone()]).len() == 2
        };
        for name in ["br-lan", "br-ex", "br-0123456789a", "br0", "bridge0"] {
            assert!(counts(name, false), "{name}");
        }
        for name in [
            "docker0",
            "br-0123456789ab",
            "virbr0",
            "cni0",
            "podman1",
            "lxcbr0",
            "lxdbr0",
            "incusbr0",
            "flannel.1",
            "docker_gwbridge",
        ] {
            assert!(!counts(name, false), "{name}");
            assert!(counts(name, true), "{name} leads out");
        }
    }

    #[test]
    fn packets_of_pods_pass_everywhere_by_their_size() {
        let with = |mut address: HostAddress, mtu, global| {
            (address.mtu, address.global) = (Mtu(mtu), global);
            address
        };
        let told = "192.0.2.1".parse().unwrap();
        let eth0 = with(address("192.0.2.1/24", "eth0"), 1500, true);
        let lo = with(address("192.0.2.1/32", "lo"), 65_536, false);
        let other = with(address("198.51.100.1/24", "eth1"), 1300, true);
        let ways = |mtus: &[u32]| -> BTreeMap<IpAddr, UnderlayPath> {
            let peers = (2_u8..).map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
            let ways = mtus.iter().map(|mtu| UnderlayPath::OnLink {
                ifname: "eth0".parse().unwrap(),
                mtu: Mtu(*mtu),
                source: told,
            });
            peers.zip(ways).collect()
        };
        let both = [eth0, other.clone()];
        assert_eq!(mtu(told, &both, &ways(&[])), Some(Mtu(1500)));
        assert_eq!(mtu(told, &both, &ways(&[1500, 1400])), Some(Mtu(1400)));
        assert_eq!(mtu(told, &both, &ways(&[9000])), Some(Mtu(1500)));
        let loopback = [lo, other];
        assert_eq!(mtu(told, &loopback, &ways(&[1450])), Some(Mtu(1450)));
        assert_eq!(mtu(told, &loopback, &ways(&[])), None);
        assert_eq!(mtu(told, &loopback, &ways(&[65_536])), Some(Mtu::MOST));
        let default = |device: &str| {
            let mut default = route("0.0.0.0/0");
            default.device = Some(device.parse().unwrap());
            default_mtu(&[route("198.51.100.0/24"), default], &loopback)
        };
        assert_eq!(default("eth1"), Some(Mtu(1300)));
        assert_eq!(default("lo"), Some(Mtu::MOST));
        assert_eq!(default("eth7"), None);
    }
}
