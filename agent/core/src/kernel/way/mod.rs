//! Which way the kernel leads what pods send to each other, and what leads it astray.
//!
//! A route of podnet's in the main table is not yet a way: rules of policy routing are asked first, narrower
//! routes count more, and the kernel checks where a packet comes from. So it is asked, packet by packet.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_proto::{NodeId, network};

pub use self::policy::{Policy, PolicyAction, PolicyRoute, PolicyRule};
use super::desired::{Desired, PeerBlock};
use super::link::IfName;
use super::observed::UnderlayPath;
use super::route::{NextHop, RouteKey};

/// A packet whose way the kernel is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// Its source.
    pub from: IpAddr,
    /// Its destination.
    pub to: IpAddr,
    /// The device that it comes in by; none for what the host itself sends.
    pub by: Option<IfName>,
}

/// Which way a packet takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Out of the host.
    Out {
        /// The next hop; none where its destination is on the link.
        via: Option<IpAddr>,
        /// The device that it leaves by.
        device: IfName,
    },
    /// To the host itself.
    Local,
    /// None: the kernel refuses it.
    Refused {
        /// The kernel's words.
        words: String,
        /// Whether packets that come in by its device are refused where the way back to their source
        /// leads out of another (`rp_filter`).
        strict: bool,
    },
}

/// A packet, and the way that it should take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// The peer that it comes from or goes to.
    pub node: NodeId,
    /// The packet.
    pub packet: Packet,
    /// The next hop that it should have.
    pub via: Option<IpAddr>,
    /// The device that it should leave by.
    pub device: IfName,
}

/// What leads the packets of pods astray, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Astray {
    /// What is so.
    pub what: String,
    /// What cures it.
    pub cure: String,
}

/// The packets that tell whether pods reach those of each peer that has a route: what a pod sends, what comes
/// back to it, and what the node itself sends.
#[must_use]
pub fn courses(
    block: Ipv4Network,
    peers: &[PeerBlock],
    underlay: &BTreeMap<IpAddr, UnderlayPath>,
    desired: &Desired,
) -> Vec<Course> {
    let pods = desired.pods.values().flat_map(|pod| &pod.addresses);
    let own_pod = pods.map(IpNetwork::ip).next();
    let own_pod = own_pod.unwrap_or_else(|| first_pod(block).into());
    let mut courses = Vec::new();
    for peer in peers {
        let route = desired.routes.get(&RouteKey::to(peer.block.into()));
        let Some(NextHop::Gateway { via, source, .. }) = route.map(|route| route.next_hop) else {
            continue;
        };
        let Some(UnderlayPath::OnLink { ifname, .. }) = underlay.get(&via) else {
            continue;
        };
        let far_pod = IpAddr::from(first_pod(peer.block));
        let course = |from, to, by, via, device: &IfName| Course {
            node: peer.node,
            packet: Packet { from, to, by },
            via,
            device: device.clone(),
        };
        let bridge = IfName::bridge();
        let far_gateway = network::gateway(peer.block).into();
        courses.extend([
            course(own_pod, far_pod, Some(bridge.clone()), Some(via), ifname),
            course(far_pod, own_pod, Some(ifname.clone()), None, &bridge),
            course(source, far_gateway, None, Some(via), ifname),
        ]);
    }
    courses
}

/// The first address of a block that pods get.
fn first_pod(block: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network::gateway(block)).saturating_add(1))
}

/// The packets that do not go where they should. Of one that was not asked about nothing is known.
#[must_use]
pub fn strays<'a>(
    courses: &'a [Course],
    ways: &BTreeMap<Packet, Way>,
) -> BTreeMap<NodeId, &'a Course> {
    let astray = |course: &&Course| {
        let right = Way::Out {
            via: course.via,
            device: course.device.clone(),
        };
        ways.get(&course.packet).is_some_and(|way| *way != right)
    };
    let mut strays = BTreeMap::new();
    for course in courses.iter().filter(astray) {
        strays.entry(course.node).or_insert(course);
    }
    strays
}

/// Where the routes of the policy are needed for [`explain`].
#[must_use]
pub fn destinations(strays: &BTreeMap<NodeId, &Course>) -> BTreeSet<IpAddr> {
    strays.values().map(|course| course.packet.to).collect()
}

/// Why a packet does not go where it should.
#[must_use]
pub fn explain(course: &Course, way: &Way, policy: &Policy, networks: &[Ipv4Network]) -> Astray {
    let packet = &course.packet;
    let home = networks.iter().find(|network| {
        let network = IpNetwork::V4(**network);
        network.contains(packet.to)
    });
    if let Some((blame, network)) = policy.blame(packet).zip(home) {
        let mut what = format!("{packet} {way}, by {}", blame.rule);
        if let Some(route) = blame.route {
            what = format!("{what}: {route}");
        }
        let cure = blame.cure(IpNetwork::V4(*network));
        return Astray { what, cure };
    }
    let what = format!("{packet} {way}");
    if let (Way::Refused { strict: true, .. }, Some(device)) = (way, &packet.by) {
        let parameter = format!(
            "net.ipv4.conf.{}.rp_filter",
            device.as_str().replace('.', "/")
        );
        return Astray {
            what: format!(
                "{what}, as the way back to where they come from leads out of another device, and {parameter} \
                 or net.ipv4.conf.all.rp_filter is 1"
            ),
            cure: format!(
                "set both to 2 with 'sysctl -w net.ipv4.conf.all.rp_filter=2 {parameter}=2'"
            ),
        };
    }
    let by = packet.by.as_ref().map(|device| format!(" iif {device}"));
    let cure = format!(
        "'ip route get {} from {}{}' shows where they go; they should leave by {}",
        packet.to,
        packet.from,
        by.unwrap_or_default(),
        course.device,
    );
    Astray { what, cure }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "packets from {} to {}", self.from, self.to)?;
        match &self.by {
            Some(device) => write!(f, " that come in by {device}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Out {
                via: Some(via),
                device,
            } => write!(f, "are led to {via} by {device}"),
            Self::Out { via: None, device } => write!(f, "are led out by {device}"),
            Self::Local => f.write_str("are taken for this host's own"),
            Self::Refused { words, .. } => write!(f, "are refused ({words})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn courses_of_one_peer() -> Vec<Course> {
        let gateway = |text: &str| text.parse::<IpAddr>().unwrap();
        let peer = PeerBlock {
            node: NodeId::from_bytes([1; 16]),
            block: "10.244.1.0/24".parse().unwrap(),
            address: Some(gateway("192.0.2.1")),
        };
        let way = UnderlayPath::OnLink {
            device: crate::kernel::IfIndex(2),
            ifname: "eth0".parse().unwrap(),
            mtu: crate::kernel::Mtu(1500),
            source: gateway("192.0.2.9"),
        };
        let underlay = BTreeMap::from([(gateway("192.0.2.1"), way)]);
        let block = "10.244.0.0/24".parse().unwrap();
        let desired = crate::kernel::desired(&crate::kernel::Input {
            networks: &[podnet_proto::PodNetwork::parse("10.244.0.0/16", 24).unwrap()],
            excluded: &[],
            block,
            mtu: crate::kernel::Mtu(1500),
            peers: &[peer],
            underlay: &underlay,
            pods: &[],
            in_flight: &BTreeMap::new(),
            forwarding: &crate::kernel::Forwarding::default(),
            opened: &BTreeSet::new(),
        });
        courses(block, &[peer], &underlay, &desired)
    }

    fn refused(strict: bool) -> Way {
        let words = "invalid argument".to_owned();
        Way::Refused { words, strict }
    }

    #[test]
    fn a_path_is_judged_as_pods_use_it_both_ways_and_as_the_node_does() {
        let courses = courses_of_one_peer();
        let text: Vec<_> = courses
            .iter()
            .map(|course| format!("{} > {}", course.packet, course.device))
            .collect();
        assert_eq!(
            text,
            [
                "packets from 10.244.0.2 to 10.244.1.2 that come in by podnet0 > eth0",
                "packets from 10.244.1.2 to 10.244.0.2 that come in by eth0 > podnet0",
                "packets from 10.244.0.1 to 10.244.1.1 > eth0",
            ]
        );
        let right = |course: &Course| Way::Out {
            via: course.via,
            device: course.device.clone(),
        };
        let mut ways: BTreeMap<_, _> = courses
            .iter()
            .map(|course| (course.packet.clone(), right(course)))
            .collect();
        assert!(strays(&courses, &ways).is_empty());
        assert!(strays(&courses, &BTreeMap::new()).is_empty(), "not asked");
        for wrong in [Way::Local, refused(false), right(&courses[1])] {
            ways.insert(courses[2].packet.clone(), wrong);
            let strays = strays(&courses, &ways);
            assert_eq!(strays.values().collect::<Vec<_>>(), [&&courses[2]]);
            assert_eq!(destinations(&strays), [courses[2].packet.to].into());
        }
    }

    #[test]
    fn without_a_rule_to_blame_the_parameter_is_named_or_how_to_find_out() {
        let courses = courses_of_one_peer();
        let networks = ["10.244.0.0/16".parse().unwrap()];
        let policy = Policy::default();
        let strict = explain(&courses[1], &refused(true), &policy, &networks);
        assert!(
            strict.what.contains("net.ipv4.conf.eth0.rp_filter"),
            "{strict:?}"
        );
        assert!(
            strict.cure.contains("net.ipv4.conf.all.rp_filter=2"),
            "{strict:?}"
        );
        let unknown = explain(&courses[0], &refused(false), &policy, &networks);
        assert_eq!(
            unknown.what,
            "packets from 10.244.0.2 to 10.244.1.2 that come in by podnet0 are refused (invalid \
             argument)"
        );
        let asked = "'ip route get 10.244.1.2 from 10.244.0.2 iif podnet0'";
        assert!(unknown.cure.starts_with(asked), "{unknown:?}");
    }
}
