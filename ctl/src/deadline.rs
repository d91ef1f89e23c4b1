//! The time that a command has.

use std::time::{Duration, Instant};

use podnet_client::Client;

/// The end of the time that a command with several requests has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
}

impl Deadline {
    /// How long a request may take when the time is over already: enough to say what is missing.
    const LAST_LOOK: Duration = Duration::from_millis(500);

    /// The deadline that lies this far ahead.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self {
            at: Instant::now() + timeout,
        }
    }

    /// The time that is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether none is left.
    pub(crate) fn passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The client with the time that is left as its limit, but with enough for a last look.
    pub(crate) fn limit(&self, client: &Client) -> Client {
        client.within(self.remaining().max(Self::LAST_LOOK))
    }
}

/// The pauses between two looks at something that changes: short at first, because most things
/// are done at once, then longer.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(250);

    /// Begins with the shortest.
    pub(crate) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// Waits, but not past the deadline.
    pub(crate) async fn pause(&mut self, deadline: &Deadline) {
        tokio::time::sleep(self.next.min(deadline.remaining())).await;
        self.next = (self.next * 3 / 2).min(Self::LONGEST);
    }
}
