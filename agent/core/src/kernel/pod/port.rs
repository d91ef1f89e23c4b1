//! What the bridge does with the port of a pod.
//!
//! A pod is held to its own link-layer address, and hears no other pod's unicast packets. The bridge alone
//! sees to that: it has an entry for the pod's address that nothing a pod sends can move, learns no
//! addresses from the port, takes nothing from it that comes from another address, and sends nothing there
//! that is for an address it does not know. Without a setting of its own, the bridge would pass frames to the
//! reserved group addresses to the host as the port's own, past all its rules.

use std::collections::BTreeSet;

use super::PodLink;
use crate::kernel::link::MacAddr;

/// What the bridge does with a port, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPort {
    /// Whether it takes link-layer addresses from what comes in.
    pub learning: bool,
    /// Whether it sends packets there that are for a link-layer address it does not know.
    pub flooded: bool,
    /// Whether it drops what comes in from another link-layer address than those it has at the port;
    /// `None` if the kernel cannot do that.
    pub locked: Option<bool>,
    /// Whether frames to a reserved group address (01:80:c2:00:00:0X) pass by all that it checks, and go up the
    /// host's own stack.
    pub bypassed: bool,
    /// The link-layer addresses that it has at the port, whatever pods send. If a single pod was asked
    /// for, only the pod's own counts.
    pub fixed: BTreeSet<MacAddr>,
}

impl Default for ObservedPort {
    /// A port that the kernel has just made.
    fn default() -> Self {
        Self {
            learning: true,
            flooded: true,
            locked: Some(false),
            bypassed: true,
            fixed: BTreeSet::new(),
        }
    }
}

impl ObservedPort {
    /// What is wrong with the port of a pod, in words. A trusted pod may send from other addresses, and hear
    /// what is for them; if another program keeps its port from learning, or locks it, that
    /// stays.
    pub(super) fn defects(&self, pod: &PodLink) -> Vec<String> {
        let host_ifname = &pod.host_ifname;
        let mut defects = Vec::new();
        if !self.fixed.contains(&pod.mac) {
            defects.push(format!("no fixed entry of {} at {host_ifname}", pod.mac));
        }
        if pod.trusted {
            if !self.flooded {
                defects.push(format!("{host_ifname} without unicast flooding"));
            }
            return defects;
        }
        if self.learning {
            defects.push(format!("{host_ifname} with learning"));
        }
        if self.flooded {
            defects.push(format!("{host_ifname} with unicast flooding"));
        }
        if self.locked == Some(false) {
            defects.push(format!("{host_ifname} not locked"));
        }
        if self.bypassed {
            defects.push(format!("{host_ifname} bypassed by reserved addresses"));
        }
        defects
    }
}
