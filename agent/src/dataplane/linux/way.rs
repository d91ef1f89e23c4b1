//! Which ways packets take, and the rules of policy routing that decide it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{
    BRIDGE, IfName, Outcome, Packet, Policy, PolicyAction, PolicyRoute, PolicyRule, Way,
};

use super::errno::KernelError;
use super::link::{self, Link};
use super::route::{self, Filter, KernelRoute, OURS};
use super::socket::Socket;
use super::sysctl;
use super::thread::on_thread;

/// Where the parameters of links are, for IPv4.
const PARAMETERS: &str = "net/ipv4/conf";

/// What holds of all links, next to what is set for one.
const ALL: &str = "all";

/// Asks the kernel which ways packets take. It is not asked about what pods send where it takes no bridge
/// without a carrier for a way: then no pod is up.
pub(super) async fn observe(
    socket: &Socket,
    packets: &BTreeSet<Packet>,
) -> Result<BTreeMap<Packet, Way>, KernelError> {
    let links: BTreeMap<String, Link> = link::list(socket, None)
        .await?
        .into_iter()
        .map(|link| (link.name.clone(), link))
        .collect();
    let idle = links
        .values()
        .any(|link| link.is_our_bridge() && !link.operational);
    let skips_idle = on_thread(skips_idle).await?;
    let mut asked = Vec::new();
    let mut requests = Vec::new();
    for packet in packets {
        let by = match &packet.by {
            // One that has gone meanwhile: the next look will know.
            Some(device) => match links.get(device.as_str()) {
                Some(link) => Some(link.index),
                None => continue,
            },
            None => None,
        };
        if by.is_some() && idle && skips_idle {
            continue;
        }
        asked.push(packet);
        requests.push((get(packet, by), 0));
    }
    let names: BTreeMap<u32, IfName> = links
        .values()
        .filter_map(|link| Some((link.index, link.name.parse().ok()?)))
        .collect();
    let mut ways = BTreeMap::new();
    for (packet, answer) in asked.into_iter().zip(socket.batch(requests).await) {
        let way = match answer {
            Ok(messages) => way(route::read_all(&messages).next().as_ref(), &names),
            Err(error @ KernelError::Refused { .. }) => Some(Way::Refused(error.plainly())),
            Err(error) => return Err(error),
        };
        ways.extend(way.map(|way| (packet.clone(), way)));
    }
    Ok(ways)
}

/// Whether podnet's bridge is no way while it has no carrier. A parameter that is not there is off.
fn skips_idle() -> bool {
    [ALL, BRIDGE].iter().any(|device| {
        let path = Path::new(sysctl::ROOT).join(PARAMETERS).join(device);
        let value = fs::read_to_string(path.join("ignore_routes_with_linkdown"));
        value.is_ok_and(|value| value.trim_end() != "0")
    })
}

fn get(packet: &Packet, by: Option<u32>) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = route::family(packet.to);
    let whole = if packet.to.is_ipv4() { 32 } else { 128 };
    message.header.destination_prefix_length = whole;
    message.header.source_prefix_length = whole;
    message.attributes.extend([
        RouteAttribute::Destination(packet.to.into()),
        RouteAttribute::Source(packet.from.into()),
    ]);
    message.attributes.extend(by.map(RouteAttribute::Iif));
    RouteNetlinkMessage::GetRoute(message)
}

/// The way that a route means.
fn way(route: Option<&KernelRoute>, names: &BTreeMap<u32, IfName>) -> Option<Way> {
    let route = route?;
    if route.kind == RouteType::Local {
        return Some(Way::Local);
    }
    Some(Way::Out {
        via: route.gateway,
        device: names.get(&route.device?)?.clone(),
    })
}

/// Lists the rules of policy routing, and the routes of all tables that concern addresses.
pub(super) async fn policy(
    socket: &Socket,
    destinations: &BTreeSet<IpAddr>,
) -> Result<Policy, KernelError> {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    let answer = socket.dump(RouteNetlinkMessage::GetRule(message)).await?;
    let rules = answer.iter().filter_map(|message| {
        if let RouteNetlinkMessage::NewRule(rule) = message {
            read_rule(rule)
        } else {
            None
        }
    });
    let mut rules: Vec<PolicyRule> = rules.collect();
    rules.sort_by_key(|rule| rule.priority);
    let links = link::list(socket, None).await?;
    let bridge = links.iter().find(|link| link.is_our_bridge());
    let bridge = bridge.map(|link| link.index);
    let every_table = Filter {
        family: AddressFamily::Inet,
        ..Filter::default()
    };
    let routes = route::list(socket, every_table).await?.into_iter();
    let routes = routes.filter(|route| {
        let mut destinations = destinations.iter();
        route.tos == 0 && destinations.any(|address| route.destination.contains(*address))
    });
    let routes = routes.map(|route| PolicyRoute {
        table: route.table,
        destination: route.destination,
        metric: route.metric,
        ours: route.protocol == OURS || bridge.is_some() && route.device == bridge,
        by_address: route.protocol == RouteProtocol::Kernel,
        outcome: outcome(&route, &links),
    });
    Ok(Policy {
        rules,
        routes: routes.collect(),
    })
}

/// What becomes of packets on a route.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "routes of all other kinds lead out of the host"
)]
fn outcome(route: &KernelRoute, links: &[Link]) -> Outcome {
    let name = |device: u32| {
        let link = links.iter().find(|link| link.index == device);
        link.map(|link| link.name.clone())
    };
    match route.kind {
        RouteType::Unreachable => Outcome::Refused("unreachable"),
        RouteType::BlackHole => Outcome::Refused("blackhole"),
        RouteType::Prohibit => Outcome::Refused("prohibit"),
        RouteType::Throw => Outcome::Thrown,
        RouteType::Local => Outcome::Local {
            device: route.device.and_then(name),
        },
        _ => Outcome::Out {
            via: route.gateway,
            devices: route.devices().filter_map(name).collect(),
        },
    }
}

/// Reads a rule; `None` for one that concerns only some packets, by what [`Packet`] does not have.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not known may ask for anything"
)]
fn read_rule(message: &RuleMessage) -> Option<PolicyRule> {
    let header = &message.header;
    let mut rule = PolicyRule {
        priority: 0,
        from: None,
        to: None,
        by: None,
        mark: None,
        inverted: header.flags.contains(RuleFlags::Invert),
        action: PolicyAction::Refuse(""),
    };
    let (mut table, mut suppressed) = (u32::from(header.table), None);
    let (mut mark, mut mask) = (None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(address) => {
                rule.from = Some(IpNetwork::new(*address, header.src_len).ok()?);
            }
            RuleAttribute::Destination(address) => {
                rule.to = Some(IpNetwork::new(*address, header.dst_len).ok()?);
            }
            RuleAttribute::Iifname(name) => rule.by = Some(name.clone()),
            RuleAttribute::Table(number) => table = *number,
            // 2^32 - 1 stands for none.
            RuleAttribute::SuppressPrefixLen(longest) => suppressed = u8::try_from(*longest).ok(),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(bits) => mask = *bits,
            RuleAttribute::SuppressIfGroup(u32::MAX)
            | RuleAttribute::Realm(_)
            | RuleAttribute::Protocol(_) => {}
            _ => return None,
        }
    }
    rule.mark = mark.map(|mark| (mark, mask));
    rule.action = match header.action {
        RuleAction::ToTable => PolicyAction::Table { table, suppressed },
        RuleAction::Blackhole => PolicyAction::Refuse("blackhole"),
        RuleAction::Unreachable => PolicyAction::Refuse("unreachable"),
        RuleAction::Prohibit => PolicyAction::Refuse("prohibit"),
        _ => return None,
    };
    (header.tos == 0).then_some(rule)
}
