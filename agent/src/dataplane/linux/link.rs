//! Links: what marks podnet's own, the bridge, and how links are read and looked up.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, InfoPortData, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State,
};
use podnet_core::kernel::{IfIndex, IfName, MacAddr, Mtu, ObservedHostEnd, Place};

use super::errno::{Errno, KernelError};
use super::pod::port::Port;
use super::socket::Socket;

/// The group (`IFLA_GROUP`) that marks the bridge as podnet's.
pub(super) const BRIDGE_GROUP: u32 = 112;

/// The group that marks the host ends of pods as podnet's.
pub(super) const HOST_END_GROUP: u32 = 113;

/// The group of host ends that are about to be removed together.
pub(super) const DOOMED_GROUP: u32 = 114;

/// The MTU below which a link has no IPv6 (RFC 8200, section 5).
const IPV6_LEAST_MTU: u32 = 1280;

/// What podnet reads of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: Option<InfoKind>,
    pub(super) group: u32,
    pub(super) mac: Option<MacAddr>,
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// Whether packets pass: it is up, and so is what carries it (`IF_OPER_UP`, RFC 2863).
    pub(super) operational: bool,
    /// What the bridge does with it that it is a port of.
    pub(super) port: Port,
    pub(super) loopback: bool,
    /// How often it has lost its carrier; 0 if the kernel does not count (before 4.16).
    pub(super) carrier_losses: u32,
    /// The bridge that it is a port of.
    pub(super) master: Option<u32>,
    /// Whether the kernel gives it a link-local IPv6 address.
    pub(super) link_local: bool,
    /// For one end of a veth: the index of the other, in the other's namespace.
    pub(super) peer: Option<u32>,
}

impl Link {
    /// Reads a link.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a link has far more than podnet reads"
    )]
    pub(super) fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                LinkAttribute::CarrierDownCount(losses) => link.carrier_losses = *losses,
                LinkAttribute::Address(mac) => {
                    link.mac = mac.as_slice().try_into().ok().map(MacAddr);
                }
                LinkAttribute::AfSpecUnspec(families) => link.link_local = link_local(families),
                LinkAttribute::OperState(state) => link.operational = *state == State::Up,
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => link.kind = Some(kind.clone()),
                            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                                link.port = Port::read(port);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }

    /// Whether it is podnet's bridge.
    pub(super) fn is_our_bridge(&self) -> bool {
        self.kind == Some(InfoKind::Bridge) && self.group == BRIDGE_GROUP
    }

    /// Whether it is the host end of a pod that podnet attached.
    pub(super) fn is_our_host_end(&self) -> bool {
        self.kind == Some(InfoKind::Veth)
            && matches!(self.group, HOST_END_GROUP | DOOMED_GROUP)
            && self
                .name
                .parse::<IfName>()
                .is_ok_and(|name| name.is_host_end())
    }

    /// What another program's link is, in words.
    pub(super) fn foreign(&self) -> String {
        match &self.kind {
            Some(kind) => format!("a {kind} that podnet did not make"),
            None => "a link that podnet did not make".to_owned(),
        }
    }

    /// The link as the host end of a pod, with the link-layer addresses that are fixed there.
    pub(super) fn host_end(
        &self,
        bridge: Option<u32>,
        link_local: &BTreeSet<u32>,
        fixed: BTreeSet<MacAddr>,
    ) -> Place<ObservedHostEnd> {
        if !self.is_our_host_end() {
            return Place::Foreign(self.foreign());
        }
        Place::Ours(ObservedHostEnd {
            on_bridge: bridge.is_some() && self.master == bridge,
            mtu: Mtu(self.mtu),
            up: self.up,
            blocked: self.port.altered || self.is_blocked(),
            link_local: self.link_local || link_local.contains(&self.index),
            port: self.port.observed(fixed),
        })
    }

    /// Whether the kernel gives it IPv6 anew with this MTU, and all that belongs to that as it likes.
    pub(super) fn regains_ipv6(&self, mtu: Mtu) -> bool {
        self.mtu < IPV6_LEAST_MTU && mtu.0 >= IPV6_LEAST_MTU
    }

    /// Whether a bridge keeps everything from it, though it has a carrier.
    pub(super) fn is_blocked(&self) -> bool {
        self.master.is_some() && self.up && self.operational && !self.port.forwarding
    }
}

/// Whether a link with these settings gets a link-local address. One that does without IPv6 has none
/// of that family.
fn link_local(families: &[AfSpecUnspec]) -> bool {
    families.iter().any(|family| {
        if let AfSpecUnspec::Inet6(settings) = family {
            settings.iter().any(|setting| {
                matches!(setting, AfSpecInet6::AddrGenMode(mode) if *mode != In6AddrGenMode::None)
            })
        } else {
            false
        }
    })
}

/// A request for the link of a name.
pub(super) fn get(name: &IfName) -> RouteNetlinkMessage {
    let mut message = named(name);
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

/// A request for the link of an index.
pub(super) fn get_index(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

/// The first message about the link of a name.
pub(super) fn named(name: &IfName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_string()));
    message
}

/// Sets a link up with the same message.
pub(super) fn up(mut message: LinkMessage) -> LinkMessage {
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
    message
}

/// A request that the kernel gives a link no IPv6 address of its own accord: the host has no
/// business with IPv6 on podnet's links.
pub(super) fn no_ipv6(name: &IfName) -> RouteNetlinkMessage {
    let mut message = named(name);
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
            vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)],
        )]));
    RouteNetlinkMessage::SetLink(message)
}

/// What came back for a lookup: the link, or that there is none.
pub(super) fn found(
    answer: Result<Vec<RouteNetlinkMessage>, KernelError>,
) -> Result<Option<Link>, KernelError> {
    match answer {
        Ok(messages) => Ok(read_all(&messages).next()),
        Err(error) if error.is(Errno::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The links in an answer.
pub(super) fn read_all(messages: &[RouteNetlinkMessage]) -> impl Iterator<Item = Link> {
    messages.iter().filter_map(|message| {
        if let RouteNetlinkMessage::NewLink(link) = message {
            Some(Link::read(link))
        } else {
            None
        }
    })
}

/// Looks a link up by its name.
pub(super) async fn look_up(socket: &Socket, name: &IfName) -> Result<Option<Link>, KernelError> {
    found(socket.request(get(name), 0).await)
}

/// The links of these names, as far as there are any.
pub(super) async fn look_up_all(
    socket: &Socket,
    names: impl IntoIterator<Item = &IfName>,
) -> Vec<Result<Option<Link>, KernelError>> {
    let requests = names.into_iter().map(|name| (get(name), 0));
    let answers = socket.batch(requests.collect()).await;
    answers.into_iter().map(found).collect()
}

/// The names of the links of these indices, as far as there are any.
pub(super) async fn names(
    socket: &Socket,
    indices: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, IfName>, KernelError> {
    let requests = indices.iter().map(|index| (get_index(*index), 0));
    let answers = socket.batch(requests.collect()).await;
    let mut names = BTreeMap::new();
    for answer in answers {
        if let Some(link) = found(answer)? {
            names.extend(link.name.parse().map(|name| (link.index, name)));
        }
    }
    Ok(names)
}

/// Lists links; all, or those of a kind.
pub(super) async fn list(
    socket: &Socket,
    kind: Option<InfoKind>,
) -> Result<Vec<Link>, KernelError> {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    if let Some(kind) = kind {
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
    }
    let answer = socket.dump(RouteNetlinkMessage::GetLink(message)).await?;
    Ok(read_all(&answer).collect())
}

/// A kernel without IPv6 gives no IPv6 addresses either.
pub(super) fn tolerate_no_ipv6<T>(answer: Result<T, KernelError>) -> Result<(), KernelError> {
    match answer {
        Err(error) if !error.is(Errno::Unsupported) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A request to remove a link.
pub(super) fn delete(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    RouteNetlinkMessage::DelLink(message)
}

/// The number of a link.
pub(super) fn index_of(link: &Link) -> IfIndex {
    IfIndex(link.index)
}
