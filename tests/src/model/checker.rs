//! The invariants, checked at every step.

use std::collections::BTreeMap;

use podnet_proto::ledger::{Decided, Slot};
use podnet_proto::network::BlockIndex;
use podnet_proto::{Boot, NodeId};

/// Who runs pods, and with what block: the data path of a host, which outlives its agent.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Whose.
    pub node: NodeId,
    /// With which boot.
    pub boot: Boot,
    /// The block that the data path carries, if it does.
    pub block: Option<BlockIndex>,
}

/// Everything that was ever decided, as far as a disk has held it.
#[derive(Debug, Default)]
pub struct Checker {
    history: BTreeMap<(u64, Slot), Decided>,
}

impl Checker {
    /// The first decision.
    #[must_use]
    pub fn first(&self) -> Option<&Decided> {
        self.history.values().next()
    }

    /// The last decision.
    #[must_use]
    pub fn latest(&self) -> Option<&Decided> {
        self.history.values().next_back()
    }

    /// A ledger is on a disk. I1: there is one for each slot. I2: a block has one owner there, by
    /// the type; a node has one block. I4: who lost a claim in it had stopped before.
    ///
    /// # Errors
    /// Which rule is broken, and how.
    pub fn decided(&mut self, ledger: &Decided, hosts: &[Running]) -> Result<(), String> {
        let order = ledger.order();
        if let Some(known) = self.history.get(&order) {
            return if known == ledger {
                Ok(())
            } else {
                Err(format!(
                    "I1: two ledgers at {order:?}: {known:?} and {ledger:?}"
                ))
            };
        }
        if ledger.blocks.len() != ledger.boots.len() {
            return Err(format!("I2: not one block for each member: {ledger:?}"));
        }
        if let Some((_, before)) = self.history.range(..order).next_back() {
            for (node, boot) in &before.boots {
                lost(*node, *boot, ledger.boots.get(node).copied(), hosts)?;
            }
        }
        self.history.insert(order, ledger.clone());
        Ok(())
    }

    /// I3: every host that runs pods was once given its block with its boot. And what it is all
    /// for: no two hosts use one block.
    ///
    /// # Errors
    /// Which rule is broken, and how.
    pub fn running(&self, hosts: &[Running]) -> Result<(), String> {
        let mut users: BTreeMap<BlockIndex, NodeId> = BTreeMap::new();
        for Running { node, boot, block } in hosts {
            let Some(block) = *block else { continue };
            let given = |ledger: &Decided| {
                ledger.blocks.get(&block) == Some(node) && ledger.boots.get(node) == Some(boot)
            };
            if !self.history.values().rev().any(given) {
                return Err(format!(
                    "I3: {node} with boot {boot} was never given {block}"
                ));
            }
            if let Some(other) = users.insert(block, *node) {
                return Err(format!("{node} and {other} both use {block}"));
            }
        }
        Ok(())
    }
}

/// I4 for one claim that a decision may have ended.
fn lost(node: NodeId, boot: Boot, now: Option<Boot>, hosts: &[Running]) -> Result<(), String> {
    let host = hosts
        .iter()
        .find(|host| host.node == node && host.boot == boot);
    match (now, host) {
        (None, Some(host)) if host.block.is_some() => Err(format!(
            "I4: {node} was released while it used its block: {host:?}"
        )),
        (Some(now), Some(_)) if now != boot => Err(format!(
            "I4: {node} got boot {now} while it was alive with {boot}"
        )),
        (None | Some(_), None | Some(_)) => Ok(()),
    }
}
