//! What the transport did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a received datagram, or the message that it belongs to, went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// It does not begin as podnet's datagrams do.
    Magic,
    /// It is of another version of the transport.
    Version,
    /// It is sealed with a key that is not on the ring.
    UnknownKey,
    /// It is forged or damaged.
    Authentication,
    /// It was seen before, or is too old to know that.
    Replay,
    /// It is the node's own, come back.
    Own,
    /// It is too short or too long, or its content cannot be read.
    Malformed,
    /// Not all fragments of the message came in time, or there was no room for it.
    Reassembly,
}

impl Dropped {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::Magic,
        Self::Version,
        Self::UnknownKey,
        Self::Authentication,
        Self::Replay,
        Self::Own,
        Self::Malformed,
        Self::Reassembly,
    ];

    /// The reason's name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Magic => "magic",
            Self::Version => "version",
            Self::UnknownKey => "unknown_key",
            Self::Authentication => "authentication",
            Self::Replay => "replay",
            Self::Own => "own",
            Self::Malformed => "malformed",
            Self::Reassembly => "reassembly",
        }
    }
}

/// The transport's counters. They only rise, and go on over restarts of gossip within a process.
#[derive(Debug, Default)]
pub struct Counters {
    datagrams_in: AtomicU64,
    bytes_in: AtomicU64,
    datagrams_out: AtomicU64,
    bytes_out: AtomicU64,
    unsent: AtomicU64,
    nudges_dropped: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl Counters {
    /// Datagrams received, also the dropped ones.
    #[must_use]
    pub fn datagrams_in(&self) -> u64 {
        self.datagrams_in.load(Ordering::Relaxed)
    }

    /// Their bytes, without IP and UDP headers.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Datagrams handed to the kernel.
    #[must_use]
    pub fn datagrams_out(&self) -> u64 {
        self.datagrams_out.load(Ordering::Relaxed)
    }

    /// Their bytes, without IP and UDP headers.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Datagrams that the kernel did not take (a full buffer, no route, a local firewall), and
    /// messages that were too long to seal.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Handshakes that were asked for and exceeded the rate.
    #[must_use]
    pub fn nudges_dropped(&self) -> u64 {
        self.nudges_dropped.load(Ordering::Relaxed)
    }

    /// Datagrams and messages that were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_in(&self, bytes: usize) {
        self.datagrams_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, bytes: usize) {
        self.datagrams_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped_nudge(&self) {
        self.nudges_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, reason: Dropped, times: usize) {
        self.dropped[reason as usize].fetch_add(times as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let counters = Counters::default();
        for (times, reason) in Dropped::ALL.into_iter().enumerate() {
            counters.count_dropped(reason, times + 1);
        }
        for (times, reason) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(counters.dropped(reason), times as u64 + 1, "{reason:?}");
        }
    }
}
