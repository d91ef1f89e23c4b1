//! The cluster that things happen to, and what may be expected of it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use podnet_lab::{Direction, Lab, Node};

use crate::action::{Action, NODES, OTHERS, Tampering, pods};
use crate::tally::Tally;
use crate::verdict::Standing;

/// How long `podnetctl` is given: an agent may be frozen.
const PATIENCE: &str = "3s";

/// The agents' intervals: much happens in little time.
const GOSSIP: Duration = Duration::from_millis(250);
const RESYNC: Duration = Duration::from_secs(1);

pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    /// The pods that have to be there, by node.
    pub(crate) certain: BTreeMap<usize, BTreeSet<String>>,
    /// The pods that must not be there.
    pub(crate) removed: BTreeMap<usize, BTreeSet<String>>,
    /// What every node has in good times, whatever its block is.
    pub(crate) standing: Standing,
    pub(crate) tally: Tally,
}

/// What an action says of a pod.
enum Outcome {
    There(usize, String),
    Removed(usize, String),
    /// Its removal or addition came to an unknown end.
    Uncertain(usize, String),
    /// All pods of the node may be gone.
    Lost(usize),
    /// All pods of the node are gone.
    Rebooted(usize),
}

impl Cluster {
    /// A cluster in good times.
    pub(crate) fn up() -> Self {
        let lab = Lab::builder()
            .nodes(u8::try_from(NODES).unwrap())
            .timing("gossip_interval", GOSSIP)
            .timing("resync", RESYNC)
            .join(true)
            .up()
            .unwrap();
        lab.nodes().into_iter().for_each(furnish);
        Self {
            standing: Standing::of(&lab.nodes()),
            lab,
            certain: BTreeMap::new(),
            removed: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn node(&self, index: usize) -> Node<'_> {
        self.lab.node(&format!("node{}", index + 1)).unwrap()
    }

    /// Lets actions happen at the same time.
    pub(crate) fn carry_out(&mut self, actions: &[Action]) {
        let this = &*self;
        let ends: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = actions
                .iter()
                .map(|action| scope.spawn(move || this.happen(action)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for (action, (happened, outcome)) in actions.iter().zip(ends) {
            self.tally.count(action, happened);
            outcome.into_iter().for_each(|outcome| self.take(outcome));
        }
    }

    fn take(&mut self, outcome: Outcome) {
        let (Outcome::There(node, _)
        | Outcome::Removed(node, _)
        | Outcome::Uncertain(node, _)
        | Outcome::Lost(node)
        | Outcome::Rebooted(node)) = outcome;
        let certain = self.certain.entry(node).or_default();
        let removed = self.removed.entry(node).or_default();
        match outcome {
            Outcome::There(_, pod) => {
                removed.remove(&pod);
                certain.insert(pod);
            }
            Outcome::Removed(_, pod) => {
                certain.remove(&pod);
                removed.insert(pod);
            }
            Outcome::Uncertain(_, pod) => {
                certain.remove(&pod);
                removed.remove(&pod);
            }
            Outcome::Lost(_) => certain.clear(),
            Outcome::Rebooted(_) => {
                certain.clear();
                removed.extend(pods());
            }
        }
    }

    /// Lets an action happen. There may be nothing that it could happen to.
    fn happen(&self, action: &Action) -> (bool, Option<Outcome>) {
        match action {
            Action::Kill(node) => {
                let runs = self.runs(*node);
                self.node(*node).kill().unwrap();
                (runs, None)
            }
            Action::Stop(node) => {
                let runs = self.runs(*node);
                self.node(*node).term().unwrap();
                (runs, None)
            }
            Action::Start(node) => {
                let runs = self.runs(*node);
                self.node(*node).start().unwrap();
                (!runs, None)
            }
            Action::Freeze(node) => {
                self.node(*node).stop().unwrap();
                (true, None)
            }
            Action::Thaw(node) => {
                self.node(*node).cont().unwrap();
                (true, None)
            }
            Action::Heal => {
                self.lab.heal().unwrap();
                (true, None)
            }
            Action::Cut(first) => {
                let nodes = self.lab.nodes();
                let (some, others) = nodes.split_at(*first);
                self.lab.cut(some, others, Direction::Both).unwrap();
                (true, None)
            }
            Action::Reboot(node) => {
                self.node(*node).reboot().unwrap();
                furnish(self.node(*node));
                (true, Some(Outcome::Rebooted(*node)))
            }
            Action::Tamper(node, tampering) => {
                let script = ["bash", "-c", tampering.script()];
                let tampered = self.node(*node).exec(script).unwrap().ok();
                let lost = *tampering == Tampering::NamespaceRemoved;
                (tampered, lost.then_some(Outcome::Lost(*node)))
            }
            Action::AddPod(node, pod) => {
                let added = self.podnetctl(*node, &["pod", "add", pod]);
                let outcome = if added {
                    Outcome::There
                } else {
                    Outcome::Uncertain
                };
                (added, Some(outcome(*node, pod.clone())))
            }
            Action::RemovePod(node, pod) => {
                let removed = self.podnetctl(*node, &["pod", "rm", pod]);
                let outcome = if removed {
                    Outcome::Removed
                } else {
                    Outcome::Uncertain
                };
                (removed, Some(outcome(*node, pod.clone())))
            }
        }
    }

    fn runs(&self, node: usize) -> bool {
        self.node(node).agent().unwrap().is_some()
    }

    /// Whether `podnetctl` succeeds; with an agent that is away, it does not.
    fn podnetctl(&self, node: usize, words: &[&str]) -> bool {
        let words = [&["--timeout", PATIENCE], words].concat();
        self.node(node).ctl(words).unwrap().ok()
    }

    /// Ends the bad times.
    pub(crate) fn calm(&self) {
        self.lab.heal().unwrap();
        for node in self.lab.nodes() {
            if node.agent().unwrap().is_some() {
                node.cont().unwrap();
            } else {
                node.start().unwrap();
            }
        }
    }
}

/// Lets others have something on a node.
fn furnish(node: Node<'_>) {
    let output = node.exec(["sh", "-ec", OTHERS]).unwrap();
    output.success(OTHERS).unwrap();
}
