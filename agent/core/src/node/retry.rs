//! When what failed is tried again.

use std::time::Duration;

use crate::kernel::{OpError, OpErrorClass};
use crate::time::Moment;

use crate::kernel::ObserveError;
use crate::pass::Report;

/// How long to wait after a pass that failed; doubled each time, up to the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The shortest wait if trying again helps only once something else has changed, of which the kernel may
/// report nothing: a program was installed, a file system is writable again, a route inside of a pod is gone.
const LASTING: Duration = Duration::from_secs(10);

/// How long to wait before what failed is tried again.
#[derive(Debug)]
pub(super) struct Retry {
    passing: Duration,
    lasting: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            passing: FIRST,
            lasting: LASTING,
        }
    }
}

impl Retry {
    /// When to try again what has failed now: later each time, and not soon if the failure does not pass by itself.
    pub(super) fn due(&mut self, class: OpErrorClass, now: Moment) -> Moment {
        let next = match class {
            OpErrorClass::Transient => &mut self.passing,
            OpErrorClass::Permanent => &mut self.lasting,
        };
        let wait = *next;
        *next = (wait * 2).min(LONGEST);
        now + wait
    }
}

/// The class of several failures together: one that may pass by itself is worth another try. `None` if
/// there are none.
pub(super) fn class_of(classes: impl IntoIterator<Item = OpErrorClass>) -> Option<OpErrorClass> {
    let mut all = None;
    for class in classes {
        if class == OpErrorClass::Transient {
            return Some(class);
        }
        all = Some(class);
    }
    all
}

/// The class of what a pass has left wrong; `None` if another pass would find no more to do.
pub(super) fn class_of_pass(report: &Report) -> Option<OpErrorClass> {
    let unseen = [&report.error, &report.unread_firewall, &report.unseen_ways];
    let unseen = unseen.into_iter().flatten().map(ObserveError::class);
    let failed = report.applied.iter().filter_map(|(finding, result)| {
        let op_error = result.as_ref().err()?;
        Some((finding.op.opens(), op_error.class()))
    });
    let (openings, failed): (Vec<_>, Vec<_>) = failed.partition(|(opens, _)| *opens);
    let failed = failed.into_iter().map(|(_, class)| class);
    let hidden = report.hidden.values().map(OpError::class);
    let all = class_of(unseen.chain(failed).chain(hidden));
    // Devices are opened only once the rest is there.
    all.or_else(|| class_of(openings.into_iter().map(|(_, class)| class)))
}

#[cfg(test)]
mod tests {
    use crate::kernel::{IfName, Op, OpErrorKind, firewall, forwarding};

    use super::*;
    use crate::pass::Finding;

    #[test]
    fn what_passes_by_itself_is_tried_again_soon_and_the_rest_seldom() {
        let now = Moment::START;
        let mut retry = Retry::default();
        assert_eq!(retry.due(OpErrorClass::Transient, now), now + FIRST);
        assert_eq!(retry.due(OpErrorClass::Permanent, now), now + LASTING);
        assert_eq!(retry.due(OpErrorClass::Transient, now), now + FIRST * 2);
        for _ in 0..10 {
            retry.due(OpErrorClass::Transient, now);
            retry.due(OpErrorClass::Permanent, now);
        }
        assert_eq!(retry.due(OpErrorClass::Transient, now), now + LONGEST);
        let lasting = retry.due(OpErrorClass::Permanent, now);
        assert!(lasting >= retry.due(OpErrorClass::Transient, now));
    }

    fn failed(op: Op, kind: OpErrorKind) -> (Finding, Result<(), OpError>) {
        let finding = Finding {
            op,
            found: String::new(),
            drift: false,
        };
        (finding, Err(OpError::new(kind, "no")))
    }

    #[test]
    fn one_failure_that_may_pass_is_worth_another_pass_and_waiting_for_rules_is_none() {
        let missing = || ObserveError::MissingBinary {
            program: "iptables-save".to_owned(),
        };
        let open = Op::Forwarding(forwarding::Op::Set {
            device: "eth0".parse::<IfName>().unwrap(),
            on: true,
        });
        let mut report = Report::default();
        assert_eq!(class_of_pass(&report), None);
        report.applied = vec![failed(open, OpErrorKind::Busy)];
        assert_eq!(class_of_pass(&report), Some(OpErrorClass::Transient));
        report.unread_firewall = Some(missing());
        assert_eq!(class_of_pass(&report), Some(OpErrorClass::Permanent));
        let refused = failed(
            Op::Firewall(firewall::Op::Remove),
            OpErrorKind::NotPermitted,
        );
        report.applied.push(refused);
        assert_eq!(class_of_pass(&report), Some(OpErrorClass::Permanent));
        report.applied.push(failed(
            Op::Firewall(firewall::Op::Remove),
            OpErrorKind::Busy,
        ));
        assert_eq!(class_of_pass(&report), Some(OpErrorClass::Transient));
        let unseen = Report {
            unseen_ways: Some(ObserveError::Timeout { what: "a fault" }),
            ..Report::default()
        };
        assert_eq!(class_of_pass(&unseen), Some(OpErrorClass::Transient));
        assert!(!unseen.converged());
        let blind = Report {
            error: Some(missing()),
            ..Report::default()
        };
        assert_eq!(class_of_pass(&blind), Some(OpErrorClass::Permanent));
    }
}
