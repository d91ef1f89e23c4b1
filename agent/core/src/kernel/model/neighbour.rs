//! Neighbours on podnet's bridge.

use super::Kernel;
use crate::kernel::OpError;
use crate::kernel::neighbour::Op;

impl Kernel {
    pub(super) fn apply_to_neighbour(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::Set {
                device,
                address,
                mac,
            } => drop(self.bridge_mut(device)?.neighbours.insert(*address, *mac)),
            // A neighbour on another link is not podnet's.
            Op::Delete { device, address } => {
                if let Ok(link) = self.bridge_mut(device) {
                    link.neighbours.remove(address);
                }
            }
        }
        Ok(())
    }
}
