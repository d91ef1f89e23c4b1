//! Which devices packets are forwarded from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::InfoKind;
use netlink_packet_route::route::RouteType;
use podnet_core::kernel::forwarding::Op;
use podnet_core::kernel::{
    BRIDGE, Forwarding, IfName, Ingress, LinkParameter, Made, OpError, OpErrorKind, can_be_guarded,
    forwarding_path,
};

use super::errno::{Errno, KernelError};
use super::link::{self, Link};
use super::route::{self, Filter};
use super::socket::Socket;
use super::thread::on_thread;
use super::underlay::LOCAL_TABLE;
use super::{Results, sysctl};

/// What a host's owner declares it a router by, below `/proc/sys`.
const ROUTER: &str = "net/ipv4/ip_forward";

/// The value of a parameter that is off; any other is on.
const OFF: &str = "0";

/// Looks at what is forwarded, also from the devices that are asked for.
pub(super) async fn observe(
    socket: &Socket,
    asked: &BTreeSet<IfName>,
) -> Result<Forwarding, KernelError> {
    let every_table = Filter {
        family: AddressFamily::Inet,
        ..Filter::default()
    };
    let ways: BTreeSet<u32> = route::list(socket, every_table)
        .await?
        .iter()
        .filter(|route| route.kind == RouteType::Unicast && route.table != LOCAL_TABLE)
        .flat_map(route::KernelRoute::devices)
        .collect();
    let mut devices = BTreeMap::new();
    let mut unguardable = BTreeSet::new();
    for link in link::list(socket, None).await? {
        let Some(name) = name_of(&link) else { continue };
        let way = ways.contains(&link.index);
        if !can_be_guarded(&name) {
            unguardable.extend(way.then_some(name));
        } else if way || asked.contains(&name) {
            let bridge = link.kind == Some(InfoKind::Bridge);
            devices.insert(name, (way, bridge));
        }
    }
    Ok(on_thread(move || read(devices, unguardable)).await??)
}

/// The name of a link that is neither loopback nor one of podnet's own.
fn name_of(link: &Link) -> Option<IfName> {
    let name: IfName = link.name.parse().ok()?;
    let own = link.is_our_bridge() || link.is_our_host_end() || name.as_str() == BRIDGE;
    (!link.loopback && !own).then_some(name)
}

fn read(
    devices: BTreeMap<IfName, (bool, bool)>,
    unguardable: BTreeSet<IfName>,
) -> io::Result<Forwarding> {
    let switch = value(ROUTER)?.unwrap_or_else(|| OFF.to_owned());
    let mut found = Forwarding {
        router: switch != OFF,
        switch,
        ..Forwarding::default()
    };
    for device in unguardable {
        if is_on(&forwarding_path(&device))? != Some(true) {
            found.unguardable.insert(device);
        }
    }
    for (device, (way, bridge)) in devices {
        // One that has gone meanwhile has nothing to be opened.
        if let Some(on) = is_on(&forwarding_path(&device))? {
            found.devices.insert(device, Ingress { on, way, bridge });
        }
    }
    Ok(found)
}

/// Whether a parameter is on; `None` if there is none.
fn is_on(path: &str) -> io::Result<Option<bool>> {
    Ok(value(path)?.map(|value| value != OFF))
}

/// The value of a parameter; `None` if there is none.
fn value(path: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(Path::new(sysctl::ROOT).join(path)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes changes of what is forwarded, one after the other.
pub(super) async fn apply(ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for Op::Set { device, on } in ops {
        results.push(set(device, *on).await.map(Made::from));
    }
    results
}

/// Sets whether what comes in by a device is forwarded.
async fn set(device: &IfName, on: bool) -> Result<(), OpError> {
    let path = Path::new(sysctl::ROOT).join(forwarding_path(device));
    let written = on_thread(move || sysctl::write(&path, if on { "1" } else { OFF })).await;
    let named = || format!("kernel parameter {}", LinkParameter::Forwarding.on(device));
    match written.flatten() {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::NotFound) => Err(OpError::new(
            OpErrorKind::NotFound,
            format!("{}: there is no such device any more", named()),
        )),
        Err(error) => Err(error.at(named())),
    }
}
