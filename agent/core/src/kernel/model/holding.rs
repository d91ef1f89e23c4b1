//! Podnet's table of the bridge.

use super::Kernel;
use crate::kernel::holding::Op;
use crate::kernel::{Holding, ObservedHolding};

/// Podnet's table of the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) ruled: bool,
    pub(super) holding: Holding,
}

impl Kernel {
    pub(super) fn apply_to_holding(&mut self, op: &Op) {
        match (op, &mut self.holding) {
            (Op::Set(holding), table) => {
                *table = Some(Table {
                    ruled: true,
                    holding: holding.clone(),
                });
            }
            (Op::Hold { holding, .. }, Some(table)) => table.holding.extend(holding),
            (Op::Release { holding, .. }, Some(table)) => {
                table.holding = table.holding.without(holding);
            }
            (Op::Hold { .. } | Op::Release { .. }, None) => {}
            (Op::Remove, table) => *table = None,
        }
    }

    pub(super) fn observe_holding(&self) -> ObservedHolding {
        match self.holding.clone() {
            Some(Table { ruled, holding }) => ObservedHolding::Table { ruled, holding },
            None => ObservedHolding::Absent,
        }
    }
}
