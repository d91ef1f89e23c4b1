//! What a pass found to be wrong.

use podnet_core::kernel::{Desired, Holding, Observed, Op, found, is_drift};

use super::Job;

/// Something that the kernel does not hold as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What puts it right.
    pub op: Op,
    /// What was found, in words.
    pub found: String,
    /// Whether it was right before: others have changed it.
    pub drift: bool,
}

/// How findings are judged in a pass.
pub(super) struct Findings {
    /// What the kernel held before; `None` where podnet itself takes everything away.
    held: Option<Desired>,
}

impl Findings {
    pub(super) fn new(job: &Job) -> Self {
        let held = job.target.as_ref().map(|target| {
            let pods = target.pods.iter();
            Desired {
                // One that is attached is right, whether a pass has looked at it since or not.
                pods: pods
                    .map(|pod| (pod.host_ifname.clone(), pod.clone()))
                    .collect(),
                holding: job.held.holding.as_ref().map(|_| {
                    let in_flight = &target.in_flight;
                    let settled = target.pods.iter();
                    let settled = settled.filter(|pod| !in_flight.contains_key(&pod.host_ifname));
                    Holding::of_all(settled)
                }),
                ..job.held.clone()
            }
        });
        Self { held }
    }

    pub(super) fn of(&self, ops: Vec<Op>, desired: &Desired, observed: &Observed) -> Vec<Finding> {
        let finding = |op: Op| Finding {
            found: found(&op, desired, observed),
            drift: self.held.as_ref().is_some_and(|held| is_drift(&op, held)),
            op,
        };
        ops.into_iter().map(finding).collect()
    }
}
