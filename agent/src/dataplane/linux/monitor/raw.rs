//! Events of which podnet reads little, and which may be newer than any parser.

use std::convert::Infallible;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};

/// An event, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: u16,
    pub(super) payload: Vec<u8>,
}

impl Event {
    /// An attribute behind a header of this length.
    pub(super) fn attribute(&self, header_len: usize, kind: u16) -> Option<Vec<u8>> {
        let mut attributes = NlasIterator::new(self.payload.get(header_len..)?);
        let found = attributes.find_map(|nla| nla.ok().filter(|nla| nla.kind() == kind))?;
        Some(found.value().to_vec())
    }
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
