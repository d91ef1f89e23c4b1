//! Podnet's bridge, and its addresses.

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkInfo,
};
use podnet_core::kernel::bridge::Op;
use podnet_core::kernel::{
    Bridge, IfName, MacAddr, Made, Mtu, ObservedBridge, OpError, OpErrorKind, Place,
};

use super::address::Address;
use super::errno::{Errno, KernelError};
use super::link::{self, BRIDGE_GROUP, Link};
use super::socket::Socket;
use super::{Results, address, neighbour, sysctl};

/// Makes changes of the bridge, one after the other.
pub(super) async fn apply(socket: &Socket, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for op in ops {
        let done = match op {
            Op::Create(bridge) => create(socket, bridge).await,
            Op::Update(bridge) => update(socket, bridge).await,
            Op::Delete(name) => delete(socket, name).await,
            Op::AddAddress { device, address } => add_address(socket, device, *address).await,
            Op::DeleteAddress { device, address } => delete_address(socket, device, *address).await,
        };
        results.push(done.map(Made::from));
    }
    results
}

/// Looks at the bridge.
pub(super) async fn observe(socket: &Socket) -> Result<Place<ObservedBridge>, KernelError> {
    let Some(link) = link::look_up(socket, &IfName::bridge()).await? else {
        return Ok(Place::Absent);
    };
    if !link.is_our_bridge() {
        return Ok(Place::Foreign(link.foreign()));
    }
    let index = link.index;
    let addresses = address::list(socket, Some(index)).await?;
    let own = |address: &&Address| address.index == index;
    let link_local = addresses.iter().filter(own).any(Address::is_link_local);
    let addresses = addresses
        .into_iter()
        .filter(|found| found.index == index && found.global)
        .map(|found| found.address);
    Ok(Place::Ours(ObservedBridge {
        index: link::index_of(&link),
        mac: link
            .mac
            .ok_or(KernelError::Incomplete("link-layer address"))?,
        mtu: Mtu(link.mtu),
        up: link.up,
        addresses: addresses.collect(),
        link_local: link.link_local || link_local,
        neighbours: neighbour::list(socket, index).await?,
        parameters: sysctl::of_bridge(&IfName::bridge()).await?,
    }))
}

/// Looks podnet's bridge up, on behalf of a change that builds on it.
pub(super) async fn ours(socket: &Socket, name: &IfName) -> Result<Link, OpError> {
    match link::look_up(socket, name).await {
        Ok(Some(link)) if link.is_our_bridge() => Ok(link),
        Ok(Some(link)) => Err(foreign(name, &link)),
        Ok(None) => Err(OpError::new(
            OpErrorKind::NotFound,
            format!("bridge {name}: not there"),
        )),
        Err(error) => Err(error.at(format!("bridge {name}"))),
    }
}

/// The number of podnet's bridge; `None` if there is none.
pub(super) async fn index(socket: &Socket) -> Result<Option<u32>, KernelError> {
    let bridge = link::look_up(socket, &IfName::bridge()).await?;
    Ok(bridge.filter(Link::is_our_bridge).map(|link| link.index))
}

fn foreign(name: &IfName, link: &Link) -> OpError {
    let detail = format!("bridge {name}: {} has that name", link.foreign());
    OpError::new(OpErrorKind::Foreign, detail)
}

/// Makes the bridge, with podnet's mark from the first moment, and sets it up.
async fn create(socket: &Socket, bridge: &Bridge) -> Result<(), OpError> {
    let object = || format!("bridge {}", bridge.name);
    let mut message = link::named(&bridge.name);
    message.attributes.extend([
        LinkAttribute::Group(BRIDGE_GROUP),
        LinkAttribute::Address(bridge.mac.0.to_vec()),
        // Not the wanted one: to set what is there already would change nothing.
        LinkAttribute::Mtu(bridge.mtu.0.saturating_sub(1)),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::StpState(BridgeStpState::Disabled),
                InfoBridge::ForwardDelay(0),
            ])),
        ]),
    ]);
    let create = RouteNetlinkMessage::NewLink(message);
    match socket.request(create, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(_) => update(socket, bridge).await,
        Err(error) if error.is(Errno::Exists) => update(socket, bridge).await,
        Err(error) => Err(error.at(object())),
    }
}

/// Gives the bridge what it should have.
async fn update(socket: &Socket, bridge: &Bridge) -> Result<(), OpError> {
    let found = ours(socket, &bridge.name).await?;
    let right = set_right(socket, bridge, &found).await;
    right.map_err(|error| error.at(format!("bridge {}", bridge.name)))
}

/// Sets what a bridge cannot be born with: an MTU that it is born with does not count as chosen,
/// and changes with its ports. A parameter that cannot be set does not keep it down.
async fn set_right(socket: &Socket, bridge: &Bridge, found: &Link) -> Result<(), KernelError> {
    let mut prepared = prepare(socket, bridge).await;
    socket.request(settings(bridge, found.mac), 0).await?;
    if found.regains_ipv6(bridge.mtu) {
        prepared = prepare(socket, bridge).await;
    }
    address::delete_link_local(socket, found.index).await?;
    prepared
}

async fn prepare(socket: &Socket, bridge: &Bridge) -> Result<(), KernelError> {
    link::tolerate_no_ipv6(socket.request(link::no_ipv6(&bridge.name), 0).await)?;
    sysctl::prepare_bridge(bridge).await
}

fn settings(bridge: &Bridge, mac: Option<MacAddr>) -> RouteNetlinkMessage {
    let mut message = link::named(&bridge.name);
    message.attributes.push(LinkAttribute::Mtu(bridge.mtu.0));
    // To set the same one again makes the kernel forget all neighbours, permanent ones too.
    if mac != Some(bridge.mac) {
        message
            .attributes
            .push(LinkAttribute::Address(bridge.mac.0.to_vec()));
    }
    RouteNetlinkMessage::SetLink(link::up(message))
}

/// Removes the bridge.
async fn delete(socket: &Socket, name: &IfName) -> Result<(), OpError> {
    let link = match ours(socket, name).await {
        Ok(link) => link,
        Err(error) if error.kind == OpErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match socket.request(link::delete(link.index), 0).await {
        Err(error) if !error.is(Errno::NotFound) => Err(error.at(format!("bridge {name}"))),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Gives podnet's bridge an address.
async fn add_address(socket: &Socket, bridge: &IfName, address: IpNetwork) -> Result<(), OpError> {
    let link = ours(socket, bridge).await?;
    let (message, flags) = address::add(link.index, address);
    match socket.request(message, flags).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.at(format!("address {address} on {bridge}"))),
    }
}

/// Takes an address from podnet's bridge.
async fn delete_address(
    socket: &Socket,
    bridge: &IfName,
    address: IpNetwork,
) -> Result<(), OpError> {
    let object = || format!("address {address} on {bridge}");
    let link = match link::look_up(socket, bridge).await {
        Ok(Some(link)) if link.is_our_bridge() => link,
        // What has the name by now is not podnet's, and so are its addresses.
        Ok(_) => return Ok(()),
        Err(error) => return Err(error.at(object())),
    };
    let message = RouteNetlinkMessage::DelAddress(address::message(link.index, address));
    match socket.request(message, 0).await {
        Err(error) if !error.is(Errno::NotFound) => Err(error.at(object())),
        Ok(_) | Err(_) => Ok(()),
    }
}
