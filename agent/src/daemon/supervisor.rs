//! What is reported to systemd: that the agent is ready, that its loop turns, and where the node stands.

use std::env;
use std::time::Duration;

use podnet_core::time::Moment;
use sd_notify::NotifyState;

/// How often to report that the loop turns.
const WATCHDOG: Duration = Duration::from_secs(5);

/// The shortest time between two looks at where the node stands.
const PAUSE: Duration = Duration::from_secs(1);

/// The supervisor; there may be none.
#[derive(Debug)]
pub(super) struct Supervisor {
    listens: bool,
    watchdog_due: Moment,
    looked: Option<Moment>,
    look_due: Option<Moment>,
    told: String,
}

impl Supervisor {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            listens: env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog_due: now,
            looked: None,
            look_due: None,
            told: String::new(),
        }
    }

    pub(super) fn ready(&self) {
        notify(NotifyState::Ready);
    }

    pub(super) fn stopping(&self) {
        notify(NotifyState::Stopping);
    }

    /// When the next report is due.
    pub(super) fn next_deadline(&self) -> Moment {
        self.look_due
            .map_or(self.watchdog_due, |due| due.min(self.watchdog_due))
    }

    /// Whether to look now where the node stands. If the last look was a moment ago, this is to be
    /// asked again at the next deadline; without a supervisor the answer is always no.
    pub(super) fn wants_summary(&mut self, now: Moment) -> bool {
        if !self.listens {
            return false;
        }
        match self.looked.map(|looked| looked + PAUSE) {
            Some(due) if now < due => {
                self.look_due = Some(due);
                false
            }
            Some(_) | None => {
                self.looked = Some(now);
                self.look_due = None;
                true
            }
        }
    }

    /// Reports where the node stands, if that is new.
    pub(super) fn tell(&mut self, summary: String) {
        if summary != self.told {
            notify(NotifyState::Status(&summary));
            self.told = summary;
        }
    }

    /// Reports that the loop turns, when that is due.
    pub(super) fn turns(&mut self, now: Moment) {
        if now >= self.watchdog_due {
            self.watchdog_due = now + WATCHDOG;
            notify(NotifyState::Watchdog);
        }
    }
}

/// Without a notification socket this does nothing; whether a supervisor listens there is not the
/// agent's business.
fn notify(state: NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
