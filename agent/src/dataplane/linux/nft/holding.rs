//! Podnet's table of the bridge: what pods may send from.
//!
//! A set has the ports of pods that are held, another one what may come in by them. What comes in by any other
//! port passes. The rules bear marks, so that they are known again however this version of `nft` shows them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};

use nix::unistd::{Pid, gettid};
use podnet_core::kernel::{Holding, IfName, ObservedHolding, OpError, Source};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::super::Host;
use super::super::errno::KernelError;
use super::super::firewall::iptables::ProgramError;
use super::super::thread::on_thread;
use super::elements::{self, Outcome};
use super::program;

/// The table, in the family of bridges.
pub(super) const TABLE: &str = "podnet";

/// The ports of pods that are held.
pub(super) const PORTS: &str = "ports";

/// What may come in by them.
pub(super) const SOURCES: &str = "sources";

/// The rules, in order: a frame of a pod is from its port, link-layer address and IPv4 address; one of ARP says
/// nothing else either. Whatever else it is, it is dropped.
const RULES: [&str; 4] = [
    "iifname != @ports accept",
    "iifname . ether saddr . ip saddr @sources accept",
    "iifname . ether saddr . arp saddr ip @sources iifname . arp saddr ether . arp saddr ip @sources accept",
    "drop",
];

/// What marks the rules: this and their number.
const MARK: &str = "podnet 1.";

/// The chain.
const CHAIN: &str = "from_pods";

/// Pods that are held by nftables. Changes are made one after the other.
#[derive(Debug, Default)]
pub(in super::super) struct Held {
    /// Why this host cannot do it; asked for once.
    impossible: OnceCell<Option<String>>,
    change: Mutex<()>,
    threads: Arc<Threads>,
    /// The number of the process that last changed the table for podnet.
    process: AtomicU32,
}

impl Held {
    /// Looks at the table; `None` where it could not be read.
    pub(in super::super) async fn observe(&self) -> Option<ObservedHolding> {
        match self.impossible().await {
            Ok(None) => {}
            Ok(Some(why)) => return Some(ObservedHolding::Impossible(why)),
            Err(error) => {
                tracing::debug!(%error, "whether nftables can hold pods is not known yet");
                return None;
            }
        }
        match program::show(&["list", "table", "bridge", TABLE]).await {
            Ok(shown) => read(&shown),
            Err(ProgramError::Failed { detail, .. }) if detail.contains("No such file") => {
                Some(ObservedHolding::Absent)
            }
            Err(error) => {
                tracing::debug!(%error, "table bridge podnet is not looked at");
                None
            }
        }
    }

    /// Makes the table hold exactly this.
    pub(in super::super) async fn set(&self, holding: &Holding) -> Result<(), OpError> {
        let _one_at_a_time = self.change.lock().await;
        let script = format!("{}{}", removal(), script(holding));
        let applied = program::apply(&script, &self.process).await;
        applied.map_err(|error| error.at("nftables"))
    }

    /// Removes the table.
    pub(in super::super) async fn remove(&self) -> Result<(), OpError> {
        let _one_at_a_time = self.change.lock().await;
        let applied = program::apply(&removal(), &self.process).await;
        applied.map_err(|error| error.at("nftables"))
    }

    /// The number of the process that last changed the table for podnet; 0 for none.
    pub(in super::super) fn own_process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }

    /// Why this host cannot do it; `None` where it can.
    async fn impossible(&self) -> Result<Option<String>, ProgramError> {
        let check = async || {
            let script = format!("{}{}", removal(), script(&Holding::default()));
            match program::check(&script).await {
                Ok(()) => Ok(None),
                Err(error @ (ProgramError::Missing(_) | ProgramError::Failed { .. })) => {
                    Ok(Some(error.to_string()))
                }
                Err(error) => Err(error),
            }
        };
        self.impossible.get_or_try_init(check).await.cloned()
    }

    /// Changes elements, and keeps in mind which thread does it.
    async fn change(&self, holding: &Holding, add: bool) -> Result<Outcome, KernelError> {
        // Without nftables there is nothing to change.
        if holding.is_empty() || self.impossible.get().is_some_and(Option::is_some) {
            return Ok(Outcome::NotThere);
        }
        let _one_at_a_time = self.change.lock().await;
        let (holding, threads) = (holding.clone(), Arc::clone(&self.threads));
        on_thread(move || {
            threads.note(gettid());
            elements::change(&holding, add)
        })
        .await?
    }

    /// Whether a thread of podnet's has changed elements a moment ago.
    pub(in super::super) fn is_own_thread(&self, number: u32) -> bool {
        self.threads.have(number)
    }
}

/// How many threads are kept in mind.
const MOST_THREADS: usize = 256;

/// The numbers of the threads that have changed elements, by which the kernel tells of it.
#[derive(Debug, Default)]
struct Threads(std::sync::Mutex<VecDeque<u32>>);

impl Threads {
    fn note(&self, thread: Pid) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.extend(u32::try_from(thread.as_raw()));
        if numbers.len() > MOST_THREADS {
            numbers.pop_front();
        }
    }

    fn have(&self, number: u32) -> bool {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.contains(&number)
    }
}

/// Holds a pod, where there is a table: without one, a look finds that it is missing.
pub(in super::super) async fn hold(host: &Host, holding: &Holding) -> Result<(), OpError> {
    let held = host.held.change(holding, true).await;
    held.map(drop)
        .map_err(|error| error.at(format!("table bridge {TABLE}")))
}

/// Lets go of a pod.
pub(in super::super) async fn release(host: &Host, holding: &Holding) -> Result<(), OpError> {
    let released = host.held.change(holding, false).await;
    released
        .map(drop)
        .map_err(|error| error.at(format!("table bridge {TABLE}")))
}

/// A table is there before it is removed: else it could not be.
fn removal() -> String {
    format!("add table bridge {TABLE}\ndelete table bridge {TABLE}\n")
}

fn script(holding: &Holding) -> String {
    let mut script = format!("table bridge {TABLE} {{\n");
    let ports = holding.ports.iter().map(|port| format!("\"{port}\""));
    let sources = holding.sources.iter().map(|source| {
        let Source { port, mac, address } = source;
        format!("\"{port}\" . {mac} . {address}")
    });
    set(&mut script, PORTS, "ifname", ports);
    set(
        &mut script,
        SOURCES,
        "ifname . ether_addr . ipv4_addr",
        sources,
    );
    // Before whatever may be at the usual places.
    let _ = writeln!(
        script,
        "chain {CHAIN} {{\ntype filter hook prerouting priority -310; policy accept;"
    );
    for (number, rule) in RULES.iter().enumerate() {
        let _ = writeln!(script, "{rule} comment \"{MARK}{number}\"");
    }
    script + "}\n}\n"
}

fn set(script: &mut String, name: &str, of: &str, elements: impl Iterator<Item = String>) {
    let elements: Vec<String> = elements.collect();
    let _ = writeln!(script, "set {name} {{\ntype {of}");
    if !elements.is_empty() {
        let _ = writeln!(script, "elements = {{ {} }}", elements.join(", "));
    }
    script.push_str("}\n");
}

/// Reads what `nft -j` shows of the table; `None` for what is not understood.
fn read(shown: &str) -> Option<ObservedHolding> {
    let document: Value = serde_json::from_str(shown).ok()?;
    let objects = document["nftables"].as_array()?;
    let elements = |name: &str| {
        let sets = objects.iter().map(|object| &object["set"]);
        let mut sets = sets.filter(move |set| set["name"] == name);
        let elements = sets.next().and_then(|set| set["elem"].as_array());
        elements.into_iter().flatten()
    };
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    let marks: Vec<Option<&str>> = rules.map(|rule| rule["comment"].as_str()).collect();
    let wanted: Vec<String> = (0..RULES.len())
        .map(|number| format!("{MARK}{number}"))
        .collect();
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    let hooks: Vec<Option<&str>> = chains.map(|chain| chain["hook"].as_str()).collect();
    let ruled = hooks == [Some("prerouting")]
        && marks
            .iter()
            .copied()
            .eq(wanted.iter().map(|mark| Some(mark.as_str())));
    let ports: Option<BTreeSet<IfName>> = elements(PORTS).map(port).collect();
    let sources: Option<BTreeSet<Source>> = elements(SOURCES).map(source).collect();
    Some(ObservedHolding::Table {
        // What podnet does not understand it has not written.
        ruled: ruled && ports.is_some() && sources.is_some(),
        holding: Holding {
            ports: ports.unwrap_or_default(),
            sources: sources.unwrap_or_default(),
        },
    })
}

fn port(element: &Value) -> Option<IfName> {
    element.as_str()?.parse().ok()
}

fn source(element: &Value) -> Option<Source> {
    let [name, mac, address] = element["concat"].as_array()?.as_slice() else {
        return None;
    };
    Some(Source {
        port: port(name)?,
        mac: mac.as_str()?.to_owned().try_into().ok()?,
        address: address.as_str()?.parse().ok()?,
    })
}
