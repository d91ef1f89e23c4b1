//! The ports of the bridge: what it does with each, and which link-layer addresses it has there for good.

use std::collections::BTreeSet;
use std::mem;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podnet_core::kernel::{MacAddr, ObservedPort, PodLink};

use super::super::errno::{Errno, KernelError};
use super::super::socket::Socket;

/// What a bridge does with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Port {
    /// Whether it forwards from and to it.
    pub(in super::super) forwarding: bool,
    /// Whether another program has set that it keeps some packets from it.
    pub(in super::super) altered: bool,
    learning: bool,
    flooded: bool,
    /// `None` if the kernel has no such setting (before 5.18).
    locked: Option<bool>,
    /// Whether frames to reserved group addresses pass by all that the bridge checks.
    bypassed: bool,
}

impl Default for Port {
    /// What is no port yet: it will be one as the kernel makes them.
    fn default() -> Self {
        let born = ObservedPort::default();
        Self {
            forwarding: false,
            altered: false,
            learning: born.learning,
            flooded: born.flooded,
            locked: born.locked,
            bypassed: born.bypassed,
        }
    }
}

impl Port {
    /// Reads the settings of a port.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a port has far more settings than podnet reads"
    )]
    pub(in super::super) fn read(settings: &[InfoBridgePort]) -> Self {
        let open = open();
        let mut port = Self {
            locked: None,
            ..Self::default()
        };
        for found in settings {
            let same = |open: &InfoBridgePort| mem::discriminant(open) == mem::discriminant(found);
            port.altered |= open.iter().any(|open| same(open) && open != found);
            match found {
                InfoBridgePort::State(state) => {
                    port.forwarding = *state == BridgePortState::Forwarding;
                }
                InfoBridgePort::Learning(on) => port.learning = *on,
                InfoBridgePort::UnicastFlood(on) => port.flooded = *on,
                InfoBridgePort::Locked(on) => port.locked = Some(*on),
                InfoBridgePort::GroupFwdMask(mask) => port.bypassed = mask & RESERVED != RESERVED,
                _ => {}
            }
        }
        port
    }

    /// Whether a pod at it is held to its own link-layer address.
    pub(in super::super) fn holds(self) -> bool {
        !self.learning && !self.flooded && self.locked != Some(false) && !self.bypassed
    }

    /// Whether this kernel cannot hold a pod at it to its own link-layer address.
    pub(in super::super) const fn is_unlockable(self) -> bool {
        self.locked.is_none()
    }

    /// Whether it holds a pod in the same way as another.
    pub(in super::super) fn holds_like(self, other: Self) -> bool {
        let of = |port: Self| {
            let locked = port.locked == Some(true);
            (port.learning, port.flooded, locked, port.bypassed)
        };
        of(self) == of(other)
    }

    /// The port, with the link-layer addresses that are fixed there.
    pub(in super::super) fn observed(self, fixed: BTreeSet<MacAddr>) -> ObservedPort {
        ObservedPort {
            learning: self.learning,
            flooded: self.flooded,
            locked: self.locked,
            bypassed: self.bypassed,
            fixed,
        }
    }
}

/// The reserved group addresses, 01:80:c2:00:00:00 to :0f, a bit each, that a port can be set to forward frames to:
/// all but that of PAUSE frames, which every bridge drops. Other frames to them pass no hook before those of the
/// host's own stack (`br_handle_frame` in `net/bridge/br_input.c`).
const RESERVED: u16 = !(1 << 1);

/// What lets all packets pass that any port gets: the kernel's own choice for a new port.
const fn open() -> [InfoBridgePort; 3] {
    [
        InfoBridgePort::BroadcastFlood(true),
        InfoBridgePort::MulticastFlood(true),
        InfoBridgePort::Isolated(false),
    ]
}

/// Requests that make a link, already a port of the bridge, the port of a pod. `blocked` says whether the
/// bridge does not forward by it, though it could.
pub(in super::super) fn prepare(
    index: u32,
    pod: &PodLink,
    blocked: bool,
) -> [(RouteNetlinkMessage, u16); 2] {
    let mut settings = Vec::from(open());
    // Whether that of a trusted pod learns, or is locked, is another program's choice.
    settings.push(InfoBridgePort::UnicastFlood(pod.trusted));
    if !pod.trusted {
        // Kernels that do not know `locked` take no notice of it.
        settings.extend([
            InfoBridgePort::Learning(false),
            InfoBridgePort::Locked(true),
            InfoBridgePort::GroupFwdMask(RESERVED),
        ]);
    }
    if blocked {
        settings.push(InfoBridgePort::State(BridgePortState::Forwarding));
    }
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(settings)),
    ]));
    // What is set by RTM_SETLINK has no such part.
    [
        (RouteNetlinkMessage::NewLink(message), 0),
        fix(index, pod.mac),
    ]
}

/// A request that the bridge has a link-layer address at a port, whatever comes in by another port: a static
/// entry (`NUD_NOARP`) that is sticky besides, since one that is merely static follows the packets.
fn fix(index: u32, mac: MacAddr) -> (RouteNetlinkMessage, u16) {
    let mut message = entry(mac);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    (
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// A request for what a bridge has of a link-layer address.
pub(in super::super) fn get(bridge: u32, mac: MacAddr) -> RouteNetlinkMessage {
    let mut message = entry(mac);
    message
        .attributes
        .push(NeighbourAttribute::Controller(bridge));
    RouteNetlinkMessage::GetNeighbour(message)
}

fn entry(mac: MacAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

/// An entry of a bridge for a link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub(in super::super) index: u32,
    pub(in super::super) mac: MacAddr,
    /// Whether nothing that comes in moves it.
    pub(in super::super) fixed: bool,
}

impl Entry {
    /// Reads an entry of a bridge; `None` for a neighbour of the host.
    pub(in super::super) fn read(message: &NeighbourMessage) -> Option<Self> {
        let header = &message.header;
        let mac = message.attributes.iter().find_map(|attribute| {
            if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
                bytes.as_slice().try_into().ok().map(MacAddr)
            } else {
                None
            }
        });
        (header.family == AddressFamily::Bridge).then_some(Self {
            index: header.ifindex,
            mac: mac?,
            fixed: header.state == NeighbourState::Noarp
                && header.flags.contains(NeighbourFlags::Sticky),
        })
    }
}

/// The fixed entries in an answer.
fn fixed_of(messages: &[RouteNetlinkMessage]) -> impl Iterator<Item = Entry> {
    let entries = messages.iter().filter_map(|message| {
        if let RouteNetlinkMessage::NewNeighbour(message) = message {
            Entry::read(message)
        } else {
            None
        }
    });
    entries.filter(|entry| entry.fixed)
}

/// The fixed entry that came back for a lookup, if there is one.
pub(in super::super) fn found(
    answer: Result<Vec<RouteNetlinkMessage>, KernelError>,
) -> Result<Option<Entry>, KernelError> {
    match answer {
        Ok(messages) => Ok(fixed_of(&messages).next()),
        Err(error) if error.is(Errno::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists the fixed entries of a bridge.
pub(in super::super) async fn list(
    socket: &Socket,
    bridge: u32,
) -> Result<Vec<Entry>, KernelError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message
        .attributes
        .push(NeighbourAttribute::Controller(bridge));
    let request = RouteNetlinkMessage::GetNeighbour(message);
    match socket.dump(request).await {
        Ok(answer) => Ok(fixed_of(&answer).collect()),
        // The bridge went meanwhile.
        Err(error) if error.is(Errno::NotFound) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
