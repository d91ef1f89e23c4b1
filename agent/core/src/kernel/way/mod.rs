//! Which way the kernel leads what pods send to each other, and what leads it astray.
//!
//! A route of podnet's in the main table is not yet a way: rules of policy routing are asked first, narrower
//! routes count more, and the kernel checks where a packet comes from. So the kernel is asked, packet by packet.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use podnet_proto::{NodeId, network};

pub use self::policy::{Outcome, Policy, PolicyAction, PolicyRoute, PolicyRule};
use super::desired::{Desired, PeerBlock};
use super::link::IfName;
use super::path::Path;
use super::route::{NextHop, RouteKey};
use super::sysctl::LinkParameter;
use super::underlay::UnderlayPath;

/// A packet whose way the kernel is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// Its source.
    pub from: IpAddr,
    /// Its destination.
    pub to: IpAddr,
    /// The device that it comes in by; `None` if the host itself sends it.
    pub by: Option<IfName>,
}

/// Which way a packet takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Out of the host.
    Out {
        /// The next hop; `None` if its destination is on the link.
        via: Option<IpAddr>,
        /// The device that it leaves by.
        device: IfName,
    },
    /// To the host itself.
    Local,
    /// Nowhere: the kernel refuses it, in its words.
    Refused(String),
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
    /// What happens to the packets, and why.
    pub what: String,
    /// What cures it.
    pub cure: String,
}

/// The packets that show whether pods reach those of each peer that has a route: what a pod sends, what comes
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
        let Some(NextHop::Gateway { via, source, .. }) = route.map(|route| &route.next_hop) else {
            continue;
        };
        let (via, source) = (*via, *source);
        let Path::Direct { device, .. } = Path::choose(Some(via), underlay) else {
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
            course(own_pod, far_pod, Some(bridge.clone()), Some(via), &device),
            course(far_pod, own_pod, Some(device.clone()), None, &bridge),
            course(source, far_gateway, None, Some(via), &device),
        ]);
    }
    courses
}

/// The first address of a block that pods get.
fn first_pod(block: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network::gateway(block)).saturating_add(1))
}

/// The packets that do not go where they should, by peer. Of a packet that was not asked about nothing is known.
#[must_use]
pub fn strays<'a>(
    courses: &'a [Course],
    ways: &BTreeMap<Packet, Way>,
) -> BTreeMap<NodeId, Vec<&'a Course>> {
    let astray = |course: &&Course| {
        let right = Way::Out {
            via: course.via,
            device: course.device.clone(),
        };
        ways.get(&course.packet).is_some_and(|way| *way != right)
    };
    let mut strays: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for course in courses.iter().filter(astray) {
        strays.entry(course.node).or_default().push(course);
    }
    strays
}

/// The destinations whose routes [`explain`] needs in the policy.
#[must_use]
pub fn destinations(strays: &BTreeMap<NodeId, Vec<&Course>>) -> BTreeSet<IpAddr> {
    let courses = strays.values().flatten();
    courses.map(|course| course.packet.to).collect()
}

/// Why packets from and to a peer do not go where they should. What leads one packet astray may make the kernel
/// refuse another, which comes from where it would send none (`rp_filter`); so the first counts that a rule is
/// to blame for.
#[must_use]
pub fn explain(
    strays: &[&Course],
    ways: &BTreeMap<Packet, Way>,
    policy: &Policy,
    networks: &[Ipv4Network],
) -> Option<Astray> {
    let blamed = |course: &&Course| {
        let packet = &course.packet;
        let home = |network: &&Ipv4Network| IpNetwork::V4(**network).contains(packet.to);
        let network = networks.iter().find(home)?;
        let way = ways.get(packet)?;
        let blame = policy.blame(packet, way)?;
        let mut what = format!("{packet} {way}, by {}", blame.rule);
        if let Some(route) = blame.route {
            what = format!("{what}: {route}");
        }
        let cure = blame.cure(IpNetwork::V4(*network));
        Some(Astray { what, cure })
    };
    let nobody = || {
        let course = strays.first()?;
        let way = ways.get(&course.packet)?;
        Some(Astray {
            what: format!("{} {way}", course.packet),
            cure: course.cure(way),
        })
    };
    strays.iter().find_map(blamed).or_else(nobody)
}

impl Course {
    /// How to find out what leads the packet another way, if no rule is known to.
    fn cure(&self, way: &Way) -> String {
        let Packet { from, to, by } = &self.packet;
        let Some(device) = by else {
            let asked = format!("'ip route get {to} from {from}'");
            return format!(
                "{asked} shows where they go; they should leave by {}",
                self.device
            );
        };
        let asked = format!("'ip route get {to} from {from} iif {device}'");
        if !matches!(way, Way::Refused(_)) {
            return format!(
                "{asked} shows where they go; they should leave by {}",
                self.device
            );
        }
        let [filter, forwarding] = [LinkParameter::ReversePathFilter, LinkParameter::Forwarding];
        format!(
            "set {} to 2, and net.ipv4.conf.all.rp_filter if that is 1: else the kernel refuses what it would \
             not answer by {device}; set {} to 1; {asked} shows whether it helps, and they should leave by {}",
            filter.on(device),
            forwarding.on(device),
            self.device,
        )
    }
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
            Self::Refused(words) => write!(f, "are refused ({words})"),
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

    fn refused() -> Way {
        Way::Refused("invalid argument".to_owned())
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
        for wrong in [Way::Local, refused(), right(&courses[1])] {
            ways.insert(courses[2].packet.clone(), wrong);
            let strays = strays(&courses, &ways);
            assert_eq!(strays.values().collect::<Vec<_>>(), [&vec![&courses[2]]]);
            assert_eq!(destinations(&strays), [courses[2].packet.to].into());
        }
    }

    #[test]
    fn a_rule_is_blamed_if_one_can_be_and_else_how_to_find_out_is_said() {
        let courses = courses_of_one_peer();
        let networks = ["10.244.0.0/16".parse().unwrap()];
        let away = Way::Out {
            via: None,
            device: "eth1".parse().unwrap(),
        };
        let ways = BTreeMap::from([
            (courses[0].packet.clone(), refused()),
            (courses[1].packet.clone(), away),
        ]);
        let strays = [&courses[0], &courses[1]];
        let told = |policy: &Policy| explain(&strays, &ways, policy, &networks).unwrap();
        let nobody = told(&Policy::default());
        assert_eq!(
            nobody.what,
            "packets from 10.244.0.2 to 10.244.1.2 that come in by podnet0 are refused (invalid \
             argument)"
        );
        for words in [
            "'ip route get 10.244.1.2 from 10.244.0.2 iif podnet0'",
            "net.ipv4.conf.podnet0.rp_filter to 2",
            "net.ipv4.conf.podnet0.forwarding to 1",
        ] {
            assert!(nobody.cure.contains(words), "{nobody:?}");
        }
        let rule = PolicyRule {
            priority: 9,
            from: None,
            to: None,
            by: Some("eth0".to_owned()),
            mark: None,
            inverted: false,
            action: PolicyAction::Table {
                table: 100,
                suppressed: None,
            },
        };
        let route = PolicyRoute {
            table: 100,
            destination: "0.0.0.0/0".parse().unwrap(),
            metric: 0,
            ours: false,
            by_address: false,
            outcome: Outcome::Out {
                via: None,
                devices: vec!["eth1".to_owned()],
            },
        };
        let blamed = told(&Policy {
            rules: vec![rule],
            routes: vec![route],
        });
        let what = "packets from 10.244.1.2 to 10.244.0.2 that come in by eth0 are led out by eth1, by \
                    rule 9 (from all iif eth0 lookup 100): route 0.0.0.0/0 by eth1 of table 100";
        assert_eq!(blamed.what, what);
        let cure = "'ip rule add to 10.244.0.0/16 lookup main priority 8'";
        assert!(blamed.cure.contains(cure), "{blamed:?}");
    }
}
