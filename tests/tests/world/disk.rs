//! What of a host is on disk, and what in the run directory, which is lost with the boot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use podnet_core::claim::Durable;
use podnet_core::node::{Event, Input, Joined, Member, PeerBook, PodRecord, Start, Write};
use podnet_proto::{ApiError, Boot, ErrorCode, PodName};

use crate::kernel::Opened;
use crate::verdict::Failure;
use crate::world::{MILLI, OfProcess, World};

/// How many writes wait for a slow disk at most.
const MOST_WAITING: usize = 64;

/// The state directory, as far as it is fsynced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) member: Option<Member>,
    pub(crate) durable: Option<Durable>,
    pub(crate) peers: PeerBook,
    pub(crate) epoch: u64,
}

/// The run directory.
#[derive(Debug)]
pub(crate) struct RunDir {
    pub(crate) boot: Boot,
    pub(crate) pods: BTreeMap<PodName, PodRecord>,
    pub(crate) freed: Vec<Ipv4Addr>,
    pub(crate) opened: Opened,
}

/// Something that is to be done on disk.
#[derive(Debug)]
pub(crate) enum Job {
    Store(Write),
    Note(Write),
    End,
    /// A start of gossip, for which an epoch is drawn.
    Epoch(Box<Start>),
}

impl Disk {
    /// What the node goes on with. Removes what was cut short.
    pub(crate) fn load(&mut self) -> Result<Option<Joined>, String> {
        let Some(member) = self.member.clone() else {
            self.forget();
            return Ok(None);
        };
        let durable = self
            .durable
            .clone()
            .ok_or("the ledger is missing on disk")?;
        let peers = self.peers.clone();
        Ok(Some(Joined {
            member,
            durable,
            peers,
        }))
    }

    pub(crate) fn forget(&mut self) {
        self.member = None;
        self.durable = None;
        self.peers.clear();
    }

    /// Writes something, in as many steps as it takes; of these, only so many are done if the agent dies.
    pub(crate) fn write(&mut self, write: &Write, steps: usize) {
        match write {
            Write::Membership(membership) => {
                let (member, durable) = membership.as_ref();
                if steps > 0 {
                    self.peers.clear();
                    self.durable = Some(durable.clone());
                }
                if steps > 1 {
                    self.member = Some(member.clone());
                }
            }
            Write::NoMembership if steps > 0 => {
                self.member = None;
                if steps > 1 {
                    self.forget();
                }
            }
            Write::Member(member) if steps > 0 => self.member = Some((**member).clone()),
            Write::Durable(durable) if steps > 0 => self.durable = Some((**durable).clone()),
            Write::Peers(peers) if steps > 0 => self.peers.clone_from(peers),
            Write::NoMembership | Write::Member(_) | Write::Durable(_) | Write::Peers(_) => {}
            Write::Pod(_) | Write::NoPod(_) | Write::Freed(_) => {}
        }
    }
}

impl RunDir {
    pub(crate) fn new(boot: Boot) -> Self {
        let opened = Opened::default();
        Self {
            boot,
            pods: BTreeMap::new(),
            freed: Vec::new(),
            opened,
        }
    }

    pub(crate) fn write(&mut self, write: &Write) {
        match write {
            Write::Pod(record) => {
                self.pods
                    .insert(record.link.pod.clone(), (**record).clone());
            }
            Write::NoPod(name) => drop(self.pods.remove(name)),
            Write::Freed(freed) => self.freed.clone_from(freed),
            Write::Membership(_)
            | Write::NoMembership
            | Write::Member(_)
            | Write::Durable(_)
            | Write::Peers(_) => {}
        }
    }
}

impl World {
    /// Gives the disk something to do. Returns the outcome at once if there is no room to wait.
    pub(crate) fn job(&mut self, host: usize, job: Job) -> Option<Event> {
        let full = || ApiError::new(ErrorCode::Timeout, "the disk takes too long to write");
        let slow = self.hosts[host].disk_slow > self.now;
        let process = self.hosts[host].process.as_mut()?;
        if process.jobs.len() >= MOST_WAITING {
            return match job {
                Job::Store(write) => Some(Event::Stored(write, Err(full()))),
                Job::End => Some(Event::Ended(Err(full()))),
                Job::Epoch(start) => Some(self.speak(host, &start, Err(full()))),
                Job::Note(_) => None,
            };
        }
        process.jobs.push_back(job);
        if process.jobs.len() == 1 {
            self.work(host, slow);
        }
        None
    }

    /// The disk begins with the next of its jobs.
    fn work(&mut self, host: usize, slow: bool) {
        let most = if slow { 1000 * MILLI } else { 3 * MILLI };
        let at = self.now + self.rng.u64(100..most);
        self.push_to(at, host, OfProcess::Disk);
    }

    /// The disk has done the first of its jobs.
    pub(crate) fn disk(&mut self, host: usize) -> Result<(), Failure> {
        let now = self.now;
        let fails = self.hosts[host].disk_fails > now;
        let Some(process) = self.hosts[host].process.as_mut() else {
            return Ok(());
        };
        let Some(job) = process.jobs.pop_front() else {
            return Ok(());
        };
        if !process.jobs.is_empty() {
            let slow = self.hosts[host].disk_slow > now;
            self.work(host, slow);
        }
        let result = if fails {
            Err(ApiError::new(
                ErrorCode::Internal,
                "the disk refuses to write",
            ))
        } else {
            Ok(())
        };
        let event = match job {
            Job::Store(write) => {
                if result.is_ok() {
                    self.written(host, &write)?;
                }
                let result = if self.mutant.hides_failures() {
                    Ok(())
                } else {
                    result
                };
                Some(Event::Stored(write, result))
            }
            Job::Note(write) => {
                if result.is_ok() {
                    self.written(host, &write)?;
                }
                None
            }
            Job::End => Some(Event::Ended(
                result.map(|()| Some(self.end_membership(host))),
            )),
            Job::Epoch(start) => {
                let disk = &mut self.hosts[host].disk;
                let drawn = result.map(|()| {
                    disk.epoch = disk.epoch.max(start.above) + 1;
                    disk.epoch
                });
                let drawn = drawn.map(|epoch| self.mutant.epoch(epoch));
                Some(self.speak(host, &start, drawn))
            }
        };
        match event {
            Some(event) => self.turn(host, Input::Event(event)),
            None => Ok(()),
        }
    }
}
