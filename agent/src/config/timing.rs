//! Intervals, and what they may be.

use std::time::Duration;

use serde::Deserialize;

/// The longest interval: ten years.
const MAX_TIMING: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Intervals; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// How often a node gossips unasked.
    #[serde(with = "humantime_serde")]
    pub gossip_interval: Duration,
    /// How often all of the kernel's state is looked at unasked.
    #[serde(with = "humantime_serde")]
    pub resync: Duration,
    /// How long gossip remembers a dead node.
    #[serde(with = "humantime_serde")]
    pub dead_grace: Duration,
    /// How long a voter is dead before another takes its place.
    #[serde(with = "humantime_serde")]
    pub voter_replace_after: Duration,
    /// How long a node that has rebooted, or a voter that has started, listens before it decides anything.
    #[serde(with = "humantime_serde")]
    pub listen: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            gossip_interval: Duration::from_secs(1),
            resync: Duration::from_secs(60),
            dead_grace: Duration::from_secs(10 * 60),
            voter_replace_after: Duration::from_secs(5 * 60),
            listen: Duration::from_secs(3),
        }
    }
}

impl Timing {
    /// Refuses what no clock can count, and what would never rest.
    pub(super) fn check(&self) -> Result<(), String> {
        let all = [
            (
                "gossip_interval",
                self.gossip_interval,
                Duration::from_millis(1),
            ),
            ("resync", self.resync, Duration::from_millis(1)),
            ("dead_grace", self.dead_grace, Duration::from_secs(1)),
            (
                "voter_replace_after",
                self.voter_replace_after,
                Duration::ZERO,
            ),
            ("listen", self.listen, Duration::ZERO),
        ];
        match all
            .iter()
            .find(|(_, value, least)| value < least || *value > MAX_TIMING)
        {
            Some((name, _, least)) => Err(format!(
                "[timing] {name}: it must be from {least:?} to 10 years"
            )),
            None => Ok(()),
        }
    }
}
