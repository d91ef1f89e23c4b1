//! What events of links, addresses, routes, policy rules and neighbours mean.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;

use netlink_packet_core::{Emitable, NetlinkPayload, NlaBuffer, Parseable};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, LinkAttribute, LinkFlags, LinkMessage, LinkProtoInfoBridge,
};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{BRIDGE, Change, IfName, Kind, MacAddr};

use super::super::bridge;
use super::super::errno::KernelError;
use super::super::link::{self, DOOMED_GROUP, Link};
use super::super::neighbour::{self, Neighbour};
use super::super::pod::port::{self, Entry, Port};
use super::super::route::{KernelRoute, OURS};
use super::super::socket::Socket;

/// What an event means: what may have changed, and the event in words.
type Meaning = (Vec<Kind>, String);

/// The links, and the neighbours on the bridge, as events last reported them. The kernel reports a
/// link far more often than what podnet cares about changes: a dozen times while one pod is attached;
/// and of neighbours that come and go by themselves.
#[derive(Debug, Default)]
pub(super) struct Seen {
    links: BTreeMap<u32, Link>,
    /// The permanent ones, by the number of the bridge.
    neighbours: BTreeMap<(u32, IpAddr), MacAddr>,
    /// The ports where the bridge has link-layer addresses for good.
    fixed: BTreeMap<MacAddr, u32>,
}

impl Seen {
    /// What is there already.
    pub(super) async fn look(socket: &Socket) -> Result<Self, KernelError> {
        let links: BTreeMap<u32, Link> = link::list(socket, None)
            .await?
            .into_iter()
            .map(|link| (link.index, settings(link)))
            .collect();
        let mut seen = Self {
            links,
            ..Self::default()
        };
        if let Some(bridge) = bridge::index(socket).await? {
            let neighbours = neighbour::list(socket, bridge).await?.into_iter();
            seen.neighbours = neighbours
                .map(|(address, mac)| ((bridge, address), mac))
                .collect();
            let fixed = port::list(socket, bridge).await?.into_iter();
            seen.fixed = fixed.map(|entry| (entry.mac, entry.index)).collect();
        }
        Ok(seen)
    }

    /// The name of a device that is no host end of a pod.
    pub(super) fn device(&self, index: u32) -> Option<String> {
        let link = self.links.get(&index)?;
        (!link.is_our_host_end()).then(|| link.name.clone())
    }

    /// The changes that an event means, of which the kernel says who caused it by the number of a
    /// port.
    pub(super) fn changes(
        &mut self,
        payload: &NetlinkPayload<RouteNetlinkMessage>,
        by: impl Fn() -> Option<String>,
    ) -> Vec<Change> {
        let (kinds, what) = match payload {
            NetlinkPayload::Overrun(_) => (vec![Kind::Everything], "events were lost".to_owned()),
            NetlinkPayload::InnerMessage(message) => self.meaning(message),
            // NetlinkPayload is open, and nothing else is an event.
            NetlinkPayload::Noop | NetlinkPayload::Done(_) | NetlinkPayload::Error(_) | _ => {
                return Vec::new();
            }
        };
        if kinds.is_empty() {
            return Vec::new();
        }
        let by: BTreeSet<String> = by().into_iter().collect();
        kinds
            .into_iter()
            .map(|kind| Change {
                kind,
                what: what.clone(),
                by: by.clone(),
            })
            .collect()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other messages are of other groups"
    )]
    fn meaning(&mut self, message: &RouteNetlinkMessage) -> Meaning {
        match message {
            RouteNetlinkMessage::NewLink(message) => self.link_changed(message),
            RouteNetlinkMessage::DelLink(message) => self.link_gone(message),
            RouteNetlinkMessage::NewAddress(message) => address(message, "added"),
            RouteNetlinkMessage::DelAddress(message) => address(message, "removed"),
            RouteNetlinkMessage::NewRoute(message) => route(message, "added"),
            RouteNetlinkMessage::DelRoute(message) => route(message, "removed"),
            RouteNetlinkMessage::NewRule(message) => rule(message, "added"),
            RouteNetlinkMessage::DelRule(message) => rule(message, "removed"),
            RouteNetlinkMessage::NewNeighbour(message) => self.neighbour(message, false),
            RouteNetlinkMessage::DelNeighbour(message) => self.neighbour(message, true),
            _ => (Vec::new(), String::new()),
        }
    }

    fn link_changed(&mut self, message: &LinkMessage) -> Meaning {
        let link = Link::read(message);
        if message.header.interface_family == AddressFamily::Bridge {
            return self.port_changed(message, &link);
        }
        if link.loopback {
            return (Vec::new(), String::new());
        }
        let now = settings(link);
        let before = self.links.insert(now.index, now.clone());
        let born = message.header.change_mask == LinkFlags::all();
        let state = if now.up { "up" } else { "down" };
        let what = format!("link {} changed ({state}, MTU {})", now.name, now.mtu);
        let same = |before: &Link| {
            // Its state follows the carrier.
            let (mut before, mut now) = (before.clone(), now.clone());
            (before.port.forwarding, now.port.forwarding) = (false, false);
            before == now
        };
        if before.as_ref().is_some_and(same) {
            return (Vec::new(), what);
        }
        let mut kinds = kinds_of(&now.name);
        if let [Kind::HostEnd(_)] = kinds.as_slice()
            && (born || is_as_attached(before.as_ref(), &now))
        {
            kinds.clear();
        }
        // A name that it had is free by now.
        if let Some(before) = before.filter(|before| before.name != now.name) {
            kinds.extend(kinds_of(&before.name));
        }
        (kinds, what)
    }

    /// What a bridge reports of a port. Its state follows the carrier, which has events of its own.
    fn port_changed(&mut self, message: &LinkMessage, told: &Link) -> Meaning {
        let none = (Vec::new(), String::new());
        let Some(seen) = self.links.get_mut(&told.index) else {
            return none;
        };
        let before = mem::replace(&mut seen.port, port(message));
        let now = Link {
            port: seen.port,
            operational: told.operational,
            ..seen.clone()
        };
        let blocked = before.forwarding && now.is_blocked();
        let altered = now.port.altered && !before.altered;
        let loosened = !now.port.holds() && !now.port.holds_like(before);
        if !seen.is_our_host_end() || !(blocked || altered || loosened) {
            return none;
        }
        let what = format!("the settings of port {} changed", seen.name);
        (kinds_of(&seen.name), what)
    }

    fn link_gone(&mut self, message: &LinkMessage) -> Meaning {
        let link = Link::read(message);
        let what = format!("link {} removed", link.name);
        if message.header.interface_family == AddressFamily::Bridge {
            return (Vec::new(), what);
        }
        self.links.remove(&link.index);
        if link.group == DOOMED_GROUP && link.is_our_host_end() {
            return (Vec::new(), what);
        }
        (kinds_of(&link.name), what)
    }

    /// Others than podnet's have no business on its bridge, and are no permanent ones.
    fn neighbour(&mut self, message: &NeighbourMessage, gone: bool) -> Meaning {
        let on_bridge = |found: &Neighbour| {
            let link = self.links.get(&found.index);
            link.is_some_and(|link| link.name == BRIDGE)
        };
        if let Some(entry) = Entry::read(message) {
            return self.entry(entry, gone);
        }
        let Some(found) = neighbour::read(message).filter(on_bridge) else {
            return (Vec::new(), String::new());
        };
        let (key, address) = ((found.index, found.address), found.address);
        let now = found.mac.filter(|_| !gone);
        let before = match now {
            Some(mac) => self.neighbours.insert(key, mac),
            None => self.neighbours.remove(&key),
        };
        let what = match now {
            Some(mac) => format!("neighbour {address} set to {mac}"),
            None => format!("neighbour {address} removed"),
        };
        if before == now {
            return (Vec::new(), what);
        }
        (vec![Kind::Neighbours], what)
    }
}

impl Seen {
    /// What a bridge reports of a link-layer address. Those that it learns are left out.
    fn entry(&mut self, entry: Entry, gone: bool) -> Meaning {
        let before = if entry.fixed && !gone {
            self.fixed.insert(entry.mac, entry.index)
        } else {
            self.fixed.remove(&entry.mac)
        };
        let lost = before.filter(|index| gone || !entry.fixed || *index != entry.index);
        let link = lost.and_then(|index| self.links.get(&index));
        let Some(link) = link.filter(|link| link.is_our_host_end() && link.group != DOOMED_GROUP)
        else {
            return (Vec::new(), String::new());
        };
        let what = format!("{} is not fixed at port {} any more", entry.mac, link.name);
        (kinds_of(&link.name), what)
    }
}

/// What a bridge reports of a port, as events of bridges have it.
fn port(message: &LinkMessage) -> Port {
    let settings = message.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::ProtoInfoBridge(settings) = attribute {
            Some(settings)
        } else {
            None
        }
    });
    let settings: Vec<InfoBridgePort> = settings.flatten().filter_map(setting).collect();
    Port::read(&settings)
}

/// The crate knows these by other names than the same in the messages of links.
fn setting(told: &LinkProtoInfoBridge) -> Option<InfoBridgePort> {
    let mut bytes = vec![0; told.buffer_len()];
    told.emit(&mut bytes);
    InfoBridgePort::parse(&NlaBuffer::new(&bytes)).ok()
}

/// A link without what follows from the state of other links. The carrier of a host end is the other end:
/// a pod's interface that was set down and up has lost its routes, and the kernel says no more of it
/// than that. Other carriers come and go by themselves.
fn settings(link: Link) -> Link {
    Link {
        operational: false,
        carrier_losses: if link.is_our_host_end() {
            link.carrier_losses
        } else {
            0
        },
        ..link
    }
}

/// Whether a host end is in the state that it is attached in, or on the way there, and nothing else
/// that podnet cares about has changed.
fn is_as_attached(before: Option<&Link>, now: &Link) -> bool {
    let went_down = before.is_none_or(|before| before.up) && !now.up;
    let loosened =
        before.is_some_and(|before| !now.port.holds_like(before.port)) && !now.port.holds();
    now.is_our_host_end()
        && !loosened
        && (now.group == DOOMED_GROUP || now.master.is_some() && !went_down && !now.port.altered)
        && before.is_none_or(|before| {
            before.mtu == now.mtu
                && (now.group == DOOMED_GROUP || before.carrier_losses == now.carrier_losses)
        })
}

/// What may have changed with a link. Its routes go with it when it is set down, and the kernel
/// says nothing of them.
fn kinds_of(name: &str) -> Vec<Kind> {
    match name.parse::<IfName>() {
        Ok(name) if name.is_host_end() => vec![Kind::HostEnd(name)],
        _ if name == BRIDGE => vec![Kind::Bridge],
        Ok(_) | Err(_) => vec![Kind::Underlay],
    }
}

/// Routes by way of an address's network, or with the address as their source, go with it.
fn address(message: &AddressMessage, change: &str) -> Meaning {
    let label = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Label(label) = attribute {
            Some(label.as_str())
        } else {
            None
        }
    });
    let local = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(ip) = attribute {
            Some(*ip)
        } else {
            None
        }
    });
    // A label begins with the name of the link.
    let link = label
        .unwrap_or_default()
        .split(':')
        .next()
        .unwrap_or_default();
    let what = match local {
        Some(ip) => format!("address {ip} {change} on {link}"),
        None => format!("address {change} on {link}"),
    };
    (kinds_of(link), what)
}

fn route(message: &RouteMessage, change: &str) -> Meaning {
    let cached = message.header.flags.contains(RouteFlags::Cloned);
    let Some(route) = KernelRoute::read(message).filter(|_| !cached) else {
        return (Vec::new(), String::new());
    };
    let protocol = u8::from(route.protocol);
    let what = format!("route {} {change} (protocol {protocol})", route.destination);
    // The kernel's own come and go with addresses and links, which have events of their own; the
    // one of the bridge comes with podnet's own change.
    if route.protocol == RouteProtocol::Kernel {
        return (Vec::new(), what);
    }
    let kinds = match (u8::try_from(route.table), route.protocol == OURS) {
        (Ok(RouteHeader::RT_TABLE_MAIN), true) => vec![Kind::Routes],
        (Ok(_) | Err(_), _) => vec![Kind::OtherRoutes],
    };
    (kinds, what)
}

/// The ways to the peers, and what pods send, may be led by other tables now.
fn rule(message: &RuleMessage, change: &str) -> Meaning {
    let priority = message.attributes.iter().find_map(|attribute| {
        if let RuleAttribute::Priority(priority) = attribute {
            Some(*priority)
        } else {
            None
        }
    });
    let what = format!("rule {} of policy routing {change}", priority.unwrap_or(0));
    (vec![Kind::OtherRoutes], what)
}

#[cfg(test)]
mod tests;
