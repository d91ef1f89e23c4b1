//! How much of the time may be spent on looking at what other programs change.

use std::time::Duration;

use crate::time::Moment;

/// One part of the time in so many: one in twenty is 5 %.
const PARTS: u32 = 20;

/// How much may be spent at once, if nothing was spent before.
const MOST: Duration = Duration::from_secs(2);

/// What is left to spend. A look may cost more than that; the next one waits until it is made up for.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    owed: Duration,
    /// When that was true.
    counted: Moment,
}

impl Allowance {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            left: MOST,
            owed: Duration::ZERO,
            counted: now,
        }
    }

    /// A look that has just ended took this long. The next one waits for what this one has cost, and not for what
    /// was spent before by looks that could not wait.
    pub(super) fn spend(&mut self, took: Duration, now: Moment) {
        self.count(now);
        self.owed = (self.owed + took.saturating_sub(self.left)).min(took);
        self.left = self.left.saturating_sub(took);
    }

    /// When the next look may begin.
    pub(super) fn next(&mut self, now: Moment) -> Moment {
        self.count(now);
        now + self.owed * PARTS
    }

    fn count(&mut self, now: Moment) {
        let earned = now.since(self.counted) / PARTS;
        self.counted = now;
        let more = earned.saturating_sub(self.owed);
        self.owed = self.owed.saturating_sub(earned);
        self.left = (self.left + more).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_look_that_takes_long_puts_off_the_next_one() {
        let start = Moment::START;
        let mut allowance = Allowance::new(start);
        assert_eq!(allowance.next(start), start);
        allowance.spend(MOST, start);
        assert_eq!(allowance.next(start), start);
        for took in [10, 20, 40].map(Duration::from_millis) {
            let now = allowance.next(start + Duration::from_secs(1));
            let mut allowance = Allowance {
                left: Duration::ZERO,
                owed: Duration::ZERO,
                counted: now,
            };
            allowance.spend(took, now);
            assert_eq!(allowance.next(now), now + took * PARTS);
            assert_eq!(allowance.next(now + took * PARTS), now + took * PARTS);
        }
    }

    proptest! {
        /// However long looks take, and however many are wanted: what they take together is a small share.
        #[test]
        fn no_more_than_its_share_is_spent(looks in prop::collection::vec((0_u64..3000, 0_u64..200), 1..60)) {
            let start = Moment::START;
            let mut allowance = Allowance::new(start);
            let (mut now, mut spent, mut longest) = (start, Duration::ZERO, Duration::ZERO);
            for (took, later) in looks {
                now = (now + Duration::from_millis(later)).max(allowance.next(now));
                let share = now.since(start) / PARTS;
                prop_assert!(spent <= share + MOST + longest + Duration::from_millis(1));
                let took = Duration::from_millis(took);
                now = now + took;
                allowance.spend(took, now);
                spent += took;
                longest = longest.max(took);
            }
        }
    }
}
