//! Kernels that refuse changes, lose answers, cannot be looked at, or are slow.

use std::sync::{Mutex, PoisonError};

use podnet_agent::dataplane::fake::{Effect, Fault};
use podnet_core::kernel::{Kinds, ObserveError, Op, OpError, OpErrorKind, pod};

use crate::kernel::Slow;
use crate::plan::Trouble;

/// Lets one of so many calls go wrong.
struct Dice {
    rng: Mutex<fastrand::Rng>,
    every: u8,
}

impl Dice {
    fn hit(&self) -> bool {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.u8(0..self.every) == 0
    }
}

pub(crate) fn inject(kernel: &Slow, trouble: Trouble, seed: u64) {
    let dice = |every: u8| Dice {
        rng: Mutex::new(fastrand::Rng::with_seed(seed)),
        every: every.max(1),
    };
    match trouble {
        Trouble::Refuses { every } => {
            let dice = dice(every);
            let kinds = [
                OpErrorKind::Busy,
                OpErrorKind::NotPermitted,
                OpErrorKind::Timeout,
            ];
            let kind = kinds[seed as usize % kinds.len()].clone();
            let refused = OpError::new(kind, "a refused change");
            kernel
                .fake
                .inject(Fault::always(move |_| dice.hit(), Effect::Refuse(refused)));
        }
        Trouble::Loses { every } => {
            let dice = dice(every);
            // What fails of an attachment is undone by it.
            let hits = move |op: &Op| !matches!(op, Op::Pod(pod::Op::Attach(_))) && dice.hit();
            let lost = OpError::new(OpErrorKind::Timeout, "a lost answer");
            kernel.fake.inject(Fault::always(hits, Effect::Lose(lost)));
        }
        Trouble::Blind { every } => {
            let dice = dice(every);
            let blind = move |_: &Kinds| {
                dice.hit()
                    .then_some(ObserveError::Timeout { what: "a look" })
            };
            kernel.fake.inject_on_observe(blind);
        }
        Trouble::Slow { most } => kernel.slow_down(Some(most * 1000)),
    }
}
