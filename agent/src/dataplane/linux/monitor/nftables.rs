//! Changes of nftables, which `iptables` (its nft variant) makes too.

use std::convert::Infallible;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable, NlasIterator,
};

use super::super::super::{Change, ChangeScope};

/// The multicast group of nftables (`NFNLGRP_NFTABLES` in `linux/netfilter/nfnetlink.h`).
pub(super) const GROUP: u32 = 7;

/// The message that ends each transaction: a new generation of the rules, and who made it
/// (`NFNL_SUBSYS_NFTABLES`, `NFT_MSG_NEWGEN`).
const NEW_GENERATION: u16 = 10 << 8 | 15;

/// The length of `struct nfgenmsg`, before the attributes.
const HEADER_LEN: usize = 4;

/// The name of the process (`NFTA_GEN_PROC_NAME`).
const PROCESS_NAME: u16 = 3;

/// An event, as it came: what a transaction did is of no interest, and may be newer than any
/// parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    kind: u16,
    payload: Vec<u8>,
}

impl NetlinkDeserializable for Event {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            kind: header.message_type,
            payload: payload.to_vec(),
        })
    }
}

impl NetlinkSerializable for Event {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

/// The change that an event tells of.
pub(super) fn change(payload: &NetlinkPayload<Event>) -> Option<Change> {
    let scope = ChangeScope::Firewall;
    if let NetlinkPayload::InnerMessage(event) = payload {
        (event.kind == NEW_GENERATION).then(|| {
            let process = process(event).unwrap_or_else(|| "an unknown process".to_owned());
            Change {
                scope,
                what: format!("nftables changed by {process}"),
            }
        })
    } else if let NetlinkPayload::Overrun(_) = payload {
        Some(Change {
            scope,
            what: "events of nftables were lost".to_owned(),
        })
    } else {
        None
    }
}

fn process(event: &Event) -> Option<String> {
    let attributes = NlasIterator::new(event.payload.get(HEADER_LEN..)?);
    let name = attributes
        .filter_map(Result::ok)
        .find(|nla| nla.kind() == PROCESS_NAME)?;
    let name = name.value().split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
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
        let payload = b"\0\0\0\0\x08\0\x03\0nft\0";
        let found = change(&event(NEW_GENERATION, payload)).unwrap();
        assert_eq!(found.what, "nftables changed by nft");
        assert_eq!(found.scope, ChangeScope::Firewall);
        assert_eq!(change(&event(NEW_GENERATION - 1, payload)), None);
        assert!(change(&event(NEW_GENERATION, b"")).is_some());
        assert!(change(&NetlinkPayload::Overrun(Vec::new())).is_some());
    }
}
