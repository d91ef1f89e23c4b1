//! Carrying out what a node wants: what the daemon does with the world, done with models of it.

use std::slice;
use std::time::Duration;

use podnet_agent::pods::{attach, detach};
use podnet_agent::reconciler::pass;
use podnet_core::kernel::{Kind, Kinds, NetnsState, Op, PodLink};
use podnet_core::node::{
    Attach, Echoes, Effect, Event, Fresh, HostSeen, Input, Looked, NetnsSeen, Write,
};
use podnet_core::pass::Job as PassJob;
use podnet_proto::{ApiError, ClusterId, ErrorCode, GossipKey};

use crate::closing::close;
use crate::disk::Job;
use crate::kernel::{Opened, Slow};
use crate::process::Task;
use crate::verdict::Failure;
use crate::world::{MILLI, OfProcess, World};

/// How long the looks take whose cost the node counts.
const LOOK: Duration = Duration::from_millis(1);

/// Whether an end of the agent before this may leave something half done.
const fn matters(effect: &Effect) -> bool {
    match effect {
        Effect::Answer(..)
        | Effect::Pass(_)
        | Effect::Store(_)
        | Effect::Note(_)
        | Effect::EndMembership
        | Effect::StartGossip(_)
        | Effect::StopGossip
        | Effect::Publish(_)
        | Effect::Attach(_)
        | Effect::Detach(_)
        | Effect::RepairPod(..)
        | Effect::Apply(..)
        | Effect::CloseDevices => true,
        Effect::LookAtHost(_)
        | Effect::Listen
        | Effect::Nudge { .. }
        | Effect::ShowRoster(_)
        | Effect::LookAtNetns(..)
        | Effect::LookAtChains(_)
        | Effect::SendEchoes(_)
        | Effect::AskMembers(_)
        | Effect::StopAsking
        | Effect::Aim(_)
        | Effect::Announce(_) => false,
    }
}

impl World {
    /// Whether the agent dies before it carries this out.
    pub(crate) fn dies_before(&mut self, host: usize, effect: &Effect) -> bool {
        let Some((left, down)) = self.hosts[host].crash.filter(|_| matters(effect)) else {
            return false;
        };
        if left > 0 {
            self.hosts[host].crash = Some((left - 1, down));
            return false;
        }
        self.note(|| format!("{host} dies before {}", short(effect)));
        self.end(host, down);
        true
    }

    /// Carries out one effect. Returns what has come of it, if it is done at once.
    pub(crate) fn carry_out(&mut self, host: usize, effect: Effect) -> Result<Vec<Event>, Failure> {
        if matters(&effect) {
            self.note(|| format!("{host}   > {}", short(&effect)));
        }
        let mutant = self.mutant;
        let (kernel, opened) = {
            let acting = &self.hosts[host];
            (acting.kernel.clone(), acting.run.opened.clone())
        };
        let mut events = Vec::new();
        match effect {
            Effect::Store(write) if write.is_volatile() => {
                if !mutant.loses(&write) {
                    self.hosts[host].run.write(&write);
                }
                events.push(Event::Stored(write, Ok(())));
            }
            Effect::Note(write) if write.is_volatile() => {
                if !mutant.loses(&write) {
                    self.hosts[host].run.write(&write);
                }
            }
            Effect::Store(write) => {
                if mutant.ends_at(&write) {
                    events.extend(self.job(host, Job::End));
                }
                if mutant.is_hasty(&write)
                    && let Write::Durable(durable) = &write
                {
                    self.job(host, Job::Note(Write::Durable(durable.clone())));
                    events.push(Event::Stored(write, Ok(())));
                } else {
                    events.extend(self.job(host, Job::Store(write)));
                }
            }
            Effect::Note(write) => drop(self.job(host, Job::Note(write))),
            Effect::EndMembership => events.extend(self.job(host, Job::End)),
            Effect::StartGossip(start) => match start.unused {
                None => events.extend(self.job(host, Job::Epoch(start))),
                Some(epoch) => events.push(self.speak(host, &start, Ok(epoch))),
            },
            Effect::StopGossip => self.speaking(host, |speech| *speech = None),
            Effect::Listen => events.extend(self.listen(host)),
            Effect::Publish(values) => self.publish(host, &values),
            Effect::Nudge { urgent, idly } => self.nudge(host, urgent, idly),
            Effect::ShowRoster(roster) => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.roster = roster;
                }
            }
            Effect::LookAtHost(kinds) => {
                let cluster = ClusterId::from_bytes(self.rng.u128(..).to_be_bytes());
                let fresh = Fresh {
                    cluster,
                    gossip_key: GossipKey::from_bytes([7; 32]),
                };
                self.begin(
                    host,
                    look_at_host(kernel, kinds, format!("host{host}"), fresh),
                );
            }
            Effect::LookAtNetns(name, path) => {
                let kinds = Kinds::from([Kind::Namespace(path.clone())]);
                let found = self.hosts[host].look(|kernel| kernel.observe(&kinds)).netns;
                let found = found.get(&path).copied();
                let inode = match found {
                    Some(NetnsState::Netns { inode }) => Some(inode),
                    Some(NetnsState::Host) => Some(1),
                    Some(NetnsState::NotANetns | NetnsState::Missing) | None => None,
                };
                let missing = matches!(found, Some(NetnsState::Missing) | None);
                events.push(Event::NetnsSeen(
                    name,
                    NetnsSeen {
                        exists: !missing,
                        inode,
                        missing,
                    },
                ));
            }
            Effect::Answer(ticket, answer) => {
                for _ in 0..mutant.copies(ticket) {
                    self.answered(host, ticket, &answer)?;
                }
            }
            Effect::Aim(targets) => self.aim(host, targets),
            Effect::AskMembers(question) => self.ask_members(host, question),
            Effect::StopAsking => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.asking = None;
                }
            }
            Effect::Pass(job) => self.pass(host, kernel, opened, *job),
            Effect::Attach(pod) => {
                self.check_reuse(host, &pod)?;
                self.begin(host, attaching(kernel, *pod));
            }
            Effect::Detach(link) => {
                if mutant.detaches() {
                    self.begin(host, detaching(kernel, *link));
                } else {
                    self.begin(
                        host,
                        Box::pin(async move { Event::Detached(link.pod, Ok(())) }),
                    );
                }
            }
            Effect::RepairPod(name, repair) => self.begin(
                host,
                Box::pin(async move {
                    let results = apply(&kernel, slice::from_ref(&repair.finding.op)).await;
                    let result = results.into_iter().collect();
                    Event::Repaired(name, repair, result)
                }),
            ),
            Effect::Apply(loose, repairs) => self.begin(
                host,
                Box::pin(async move {
                    let ops: Vec<Op> = repairs
                        .iter()
                        .map(|repair| repair.finding.op.clone())
                        .collect();
                    let results = apply(&kernel, &ops).await;
                    Event::Applied(loose, repairs.into_iter().zip(results).collect())
                }),
            ),
            Effect::LookAtChains(_) => {
                let looked = Looked {
                    found: Some(Default::default()),
                    took: LOOK,
                };
                self.later(host, 2 * MILLI, Event::Looked(looked));
            }
            Effect::SendEchoes(_) => {
                self.later(host, 3 * MILLI, Event::EchoesOfPods(Echoes::default()));
            }
            Effect::CloseDevices => self.begin(
                host,
                Box::pin(async move { Event::Closed(close(&kernel, &opened).await) }),
            ),
            Effect::Announce(_) => {}
        }
        Ok(events)
    }

    /// Does something beside the loop.
    fn begin(&mut self, host: usize, task: Task) {
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        process.begun += 1;
        let number = process.begun;
        process.tasks.insert(number, task);
        self.push_to(self.now, host, OfProcess::Poll { task: number });
    }

    /// Something comes of what was wanted, so many microseconds later.
    pub(crate) fn later(&mut self, host: usize, delay: u64, event: Event) {
        let input = Box::new(Input::Event(event));
        self.push_to(self.now + delay, host, OfProcess::Input(input));
    }

    /// A task beside the loop goes on, up to its next call of the kernel.
    pub(crate) fn poll(&mut self, host: usize, task: u64) -> Result<(), Failure> {
        let polled = &mut self.hosts[host];
        let Some(process) = &mut polled.process else {
            return Ok(());
        };
        let event = process.poll(task);
        let wanted = polled.kernel.take_wanted();
        self.check_kernel(host)?;
        match event {
            Some(event) => {
                if let Event::PassDone(report) = &event
                    && self.mutant.hurries(report)
                {
                    self.turn(host, Input::Change(crate::mutant::everything()))?;
                }
                self.note_outcome(host, &event);
                if self.mutant.hears(&event) {
                    return self.turn(host, Input::Event(event));
                }
            }
            None => {
                let at = self.now + wanted.unwrap_or(1);
                self.push_to(at, host, OfProcess::Poll { task });
            }
        }
        Ok(())
    }

    fn pass(&mut self, host: usize, kernel: Slow, opened: Opened, job: PassJob) {
        if self.mutant.takes_for_stopped(&job) {
            // What the pass would come to is reported before it has begun.
            let copy = crate::checks::copy(&self.hosts[host]);
            let copied = opened.copy();
            let report = futures::executor::block_on(pass(&copy, &copied, &job));
            self.later(host, MILLI, Event::PassDone(Box::new(report)));
            return;
        }
        self.begin(
            host,
            Box::pin(async move {
                let mut report = pass(&kernel, &opened, &job).await;
                // By the clock of this machine.
                (report.took, report.firewall_took, report.ways_took) = (LOOK, LOOK, LOOK);
                report.ended_at = Default::default();
                Event::PassDone(Box::new(report))
            }),
        );
    }
}

async fn apply(kernel: &Slow, ops: &[Op]) -> Vec<Result<(), podnet_core::kernel::OpError>> {
    use podnet_agent::dataplane::Dataplane as _;
    let results = kernel.apply(ops).await.into_iter();
    results.map(|result| result.map(drop)).collect()
}

fn attaching(kernel: Slow, pod: Attach) -> Task {
    Box::pin(async move {
        let Attach {
            link,
            reused,
            namespaces,
        } = pod;
        let result = attach(&kernel, &link, reused, &namespaces).await;
        Event::Attached(link.pod, result)
    })
}

fn detaching(kernel: Slow, link: PodLink) -> Task {
    Box::pin(async move {
        let result = detach(&kernel, &link).await;
        Event::Detached(link.pod, result)
    })
}

fn look_at_host(kernel: Slow, kinds: Kinds, hostname: String, fresh: Fresh) -> Task {
    use podnet_agent::dataplane::Dataplane as _;
    Box::pin(async move {
        let observed = kernel.observe(&kinds).await;
        let observed = observed.map_err(|why| ApiError::new(ErrorCode::Internal, why.to_string()));
        Event::HostSeen(Box::new(HostSeen {
            observed,
            hostname,
            fresh,
        }))
    })
}

/// An effect in few words.
fn short(effect: &Effect) -> String {
    match effect {
        Effect::Store(write) => format!("store {write}"),
        Effect::Note(write) => format!("note {write}"),
        Effect::Answer(ticket, _) => format!("answer {}", ticket.0),
        Effect::Pass(job) => {
            let target = job.target.as_ref().map(|target| target.block.to_string());
            format!("pass for {target:?} {:.120}", format!("{:?}", job.kinds))
        }
        Effect::Attach(pod) => format!("attach {}", pod.link.pod),
        Effect::Detach(link) => format!("detach {}", link.pod),
        Effect::RepairPod(name, repair) => format!("repair {name}: {}", repair.finding.op),
        Effect::Publish(values) => format!("publish {:?}", values.keys()),
        other => format!("{other:?}").chars().take(60).collect(),
    }
}
