//! Changes of nftables, which `iptables` (its nft variant) makes too.
//!
//! The kernel reports each object that a transaction changes, and then the transaction as a whole. Others
//! may change much and often, such as the elements of a set: only what touches podnet's tables, or the rules of
//! others that forwarded packets pass, is a change.

use std::collections::BTreeSet;

use netlink_packet_core::NetlinkPayload;
use podnet_core::kernel::firewall::Chain;
use podnet_core::kernel::{Change, Kind};

use super::raw::Event;
use super::who;

/// The multicast group of nftables (`NFNLGRP_NFTABLES` in `linux/netfilter/nfnetlink.h`).
pub(super) const GROUP: u32 = 7;

/// What the kinds of all messages of nftables have in common (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u16 = 10 << 8;

/// The message that ends each transaction: a new generation of the rules, and who made it
/// (`NFT_MSG_NEWGEN`).
const NEW_GENERATION: u16 = SUBSYSTEM | 15;

/// The last of the messages about tables, chains and rules (`NFT_MSG_DELRULE`); those that follow are about
/// sets and other objects, which rules only refer to.
const LAST_OF_RULES: u16 = SUBSYSTEM | 8;

/// The length of `struct nfgenmsg`, before the attributes. It begins with the family.
const HEADER_LEN: usize = 4;

/// The name of the table that an object is in, or is (`NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`,
/// `NFTA_RULE_TABLE`).
const TABLE: u16 = 1;

/// The families of tables whose chains IPv4 packets pass that are routed (`NFPROTO_IPV4`, `NFPROTO_INET`).
const IPV4: u8 = 2;
const INET: u8 = 1;

/// The family of tables of bridges (`NFPROTO_BRIDGE`), and podnet's own among them.
const BRIDGE: u8 = 7;
const OWN_TABLE: &[u8] = b"podnet";

/// The last message about what is in tables (`NFT_MSG_DELFLOWTABLE`).
const LAST_OF_ALL: u16 = SUBSYSTEM | 24;

/// The number of the process (`NFTA_GEN_PROC_PID`).
const PROCESS_ID: u16 = 2;

/// The name of the process (`NFTA_GEN_PROC_NAME`).
const PROCESS_NAME: u16 = 3;

/// Asks for the present generation (`NFT_MSG_GETGEN`).
const GET_GENERATION: u16 = SUBSYSTEM | 16;

/// A question that the kernel answers at once.
pub(super) fn question() -> Event {
    Event {
        kind: GET_GENERATION,
        payload: vec![0; HEADER_LEN],
    }
}

/// Who has made a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// A program that podnet has started.
    OwnProgram,
    /// A thread of podnet's, which has changed elements of a pod.
    OwnThread,
    /// Somebody else.
    Other,
}

/// What the transaction has touched whose report is under way.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    touched: BTreeSet<Kind>,
}

impl Transaction {
    /// The changes that an event reports. `own` says of a process or thread whether it changes the rules
    /// for podnet.
    pub(super) fn hear(
        &mut self,
        payload: &NetlinkPayload<Event>,
        own: impl Fn(u32) -> Maker,
    ) -> Vec<Change> {
        if let NetlinkPayload::Overrun(_) = payload {
            self.touched.clear();
            return changes(
                [Kind::Firewall, Kind::Holding, Kind::OtherChains],
                "events of nftables were lost",
                &BTreeSet::new(),
            );
        }
        let NetlinkPayload::InnerMessage(event) = payload else {
            return Vec::new();
        };
        if event.kind != NEW_GENERATION {
            self.touched.extend(touched(event));
            return Vec::new();
        }
        let touched = std::mem::take(&mut self.touched);
        let by = process(event);
        match by.as_ref().map_or(Maker::Other, |(pid, _)| own(*pid)) {
            Maker::OwnThread => Vec::new(),
            // It is looked at all the same: another may have changed them just before.
            Maker::OwnProgram => changes(touched, "nftables changed by podnet", &BTreeSet::new()),
            Maker::Other => {
                let by = by.map(|(pid, name)| who::named(&name, pid));
                changes(touched, "nftables changed", &by.into_iter().collect())
            }
        }
    }
}

fn changes(
    kinds: impl IntoIterator<Item = Kind>,
    what: &str,
    by: &BTreeSet<String>,
) -> Vec<Change> {
    let change = |kind| Change {
        kind,
        what: what.to_owned(),
        by: by.clone(),
    };
    kinds.into_iter().map(change).collect()
}

/// What an event of a table, a chain or a rule may mean to podnet.
fn touched(event: &Event) -> Option<Kind> {
    let family = *event.payload.first()?;
    if family == BRIDGE && (SUBSYSTEM..=LAST_OF_ALL).contains(&event.kind) {
        let table = event.attribute(HEADER_LEN, TABLE)?;
        let own = table.strip_suffix(b"\0").unwrap_or(&table) == OWN_TABLE;
        return own.then_some(Kind::Holding);
    }
    if !(SUBSYSTEM..=LAST_OF_RULES).contains(&event.kind) {
        return None;
    }
    if !matches!(family, IPV4 | INET) {
        return None;
    }
    let table = event.attribute(HEADER_LEN, TABLE)?;
    let table = table.strip_suffix(b"\0").unwrap_or(&table);
    let own = Chain::ALL
        .iter()
        .any(|chain| chain.table().as_bytes() == table);
    Some(if own && family == IPV4 {
        Kind::Firewall
    } else {
        Kind::OtherChains
    })
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

    /// `NFT_MSG_NEWRULE` and `NFT_MSG_NEWSETELEM`.
    const NEW_RULE: u16 = SUBSYSTEM | 6;
    const NEW_ELEMENT: u16 = SUBSYSTEM | 12;

    const BY_NFT: &[u8] = b"\0\0\0\0\x08\0\x02\0\0\0\x01\x02\x08\0\x03\0nft\0";

    fn event(kind: u16, payload: &[u8]) -> NetlinkPayload<Event> {
        NetlinkPayload::InnerMessage(Event {
            kind,
            payload: payload.to_vec(),
        })
    }

    /// A message about something in a table.
    fn object(kind: u16, family: u8, table: &str) -> NetlinkPayload<Event> {
        let len = u8::try_from(table.len() + 5).unwrap();
        let head = [family, 0, 0, 0, len, 0, 1, 0];
        let mut payload = [&head, table.as_bytes(), b"\0"].concat();
        payload.resize(payload.len().next_multiple_of(4), 0);
        event(kind, &payload)
    }

    fn transaction(objects: &[NetlinkPayload<Event>], own: u32) -> Vec<Change> {
        let maker = |pid| {
            if pid == own {
                Maker::OwnProgram
            } else {
                Maker::Other
            }
        };
        let mut transaction = Transaction::default();
        for object in objects {
            assert_eq!(transaction.hear(object, maker), []);
        }
        let changes = transaction.hear(&event(NEW_GENERATION, BY_NFT), maker);
        let nothing = transaction.hear(&event(NEW_GENERATION, BY_NFT), maker);
        assert_eq!(nothing, [], "one transaction is not the next");
        changes
    }

    #[test]
    fn a_transaction_is_one_change_and_names_its_maker() {
        let rules = [
            object(NEW_RULE, IPV4, "filter"),
            object(NEW_RULE, IPV4, "nat"),
        ];
        let found = transaction(&rules, 0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, Kind::Firewall);
        assert_eq!(found[0].makers().as_deref(), Some("nft[258]"));
        let own = transaction(&rules, 258);
        assert_eq!(own[0].makers(), None);
    }

    #[test]
    fn what_touches_nothing_of_podnets_is_no_change() {
        for (kind, family, table, touched) in [
            (NEW_RULE, IPV4, "filter", Some(Kind::Firewall)),
            (SUBSYSTEM, IPV4, "nat", Some(Kind::Firewall)),
            (LAST_OF_RULES, IPV4, "nat", Some(Kind::Firewall)),
            (NEW_RULE, INET, "filter", Some(Kind::OtherChains)),
            (NEW_RULE, IPV4, "mangle", Some(Kind::OtherChains)),
            (NEW_RULE, 10, "filter", None),
            (NEW_RULE, BRIDGE, "podnet", Some(Kind::Holding)),
            (NEW_ELEMENT, BRIDGE, "podnet", Some(Kind::Holding)),
            (NEW_ELEMENT, BRIDGE, "theirs", None),
            (NEW_ELEMENT, IPV4, "filter", None),
            (NEW_ELEMENT, INET, "theirs", None),
        ] {
            let found = transaction(&[object(kind, family, table)], 0);
            let found: Vec<_> = found.into_iter().map(|change| change.kind).collect();
            assert_eq!(found, Vec::from_iter(touched), "{kind} {family} {table}");
        }
        assert_eq!(transaction(&[event(NEW_RULE, b"")], 0), []);
    }

    #[test]
    fn lost_events_may_have_told_of_anything() {
        let mut transaction = Transaction::default();
        let lost = transaction.hear(&NetlinkPayload::Overrun(Vec::new()), |_| Maker::Other);
        assert_eq!(lost.len(), 3);
    }
}
