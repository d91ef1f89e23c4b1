//! Messages put together from their fragments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::header::{MessageId, SenderInstance};

/// How long a message waits for its fragments.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most incomplete messages of one sender.
const MAX_PENDING_OF_SENDER: usize = 256;

/// The most bytes that all incomplete messages hold, their bookkeeping included.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What an incomplete message costs before any fragment: it bounds their number as well.
const PENDING_COST: usize = 512;

/// Puts messages together. A lost fragment loses its message; gossip repairs that in its next
/// round. Under pressure the oldest messages go first: they are the least likely to be completed.
#[derive(Debug, Default)]
pub(super) struct Reassembler {
    pending: BTreeMap<MessageId, Pending>,
    by_age: BTreeSet<(Instant, MessageId)>,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Added {
    /// The message, if that was its last fragment.
    pub(super) message: Option<Vec<u8>>,
    /// How many messages were given up: too old, or in the way.
    pub(super) abandoned: usize,
}

impl Reassembler {
    /// Takes fragment `index` of `count`. The caller has checked that it is new, and that
    /// `index < count`.
    pub(super) fn add(
        &mut self,
        id: MessageId,
        index: u8,
        count: u8,
        chunk: Vec<u8>,
        now: Instant,
    ) -> Added {
        if count == 1 {
            return Added {
                message: Some(chunk),
                abandoned: 0,
            };
        }
        let mut abandoned = self.make_room(id, chunk.len(), now);
        let pending = self.pending.entry(id).or_insert_with(|| {
            self.by_age.insert((now, id));
            self.bytes += PENDING_COST;
            Pending {
                since: now,
                parts: vec![None; usize::from(count)],
                missing: usize::from(count),
                bytes: PENDING_COST,
            }
        });
        // A message whose fragments disagree on the count is never completed.
        match pending.parts.get_mut(usize::from(index)) {
            Some(part @ None) => {
                pending.bytes += chunk.len();
                self.bytes += chunk.len();
                pending.missing -= 1;
                *part = Some(chunk);
            }
            Some(Some(_)) | None => {
                self.remove(id);
                abandoned += 1;
                return Added {
                    message: None,
                    abandoned,
                };
            }
        }
        let complete = pending.missing == 0;
        Added {
            message: if complete { self.remove(id) } else { None },
            abandoned,
        }
    }

    /// Gives up messages that are too old, and those whose room a fragment of `id` needs.
    fn make_room(&mut self, id: MessageId, len: usize, now: Instant) -> usize {
        let mut abandoned = 0;
        while let Some(&(since, oldest)) = self.by_age.first() {
            let late = now.saturating_duration_since(since) >= PATIENCE;
            if !late && self.bytes + PENDING_COST + len <= MAX_BYTES {
                break;
            }
            self.remove(oldest);
            abandoned += 1;
        }
        if !self.pending.contains_key(&id) {
            let mut of_sender = self.pending.range(all_of(id.sender)).map(|(id, _)| *id);
            let oldest = of_sender.next();
            if let Some(oldest) = oldest
                && of_sender.count() + 1 >= MAX_PENDING_OF_SENDER
            {
                self.remove(oldest);
                abandoned += 1;
            }
        }
        abandoned
    }

    fn remove(&mut self, id: MessageId) -> Option<Vec<u8>> {
        let pending = self.pending.remove(&id)?;
        self.by_age.remove(&(pending.since, id));
        self.bytes -= pending.bytes;
        let parts: Option<Vec<Vec<u8>>> = pending.parts.into_iter().collect();
        parts.map(|parts| parts.concat())
    }
}

fn all_of(sender: SenderInstance) -> std::ops::RangeInclusive<MessageId> {
    let at = |counter| MessageId { sender, counter };
    at(0)..=at(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sender: u64, counter: u64) -> MessageId {
        MessageId {
            sender: SenderInstance(sender.to_be_bytes()),
            counter,
        }
    }

    fn add(r: &mut Reassembler, id: MessageId, index: u8, count: u8, now: Instant) -> Added {
        r.add(id, index, count, vec![index; 3], now)
    }

    const NOTHING: Added = Added {
        message: None,
        abandoned: 0,
    };

    fn is_empty(r: &Reassembler) -> bool {
        r.pending.is_empty() && r.by_age.is_empty() && r.bytes == 0
    }

    #[test]
    fn fragments_may_come_in_any_order_and_interleaved() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        assert_eq!(add(&mut r, id(1, 1), 2, 3, now), NOTHING);
        assert_eq!(add(&mut r, id(2, 1), 0, 2, now), NOTHING);
        assert_eq!(add(&mut r, id(1, 1), 0, 3, now), NOTHING);
        let last = add(&mut r, id(1, 1), 1, 3, now);
        assert_eq!(last.message.unwrap(), [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        let last = add(&mut r, id(2, 1), 1, 2, now);
        assert_eq!(last.message.unwrap(), [0, 0, 0, 1, 1, 1]);
        assert!(is_empty(&r));
    }

    #[test]
    fn a_lost_fragment_loses_its_message_after_a_second() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        add(&mut r, id(1, 1), 0, 2, now);
        let late = add(&mut r, id(1, 1), 1, 2, now + PATIENCE);
        assert_eq!(late.message, None);
        assert_eq!(late.abandoned, 1);
        assert_eq!(r.pending.len(), 1, "a new wait for the other fragment");
    }

    #[test]
    fn a_message_that_contradicts_itself_is_given_up() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        add(&mut r, id(1, 1), 0, 2, now);
        assert_eq!(add(&mut r, id(1, 1), 5, 6, now).abandoned, 1);
        add(&mut r, id(1, 2), 0, 2, now);
        assert_eq!(add(&mut r, id(1, 2), 0, 2, now).abandoned, 1);
        assert!(is_empty(&r));
    }

    #[test]
    fn one_sender_cannot_push_out_another() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        add(&mut r, id(2, 0), 0, 2, now);
        let mut abandoned = 0;
        for counter in 0..1000 {
            abandoned += add(&mut r, id(1, counter), 0, 2, now).abandoned;
        }
        assert_eq!(abandoned, 1000 - MAX_PENDING_OF_SENDER);
        assert_eq!(r.pending.len(), MAX_PENDING_OF_SENDER + 1);
        assert!(add(&mut r, id(2, 0), 1, 2, now).message.is_some());
    }

    #[test]
    fn memory_is_bounded_under_a_flood() {
        let (mut r, now) = (Reassembler::default(), Instant::now());
        for flood in 0..40_000_u64 {
            r.add(id(flood % 2000, flood), 0, 64, vec![0; 1153], now);
            assert!(r.bytes <= MAX_BYTES);
        }
        assert!(r.pending.len() <= MAX_BYTES / PENDING_COST);
        assert_eq!(r.pending.len(), r.by_age.len());
        let sum: usize = r.pending.values().map(|pending| pending.bytes).sum();
        assert_eq!(sum, r.bytes);
        let later = add(&mut r, id(0, 0), 0, 2, now + PATIENCE);
        assert!(later.abandoned > 0);
        assert_eq!(r.pending.len(), 1);
    }
}
