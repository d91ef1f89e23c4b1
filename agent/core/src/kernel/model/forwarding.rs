//! What is forwarded.

use std::collections::BTreeSet;

use super::Kernel;
use super::change::missing;
use super::link::Link;
use crate::kernel::forwarding::Op;
use crate::kernel::{Forwarding, IfName, Ingress, LinkParameter, OpError};

impl Kernel {
    /// Declares the host a router, or none. Writing the value that is there already changes nothing.
    pub fn set_router(&mut self, router: bool) {
        if self.router == router {
            return;
        }
        self.router = router;
        for link in self.links.values_mut() {
            link.forwarding = router;
            if let Some(value) = link.parameters.get_mut(&LinkParameter::Forwarding) {
                *value = i32::from(router);
            }
        }
    }

    /// Whether what comes in by a link is forwarded.
    #[must_use]
    pub fn forwards(&self, name: &IfName) -> bool {
        self.links.get(name).is_some_and(|link| link.forwarding)
    }

    pub(super) fn apply_to_forwarding(&mut self, op: &Op) -> Result<(), OpError> {
        let Op::Set { device, on } = op;
        let link = self.links.get_mut(device).ok_or_else(|| missing(device))?;
        link.forwarding = *on;
        Ok(())
    }

    pub(super) fn observe_forwarding(&self, asked: &BTreeSet<IfName>) -> Forwarding {
        let ways: BTreeSet<_> = self
            .table()
            .filter(|(key, _)| key.destination.is_ipv4())
            .filter_map(|(_, entry)| entry.hop.device())
            .collect();
        let ingress = |link: &Link| Ingress {
            on: link.forwarding,
            way: ways.contains(&link.index),
            bridge: link.bridge,
        };
        let counts = |name: &IfName, link: &Link| {
            !link.ours && !link.loopback() && (asked.contains(name) || ingress(link).way)
        };
        let links = self.links.iter();
        let devices = links.filter(|(name, link)| counts(name, link));
        Forwarding {
            router: self.router,
            switch: u8::from(self.router).to_string(),
            unguardable: BTreeSet::new(),
            devices: devices
                .map(|(name, link)| (name.clone(), ingress(link)))
                .collect(),
        }
    }
}
