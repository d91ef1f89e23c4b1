//! A token bucket.

use std::time::{Duration, Instant};

/// Lets a burst through, and then so many a second.
#[derive(Debug)]
pub(super) struct TokenBucket {
    burst: u32,
    refill: Duration,
    tokens: u32,
    refilled: Instant,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that gains one token per `refill`.
    pub(super) const fn new(burst: u32, refill: Duration, now: Instant) -> Self {
        Self {
            burst,
            refill,
            tokens: burst,
            refilled: now,
        }
    }

    /// Takes a token, if there is one beyond the `reserve`.
    pub(super) fn take(&mut self, reserve: u32, now: Instant) -> bool {
        while self.tokens < self.burst
            && now.saturating_duration_since(self.refilled) >= self.refill
        {
            self.tokens += 1;
            self.refilled += self.refill;
        }
        // A full bucket gains nothing by waiting.
        if self.tokens == self.burst {
            self.refilled = now;
        }
        let taken = self.tokens > reserve;
        self.tokens -= u32::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, Duration::from_millis(100), start);
        let mut taken = |after| {
            let now = start + Duration::from_millis(after);
            std::iter::from_fn(|| bucket.take(0, now).then_some(())).count()
        };
        assert_eq!(taken(0), 3);
        assert_eq!(taken(99), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(350), 2);
        assert_eq!(taken(400), 1);
        assert_eq!(taken(100_000), 3, "no more than the burst");
        assert_eq!(taken(0), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn a_reserve_is_for_those_who_may_touch_it() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(3, Duration::from_millis(100), now);
        assert!(bucket.take(2, now));
        assert!(!bucket.take(2, now));
        assert!(bucket.take(0, now));
    }
}
