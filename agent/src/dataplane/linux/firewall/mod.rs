//! Firewall rules, by iptables.
//!
//! A host may use both variants of iptables at once. A packet that one lets pass can still be
//! dropped by the other, so podnet's forwarding rules are in each that is used; all rules are in the
//! one that the host's `iptables` is.

mod iptables;
mod render;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use podnet_core::firewall::{Chain, RuleSet};
use podnet_core::kernel::{ObservedFirewall, OpError};
use tokio::sync::{Mutex, OnceCell};

use self::iptables::{ProgramError, Programs, Variant};
use self::render::Saved;
use super::super::ObserveError;

/// The legacy tables that are in use in this network namespace.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// A variant of iptables in use, and what it holds.
struct Backend {
    programs: Programs,
    primary: bool,
    saved: Saved,
}

/// The firewall. Changes are made one after the other: each begins with a look.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    /// The host's choice. It is asked for once: if it changes, podnet's rules stay where they are,
    /// in what is the other variant then.
    primary: OnceCell<Programs>,
    change: Mutex<()>,
    /// The number of the process that last changed nftables for podnet.
    process: AtomicU32,
}

impl Firewall {
    /// Looks at podnet's chains in each variant that is in use.
    pub(super) async fn observe(&self) -> Result<Vec<ObservedFirewall>, ObserveError> {
        let backends = self.backends().await.map_err(ProgramError::looking)?;
        let observed = backends.into_iter().map(|backend| ObservedFirewall {
            backend: backend.programs.backend().to_owned(),
            primary: backend.primary,
            jumps: jumps(&backend.saved),
            chains: backend.saved.chains,
            referenced: backend.saved.referenced,
            namesakes: backend.saved.namesakes,
        });
        Ok(observed.collect())
    }

    /// Makes podnet's chains hold exactly these rules; no rules, no chains.
    pub(super) async fn set(&self, rules: &RuleSet) -> Result<(), OpError> {
        let _one_at_a_time = self.change.lock().await;
        let backends = self
            .backends()
            .await
            .map_err(|error| error.at("iptables"))?;
        for Backend {
            programs,
            primary,
            saved,
        } in backends
        {
            let part = if primary {
                rules.clone()
            } else {
                rules.forwarding()
            };
            if let Some(script) = render::script(&saved, &part) {
                programs
                    .restore(&script, &self.process)
                    .await
                    .map_err(|error| error.at(programs.backend()))?;
            }
        }
        Ok(())
    }

    /// The number of the process that last changed nftables for podnet; 0 for none.
    pub(super) fn own_process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }

    async fn backends(&self) -> Result<Vec<Backend>, ProgramError> {
        let programs = *self.primary.get_or_try_init(Programs::primary).await?;
        let saved = render::parse(&programs.save().await?);
        let mut backends = vec![Backend {
            programs,
            primary: true,
            saved,
        }];
        if let Some((programs, saved)) = secondary(programs.variant.other()).await? {
            backends.push(Backend {
                programs,
                primary: false,
                saved,
            });
        }
        Ok(backends)
    }
}

fn jumps(saved: &Saved) -> BTreeMap<Chain, usize> {
    saved
        .jumps
        .iter()
        .map(|(chain, jumps)| (*chain, jumps.len()))
        .collect()
}

/// The other variant, where it has a say in what is forwarded.
async fn secondary(variant: Variant) -> Result<Option<(Programs, Saved)>, ProgramError> {
    let programs = Programs::of(variant);
    match variant {
        // To run the program would make the kernel load its tables.
        Variant::Legacy if !legacy_filters() => return Ok(None),
        Variant::Legacy | Variant::Nft => {}
    }
    match programs.save().await {
        Ok(saved) => {
            let saved = render::parse(&saved);
            Ok(saved.filters_forwarded.then_some((programs, saved)))
        }
        // Not installed, or the kernel cannot do it: then it has no say.
        Err(error @ (ProgramError::Missing(_) | ProgramError::Failed { .. })) => {
            tracing::debug!(%error, "only one variant of iptables is looked at");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn legacy_filters() -> bool {
    fs::read_to_string(LEGACY_TABLES)
        .is_ok_and(|tables| tables.lines().any(|table| table == Chain::Forward.table()))
}
