use netlink_packet_core::{DefaultNla, Nla};
use netlink_packet_route::link::{BridgePortState, InfoKind, LinkInfo, State};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourState};

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

    fn heard(self, seen: &mut Seen) -> Vec<Kind> {
        hear(seen, RouteNetlinkMessage::NewLink(self.message()))
    }

    fn gone(self, seen: &mut Seen) -> Vec<Kind> {
        hear(seen, RouteNetlinkMessage::DelLink(self.message()))
    }
}

fn hear(seen: &mut Seen, message: RouteNetlinkMessage) -> Vec<Kind> {
    let changes = seen.changes(&NetlinkPayload::InnerMessage(message), || None);
    changes.into_iter().map(|change| change.kind).collect()
}

fn host_end() -> Vec<Kind> {
    vec![Kind::HostEnd(HOST_END.parse().unwrap())]
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

/// What a bridge tells of a port.
fn told(operational: bool, settings: &[&InfoBridgePort]) -> RouteNetlinkMessage {
    let mut message = Event::attached().message();
    message.header.interface_family = AddressFamily::Bridge;
    message.attributes.retain(|attribute| {
        !matches!(
            attribute,
            LinkAttribute::LinkInfo(_) | LinkAttribute::Group(_)
        )
    });
    let state = if operational {
        State::Up
    } else {
        State::LowerLayerDown
    };
    message.attributes.push(LinkAttribute::OperState(state));
    let settings = settings.iter().map(|setting| {
        let mut value = vec![0; setting.value_len()];
        setting.emit_value(&mut value);
        LinkProtoInfoBridge::Other(DefaultNla::new(setting.kind(), value))
    });
    let settings = LinkAttribute::ProtoInfoBridge(settings.collect());
    message.attributes.push(settings);
    RouteNetlinkMessage::NewLink(message)
}

#[test]
fn a_bridge_that_blocks_a_port_is_news() {
    let state = InfoBridgePort::State;
    let (open, shut) = (
        state(BridgePortState::Forwarding),
        state(BridgePortState::Disabled),
    );
    let isolated = InfoBridgePort::Isolated(true);
    let isolated = [&open, &isolated];
    let mut seen = Seen::default();
    Event::attached().heard(&mut seen);
    // The carrier has come, and the bridge has not noticed yet.
    assert_eq!(hear(&mut seen, told(true, &[&shut])), []);
    assert_eq!(hear(&mut seen, told(true, &[&open])), []);
    assert_eq!(hear(&mut seen, told(true, &[&shut])), host_end());
    assert_eq!(hear(&mut seen, told(true, &[&open])), []);
    assert_eq!(
        hear(&mut seen, told(false, &[&shut])),
        [],
        "without a carrier"
    );
    assert_eq!(hear(&mut seen, told(true, &isolated)), host_end());
    assert_eq!(hear(&mut seen, told(true, &isolated)), [], "told once");
}

#[test]
fn a_pod_that_is_held_no_more_is_told_of() {
    let mut seen = Seen::default();
    Event::attached().heard(&mut seen);
    let held = [
        InfoBridgePort::Learning(false),
        InfoBridgePort::UnicastFlood(false),
        InfoBridgePort::Locked(true),
        InfoBridgePort::GroupFwdMask(0xfffd),
    ];
    let all = held.each_ref();
    assert_eq!(hear(&mut seen, told(true, &all)), []);
    for loose in [
        InfoBridgePort::Learning(true),
        InfoBridgePort::UnicastFlood(true),
        InfoBridgePort::Locked(false),
        InfoBridgePort::GroupFwdMask(0xbffd),
    ] {
        let kept = held.iter().filter(|setting| setting.kind() != loose.kind());
        let now: Vec<_> = kept.chain([&loose]).collect();
        assert_eq!(hear(&mut seen, told(true, &now)), host_end(), "{loose:?}");
        assert_eq!(hear(&mut seen, told(true, &now)), [], "told once");
        assert_eq!(hear(&mut seen, told(true, &all)), []);
    }
}

/// An entry of a bridge, at a port.
fn entry(index: u32, flags: NeighbourFlags) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Noarp;
    message.header.flags = flags;
    let mac = NeighbourAttribute::LinkLayerAddress(vec![0x0a, 0x70, 10, 244, 0, 2]);
    message.attributes.push(mac);
    message
}

#[test]
fn an_entry_that_is_fixed_no_more_is_told_of() {
    use RouteNetlinkMessage::{DelNeighbour, NewNeighbour};
    let (fixed, loose) = (NeighbourFlags::Sticky, NeighbourFlags::empty());
    let mut seen = Seen::default();
    Event::attached().heard(&mut seen);
    let index = *seen.links.keys().next().unwrap();
    assert_eq!(hear(&mut seen, NewNeighbour(entry(index, fixed))), []);
    for lost in [
        DelNeighbour(entry(index, fixed)),
        NewNeighbour(entry(index, loose)),
        NewNeighbour(entry(index + 1, fixed)),
    ] {
        assert_eq!(hear(&mut seen, lost), host_end());
        assert_eq!(hear(&mut seen, NewNeighbour(entry(index, fixed))), []);
    }
    assert_eq!(
        hear(&mut seen, NewNeighbour(entry(index + 1, loose))),
        host_end()
    );
    assert_eq!(
        hear(&mut seen, DelNeighbour(entry(index, fixed))),
        [],
        "told once"
    );
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
    let kinds = [Kind::Underlay];
    assert_eq!(underlay.heard(&mut seen), kinds);
    assert_eq!(underlay.heard(&mut seen), [], "the carrier is no matter");
    assert_eq!(
        Event {
            up: false,
            ..underlay
        }
        .heard(&mut seen),
        kinds
    );
    assert_eq!(underlay.gone(&mut seen), kinds);
    let bridge = Event {
        name: BRIDGE,
        master: None,
        group: 112,
        ..Event::attached()
    };
    let kinds = [Kind::Bridge];
    assert_eq!(bridge.heard(&mut seen), kinds);
    assert_eq!(
        Event {
            up: false,
            ..bridge
        }
        .heard(&mut seen),
        kinds
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
    let kinds = renamed.heard(&mut seen);
    assert!(kinds.contains(&host_end()[0]), "{kinds:?}");
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
    let news = [Kind::Neighbours];
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
    assert_eq!(hear(&mut seen, message(254, 112)), [Kind::Routes]);
    let others = [Kind::OtherRoutes];
    assert_eq!(hear(&mut seen, message(254, 3)), others);
    assert_eq!(hear(&mut seen, message(7, 3)), others);
    assert_eq!(hear(&mut seen, message(254, 2)), []);
    assert_eq!(hear(&mut seen, message(255, 2)), []);
    // No address brings it.
    assert_eq!(hear(&mut seen, message(255, 3)), others);
    let lost = seen.changes(&NetlinkPayload::Overrun(Vec::new()), || None);
    assert_eq!(lost[0].kind, Kind::Everything);
}
