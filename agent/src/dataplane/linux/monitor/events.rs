//! What events of links, addresses, routes and neighbours mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{BRIDGE, IfName, MacAddr};

use super::super::super::{Change, ChangeScope};
use super::super::errno::KernelError;
use super::super::link::{self, DOOMED_GROUP, Link};
use super::super::neighbour::{self, Neighbour};
use super::super::route::{KernelRoute, OURS};
use super::super::socket::Socket;

/// What an event means: what may have changed, and the event in words.
type Meaning = (Vec<ChangeScope>, String);

/// The links, and the neighbours on the bridge, as events last told of them. The kernel tells of a
/// link far more often than what podnet cares about changes: a dozen times while one pod is attached;
/// and of neighbours that come and go by themselves.
#[derive(Debug, Default)]
pub(super) struct Seen {
    links: BTreeMap<u32, Link>,
    /// The permanent ones, by the number of the bridge.
    neighbours: BTreeMap<(u32, IpAddr), MacAddr>,
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
            neighbours: BTreeMap::new(),
        };
        if let Some(bridge) = link::bridge_index(socket).await? {
            let neighbours = neighbour::list(socket, bridge).await?.into_iter();
            seen.neighbours = neighbours
                .map(|(address, mac)| ((bridge, address), mac))
                .collect();
        }
        Ok(seen)
    }

    /// The changes that an event means, of which the kernel says who caused it by the number of a
    /// port.
    pub(super) fn changes(
        &mut self,
        payload: &NetlinkPayload<RouteNetlinkMessage>,
        by: impl Fn() -> Option<String>,
    ) -> Vec<Change> {
        let (scopes, what) = match payload {
            NetlinkPayload::Overrun(_) => {
                (vec![ChangeScope::Everything], "events were lost".to_owned())
            }
            NetlinkPayload::InnerMessage(message) => self.meaning(message),
            // NetlinkPayload is open, and nothing else is an event.
            NetlinkPayload::Noop | NetlinkPayload::Done(_) | NetlinkPayload::Error(_) | _ => {
                return Vec::new();
            }
        };
        if scopes.is_empty() {
            return Vec::new();
        }
        let by = by();
        scopes
            .into_iter()
            .map(|scope| Change {
                scope,
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
            RouteNetlinkMessage::NewNeighbour(message) => self.neighbour(message, false),
            RouteNetlinkMessage::DelNeighbour(message) => self.neighbour(message, true),
            _ => (Vec::new(), String::new()),
        }
    }

    fn link_changed(&mut self, message: &LinkMessage) -> Meaning {
        let now = settings(Link::read(message));
        // What bridges tell of their ports.
        if message.header.interface_family == AddressFamily::Bridge || now.loopback {
            return (Vec::new(), String::new());
        }
        let before = self.links.insert(now.index, now.clone());
        let born = message.header.change_mask == LinkFlags::all();
        let state = if now.up { "up" } else { "down" };
        let what = format!("link {} changed ({state}, MTU {})", now.name, now.mtu);
        if before.as_ref() == Some(&now) {
            return (Vec::new(), what);
        }
        let mut scopes = scopes_of(&now.name);
        if let [ChangeScope::HostEnd(_)] = scopes.as_slice()
            && (born || is_as_attached(before.as_ref(), &now))
        {
            scopes.clear();
        }
        // A name that it had is free by now.
        if let Some(before) = before.filter(|before| before.name != now.name) {
            scopes.extend(scopes_of(&before.name));
        }
        (scopes, what)
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
        (scopes_of(&link.name), what)
    }

    /// Others than podnet's have no business on its bridge, and are no permanent ones.
    fn neighbour(&mut self, message: &NeighbourMessage, gone: bool) -> Meaning {
        let on_bridge = |found: &Neighbour| {
            let link = self.links.get(&found.index);
            link.is_some_and(|link| link.name == BRIDGE)
        };
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
        (vec![ChangeScope::Neighbours], what)
    }
}

/// A link without what follows from the state of others. The carrier of a host end is the other end:
/// a pod's interface that was set down and up has lost its routes, and the kernel says no more of it
/// than that. Other carriers come and go by themselves.
fn settings(link: Link) -> Link {
    Link {
        operational: false,
        forwarding: false,
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
    now.is_our_host_end()
        && (now.group == DOOMED_GROUP || now.master.is_some() && !went_down)
        && before.is_none_or(|before| {
            before.mtu == now.mtu
                && (now.group == DOOMED_GROUP || before.carrier_losses == now.carrier_losses)
        })
}

/// What may have changed with a link. Its routes go with it when it is set down, and the kernel
/// says nothing of them.
fn scopes_of(name: &str) -> Vec<ChangeScope> {
    match name.parse::<IfName>() {
        Ok(name) if name.is_host_end() => vec![ChangeScope::HostEnd(name)],
        _ if name == BRIDGE => vec![ChangeScope::Bridge],
        Ok(_) | Err(_) => vec![ChangeScope::Underlay],
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
    (scopes_of(link), what)
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
    let scopes = match (u8::try_from(route.table), route.protocol == OURS) {
        (Ok(RouteHeader::RT_TABLE_MAIN), true) => vec![ChangeScope::Routes],
        // The addresses themselves; these have events of their own.
        (Ok(LOCAL_TABLE), _) => Vec::new(),
        (Ok(_) | Err(_), _) => vec![ChangeScope::OtherRoutes],
    };
    (scopes, what)
}

/// The table of the addresses that the host itself has (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u8 = 255;

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
    use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourState};

    use super::*;

    const HOST_END: &str = "pnabc";

    /// An event of a link.
    #[derive(Clone, Copy)]
    struct Event {
        name: &'static str,
        up: bool,
        master: Option<u32>,
        mtu: u32,
        group: u32,
        carrier_losses: u32,
        born: bool,
    }

    impl Event {
        /// A host end as it is when it has been attached.
        fn attached() -> Self {
            Self {
                name: HOST_END,
                up: true,
                master: Some(2),
                mtu: 1500,
                group: 113,
                carrier_losses: 1,
                born: false,
            }
        }

        fn message(self) -> LinkMessage {
            let mut message = LinkMessage::default();
            message.header.index = 7;
            if self.up {
                message.header.flags = LinkFlags::Up;
            }
            if self.born {
                message.header.change_mask = LinkFlags::all();
            }
            message.attributes = vec![
                LinkAttribute::IfName(self.name.to_owned()),
                LinkAttribute::Mtu(self.mtu),
                LinkAttribute::Group(self.group),
                LinkAttribute::CarrierDownCount(self.carrier_losses),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            ];
            message
                .attributes
                .extend(self.master.map(LinkAttribute::Controller));
            message
        }

        fn heard(self, seen: &mut Seen) -> Vec<ChangeScope> {
            hear(seen, RouteNetlinkMessage::NewLink(self.message()))
        }

        fn gone(self, seen: &mut Seen) -> Vec<ChangeScope> {
            hear(seen, RouteNetlinkMessage::DelLink(self.message()))
        }
    }

    fn hear(seen: &mut Seen, message: RouteNetlinkMessage) -> Vec<ChangeScope> {
        let changes = seen.changes(&NetlinkPayload::InnerMessage(message), || None);
        changes.into_iter().map(|change| change.scope).collect()
    }

    fn host_end() -> Vec<ChangeScope> {
        vec![ChangeScope::HostEnd(HOST_END.parse().unwrap())]
    }

    #[test]
    fn an_attach_and_a_detach_are_no_news() {
        let mut seen = Seen::default();
        let born = Event {
            born: true,
            master: None,
            ..Event::attached()
        };
        assert_eq!(born.heard(&mut seen), []);
        for _carrier in 0..3 {
            assert_eq!(Event::attached().heard(&mut seen), []);
        }
        let doomed = Event {
            group: 114,
            ..Event::attached()
        };
        assert_eq!(doomed.heard(&mut seen), []);
        assert_eq!(
            Event {
                up: false,
                carrier_losses: 2,
                ..doomed
            }
            .heard(&mut seen),
            []
        );
        assert_eq!(doomed.gone(&mut seen), []);
    }

    #[test]
    fn what_others_do_to_a_host_end_is_news() {
        let attached = Event::attached;
        let cases = [
            Event {
                up: false,
                ..attached()
            },
            Event {
                master: None,
                ..attached()
            },
            Event {
                mtu: 1400,
                ..attached()
            },
            Event {
                group: 0,
                ..attached()
            },
            // The interface in the pod was set down.
            Event {
                carrier_losses: 2,
                ..attached()
            },
        ];
        for case in cases {
            let mut seen = Seen::default();
            attached().heard(&mut seen);
            assert_eq!(case.heard(&mut seen), host_end());
            assert_eq!(case.heard(&mut seen), [], "told once");
        }
        let mut seen = Seen::default();
        assert_eq!(attached().gone(&mut seen), host_end());
    }

    #[test]
    fn a_link_that_goes_down_takes_its_routes_along() {
        let mut seen = Seen::default();
        let underlay = Event {
            name: "eth0",
            master: None,
            group: 0,
            ..Event::attached()
        };
        let scopes = [ChangeScope::Underlay];
        assert_eq!(underlay.heard(&mut seen), scopes);
        assert_eq!(underlay.heard(&mut seen), [], "the carrier is no matter");
        assert_eq!(
            Event {
                up: false,
                ..underlay
            }
            .heard(&mut seen),
            scopes
        );
        assert_eq!(underlay.gone(&mut seen), scopes);
        let bridge = Event {
            name: BRIDGE,
            master: None,
            group: 112,
            ..Event::attached()
        };
        let scopes = [ChangeScope::Bridge];
        assert_eq!(bridge.heard(&mut seen), scopes);
        assert_eq!(
            Event {
                up: false,
                ..bridge
            }
            .heard(&mut seen),
            scopes
        );
    }

    #[test]
    fn a_name_that_was_left_is_news_too() {
        let mut seen = Seen::default();
        Event::attached().heard(&mut seen);
        let renamed = Event {
            name: "other",
            ..Event::attached()
        };
        let scopes = renamed.heard(&mut seen);
        assert!(scopes.contains(&host_end()[0]), "{scopes:?}");
    }

    #[test]
    fn permanent_neighbours_on_the_bridge_matter() {
        let mut seen = Seen::default();
        let bridge = Event {
            name: BRIDGE,
            master: None,
            group: 112,
            ..Event::attached()
        };
        bridge.heard(&mut seen);
        let message = |index, state| {
            let mut message = NeighbourMessage::default();
            message.header.ifindex = index;
            message.header.state = state;
            message.attributes = vec![
                NeighbourAttribute::Destination(IpAddr::from([10, 244, 0, 2]).into()),
                NeighbourAttribute::LinkLayerAddress(vec![2; 6]),
            ];
            message
        };
        let mut told = |index, state| {
            let message = message(index, state);
            hear(&mut seen, RouteNetlinkMessage::NewNeighbour(message))
        };
        let news = [ChangeScope::Neighbours];
        assert_eq!(
            told(7, NeighbourState::Stale),
            [],
            "it was none of podnet's"
        );
        assert_eq!(told(8, NeighbourState::Permanent), [], "on another link");
        assert_eq!(told(7, NeighbourState::Permanent), news);
        assert_eq!(told(7, NeighbourState::Permanent), [], "told once");
        assert_eq!(told(7, NeighbourState::Failed), news);
        assert_eq!(told(7, NeighbourState::Permanent), news);
        let gone = RouteNetlinkMessage::DelNeighbour(message(7, NeighbourState::Permanent));
        assert_eq!(hear(&mut seen, gone), news);
    }

    #[test]
    fn routes_matter_by_table_and_protocol() {
        let message = |table: u8, protocol: u8| {
            let mut message = RouteMessage::default();
            message.header.address_family = AddressFamily::Inet;
            message.header.table = table;
            message.header.protocol = protocol.into();
            RouteNetlinkMessage::DelRoute(message)
        };
        let mut seen = Seen::default();
        assert_eq!(hear(&mut seen, message(254, 112)), [ChangeScope::Routes]);
        let others = [ChangeScope::OtherRoutes];
        assert_eq!(hear(&mut seen, message(254, 3)), others);
        assert_eq!(hear(&mut seen, message(7, 3)), others);
        assert_eq!(hear(&mut seen, message(254, 2)), []);
        assert_eq!(hear(&mut seen, message(255, 2)), []);
        let lost = seen.changes(&NetlinkPayload::Overrun(Vec::new()), || None);
        assert_eq!(lost[0].scope, ChangeScope::Everything);
    }
}
