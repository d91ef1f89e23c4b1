//! The addresses of pods: which are taken, and which became free.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;

use super::{Node, Pods};
use crate::kernel::PodLink;
use crate::node::effect::{Effect, Write};
use crate::podip::{Pool, Taken};

impl Node {
    /// Sets up the pool of a block that the node begins to use.
    pub(in crate::node) fn use_block(&mut self, block: Ipv4Network) {
        let used = self
            .pods
            .records
            .values()
            .flat_map(|record| v4_addresses(&record.link));
        let freed = match &self.pods.pool {
            Some(pool) => pool.freed().collect(),
            None => std::mem::take(&mut self.pods.freed),
        };
        self.pods.pool = Some(Pool::new(block, used, freed));
    }

    /// Forgets all pods: the node has left. The addresses that they had stay known, since the node may get the same
    /// block again, and the kernel remembers their connections.
    pub(in crate::node) fn forget_pods(&mut self) {
        let Pods { pool, freed, .. } = std::mem::take(&mut self.pods);
        self.pods.freed = match pool {
            Some(pool) => pool.freed().collect(),
            None => freed,
        };
    }

    /// Gives back the address of a pod that no client has seen.
    pub(super) fn undo(&mut self, taken: Taken) {
        if let Some(pool) = &mut self.pods.pool {
            pool.undo(taken);
        }
    }

    pub(super) fn free(&mut self, link: &PodLink) {
        let freed: Vec<Ipv4Addr> = match &mut self.pods.pool {
            Some(pool) => {
                for address in v4_addresses(link) {
                    pool.free(address);
                }
                pool.freed().collect()
            }
            // Before the node uses its block again: the pool that it makes then knows of them.
            None => {
                self.pods.freed.extend(v4_addresses(link));
                self.pods.freed.clone()
            }
        };
        self.effects.push(Effect::Note(Write::Freed(freed)));
    }
}

pub(super) fn v4_addresses(link: &PodLink) -> impl Iterator<Item = Ipv4Addr> {
    link.addresses
        .iter()
        .filter_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
}
