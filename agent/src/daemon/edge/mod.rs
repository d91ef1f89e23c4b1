//! Where the node's effects are carried out.

mod disk;
mod echoes;
mod speech;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Instant;

use podnet_core::kernel::{Kind, Kinds, Op};
use podnet_core::nft::suspects;
use podnet_core::node::{
    Attach, Effect, Event, Fresh, HostSeen, Looked, NetnsSeen, Question, Start, Write,
};
use podnet_proto::{ClusterId, GossipKey};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::disk::{Disk, Place};
use self::echoes::ask;
use self::speech::{Base, Speech, Voiced};
use super::error;
use super::forwarding::close;
use super::waiters::Waiters;
use crate::announce::Announcer;
use crate::config::Config;
use crate::dataplane::Dataplane;
use crate::gossip::{Gossip, Keyring, ask_members};
use crate::pods::{attach, detach};
use crate::probe::Prober;
use crate::reconciler::pass;
use crate::store::{Identity, RunDir, StateDir, StoreError};
use crate::vital;

/// What carries out the node's effects.
pub(super) struct Edge {
    dataplane: Arc<dyn Dataplane>,
    run_dir: RunDir,
    disk: Disk,
    speech: Speech,
    prober: Prober,
    announcer: Announcer,
    pub(super) waiters: Waiters,
    /// The task that asks the members of a cluster, while it runs.
    asking: JoinSet<()>,
    news: mpsc::Sender<News>,
}

/// The outcome of something that was done beside the loop.
pub(super) enum News {
    Event(Event),
    /// Gossip was started, or could not be.
    Gossip(Box<Voiced>),
}

impl Edge {
    pub(super) fn new(
        config: &Config,
        identity: Arc<Identity>,
        start: Instant,
        run_dir: RunDir,
        dataplane: Arc<dyn Dataplane>,
        prober: Prober,
        news: mpsc::Sender<News>,
    ) -> Self {
        let node = identity.node();
        let place = Place {
            state_dir: StateDir::new(config.state_dir.clone(), node),
            run_dir: run_dir.path().to_owned(),
            boot_id_file: config.boot_id_file.clone(),
            node,
        };
        let base = Base {
            gossip_port: config.gossip_port,
            timing: config.timing,
            identity,
            start,
            counters: Arc::default(),
            roster: Arc::default(),
        };
        Self {
            dataplane,
            run_dir,
            disk: Disk::start(place, news.clone()),
            speech: Speech::new(Arc::new(base)),
            prober,
            announcer: Announcer::default(),
            waiters: Waiters::default(),
            asking: JoinSet::new(),
            news,
        }
    }

    /// Gossip, while it runs.
    pub(super) fn gossip(&self) -> Option<&Gossip> {
        self.speech.gossip()
    }

    /// Takes in the outcome of something that was done beside the loop.
    pub(super) fn take_in(&mut self, news: News) -> Event {
        match news {
            News::Event(event) => event,
            News::Gossip(fresh) => self.speech.take_over(*fresh),
        }
    }

    /// Ends in order: clients that wait for an answer learn at once that none will come.
    pub(super) async fn stop(mut self) {
        drop(self.waiters);
        self.speech.stop().await;
    }

    /// Carries out effects, in their order. Returns the outcomes of those that are done at once.
    pub(super) async fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Event> {
        let mut events = Vec::new();
        for effect in effects {
            match effect {
                Effect::Store(write) if !write.is_volatile() => {
                    events.extend(self.disk.store(write));
                }
                Effect::Note(write) if !write.is_volatile() => self.disk.note(write),
                Effect::EndMembership => events.extend(self.disk.end_membership()),
                Effect::StartGossip(start) => self.start_gossip(*start),
                Effect::StopGossip => self.speech.stop().await,
                Effect::Listen => events.extend(self.speech.listen().await),
                Effect::Publish(values) => events.extend(self.speech.publish(values).await),
                Effect::Nudge { urgent, idly } => self.speech.nudge(urgent, idly),
                Effect::ShowRoster(roster) => self.speech.show_roster(roster),
                Effect::LookAtHost(kinds) => self.begin(|dataplane| async move {
                    let observed = dataplane.observe(&kinds).await;
                    Event::HostSeen(Box::new(HostSeen {
                        observed: observed.map_err(|e| error::observe(&e)),
                        hostname: hostname(),
                        fresh: Fresh {
                            cluster: ClusterId::from_bytes(rand::random()),
                            gossip_key: GossipKey::from_bytes(rand::random()),
                        },
                    }))
                }),
                // The run directory is in memory.
                Effect::Store(write) => {
                    let result = self.write(&write).map_err(|e| error::store(&e));
                    events.push(Event::Stored(write, result));
                }
                Effect::Note(write) => {
                    if let Err(store_error) = self.write(&write) {
                        let error = error::chain(&store_error);
                        tracing::warn!(%write, error, "a record cannot be written to the run directory");
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
                Effect::Pass(job) => {
                    let opened = self.run_dir.clone();
                    self.begin(|dataplane| async move {
                        Event::PassDone(Box::new(pass(dataplane.as_ref(), &opened, &job).await))
                    });
                }
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
                    let mut results = dataplane.apply(op).await.into_iter();
                    let result = results.try_for_each(|result| result.map(drop));
                    Event::Repaired(name, repair, result)
                }),
                Effect::Apply(loose, repairs) => self.begin(|dataplane| async move {
                    let ops = repairs.iter().map(|repair| repair.finding.op.clone());
                    let results = dataplane.apply(&ops.collect::<Vec<Op>>()).await.into_iter();
                    let results = results.map(|result| result.map(drop));
                    Event::Applied(loose, repairs.into_iter().zip(results).collect())
                }),
                Effect::LookAtChains(flows) => self.begin(|dataplane| async move {
                    let started = Instant::now();
                    let observed = dataplane.observe(&Kinds::from([Kind::OtherChains])).await;
                    let chains = observed.ok().and_then(|observed| observed.chains);
                    let found = chains.map(|chains| suspects(&chains, &flows));
                    let took = started.elapsed();
                    Event::Looked(Looked { found, took })
                }),
                Effect::SendEchoes(borrowed) => self.begin(|dataplane| async move {
                    Event::EchoesOfPods(ask(dataplane.as_ref(), *borrowed).await)
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
            // These are written to the state directory.
            Write::Membership(_)
            | Write::NoMembership
            | Write::Member(_)
            | Write::Durable(_)
            | Write::Peers(_) => Ok(()),
        }
    }

    /// Does something beside the loop, and reports what has come of it.
    fn begin<Work>(&self, work: impl FnOnce(Arc<dyn Dataplane>) -> Work)
    where
        Work: Future<Output = Event> + Send + 'static,
    {
        let (work, news) = (work(Arc::clone(&self.dataplane)), self.news.clone());
        vital::spawn(async move {
            let event = work.await;
            // The loop ends only with the process.
            let _ = news.send(News::Event(event)).await;
        });
    }

    fn start_gossip(&self, start: Start) {
        let drawn = start.unused.is_none().then(|| self.disk.epoch(start.above));
        let (base, news) = (self.speech.base(), self.news.clone());
        vital::spawn(async move {
            let epoch = match (drawn, start.unused) {
                (Some(drawn), _) => drawn.await,
                (None, unused) => Ok(unused.unwrap_or_default()),
            };
            let fresh = base.start(start, epoch).await;
            // The loop ends only with the process.
            let _ = news.send(News::Gossip(Box::new(fresh))).await;
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
        let news = self.news.clone();
        self.asking = JoinSet::new();
        self.asking.spawn(vital::watched(async move {
            let result = ask_members(bind, &Keyring::new(key), &hello, &targets, patience).await;
            let result = result.map_err(|why| error::unanswered(&targets, &why));
            let event = Event::Asked(attempt, Box::new(result));
            let _ = news.send(News::Event(event)).await;
        }));
    }
}

/// The host's name; empty if it has none.
pub(super) fn hostname() -> String {
    let hostname = nix::unistd::gethostname().unwrap_or_default();
    hostname.to_string_lossy().into_owned()
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
