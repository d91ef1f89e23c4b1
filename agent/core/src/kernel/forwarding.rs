//! Which devices the host forwards IPv4 packets from.
//!
//! The kernel forwards what comes in by a device if that device's own parameter says so
//! (`IN_DEV_FORWARD` in `ip_route_input_slow`). `net.ipv4.ip_forward` is no condition but a switch:
//! writing it sets that parameter on all devices, and on those to come. So podnet opens single
//! devices, and takes the switch for the word of the host's owner: that it is a router, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::conflict::Disputed;
use super::desired::Desired;
use super::diff::Draft;
use super::firewall::Guard;
use super::kinds::{Kind, Kinds};
use super::link::IfName;
use super::observed::Observed;
use super::op::Operation;
use super::sysctl::LinkParameter;

/// What of the host's packets is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// Whether the owner has declared this host a router (`net.ipv4.ip_forward`).
    pub router: bool,
    /// The value of `net.ipv4.ip_forward`.
    pub switch: String,
    /// The devices that routes of the host lead out of, and those that were asked for and are there;
    /// except for loopback and podnet's own.
    pub devices: BTreeMap<IfName, Ingress>,
    /// The closed devices that routes of the host lead out of, and that podnet cannot open: their names keep
    /// any rule from keeping strangers out.
    pub unguardable: BTreeSet<IfName>,
}

/// What comes in by a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingress {
    /// Whether it is forwarded (`net.ipv4.conf.DEVICE.forwarding`).
    pub on: bool,
    /// Whether a route of the host leads out of the device: then the traffic of pods comes back by it.
    pub way: bool,
    /// Whether the device is a bridge.
    pub bridge: bool,
}

impl Forwarding {
    /// What should be forwarded: whatever comes back to pods.
    #[must_use]
    pub fn wanted(&self) -> BTreeMap<IfName, bool> {
        let ways = self.devices.iter().filter(|(_, ingress)| ingress.way);
        ways.map(|(device, _)| (device.clone(), true)).collect()
    }

    /// The guards that let packets from some devices reach only pods: the devices that podnet has
    /// opened, or is about to open. None if the owner has declared this host a router.
    #[must_use]
    pub fn guards(&self, opened: &BTreeSet<IfName>) -> Vec<Guard> {
        let needs_guard = |(device, ingress): &(&IfName, &Ingress)| {
            opened.contains(*device) || (ingress.way && !ingress.on)
        };
        let devices = self.devices.iter().filter(|_| !self.router);
        let guarded = devices.filter(needs_guard);
        let guard = |(device, ingress): (&IfName, &Ingress)| Guard {
            device: device.clone(),
            bridge: ingress.bridge,
        };
        guarded.map(guard).collect()
    }

    /// The devices that podnet has opened and closes when the node leaves. None if the owner has
    /// declared this host a router since.
    #[must_use]
    pub fn closing(&self, opened: &BTreeSet<IfName>) -> BTreeMap<IfName, bool> {
        let open = self.still_open(opened).filter(|_| !self.router);
        open.map(|device| (device.clone(), false)).collect()
    }

    /// The devices that podnet has opened and that are still open.
    pub fn still_open<'a>(
        &'a self,
        opened: &'a BTreeSet<IfName>,
    ) -> impl Iterator<Item = &'a IfName> {
        let on = |device: &&IfName| self.devices.get(*device).is_some_and(|ingress| ingress.on);
        opened.iter().filter(on)
    }

    /// Whether podnet has to open a device whose owner keeps it closed to strangers.
    #[must_use]
    pub fn opens_under_guard(&self) -> bool {
        let closed = |ingress: &Ingress| ingress.way && !ingress.on;
        !self.router && self.devices.values().any(closed)
    }
}

/// The path of a device's parameter below `/proc/sys`.
#[must_use]
pub fn forwarding_path(device: &IfName) -> String {
    let (directory, name) = path_around();
    format!("{directory}{device}{name}")
}

/// The device whose parameter has this path below `/proc/sys`.
#[must_use]
pub fn forwarding_device(path: &str) -> Option<IfName> {
    let (directory, name) = path_around();
    let device = path.strip_prefix(&directory)?.strip_suffix(&name)?;
    device.parse().ok().filter(can_be_guarded)
}

fn path_around() -> (String, String) {
    let parameter = LinkParameter::Forwarding;
    (
        format!("{}/", parameter.directory()),
        format!("/{}", parameter.name()),
    )
}

/// Whether a device of this name can be opened under guard. The kernel has no parameters for a device
/// whose name stands for all devices, or for those to come; and iptables reads a `+` at the end of a name
/// as a wildcard, and quotes as its own.
#[must_use]
pub fn can_be_guarded(device: &IfName) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@#~=,".contains(&byte);
    let name = device.as_str();
    !matches!(name, "all" | "default") && name.bytes().all(plain)
}

/// A change of what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets whether IPv4 packets that come in by a device are forwarded.
    Set {
        /// The device.
        device: IfName,
        /// Whether they are forwarded.
        on: bool,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Set { device, on } = self;
        let parameter = LinkParameter::Forwarding.on(device);
        write!(f, "set {parameter} to {}", u8::from(*on))
    }
}

impl Operation for Op {
    fn found(&self, _desired: &Desired, observed: &Observed) -> Vec<String> {
        let Self::Set { device, .. } = self;
        let forwarding = observed.forwarding.as_ref();
        let ingress = forwarding.and_then(|found| found.devices.get(device));
        let words = ingress.map(|ingress| u8::from(ingress.on).to_string());
        words.into_iter().collect()
    }

    fn is_drift(&self, held: &Desired) -> bool {
        let Self::Set { device, on } = self;
        held.forwarding.get(device) == Some(on)
    }

    fn keep(&self, held: &mut Desired, before: &Desired) {
        let Self::Set { device, .. } = self;
        match before.forwarding.get(device) {
            Some(on) => drop(held.forwarding.insert(device.clone(), *on)),
            None => drop(held.forwarding.remove(device)),
        }
    }

    fn causes(&self) -> Vec<Kind> {
        vec![Kind::Forwarding]
    }
}

/// Keeps what was known of forwarding before.
pub(super) fn keep(held: &mut Desired, before: &Desired) {
    held.forwarding.clone_from(&before.forwarding);
}

pub(super) fn difference(desired: &Desired, observed: &Observed, draft: &mut Draft) {
    let Some(found) = &observed.forwarding else {
        return;
    };
    for (device, &on) in &desired.forwarding {
        let ingress = found.devices.get(device);
        if ingress.is_some_and(|ingress| ingress.on != on) {
            let device = device.clone();
            draft.add(Op::Set { device, on });
        }
    }
    if desired.bridge.is_some() {
        for device in &found.unguardable {
            let found = "the device's name, by which no rule could keep strangers out,";
            draft.contest(Unguardable(device.clone()), found);
        }
    }
}

/// A device that podnet cannot open, since its name keeps it from being guarded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unguardable(pub IfName);

impl fmt::Display for Unguardable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&LinkParameter::Forwarding.on(&self.0))
    }
}

impl Disputed for Unguardable {
    fn cure(&self) -> String {
        "give the device a name of letters, digits, '-', '.' and '_', or set the parameter to 1 \
         yourself; until then pods get no answers by this device"
            .to_owned()
    }

    fn looks(&self) -> Kinds {
        Kinds::from([Kind::Forwarding])
    }

    fn cause(&self) -> Kind {
        Kind::OtherRoutes
    }

    fn keep(&self, _held: &mut Desired, _before: &Desired) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IfName {
        text.parse().unwrap()
    }

    fn host(router: bool, devices: &[(&str, bool, bool)]) -> Forwarding {
        let devices = devices.iter().map(|(device, on, way)| {
            let ingress = Ingress {
                on: *on,
                way: *way,
                bridge: false,
            };
            (name(device), ingress)
        });
        Forwarding {
            router,
            devices: devices.collect(),
            ..Forwarding::default()
        }
    }

    fn guarded(forwarding: &Forwarding, opened: &[&str]) -> Vec<String> {
        let opened = opened.iter().map(|device| name(device)).collect();
        let guards = forwarding.guards(&opened).into_iter();
        guards.map(|guard| guard.device.to_string()).collect()
    }

    #[test]
    fn what_podnet_opens_is_guarded_and_what_others_opened_is_not() {
        let host = host(
            false,
            &[
                ("eth0", false, true),
                ("eth1", true, true),
                ("tun0", true, false),
            ],
        );
        assert_eq!(guarded(&host, &[]), ["eth0"], "before it is opened");
        assert_eq!(guarded(&host, &["eth0", "tun0", "gone"]), ["eth0", "tun0"]);
        assert!(host.opens_under_guard());
        let wanted = BTreeMap::from([(name("eth0"), true), (name("eth1"), true)]);
        assert_eq!(host.wanted(), wanted);
    }

    #[test]
    fn a_router_needs_no_guard_and_stays_one() {
        let opened = BTreeSet::from([name("eth0"), name("gone")]);
        for router in [false, true] {
            let host = host(router, &[("eth0", true, true)]);
            assert_eq!(guarded(&host, &["eth0"]).is_empty(), router);
            assert_eq!(host.closing(&opened).is_empty(), router);
            assert_eq!(host.still_open(&opened).count(), 1);
            assert!(!host.opens_under_guard());
        }
        assert!(!host(true, &[("eth0", false, true)]).opens_under_guard());
    }

    #[test]
    fn a_device_is_known_by_the_path_of_its_parameter() {
        let path = "net/ipv4/conf/eth0.7/forwarding";
        assert_eq!(forwarding_path(&name("eth0.7")), path);
        assert_eq!(forwarding_device(path), Some(name("eth0.7")));
        for other in [
            "net/ipv4/conf/all/forwarding",
            "net/ipv4/conf/default/forwarding",
            "net/ipv4/conf/../forwarding",
            "net/ipv4/conf/eth0/accept_redirects",
            "net/ipv4/conf/eth+/forwarding",
            "net/ipv4/ip_forward",
        ] {
            assert_eq!(forwarding_device(other), None, "{other}");
        }
    }
}
