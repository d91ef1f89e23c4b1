//! Changes of nftables, which `iptables` (its nft variant) makes too.

use std::collections::BTreeSet;

use netlink_packet_core::NetlinkPayload;

use super::super::super::{Change, ChangeScope};
use super::raw::Event;
use super::who;

/// The multicast group of nftables (`NFNLGRP_NFTABLES` in `linux/netfilter/nfnetlink.h`).
pub(super) const GROUP: u32 = 7;

/// The message that ends each transaction: a new generation of the rules, and who made it
/// (`NFNL_SUBSYS_NFTABLES`, `NFT_MSG_NEWGEN`).
const NEW_GENERATION: u16 = 10 << 8 | 15;

/// The length of `struct nfgenmsg`, before the attributes.
const HEADER_LEN: usize = 4;

/// The number of the process (`NFTA_GEN_PROC_PID`).
const PROCESS_ID: u16 = 2;

/// The name of the process (`NFTA_GEN_PROC_NAME`).
const PROCESS_NAME: u16 = 3;

/// Asks for the present generation (`NFT_MSG_GETGEN`).
const GET_GENERATION: u16 = 10 << 8 | 16;

/// A question that the kernel answers at once.
pub(super) fn question() -> Event {
    Event {
        kind: GET_GENERATION,
        payload: vec![0; HEADER_LEN],
    }
}

/// The change that an event tells of. `own` is the process that changes the rules for podnet.
pub(super) fn change(payload: &NetlinkPayload<Event>, own: u32) -> Option<Change> {
    let scope = ChangeScope::Firewall;
    if let NetlinkPayload::InnerMessage(event) = payload {
        (event.kind == NEW_GENERATION).then(|| {
            let by = process(event);
            let (what, by) = match by {
                // It is looked at all the same: another may have changed them just before.
                Some((pid, _)) if pid == own => ("nftables changed by podnet", None),
                by => (
                    "nftables changed",
                    by.map(|(pid, name)| who::named(&name, pid)),
                ),
            };
            Change {
                scope,
                what: what.to_owned(),
                by: by.into_iter().collect(),
            }
        })
    } else if let NetlinkPayload::Overrun(_) = payload {
        Some(Change {
            scope,
            what: "events of nftables were lost".to_owned(),
            by: BTreeSet::new(),
        })
    } else {
        None
    }
}

fn process(event: &Event) -> Option<(u32, String)> {
    let pid = event.attribute(HEADER_LEN, PROCESS_ID)?;
    let name = event.attribute(HEADER_LEN, PROCESS_NAME)?;
    let name = name.split(|byte| *byte == 0).next()?;
    let pid = u32::from_be_bytes(pid.try_into().ok()?);
    Some((pid, String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, payload: &[u8]) -> NetlinkPayload<Event> {
        NetlinkPayload::InnerMessage(Event {
            kind,
            payload: payload.to_vec(),
        })
    }

    #[test]
    fn a_transaction_is_one_change_and_names_its_maker() {
        let payload = b"\0\0\0\0\x08\0\x02\0\0\0\x01\x02\x08\0\x03\0nft\0";
        let found = change(&event(NEW_GENERATION, payload), 0).unwrap();
        assert_eq!(found.scope, ChangeScope::Firewall);
        assert_eq!(found.makers().as_deref(), Some("nft[258]"));
        let own = change(&event(NEW_GENERATION, payload), 258).unwrap();
        assert_eq!(own.makers(), None);
        assert_eq!(change(&event(NEW_GENERATION - 1, payload), 0), None);
        let unknown = change(&event(NEW_GENERATION, b""), 0).unwrap();
        assert_eq!(unknown.makers(), None);
        assert!(change(&NetlinkPayload::Overrun(Vec::new()), 0).is_some());
    }
}
