//! Firewall rules, by iptables.
//!
//! A host may use both variants of iptables at once. A packet that one lets pass can still be
//! dropped by the other, so podnet's forwarding rules are in each that is used; all rules are in the
//! one that the host's `iptables` is.

pub(super) mod iptables;
mod nft;
mod render;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use podnet_core::kernel::firewall::{Chain, Op, RuleSet};
use podnet_core::kernel::{Made, ObserveError, ObservedFirewall, OpError};
use podnet_core::nft::Ruleset;
use tokio::sync::{Mutex, OnceCell};

use self::iptables::{ProgramError, Programs, Variant};
use self::saved::Saved;
use super::Results;

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
            chains: backend.saved.chains,
            jumps: backend.saved.jumps,
            referenced: backend.saved.referenced,
            namesakes: backend.saved.namesakes,
            unreadable: backend.saved.unreadable,
            ahead: backend.saved.ahead,
        });
        Ok(observed.collect())
    }

    /// Looks at the chains of all programs that pods' packets pass; `None` if they cannot be read.
    pub(super) async fn others(&self) -> Option<Ruleset> {
        nft::observe().await
    }

    /// Makes changes of podnet's chains, one after the other.
    pub(super) async fn apply(&self, ops: &[&Op]) -> Results {
        let mut results = Results::with_capacity(ops.len());
        for op in ops {
            let done = match op {
                Op::Set(rules) => self.set(rules).await,
                Op::Remove => self.set(&RuleSet::default()).await,
            };
            results.push(done.map(Made::from));
        }
        results
    }

    /// Makes podnet's chains hold exactly these rules; no rules, no chains.
    async fn set(&self, rules: &RuleSet) -> Result<(), OpError> {
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
        let saved = match programs.variant {
            Variant::Legacy => read_legacy(programs).await?,
            Variant::Nft => read(programs, &Chain::ALL).await?,
        };
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

/// Reads the tables of these chains; other tables may be long.
async fn read(programs: Programs, chains: &[Chain]) -> Result<Saved, ProgramError> {
    let mut saved = String::new();
    for chain in chains {
        saved += &programs.save(Some(chain.table())).await?;
    }
    Ok(saved::parse(&saved))
}

/// Reads the legacy tables that are there: to name another would make the kernel make it.
async fn read_legacy(programs: Programs) -> Result<Saved, ProgramError> {
    let there = legacy_tables();
    let mut chains = Chain::ALL.to_vec();
    chains.retain(|chain| there.contains(chain.table()));
    read(programs, &chains).await
}

/// The other variant, if it has a say in what is forwarded.
async fn secondary(variant: Variant) -> Result<Option<(Programs, Saved)>, ProgramError> {
    let programs = Programs::of(variant);
    let saved = match variant {
        Variant::Legacy if !legacy_tables().contains(Chain::Forward.table()) => return Ok(None),
        Variant::Legacy => read_legacy(programs).await,
        // A table that is named is shown as if it were there.
        Variant::Nft => programs.save(None).await.map(|saved| saved::parse(&saved)),
    };
    match saved {
        Ok(saved) => {
            let has_a_say = saved.filters_forwarded || saved.unreadable.contains(&Chain::Forward);
            Ok(has_a_say.then_some((programs, saved)))
        }
        // Not installed, or the kernel cannot do it: then it has no say.
        Err(error @ (ProgramError::Missing(_) | ProgramError::Failed { .. })) => {
            tracing::debug!(%error, "only one variant of iptables is looked at");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The legacy tables that are there.
fn legacy_tables() -> BTreeSet<String> {
    let tables = fs::read_to_string(LEGACY_TABLES).unwrap_or_default();
    tables.lines().map(str::to_owned).collect()
}
