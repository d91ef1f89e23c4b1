//! Where a member is: which of the entries that bear its id is believed.
//!
//! A host with the token can publish under any id. A member stays where it is known to be for as
//! long as it is heard of from there; no newer record moves its traffic elsewhere before.

use std::time::Duration;

use podnet_proto::Boot;
use podnet_proto::gossip::NodeRecord;

use crate::time::Moment;
use crate::view::Entry;

/// How long nothing may have been heard of a member from where it is, for it to be believed to have
/// moved. An instance that has moved is no longer heard of from its old address; a liar cannot silence
/// one that is still there.
const SILENCE: Duration = Duration::from_secs(2);

/// The most starts that a record may be ahead of what is known of its node: an agent that starts
/// every second for half a day.
const MOST_STARTS: u64 = 1 << 16;

/// The highest start counter there is: above it gossip has no versions left.
const LAST_START: u64 = u32::MAX as u64;

/// Whether a node that is known to have started `known` times may have started `seen` times.
#[must_use]
pub const fn is_plausible_start(known: u64, seen: u64) -> bool {
    seen < LAST_START && seen <= known.saturating_add(MOST_STARTS)
}

/// What a member says of itself, of all that is said in its name: `known` is what was believed
/// last, `registered` the boot that the ledger has for it. `None` if there is nothing better.
#[must_use]
pub fn believed<'a>(
    now: Moment,
    entries: &'a [Entry],
    registered: Boot,
    known: Option<&NodeRecord>,
) -> Option<&'a NodeRecord> {
    let is_member = |entry: &Entry| entry.present && entry.boot() == Some(registered);
    let sound = entries.iter().filter_map(|entry| {
        let record = entry.record.as_deref()?;
        let here = record.endpoints.first() == Some(&entry.address);
        let last = known.map_or(LAST_START, |known| known.counter);
        let honest = here && record.is_of(entry.node) && is_plausible_start(last, record.counter);
        honest.then_some((entry, record))
    });
    let holds = |entry: &Entry| {
        let stays = known.and_then(|known| known.endpoints.first()) == Some(&entry.address);
        let heard = |seen| now.since(seen) < SILENCE;
        stays && is_member(entry) && entry.last_seen.is_none_or(heard)
    };
    let (entry, record) = sound.max_by_key(|(entry, record)| {
        (
            holds(entry),
            is_member(entry),
            record.counter,
            entry.live,
            entry.last_seen,
            entry.first_seen,
        )
    })?;
    // What a third node remembers may be older than what is known. What a live instance says of itself
    // is not older, though its counter may be lower: its disk may have been rolled back.
    let newer = known.is_none_or(|known| known.counter <= record.counter);
    (newer || (entry.live && is_member(entry))).then_some(record)
}

/// The latest start of this node that is remembered of an address where it is no longer, if that is
/// later than this one: its disk was rolled back, and peers take that record for the newer one.
#[must_use]
pub fn later_start(entries: &[Entry], own: u64) -> Option<u64> {
    let gone = entries.iter().filter(|entry| !entry.present);
    let starts = gone.filter_map(|entry| Some(entry.record.as_ref()?.counter));
    starts
        .filter(|start| *start > own && is_plausible_start(own, *start))
        .max()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddrV4;
    use std::sync::Arc;

    use podnet_proto::NodeId;
    use podnet_proto::gossip::{Key, UseRecord, encode};

    use super::*;
    use crate::view::{RawEntry, Reader};

    const KEY: [u8; 32] = [7; 32];
    const MEMBER: Boot = Boot(1);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn address(n: u8) -> SocketAddrV4 {
        SocketAddrV4::new([192, 0, 2, n].into(), 7846)
    }

    fn record(n: u8, counter: u64) -> NodeRecord {
        NodeRecord {
            name: "node2".parse().unwrap(),
            public_key: "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned(),
            endpoints: vec![address(n)],
            counter,
            agent_version: String::new(),
        }
    }

    /// What is said in the member's name at an address, last heard of when.
    fn said(n: u8, boot: Boot, record: &NodeRecord, heard: Option<u64>) -> RawEntry {
        let usage = UseRecord {
            slot: 1,
            boot,
            block: None,
        };
        RawEntry {
            node: NodeId::of_public_key(&KEY),
            address: address(n),
            live: heard.is_some(),
            last_seen: heard.map(at),
            values: Arc::new(BTreeMap::from([
                (Key::Node, encode(record).unwrap()),
                (Key::Use, encode(&usage).unwrap()),
            ])),
        }
    }

    /// Who is believed at 10 s, by the last number of its address and its counter. Everything was
    /// first heard of at 1 s.
    fn choice(known: Option<(u8, u64)>, entries: &[RawEntry]) -> Option<(u8, u64)> {
        let known = known.map(|(n, counter)| record(n, counter));
        let mut reader = Reader::default();
        reader.read(at(1), entries.to_vec());
        let view = reader.read(at(10), entries.to_vec());
        let believed = believed(at(10), view.entries(), MEMBER, known.as_ref())?;
        Some((believed.endpoints[0].ip().octets()[3], believed.counter))
    }

    #[test]
    fn a_newer_record_elsewhere_moves_nobody_who_is_heard_of_from_where_it_is() {
        let honest = said(2, MEMBER, &record(2, 5), Some(9));
        for counter in [5, 6, 1000, 1 << 17, u64::MAX] {
            let lie = said(9, MEMBER, &record(9, counter), Some(10));
            let both = [honest.clone(), lie];
            assert_eq!(choice(Some((2, 5)), &both), Some((2, 5)), "{counter}");
        }
    }

    #[test]
    fn one_that_has_moved_is_followed_once_its_old_place_is_silent() {
        let moved = said(3, MEMBER, &record(3, 6), Some(10));
        for (heard, place) in [(9, (2, 5)), (8, (3, 6)), (7, (3, 6))] {
            let old = said(2, MEMBER, &record(2, 5), Some(heard));
            assert_eq!(choice(Some((2, 5)), &[old, moved.clone()]), Some(place));
        }
        let forgotten = said(2, MEMBER, &record(2, 5), None);
        assert_eq!(choice(Some((2, 5)), &[forgotten, moved]), Some((3, 6)));
    }

    #[test]
    fn a_clone_is_not_the_member() {
        let old = said(2, MEMBER, &record(2, 5), Some(5));
        let clone = said(9, Boot(2), &record(9, 6), Some(10));
        assert_eq!(choice(None, &[old.clone(), clone.clone()]), Some((2, 5)));
        assert_eq!(choice(Some((2, 5)), &[old, clone]), Some((2, 5)));
    }

    #[test]
    fn what_cannot_be_the_members_is_not_believed() {
        let mut keyless = record(9, 6);
        keyless.public_key = String::new();
        for lie in [
            said(9, MEMBER, &keyless, Some(10)),
            said(9, MEMBER, &record(8, 6), Some(10)),
            said(9, MEMBER, &record(9, 1 << 17), Some(10)),
            said(9, MEMBER, &record(9, u64::MAX), Some(10)),
        ] {
            assert_eq!(choice(Some((2, 5)), &[lie]), None);
        }
        let worn_out = said(9, MEMBER, &record(9, u32::MAX.into()), Some(10));
        assert_eq!(choice(None, &[worn_out]), None);
    }

    #[test]
    fn a_living_instance_is_believed_though_a_later_start_of_it_is_known() {
        let rolled_back = said(2, MEMBER, &record(2, 3), Some(10));
        assert_eq!(choice(Some((2, 900)), &[rolled_back]), Some((2, 3)));
        let hearsay = said(2, MEMBER, &record(2, 3), None);
        assert_eq!(choice(Some((2, 900)), &[hearsay]), None);
    }

    #[test]
    fn a_later_start_is_remembered_of_a_place_that_is_silent() {
        let later = |entries: &[RawEntry]| {
            let mut reader = Reader::default();
            reader.read(at(1), entries.to_vec());
            later_start(reader.read(at(10), entries.to_vec()).entries(), 5)
        };
        assert_eq!(later(&[said(2, MEMBER, &record(2, 9), None)]), Some(9));
        assert_eq!(later(&[said(2, MEMBER, &record(2, 5), None)]), None);
        let twin = said(2, MEMBER, &record(2, 9), Some(10));
        assert_eq!(later(&[twin]), None, "it would never end");
        let lie = said(2, MEMBER, &record(2, u64::MAX), None);
        assert_eq!(later(&[lie]), None);
    }
}
