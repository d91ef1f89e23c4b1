//! Looking at the kernel.

use super::Kernel;
use crate::kernel::{Kind, Kinds, Observed};

impl Kernel {
    /// Looks at these kinds.
    #[must_use]
    pub fn observe(&self, kinds: &Kinds) -> Observed {
        let asked = |kind: Kind| kinds.has(&kind);
        let mut observed = Observed {
            bridge: asked(Kind::Bridge).then(|| self.observe_bridge()),
            host_ends: asked(Kind::HostEnds).then(|| self.observe_host_ends()),
            routes: asked(Kind::Routes).then(|| self.observe_routes(&kinds.destinations())),
            firewall: asked(Kind::Firewall).then(|| self.observe_firewall()),
            holding: asked(Kind::Holding).then(|| self.observe_holding()),
            forwarding: asked(Kind::Forwarding)
                .then(|| self.observe_forwarding(&kinds.ingresses())),
            addresses: asked(Kind::Underlay).then(|| self.host_addresses()),
            host_routes: asked(Kind::OtherRoutes).then(|| self.host_routes()),
            ..Observed::default()
        };
        let paths = kinds.paths().into_iter();
        observed.underlay = paths.map(|to| (to, self.path(to))).collect();
        for path in kinds.namespaces() {
            let state = self.netns_state(&path);
            observed.netns.insert(path, state);
        }
        for view in kinds.pods() {
            let host_end = self.observe_host_end(&view.host_ifname);
            if let Some(inside) = self.observe_inside(&view) {
                observed.insides.insert(view.host_ifname.clone(), inside);
            }
            observed.pods.insert(view.host_ifname, host_end);
        }
        observed
    }
}
