//! Where the node's effects are carried out.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Instant;

use podnet_core::kernel::{Op, Scope};
use podnet_core::nft::suspects;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::effect::{Attach, Borrowed, Effect, Event, NetnsSeen, Question, Write};
use super::error;
use super::forwarded::ask;
use super::host;
use super::leave::close;
use super::suspicion::Looked;
use super::waiters::Waiters;
use crate::announce::Announcer;
use crate::dataplane::Dataplane;
use crate::gossip::{Keyring, probe};
use crate::pods::{attach, detach};
use crate::probe::Prober;
use crate::reconciler::pass;
use crate::store::{RunDir, StoreError};
use crate::vital;

/// What the node reaches the world by.
pub(super) struct Edge {
    pub(super) dataplane: Arc<dyn Dataplane>,
    pub(super) run_dir: RunDir,
    pub(super) prober: Prober,
    pub(super) announcer: Announcer,
    pub(super) waiters: Waiters,
    /// The task that asks the members of a cluster, if one does.
    pub(super) asking: JoinSet<()>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Edge {
    /// Carries out effects, in their order. Returns what has come of those that are done at once.
    pub(super) async fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Event> {
        let mut events = Vec::new();
        for effect in effects {
            match effect {
                Effect::LookAtHost => self.begin(|dataplane| async move {
                    let observed = dataplane.observe(&host::scope()).await;
                    Event::HostSeen(Box::new(observed.map_err(|e| error::observe(&e))))
                }),
                // The run directory is in memory.
                Effect::Store(write) => {
                    let result = self.write(&write).map_err(|e| error::store(&e));
                    events.push(Event::Stored(write, result));
                }
                Effect::Note(write) => {
                    if let Err(store_error) = self.write(&write) {
                        let error = error::chain(&store_error);
                        tracing::warn!(%write, error, "it is not on record");
                    }
                }
                Effect::LookAtNetns(name, path) => {
                    events.push(Event::NetnsSeen(name, look(&path)));
                }
                Effect::Answer(ticket, answer) => self.waiters.answer(ticket, answer),
                Effect::Aim(targets) => self.prober.set_targets(targets),
                Effect::Announce(seat) => self.announcer.announce(seat),
                Effect::AskMembers(question) => self.ask_members(*question),
                Effect::StopAsking => self.asking.shutdown().await,
                Effect::Pass(job) => self.begin(|dataplane| async move {
                    Event::PassDone(Box::new(pass(dataplane.as_ref(), &job).await))
                }),
                Effect::Attach(pod) => self.begin(|dataplane| async move {
                    let Attach {
                        link,
                        reused,
                        namespaces,
                    } = *pod;
                    let result = attach(dataplane.as_ref(), &link, reused, &namespaces).await;
                    Event::Attached(link.pod, result)
                }),
                Effect::Detach(link) => self.begin(|dataplane| async move {
                    let result = detach(dataplane.as_ref(), &link).await;
                    Event::Detached(link.pod, result)
                }),
                Effect::RepairPod(name, repair) => self.begin(|dataplane| async move {
                    let op = slice::from_ref(&repair.finding.op);
                    let result = dataplane.apply(op).await.into_iter().collect();
                    Event::Repaired(name, repair, result)
                }),
                Effect::Apply(loose, repairs) => self.begin(|dataplane| async move {
                    let ops = repairs.iter().map(|repair| repair.finding.op.clone());
                    let results = dataplane.apply(&ops.collect::<Vec<Op>>()).await;
                    Event::Applied(loose, repairs.into_iter().zip(results).collect())
                }),
                Effect::LookAtChains(flows) => self.begin(|dataplane| async move {
                    let started = Instant::now();
                    let scope = Scope {
                        chains: true,
                        ..Scope::default()
                    };
                    let observed = dataplane.observe(&scope).await;
                    let chains = observed.ok().and_then(|observed| observed.chains);
                    let found = chains.map(|chains| suspects(&chains, &flows));
                    let took = started.elapsed();
                    Event::Looked(Looked { found, took })
                }),
                Effect::SendEchoes(borrowed) => self.begin(|dataplane| async move {
                    let Borrowed {
                        pods,
                        own,
                        gateways,
                    } = *borrowed;
                    Event::EchoesOfPods(ask(dataplane.as_ref(), &pods, own, gateways).await)
                }),
                Effect::CloseDevices => {
                    let run_dir = self.run_dir.clone();
                    self.begin(|dataplane| async move {
                        Event::Closed(close(dataplane.as_ref(), &run_dir).await)
                    });
                }
            }
        }
        events
    }

    fn write(&self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Pod(record) => self.run_dir.save_pod(record),
            Write::NoPod(name) => self.run_dir.remove_pod(name),
            Write::Freed(addresses) => self.run_dir.save_freed(addresses),
        }
    }

    /// Does something beside the loop, and reports what has come of it.
    fn begin<Work>(&self, work: impl FnOnce(Arc<dyn Dataplane>) -> Work)
    where
        Work: Future<Output = Event> + Send + 'static,
    {
        let (work, events) = (work(Arc::clone(&self.dataplane)), self.events.clone());
        vital::spawn(async move {
            let event = work.await;
            // The loop ends only with the process.
            let _ = events.send(event).await;
        });
    }

    fn ask_members(&mut self, question: Question) {
        let Question {
            attempt,
            bind,
            key,
            hello,
            targets,
            patience,
        } = question;
        let events = self.events.clone();
        self.asking = JoinSet::new();
        self.asking.spawn(vital::watched(async move {
            let result = probe(bind, &Keyring::new(key), &hello, &targets, patience).await;
            let _ = events.send(Event::Probed(attempt, Box::new(result))).await;
        }));
    }
}

/// Looks what a path leads to where the namespace of a pod is to be, or is.
fn look(path: &Path) -> NetnsSeen {
    let found = path.metadata();
    NetnsSeen {
        exists: path.symlink_metadata().is_ok(),
        missing: matches!(&found, Err(error) if error.kind() == ErrorKind::NotFound),
        inode: found.ok().map(|found| found.ino()),
    }
}
