//! Kernel parameters, by their files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use podnet_core::kernel::{IfName, OpError, OpErrorKind, Sysctl, SysctlValue};

use super::errno::{Errno, KernelError};
use super::netns::on_thread;

/// Where the kernel shows its parameters; those of the network are the reader's namespace's.
const ROOT: &str = "/proc/sys";

/// What podnet turns off on the interfaces of pods: addresses that wait for the detection of
/// duplicates (podnet gives each address once), and advertisements that would give the pod
/// addresses and routes that podnet knows nothing of.
const OFF_IN_PODS: [&str; 2] = ["accept_dad", "accept_ra"];

/// Reads all parameters that podnet may change; one that this kernel does not have is left out.
pub(super) async fn observe() -> Result<BTreeMap<Sysctl, SysctlValue>, KernelError> {
    on_thread(|| {
        let mut values = BTreeMap::new();
        for sysctl in Sysctl::ALL {
            match fs::read_to_string(file(sysctl)) {
                Ok(value) => {
                    values.insert(sysctl, value.trim_end().to_owned());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(values)
    })
    .await?
}

/// Sets a parameter.
pub(super) async fn set(sysctl: Sysctl, value: &SysctlValue) -> Result<(), OpError> {
    let text = value.clone();
    let written = on_thread(move || fs::write(file(sysctl), text)).await;
    match written.and_then(|result| result.map_err(KernelError::from)) {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::NotFound) => Err(OpError::new(
            OpErrorKind::Unsupported,
            format!("kernel parameter {sysctl}: this kernel does not have it"),
        )),
        Err(error) => Err(error.at(format!("kernel parameter {sysctl}"))),
    }
}

fn file(sysctl: Sysctl) -> PathBuf {
    Path::new(ROOT).join(sysctl.path())
}

/// Prepares the calling thread's namespace, a new one of a pod, for interfaces to come.
pub(super) fn prepare_pod_defaults() -> io::Result<()> {
    turn_off_in_pod("default")
}

/// Prepares an interface of a pod, in the calling thread's namespace.
pub(super) fn prepare_pod_interface(ifname: &IfName) -> io::Result<()> {
    turn_off_in_pod(ifname.as_str())
}

fn turn_off_in_pod(interface: &str) -> io::Result<()> {
    OFF_IN_PODS
        .iter()
        .try_for_each(|name| write_ipv6(interface, name, "0"))
}

/// Prepares podnet's bridge: the host takes no addresses and routes from what pods advertise on it,
/// and an address of the bridge that goes does not take along those that came later in its range.
pub(super) async fn prepare_bridge(ifname: &IfName) -> Result<(), KernelError> {
    let bridge = ifname.clone();
    Ok(on_thread(move || {
        write_ipv6(bridge.as_str(), "accept_ra", "0")?;
        fs::write(
            format!("{ROOT}/net/ipv4/conf/{bridge}/promote_secondaries"),
            "1",
        )
    })
    .await??)
}

fn write_ipv6(interface: &str, name: &str, value: &str) -> io::Result<()> {
    match fs::write(format!("{ROOT}/net/ipv6/conf/{interface}/{name}"), value) {
        // A kernel without IPv6 has nothing to turn off.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
