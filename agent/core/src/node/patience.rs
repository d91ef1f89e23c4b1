//! How soon a change is looked at, when another program changes the same again and again.

use std::time::Duration;

use crate::time::Moment;

/// How long to collect changes before looking at them: changes come in swarms.
const SOON: Duration = Duration::from_millis(5);

/// How long to collect changes while another program undoes again and again what is put back: it
/// must fill neither the processor nor the log, and what it breaks is still put back within a second.
const LATER: Duration = Duration::from_millis(250);

/// How many looks that put something back may follow one another at once.
const MOST: u32 = 50;

/// After how long one more may follow.
const EACH: Duration = Duration::from_millis(200);

/// How soon a change is looked at.
#[derive(Debug)]
pub(super) struct Patience {
    /// How many more looks may follow at once.
    credit: u32,
    /// When that was true.
    counted: Moment,
}

impl Patience {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            credit: MOST,
            counted: now,
        }
    }

    /// A look has put something back that another program had changed.
    pub(super) fn put_back(&mut self, now: Moment) {
        self.credit = self.credit_at(now).saturating_sub(1);
        self.counted = now;
        if self.credit == 0 {
            tracing::warn!(
                "another program changes again and again what podnet puts back: podnet looks less often"
            );
        }
    }

    /// How long to collect changes from now on.
    pub(super) fn delay(&self, now: Moment) -> Duration {
        if self.credit_at(now) == 0 {
            LATER
        } else {
            SOON
        }
    }

    fn credit_at(&self, now: Moment) -> u32 {
        let since = now.since(self.counted);
        let earned = since.as_millis() / EACH.as_millis();
        let earned = u32::try_from(earned).unwrap_or(MOST);
        self.credit.saturating_add(earned).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_slowed_down_and_forgotten() {
        let start = Moment::START;
        let mut patience = Patience::new(start);
        for _ in 0..MOST {
            assert_eq!(patience.delay(start), SOON);
            patience.put_back(start);
        }
        assert_eq!(patience.delay(start), LATER);
        patience.put_back(start);
        assert_eq!(patience.delay(start), LATER);
        let later = start + EACH * MOST;
        for _ in 0..MOST {
            assert_eq!(patience.delay(later), SOON);
            patience.put_back(later);
        }
        assert_eq!(patience.delay(later), LATER);
    }
}
