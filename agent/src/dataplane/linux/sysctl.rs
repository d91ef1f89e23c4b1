//! Kernel parameters, by their files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use podnet_core::kernel::{Bridge, IfName, LinkParameter, LinkParameters};

use super::errno::KernelError;
use super::thread::on_thread;
use crate::fault;

/// Where the kernel shows its parameters; those of the network are the reader's namespace's.
pub(super) const ROOT: &str = "/proc/sys";

/// Sets a parameter.
pub(super) fn write(path: &Path, value: &str) -> Result<(), KernelError> {
    let written = fs::write(path, value);
    fault::point("kernel parameter");
    written.map_err(|error| KernelError::parameter(path, &error))
}

/// Prepares an interface of a pod, in the calling thread's namespace.
pub(super) fn prepare_pod_interface(
    ifname: &IfName,
    parameters: &LinkParameters,
) -> Result<(), KernelError> {
    write_link(ifname.as_str(), parameters)
}

/// Prepares podnet's bridge.
pub(super) async fn prepare_bridge(bridge: &Bridge) -> Result<(), KernelError> {
    let (ifname, parameters) = (bridge.name.clone(), bridge.parameters());
    on_thread(move || write_link(ifname.as_str(), &parameters)).await?
}

/// Reads what podnet sets on the interface of a pod, in the calling thread's namespace.
pub(super) fn of_pod_interface(ifname: &IfName) -> io::Result<LinkParameters> {
    read_link(ifname.as_str(), &LinkParameter::OF_POD)
}

/// Reads what podnet sets on its bridge.
pub(super) async fn of_bridge(ifname: &IfName) -> Result<LinkParameters, KernelError> {
    let bridge = ifname.clone();
    Ok(on_thread(move || read_link(bridge.as_str(), &LinkParameter::OF_BRIDGE)).await??)
}

/// Whether the host takes packets from any address that it has a way to, whatever is set for single links: the
/// greater one of the two values counts.
pub(super) async fn takes_any_source() -> Result<bool, KernelError> {
    const FILTER: LinkParameter = LinkParameter::ReversePathFilter;
    let found = on_thread(|| read_link("all", &[FILTER])).await??;
    Ok(found.get(&FILTER).is_some_and(|value| *value > 1))
}

/// The folder of an interface's parameters, in the calling thread's namespace; `None` if there is
/// none: a kernel without IPv6 has nothing to turn off, nor has a link of less than 1280 bytes.
///
/// The way to it is gone once for all of them: the kernel looks among the directories of all
/// namespaces for that of this one, one by one (`proc_sys_compare`).
fn open_link(parameter: LinkParameter, interface: &str) -> io::Result<Option<OwnedFd>> {
    let directory = Path::new(ROOT)
        .join(parameter.directory())
        .join(parameter.entry(interface));
    match open(&directory, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Whether two parameters of a link are in one folder.
fn together(one: LinkParameter, next: LinkParameter) -> bool {
    (one.directory(), one.entry("")) == (next.directory(), next.entry(""))
}

/// Sets parameters of an interface, in the calling thread's namespace: those that have another value, since
/// `/proc/sys` may be read-only. One that cannot be set keeps no other from it.
fn write_link(interface: &str, parameters: &LinkParameters) -> Result<(), KernelError> {
    let values: Vec<_> = parameters.iter().collect();
    let mut result = Ok(());
    for values in values.chunk_by(|(one, _), (next, _)| together(**one, **next)) {
        let [(first, _), ..] = *values else { continue };
        let Some(directory) = open_link(*first, interface)? else {
            continue;
        };
        for (parameter, value) in values {
            let written = write_one(&directory, **parameter, **value);
            result = result.and(written.map_err(|error| {
                let path = Path::new(ROOT).join(parameter.directory());
                KernelError::parameter(&path.join(interface).join(parameter.name()), &error)
            }));
        }
    }
    result
}

/// Sets a parameter in the folder of its interface, if it has another value.
fn write_one(directory: &OwnedFd, parameter: LinkParameter, value: i32) -> io::Result<()> {
    if read_one(directory, parameter)? == Some(value) {
        return Ok(());
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = openat(directory, parameter.name(), flags, Mode::empty())?;
    let written = File::from(file).write_all(value.to_string().as_bytes());
    fault::point("kernel parameter");
    written
}

/// Reads a parameter in the folder of its interface; `None` if the interface went meanwhile.
fn read_one(directory: &OwnedFd, parameter: LinkParameter) -> io::Result<Option<i32>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = match openat(directory, parameter.name(), flags, Mode::empty()) {
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        result => result?,
    };
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    text.trim().parse().map(Some).map_err(io::Error::other)
}

/// Reads parameters of an interface, in the calling thread's namespace.
fn read_link(interface: &str, parameters: &[LinkParameter]) -> io::Result<LinkParameters> {
    let mut found = LinkParameters::new();
    for parameters in parameters.chunk_by(|one, next| together(*one, *next)) {
        let [first, ..] = *parameters else { continue };
        let Some(directory) = open_link(first, interface)? else {
            continue;
        };
        for parameter in parameters {
            if let Some(value) = read_one(&directory, *parameter)? {
                found.insert(*parameter, value);
            }
        }
    }
    Ok(found)
}
