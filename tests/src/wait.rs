//! Waiting for a condition: the one place where something is polled.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::LabError;

/// How often a condition is looked at: often enough for a lab to feel prompt, seldom enough that
/// forty waiting tests leave the processor to what they wait for.
const POLL: Duration = Duration::from_millis(10);

/// Looks at a condition until it holds, and returns what it gives.
///
/// # Errors
/// [`LabError::Timeout`] with the last failure if it does not hold within `limit`. It is looked at
/// at least once, and once more after the limit, so that a slow host is not taken for a failure.
pub fn eventually<T, E: fmt::Display>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T, LabError> {
    let deadline = Instant::now() + limit;
    loop {
        let late = Instant::now() >= deadline;
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if late => {
                return Err(LabError::Timeout {
                    what: what.to_owned(),
                    limit,
                    last: last.to_string(),
                });
            }
            Err(_) => thread::park_timeout(POLL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_waited_for() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), "third look", || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err("early") }
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_condition_that_never_holds_reports_the_last_failure() {
        let error =
            eventually(Duration::ZERO, "the impossible", || Err::<(), _>("no")).unwrap_err();
        assert_eq!(error.to_string(), "the impossible: not within 0ns: no");
    }
}
