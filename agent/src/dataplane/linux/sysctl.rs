//! Kernel parameters, by their files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use podnet_core::kernel::{IfName, OpError, OpErrorKind, PodLink, Sysctl, SysctlValue};

use super::errno::{Errno, KernelError};
use super::netns::on_thread;
use crate::fault;

/// Where the kernel shows its parameters; those of the network are the reader's namespace's.
const ROOT: &str = "/proc/sys";

/// Where the parameters of interfaces for IPv4 are.
const IPV4: &str = "/proc/sys/net/ipv4/conf";

/// The values of a parameter that is either off or on.
const OFF: &str = "0";
const ON: &str = "1";

/// Where the parameters of interfaces for IPv6 are.
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// IPv6 on the interfaces of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodIpv6 {
    /// No address of the pod is of that family.
    Unused,
    /// The pod has addresses of that family.
    Addressed,
}

impl PodIpv6 {
    /// What the addresses of a pod come to.
    pub(super) fn of(pod: &PodLink) -> Self {
        if pod.addresses.iter().any(IpNetwork::is_ipv6) {
            Self::Addressed
        } else {
            Self::Unused
        }
    }

    /// The parameters, and their values.
    ///
    /// Off are addresses that wait for the detection of duplicates (podnet gives each address
    /// once), and advertisements that would give the pod addresses and routes that podnet knows
    /// nothing of. A pod without IPv6 does not speak it at all: what it would announce of itself
    /// the bridge would carry to each of the other pods.
    const fn parameters(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Unused => &[
                ("accept_dad", "0"),
                ("accept_ra", "0"),
                ("disable_ipv6", "1"),
            ],
            Self::Addressed => &[("accept_dad", "0"), ("accept_ra", "0")],
        }
    }
}

/// Reads all parameters that podnet may change; one that this kernel does not have is left out.
pub(super) async fn observe() -> Result<BTreeMap<Sysctl, SysctlValue>, KernelError> {
    Ok(on_thread(|| {
        let mut values = BTreeMap::new();
        for sysctl in Sysctl::ALL {
            let value = read(&sysctl)?;
            values.extend(value.map(|value| (sysctl, value)));
        }
        if values
            .get(&Sysctl::Ipv4Forward)
            .is_some_and(|value| value == OFF)
        {
            values.extend(changed_along()?);
        }
        Ok::<_, io::Error>(values)
    })
    .await??)
}

/// What to turn forwarding on changes along with it, and to turn it off again would not bring back
/// (`inet_forward_change` in the kernel).
fn changed_along() -> io::Result<Vec<(Sysctl, SysctlValue)>> {
    let mut parameters = vec![(Sysctl::Ipv4AcceptRedirects, OFF)];
    for entry in fs::read_dir(IPV4)? {
        let name = entry?.file_name();
        // That of all is the parameter that changes the others.
        let ifname = name.to_str().filter(|name| *name != "all");
        let ifname = ifname.and_then(|name| name.parse().ok());
        parameters.extend(ifname.map(|ifname| (Sysctl::Ipv4ForwardOn(ifname), ON)));
    }
    let mut values = Vec::new();
    for (sysctl, lost) in parameters {
        let value = read(&sysctl)?.filter(|value| value == lost);
        values.extend(value.map(|value| (sysctl, value)));
    }
    Ok(values)
}

/// The value of a parameter; `None` where there is none.
fn read(sysctl: &Sysctl) -> io::Result<Option<SysctlValue>> {
    match fs::read_to_string(file(sysctl)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets a parameter.
pub(super) async fn set(sysctl: &Sysctl, value: &SysctlValue) -> Result<(), OpError> {
    let (path, text) = (file(sysctl), value.clone());
    let written = on_thread(move || write(path, &text)).await;
    match written.and_then(|result| result.map_err(KernelError::from)) {
        Ok(()) => Ok(()),
        Err(error) if error.is(Errno::NotFound) => Err(OpError::new(
            OpErrorKind::Unsupported,
            format!("kernel parameter {sysctl}: this kernel does not have it"),
        )),
        Err(error) => Err(error.at(format!("kernel parameter {sysctl}"))),
    }
}

fn write(path: impl AsRef<Path>, value: &str) -> io::Result<()> {
    let written = fs::write(path, value);
    fault::point("kernel parameter");
    written
}

fn file(sysctl: &Sysctl) -> PathBuf {
    Path::new(ROOT).join(sysctl.path())
}

/// Prepares the calling thread's namespace, a new one of a pod, for interfaces to come.
pub(super) fn prepare_pod_defaults(ipv6: PodIpv6) -> io::Result<()> {
    write_ipv6("default", ipv6.parameters())
}

/// Prepares an interface of a pod, in the calling thread's namespace.
pub(super) fn prepare_pod_interface(ifname: &IfName, ipv6: PodIpv6) -> io::Result<()> {
    write_ipv6(ifname.as_str(), ipv6.parameters())
}

/// Prepares podnet's bridge: the host takes no addresses and routes from what pods advertise on it,
/// and an address of the bridge that goes does not take along those that came later in its range.
pub(super) async fn prepare_bridge(ifname: &IfName) -> Result<(), KernelError> {
    let bridge = ifname.clone();
    Ok(on_thread(move || {
        write_ipv6(bridge.as_str(), &[("accept_ra", "0")])?;
        let promote = format!("{ROOT}/net/ipv4/conf/{bridge}/promote_secondaries");
        write(promote, "1")
    })
    .await??)
}

/// Sets parameters of an interface, in the calling thread's namespace.
///
/// The way to them is gone once: the kernel looks among the directories of all namespaces for that
/// of this one, one by one (`proc_sys_compare`).
fn write_ipv6(interface: &str, parameters: &[(&str, &str)]) -> io::Result<()> {
    let interface = Path::new(IPV6).join(interface);
    let directory = match open(&interface, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        // A kernel without IPv6 has nothing to turn off.
        Err(nix::errno::Errno::ENOENT) => return Ok(()),
        result => result?,
    };
    parameters.iter().try_for_each(|(name, value)| {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(&directory, *name, flags, Mode::empty())?;
        let written = File::from(file).write_all(value.as_bytes());
        fault::point("kernel parameter");
        written
    })
}
