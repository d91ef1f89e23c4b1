//! Echoes between gateways, by what kernels hold.

use std::net::IpAddr;
use std::time::Duration;

use podnet_core::kernel::{Kind, Kinds, UnderlayPath};
use podnet_core::node::{Input, NO_ECHO, PathReport, Targets};
use podnet_proto::NodeId;

use crate::host::Host;
use crate::verdict::Failure;
use crate::world::{OfProcess, SECOND, World};

impl World {
    pub(crate) fn aim(&mut self, host: usize, targets: Targets) {
        if let Some(process) = &mut self.hosts[host].process
            && process.targets != targets
        {
            let aimed =
                |node: &NodeId, gateway: &IpAddr| targets.gateways.get(node) == Some(gateway);
            process
                .echoes
                .retain(|(node, gateway), _| aimed(node, gateway));
            process.targets = targets;
        }
    }

    /// Echoes are sent to all peers.
    pub(crate) fn echo(&mut self, host: usize) -> Result<(), Failure> {
        self.push_to(self.now + SECOND, host, OfProcess::Echo);
        let Some(process) = &self.hosts[host].process else {
            return Ok(());
        };
        let Targets { source, gateways } = process.targets.clone();
        let Some(source) = source else {
            return Ok(());
        };
        for (node, gateway) in gateways {
            let comes = self.comes_back(host, source, gateway);
            let Some(process) = &mut self.hosts[host].process else {
                return Ok(());
            };
            let before = process.echoes.insert((node, gateway), comes);
            if before != Some(comes) {
                let outcome = if comes {
                    Ok(Duration::from_millis(1))
                } else {
                    Err(format!("{NO_ECHO} comes back"))
                };
                let unproved = before.is_none() && !comes;
                let report = PathReport {
                    node,
                    gateway,
                    outcome,
                    unproved,
                };
                self.turn(host, Input::Path(report))?;
            }
        }
        Ok(())
    }

    /// Whether a packet from one gateway to another arrives, and another comes back.
    pub(crate) fn comes_back(&self, host: usize, source: IpAddr, gateway: IpAddr) -> bool {
        let way = |from: &Host, to: IpAddr| {
            let kinds = Kinds::from([Kind::Path(to)]);
            from.look(|kernel| kernel.observe(&kinds))
                .underlay
                .remove(&to)
        };
        let next = |from: &Host, to: IpAddr| match way(from, to) {
            Some(UnderlayPath::Routed { via, .. }) => Some(via),
            Some(UnderlayPath::OnLink { .. } | UnderlayPath::Local | UnderlayPath::None(_))
            | None => None,
        };
        let from = &self.hosts[host];
        let Some(peer) = next(from, gateway).and_then(|via| self.host_at(via)) else {
            return false;
        };
        let to = &self.hosts[peer];
        let back = next(to, source).and_then(|via| self.host_at(via));
        way(from, source) == Some(UnderlayPath::Local)
            && way(to, gateway) == Some(UnderlayPath::Local)
            && back == Some(host)
            && !self.network.is_cut(host, peer)
            && !self.network.is_cut(peer, host)
    }
}
