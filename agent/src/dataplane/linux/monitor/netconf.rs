//! Changes of `net.ipv4.ip_forward`: the one kernel parameter of podnet's that the kernel tells of.

use std::collections::BTreeSet;

use netlink_packet_core::NetlinkPayload;
use rtnetlink::MulticastGroup;

use super::super::super::{Change, ChangeScope};
use super::raw::Event;

/// The multicast group.
pub(super) const GROUP: u32 = MulticastGroup::Ipv4Netconf as u32;

/// The message that tells of a new value (`RTM_NEWNETCONF` in `linux/rtnetlink.h`).
const NEW_NETCONF: u16 = 80;

/// The length of `struct netconfmsg`, with its padding, before the attributes.
const HEADER_LEN: usize = 4;

/// Which interface it is about (`NETCONFA_IFINDEX`).
const INDEX: u16 = 1;

/// All of them (`NETCONFA_IFINDEX_ALL`).
const ALL: i32 = -1;

/// Whether packets are forwarded (`NETCONFA_FORWARDING`).
const FORWARDING: u16 = 2;

/// The change that an event tells of.
pub(super) fn change(payload: &NetlinkPayload<Event>) -> Option<Change> {
    let what = if let NetlinkPayload::InnerMessage(event) = payload {
        let number = |kind| {
            let bytes = event.attribute(HEADER_LEN, kind)?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let forwarding = number(FORWARDING)?;
        let all = event.kind == NEW_NETCONF && number(INDEX) == Some(ALL);
        all.then(|| format!("forwarding set to {forwarding}"))?
    } else if let NetlinkPayload::Overrun(_) = payload {
        "events of kernel parameters were lost".to_owned()
    } else {
        return None;
    };
    Some(Change {
        scope: ChangeScope::Sysctls,
        what,
        by: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_on_all_interfaces_is_what_counts() {
        let event = |index: i32, attribute: u16| {
            let mut payload = vec![2, 0, 0, 0];
            for (kind, value) in [(INDEX, index), (attribute, 0)] {
                payload.extend([8, 0]);
                payload.extend(kind.to_ne_bytes());
                payload.extend(value.to_ne_bytes());
            }
            NetlinkPayload::InnerMessage(Event {
                kind: NEW_NETCONF,
                payload,
            })
        };
        let found = change(&event(ALL, FORWARDING)).unwrap();
        assert_eq!(
            (found.scope, found.what.as_str()),
            (ChangeScope::Sysctls, "forwarding set to 0")
        );
        assert_eq!(change(&event(7, FORWARDING)), None);
        assert_eq!(change(&event(ALL, 3)), None);
    }
}
