//! Which datagrams were seen before.

use std::collections::HashMap;

use super::header::{MAX_FRAGMENTS, MessageId, SenderInstance};

/// How far back in a sender's messages a new datagram is still distinguished from a replay.
const WINDOW: usize = 128;

/// The most senders that are remembered: four times the largest cluster, about 1 MB.
const MAX_SENDERS: usize = 1024;

/// Remembers the datagrams of each sender. Only authentic datagrams may be given to it, so that no
/// host without a key can push a sender out.
///
/// A sender that is pushed out, or a receiver that restarts, takes an old datagram for new. That
/// is harmless: gossip is monotonic, and what comes late or twice is only a delayed message.
#[derive(Debug, Default)]
pub(super) struct ReplayGuard {
    senders: HashMap<SenderInstance, Sender>,
    uses: u64,
}

#[derive(Debug)]
struct Sender {
    window: Box<Window>,
    last_use: u64,
}

impl ReplayGuard {
    /// Whether a datagram is new; from now on it is not.
    pub(super) fn accept(&mut self, message: MessageId, index: u8) -> bool {
        self.uses += 1;
        if !self.senders.contains_key(&message.sender) && self.senders.len() >= MAX_SENDERS {
            self.forget_least_used();
        }
        let sender = self
            .senders
            .entry(message.sender)
            .or_insert_with(|| Sender {
                window: Box::new(Window::starting_at(message.counter)),
                last_use: 0,
            });
        sender.last_use = self.uses;
        sender.window.accept(message.counter, index)
    }

    fn forget_least_used(&mut self) {
        let least = self.senders.iter().min_by_key(|(_, s)| s.last_use);
        if let Some((&sender, _)) = least {
            self.senders.remove(&sender);
        }
    }
}

/// The last [`WINDOW`] messages of a sender, with one bit for each fragment that came.
#[derive(Debug)]
struct Window {
    highest: u64,
    fragments: [u64; WINDOW],
}

impl Window {
    const fn starting_at(counter: u64) -> Self {
        Self {
            highest: counter,
            fragments: [0; WINDOW],
        }
    }

    fn accept(&mut self, counter: u64, index: u8) -> bool {
        if index >= MAX_FRAGMENTS {
            return false;
        }
        if counter > self.highest {
            let skipped = (counter - self.highest).min(WINDOW as u64);
            for step in 0..skipped {
                *self.slot(counter - step) = 0;
            }
            self.highest = counter;
        } else if self.highest - counter >= WINDOW as u64 {
            return false;
        }
        let slot = self.slot(counter);
        let bit = 1 << index;
        let new = *slot & bit == 0;
        *slot |= bit;
        new
    }

    const fn slot(&mut self, counter: u64) -> &mut u64 {
        &mut self.fragments[(counter % WINDOW as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn message(sender: u64, counter: u64) -> MessageId {
        MessageId {
            sender: SenderInstance(sender.to_be_bytes()),
            counter,
        }
    }

    #[test]
    fn each_fragment_passes_once() {
        let mut guard = ReplayGuard::default();
        for index in [0, 63, 7] {
            assert!(guard.accept(message(1, 5), index));
            assert!(!guard.accept(message(1, 5), index));
            assert!(guard.accept(message(2, 5), index), "another sender");
        }
    }

    #[test]
    fn order_does_not_matter_inside_the_window() {
        let mut guard = ReplayGuard::default();
        assert!(guard.accept(message(1, 1000), 0));
        assert!(guard.accept(message(1, 873), 0), "127 back");
        assert!(!guard.accept(message(1, 873), 0));
        assert!(!guard.accept(message(1, 872), 0), "128 back");
        assert!(guard.accept(message(1, u64::MAX), 0));
        assert!(!guard.accept(message(1, 1000), 0));
    }

    #[test]
    fn senders_are_bounded_and_the_least_used_goes_first() {
        let mut guard = ReplayGuard::default();
        for sender in 0..MAX_SENDERS as u64 {
            assert!(guard.accept(message(sender, 0), 0));
        }
        assert!(!guard.accept(message(0, 0), 0), "known, and used again");
        assert!(guard.accept(message(u64::MAX, 0), 0));
        assert_eq!(guard.senders.len(), MAX_SENDERS);
        assert!(!guard.accept(message(0, 0), 0), "still known");
        assert!(guard.accept(message(1, 0), 0), "forgotten");
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(
            datagrams in prop::collection::vec((0_u64..400, 0_u8..64), 1..300)
        ) {
            let mut guard = ReplayGuard::default();
            let mut seen = HashSet::new();
            let mut highest = datagrams[0].0;
            for (counter, index) in datagrams {
                highest = highest.max(counter);
                let recent = highest - counter < WINDOW as u64;
                let expected = recent && seen.insert((counter, index));
                prop_assert_eq!(guard.accept(message(9, counter), index), expected);
            }
        }
    }
}
