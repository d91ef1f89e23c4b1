//! Podnet's table of the bridge: what pods may send from.
//!
//! A set has the ports of pods that are held, another one what may come in by them. What comes in by any other
//! port passes. The rules bear marks, so that they are known again however this version of `nft` shows them.

mod elements;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netlink_packet_route::link::InfoKind;
use nix::unistd::{Pid, gettid};
use podnet_core::kernel::holding::Op;
use podnet_core::kernel::{
    Holding, IfName, Made, Meanwhile, ObservedHolding, OpError, OpErrorKind, Source,
};
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};
use tokio::task::yield_now;

use self::elements::{Line, Outcome};
use super::errno::KernelError;
use super::firewall::iptables::ProgramError;
use super::thread::on_thread;
use super::{Host, Results, link, nft, sysctl};

/// The table, in the family of bridges.
const TABLE: &str = "podnet";

/// The ports of pods that are held.
const PORTS: &str = "ports";

/// What may come in by them.
const SOURCES: &str = "sources";

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

/// Makes changes of what pods are held to, one after the other.
pub(super) async fn apply(host: &Host, ops: &[&Op]) -> Results {
    let mut results = Results::with_capacity(ops.len());
    for op in ops {
        let done = match op {
            Op::Set(holding) => host.held.set(holding).await,
            Op::Hold { holding, .. } => host.held.hold(holding).await,
            Op::Release { holding, .. } => host.held.release(holding).await,
            Op::Remove => host.held.remove().await,
        };
        results.push(done.map(Made::from));
    }
    results
}

/// What nftables holds pods to. If it cannot, the reason names what is lacking of the rest that holds them, too.
pub(super) async fn observe(host: &Host) -> ObservedHolding {
    let found = host.held.observe().await;
    let ObservedHolding::Impossible(mut why) = found else {
        return found;
    };
    let links = link::list(&host.socket, Some(InfoKind::Veth)).await;
    let links = links.unwrap_or_default();
    if links
        .iter()
        .any(|link| link.is_our_host_end() && link.port.is_unlockable())
    {
        why.push_str(
            "; nor does the bridge of this kernel hold pods to their MAC addresses: boot Linux 5.18 or later",
        );
    }
    if sysctl::takes_any_source().await == Ok(true) {
        why.push_str(
            "; nor does the host drop what comes from addresses of no pod, since net.ipv4.conf.all.rp_filter \
             is 2: set it to 1",
        );
    }
    ObservedHolding::Impossible(why)
}

/// How many pods are let go of in one transaction at most: its acknowledgements must fit the receive buffer, and one
/// that is made again element by element must end within the deadline.
const TOGETHER: usize = 32;

/// Pods that are held by nftables. Changes are made one after the other.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What has become of single pods of late. Who changes the table has it.
    meanwhile: Mutex<Meanwhile>,
    /// Pods that are to be let go of next, together.
    leaving: std::sync::Mutex<Vec<Leaving>>,
    line: Arc<std::sync::Mutex<Line>>,
    threads: Arc<Threads>,
    /// The number of the process that last changed the table for podnet.
    process: AtomicU32,
}

/// A pod that is to be let go of, and who waits for it.
#[derive(Debug)]
struct Leaving {
    holding: Holding,
    done: oneshot::Sender<Result<(), OpError>>,
}

impl Held {
    /// Looks at the table. What this host cannot do now it may do at the next look: a program can be installed.
    async fn observe(&self) -> ObservedHolding {
        self.meanwhile.lock().await.look();
        match on_thread(elements::table_is_there).await.flatten() {
            Ok(true) => seen().await,
            Ok(false) => match check().await {
                Ok(()) => ObservedHolding::Absent,
                Err(error) => ObservedHolding::Impossible(error.to_string()),
            },
            Err(error) => ObservedHolding::Unseen(error.to_string()),
        }
    }

    /// Makes the table hold this, but for what has been done to single pods meanwhile.
    async fn set(&self, holding: &Holding) -> Result<(), OpError> {
        let meanwhile = self.meanwhile.lock().await;
        let script = format!("{}{}", removal(), script(&meanwhile.upon(holding)));
        let applied = nft::apply(&script, &self.process).await;
        applied.map_err(|error| error.at("nftables"))
    }

    /// Removes the table.
    async fn remove(&self) -> Result<(), OpError> {
        let mut meanwhile = self.meanwhile.lock().await;
        *meanwhile = Meanwhile::default();
        self.on_noted_thread(elements::remove_table).await
    }

    /// The number of the process that last changed the table for podnet; 0 for none.
    pub(super) fn own_process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }

    /// Holds a pod.
    async fn hold(&self, pod: &Holding) -> Result<(), OpError> {
        if pod.is_empty() {
            return Ok(());
        }
        let mut meanwhile = self.meanwhile.lock().await;
        meanwhile.hold(pod);
        let pod = pod.clone();
        self.on_noted_thread(move |line| elements::add(line, &pod))
            .await
    }

    /// Lets go of a pod. The kernel takes its time for each transaction that removes something, so pods that wait for
    /// one go together in the next.
    async fn release(&self, pod: &Holding) -> Result<(), OpError> {
        if pod.is_empty() {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        let holding = pod.clone();
        self.leaving().push(Leaving { holding, done });
        // Those whose links were deleted together come along.
        yield_now().await;
        let mut meanwhile = self.meanwhile.lock().await;
        let leaving = std::mem::take(&mut *self.leaving());
        self.release_all(&mut meanwhile, leaving).await;
        drop(meanwhile);
        // Whoever had it before took this pod along.
        outcome.await.unwrap_or_else(|_| {
            let why = format!("table bridge {TABLE}: the change was given up");
            Err(OpError::new(OpErrorKind::Busy, why))
        })
    }

    async fn release_all(&self, meanwhile: &mut Meanwhile, mut leaving: Vec<Leaving>) {
        while !leaving.is_empty() {
            let together = leaving.split_off(leaving.len().saturating_sub(TOGETHER));
            let mut all = Holding::default();
            for Leaving { holding, .. } in &together {
                meanwhile.release(holding);
                all.ports.extend(holding.ports.iter().cloned());
                all.sources.extend(holding.sources.iter().cloned());
            }
            let released = self
                .on_noted_thread(move |line| elements::remove(line, &all))
                .await;
            for Leaving { done, .. } in together {
                // Nobody may wait any more.
                let _ = done.send(released.clone());
            }
        }
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change, and keeps in mind which thread does it. What is not there is no error: a look finds it.
    async fn on_noted_thread(
        &self,
        change: impl FnOnce(&mut Line) -> Result<Outcome, KernelError> + Send + 'static,
    ) -> Result<(), OpError> {
        let threads = Arc::clone(&self.threads);
        let line = Arc::clone(&self.line);
        let changed = on_thread(move || {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            threads.note(gettid());
            change(&mut line)
        });
        let changed = changed.await.flatten();
        changed
            .map(drop)
            .map_err(|error| error.at(format!("table bridge {TABLE}")))
    }

    /// Whether a thread of podnet's has changed something a moment ago.
    pub(super) fn is_own_thread(&self, number: u32) -> bool {
        self.threads.have(number, Instant::now())
    }
}

/// The table as `nft` shows it.
async fn seen() -> ObservedHolding {
    match nft::show(&["list", "table", "bridge", TABLE]).await {
        Ok(shown) => read(&shown).unwrap_or_else(|| {
            ObservedHolding::Unseen("'nft -j' shows it as podnet does not know it".to_owned())
        }),
        Err(ProgramError::Failed { detail, .. }) if detail.contains("No such file") => {
            ObservedHolding::Absent
        }
        Err(error) => ObservedHolding::Unseen(error.to_string()),
    }
}

/// Checks whether this host could have the table, and show it.
async fn check() -> Result<(), ProgramError> {
    let script = format!("{}{}", removal(), script(&Holding::default()));
    nft::check(&script).await?;
    nft::show(&["list", "tables"]).await.map(drop)
}

/// How long the number of a thread is kept in mind: the kernel reports a change at once, and gives the number to
/// another thread in time.
const NOTED: Duration = Duration::from_secs(2);

/// The numbers of the threads that have changed something, by which the kernel reports it, and when they did.
#[derive(Debug, Default)]
struct Threads(std::sync::Mutex<VecDeque<(u32, Instant)>>);

impl Threads {
    fn note(&self, thread: Pid) {
        let now = Instant::now();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|(_, since)| now.saturating_duration_since(*since) < NOTED);
        noted.extend(u32::try_from(thread.as_raw()).map(|number| (number, now)));
    }

    fn have(&self, number: u32, now: Instant) -> bool {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut noted = noted
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(*since) < NOTED);
        noted.any(|(noted, _)| *noted == number)
    }
}

/// Holds a pod, if there is a table: without one, a look finds that it is missing.
pub(super) async fn hold(host: &Host, holding: &Holding) -> Result<(), OpError> {
    host.held.hold(holding).await
}

/// Lets go of a pod.
pub(super) async fn release(host: &Host, holding: &Holding) -> Result<(), OpError> {
    host.held.release(holding).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_podnets_own_for_a_moment() {
        let threads = Threads::default();
        threads.note(Pid::from_raw(7));
        let now = Instant::now();
        assert!(threads.have(7, now) && !threads.have(8, now));
        assert!(!threads.have(7, now + NOTED));
    }
}
