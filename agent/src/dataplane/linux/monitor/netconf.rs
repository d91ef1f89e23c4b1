//! Changes of what is forwarded, and of how its source is checked: of podnet's kernel parameters those that
//! the kernel reports.

use std::collections::BTreeSet;

use netlink_packet_core::NetlinkPayload;
use podnet_core::kernel::{BRIDGE, Change, Kind};
use rtnetlink::MulticastGroup;

use super::raw::Event;

/// The multicast group.
pub(super) const GROUP: u32 = MulticastGroup::Ipv4Netconf as u32;

/// The message that reports a new value (`RTM_NEWNETCONF` in `linux/rtnetlink.h`).
const NEW_NETCONF: u16 = 80;

/// The length of `struct netconfmsg`, with its padding, before the attributes.
const HEADER_LEN: usize = 4;

/// Which device it is about (`NETCONFA_IFINDEX`).
const INDEX: u16 = 1;

/// All of them (`NETCONFA_IFINDEX_ALL`): the switch.
const ALL: i32 = -1;

/// Whether packets are forwarded (`NETCONFA_FORWARDING`).
const FORWARDING: u16 = 2;

/// Whether the source of packets is checked (`NETCONFA_RP_FILTER`). The event of a new device has both: such
/// a device has an event of its own as soon as a route leads out of it.
const RP_FILTER: u16 = 3;

/// The change that an event reports. Host ends of pods, and devices that were not reported before, have no
/// name here.
pub(super) fn change(
    payload: &NetlinkPayload<Event>,
    name: impl Fn(u32) -> Option<String>,
) -> Option<Change> {
    let (touched, what) = if let NetlinkPayload::InnerMessage(event) = payload {
        let number = |kind| {
            let bytes = event.attribute(HEADER_LEN, kind)?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        if event.kind != NEW_NETCONF {
            return None;
        }
        let index = number(INDEX)?;
        // Podnet sets both on its bridge. Elsewhere either decides whether packets of pods are let in.
        let (parameter, value) = match (number(FORWARDING), number(RP_FILTER)) {
            (Some(on), None) => ("forwarding", on),
            (None, Some(value)) => ("rp_filter", value),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let device = if index == ALL {
            "all devices".to_owned()
        } else {
            name(index.try_into().ok()?)?
        };
        let touched = if device == BRIDGE {
            Kind::Bridge
        } else {
            Kind::Forwarding
        };
        (touched, format!("{parameter} on {device} set to {value}"))
    } else if let NetlinkPayload::Overrun(_) = payload {
        let what = "events of kernel parameters were lost".to_owned();
        (Kind::Everything, what)
    } else {
        return None;
    };
    Some(Change {
        kind: touched,
        what,
        by: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(attributes: &[(u16, i32)]) -> NetlinkPayload<Event> {
        let mut payload = vec![2, 0, 0, 0];
        for (kind, value) in attributes {
            payload.extend([8, 0]);
            payload.extend(kind.to_ne_bytes());
            payload.extend(value.to_ne_bytes());
        }
        NetlinkPayload::InnerMessage(Event {
            kind: NEW_NETCONF,
            payload,
        })
    }

    fn told(attributes: &[(u16, i32)]) -> Option<(Kind, String)> {
        let name = |index| match index {
            1 => Some(BRIDGE.to_owned()),
            2 => Some("eth0".to_owned()),
            _ => None,
        };
        let change = change(&event(attributes), name)?;
        Some((change.kind, change.what))
    }

    #[test]
    fn what_lets_packets_in_by_all_devices_and_by_known_ones_is_told_of() {
        for (parameter, kind) in [("forwarding", FORWARDING), ("rp_filter", RP_FILTER)] {
            for (index, touched, device) in [
                (ALL, Kind::Forwarding, "all devices"),
                (1, Kind::Bridge, "podnet0"),
                (2, Kind::Forwarding, "eth0"),
            ] {
                let what = format!("{parameter} on {device} set to 0");
                assert_eq!(told(&[(INDEX, index), (kind, 0)]), Some((touched, what)));
            }
            assert_eq!(told(&[(INDEX, 7), (kind, 0)]), None, "a host end");
        }
        let new_device = [(INDEX, 2), (FORWARDING, 0), (RP_FILTER, 0)];
        assert_eq!(told(&new_device), None);
    }
}
