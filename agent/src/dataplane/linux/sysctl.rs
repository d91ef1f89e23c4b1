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
pub(super) fn write(path: impl AsRef<Path>, value: &str) -> io::Result<()> {
    let written = fs::write(path, value);
    fault::point("kernel parameter");
    written
}

/// Prepares an interface of a pod, in the calling thread's namespace.
pub(super) fn prepare_pod_interface(
    ifname: &IfName,
    parameters: &LinkParameters,
) -> io::Result<()> {
    write_link(ifname.as_str(), parameters)
}

/// Prepares podnet's bridge.
pub(super) async fn prepare_bridge(bridge: &Bridge) -> Result<(), KernelError> {
    let (ifname, parameters) = (bridge.name.clone(), bridge.parameters());
    Ok(on_thread(move || write_link(ifname.as_str(), &parameters)).await??)
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

/// The folder of an interface's parameters, in the calling thread's namespace; `None` where there is
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

/// Sets parameters of an interface, in the calling thread's namespace.
fn write_link(interface: &str, parameters: &LinkParameters) -> io::Result<()> {
    let values: Vec<_> = parameters.iter().collect();
    for values in values.chunk_by(|(one, _), (next, _)| together(**one, **next)) {
        let [(first, _), ..] = *values else { continue };
        let Some(directory) = open_link(*first, interface)? else {
            continue;
        };
        for (parameter, value) in values {
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let file = openat(&directory, parameter.name(), flags, Mode::empty())?;
            let written = File::from(file).write_all(value.to_string().as_bytes());
            fault::point("kernel parameter");
            written?;
        }
    }
    Ok(())
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
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let file = match openat(&directory, parameter.name(), flags, Mode::empty()) {
                // The interface went meanwhile.
                Err(nix::errno::Errno::ENOENT) => continue,
                result => result?,
            };
            let mut text = String::new();
            File::from(file).read_to_string(&mut text)?;
            let value = text.trim().parse().map_err(io::Error::other)?;
            found.insert(*parameter, value);
        }
    }
    Ok(found)
}
