//! Waiting for a condition: the one place where something is polled.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::LabError;
use crate::interrupt;

/// How soon a condition is looked at again: often enough for a lab to feel prompt.
const POLL: Duration = Duration::from_millis(10);

/// How often at least: a look is often a process of its own, and what waits longer has to leave the
/// processor to what it waits for.
const SLOW_POLL: Duration = Duration::from_millis(40);

/// How often at least, if each look costs time of what is waited for.
const PATIENT_POLL: Duration = Duration::from_millis(300);

/// Looks at a condition until it holds, and returns what it gives.
///
/// # Errors
/// [`LabError::Timeout`] with the last failure if it does not hold within `limit`. It is looked at
/// at least once, and once more after the limit, so that a slow host is not taken for a failure.
pub fn eventually<T, E: fmt::Display>(
    limit: Duration,
    what: &str,
    condition: impl FnMut() -> Result<T, E>,
) -> Result<T, LabError> {
    look(limit, what, SLOW_POLL, condition)
}

/// The same, but each look is twice as long after the one before, up to a third of a second: for
/// what a look itself slows down, as it does an emulated machine.
///
/// # Errors
/// As [`eventually`], and [`LabError::Interrupted`] if a signal asks the program to end.
pub fn patiently<T, E: fmt::Display>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T, LabError> {
    look(limit, what, PATIENT_POLL, || {
        interrupt::check().map_or_else(|interrupted| Ok(Err(interrupted)), |()| condition().map(Ok))
    })?
}

fn look<T, E: fmt::Display>(
    limit: Duration,
    what: &str,
    slowest: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T, LabError> {
    let deadline = Instant::now() + limit;
    let mut pause = POLL;
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
            Err(_) => thread::park_timeout(pause),
        }
        pause = slowest.min(pause * 2);
    }
}

/// The same for what was promised within `limit` of an instant: the look that succeeds must have
/// begun by then, however long it then takes.
///
/// # Errors
/// [`LabError::Timeout`] with the last failure, or with how late the look was that succeeded.
pub fn in_time<T, E: fmt::Display>(
    since: Instant,
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T, LabError> {
    let mut begun = Duration::ZERO;
    let left = limit.saturating_sub(since.elapsed());
    let value = eventually(left, what, || {
        begun = since.elapsed();
        condition()
    });
    let last = match value {
        Ok(value) if begun <= limit => return Ok(value),
        Ok(_) => format!("but after {begun:?}"),
        Err(LabError::Timeout { last, .. }) => last,
        Err(error) => return Err(error),
    };
    Err(LabError::Timeout {
        what: what.to_owned(),
        limit,
        last,
    })
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

    #[test]
    fn what_comes_true_too_late_is_not_in_time() {
        let holds = || Ok::<_, &str>(());
        let now = Instant::now();
        in_time(now, Duration::from_secs(5), "something", holds).unwrap();
        let long_ago = now.checked_sub(Duration::from_secs(9)).unwrap();
        let error = in_time(long_ago, Duration::from_secs(5), "something", holds).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("something: not within 5s: but after 9."),
            "{message}"
        );
    }

    #[test]
    fn a_look_that_begins_in_time_may_end_later() {
        let since = Instant::now();
        let limit = Duration::from_millis(300);
        let slow = || {
            while since.elapsed() <= limit {
                thread::park_timeout(POLL);
            }
            Ok::<_, &str>(())
        };
        in_time(since, limit, "a slow look", slow).unwrap();
    }
}
