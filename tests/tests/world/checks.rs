//! What must hold at every moment.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use podnet_agent::dataplane::Dataplane as _;
use podnet_agent::dataplane::fake::Fake;
use podnet_core::kernel::model::Kernel;
use podnet_core::kernel::{Kind, Kinds, Place, PodView};
use podnet_core::node::{Attach, Event, PodRecordState, Write};
use podnet_lab::model::checker::Running;
use podnet_proto::api::{PathState, Phase, Pod};
use podnet_proto::{Boot, ClusterId, PodName};

use crate::disk::{Disk, Job};
use crate::host::Host;
use crate::verdict::Failure;
use crate::world::{SECOND, World};

/// How long a user waits for an answer at most while nothing is wrong.
const PATIENCE: u64 = 30 * SECOND;

/// How long packets of pods may be lost while `status` finds all well: until the next look at everything.
const UNSEEN: u64 = 75 * SECOND;

/// The same if the kernel has reported what was changed.
const SEEN: u64 = 15 * SECOND;

/// A data plane on a copy of a host's kernel.
pub(crate) fn copy(host: &Host) -> Fake {
    Fake::new(host.look(Kernel::clone))
}

impl Host {
    /// From now on the agent hears what others change in the kernel.
    pub(crate) fn watch(&mut self) {
        let watching = futures::executor::block_on(self.kernel.watch());
        if let Some(process) = &mut self.process {
            process.changes = watching.ok();
        }
    }

    /// The agent died while this was being written.
    pub(crate) fn cut_short(&mut self, job: &Job, steps: usize) {
        match job {
            Job::Store(write) | Job::Note(write) => {
                self.disk.write(write, steps);
                if let (Write::Membership(membership), true) = (write, steps > 1) {
                    let member = &membership.0;
                    self.cluster = Some((member.cluster, member.networks[0]));
                }
            }
            Job::End if steps > 0 => self.disk.forget(),
            Job::Epoch(start) if steps > 0 => {
                self.disk.epoch = self.disk.epoch.max(start.above) + 1;
            }
            Job::End | Job::Epoch(_) => {}
        }
    }
}

impl World {
    /// Something is on disk.
    pub(crate) fn written(&mut self, host: usize, write: &Write) -> Result<(), Failure> {
        let writing = &mut self.hosts[host];
        writing.disk.write(write, 2);
        let durable = match write {
            Write::Membership(membership) => {
                let (member, durable) = membership.as_ref();
                writing.cluster = Some((member.cluster, member.networks[0]));
                durable
            }
            Write::Durable(durable) => durable,
            Write::NoMembership
            | Write::Member(_)
            | Write::Peers(_)
            | Write::Pod(_)
            | Write::NoPod(_)
            | Write::Freed(_) => return Ok(()),
        };
        if let Some(ledger) = &durable.ledger {
            let running = self.running(durable.cluster);
            let claims = self.claims.entry(durable.cluster).or_default();
            claims.decided(ledger, &running)?;
        }
        Ok(())
    }

    /// The membership is ended on disk.
    pub(crate) fn end_membership(&mut self, host: usize) -> Boot {
        let boot = Boot(self.rng.u64(..));
        let ending = &mut self.hosts[host];
        ending.disk = Disk {
            epoch: ending.disk.epoch,
            ..Disk::default()
        };
        ending.fates.clear();
        ending.run.boot = boot;
        boot
    }

    /// Whose data paths carry blocks of a cluster.
    fn running(&self, cluster: ClusterId) -> Vec<Running> {
        let members = self.hosts.iter();
        let members =
            members.filter(|host| host.cluster.as_ref().is_some_and(|of| of.0 == cluster));
        members.map(Host::running).collect()
    }

    /// The kernel may have changed: nothing foreign was touched, and no block is used by two hosts, nor by one that
    /// it was never given to.
    pub(crate) fn check_kernel(&mut self, host: usize) -> Result<(), Failure> {
        let checked = &self.hosts[host];
        let changes = checked.take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let count = changes.len() as u64;
        if checked.look(Kernel::foreign) != checked.foreign {
            let found = checked.look(Kernel::foreign);
            return Err(format!(
                "{host} touches what is not podnet's by one of {changes:?}: {found:?} instead of {:?}",
                checked.foreign
            )
            .into());
        }
        if let Some((cluster, _)) = checked.cluster.as_ref() {
            let cluster = *cluster;
            let running = self.running(cluster);
            if let Some(claims) = self.claims.get(&cluster) {
                claims.running(&running)?;
            }
        }
        self.summary.changes += count;
        for change in changes {
            self.note(|| format!("{host}     {change}"));
        }
        Ok(())
    }

    /// An address that a pod had since the boot is given to another only if the kernel forgets its connections.
    pub(crate) fn check_reuse(&mut self, host: usize, pod: &Attach) -> Result<(), Failure> {
        let giving = &mut self.hosts[host];
        let addresses = pod.link.addresses.clone();
        if !pod.reused
            && addresses
                .iter()
                .any(|address| giving.addresses.contains(address))
        {
            let name = &pod.link.pod;
            return Err(format!(
                "{host} gives {addresses:?} to pod {name} as if no pod had had it before"
            )
            .into());
        }
        if let Some(process) = &mut giving.process {
            process.attaching.insert(pod.link.pod.clone(), addresses);
        }
        Ok(())
    }

    /// What has come of a task is taken note of.
    pub(crate) fn note_outcome(&mut self, host: usize, event: &Event) {
        match event {
            Event::Attached(name, result) => {
                let attaching = self.hosts[host].process.as_mut();
                let addresses = attaching.and_then(|process| process.attaching.remove(name));
                if result.is_ok() {
                    self.hosts[host]
                        .addresses
                        .extend(addresses.into_iter().flatten());
                }
                self.note(|| format!("{host}   < {name} attached: {result:?}"));
            }
            Event::Detached(name, result) => {
                self.note(|| format!("{host}   < {name} detached: {result:?}"));
            }
            Event::PassDone(report) => {
                let failed = report
                    .applied
                    .iter()
                    .filter(|(_, result)| result.is_err())
                    .count();
                let (pods, error) = (report.pods.len(), &report.error);
                self.note(|| {
                    format!(
                        "{host}   < pass done: {failed} failed, {pods} findings of pods, {error:?}"
                    )
                });
            }
            other => {
                let what: String = format!("{other:?}").chars().take(100).collect();
                self.note(|| format!("{host}   < {what}"));
            }
        }
    }

    /// Whoever is told that a pod is ready finds it on record and attached.
    pub(crate) fn check_whole(
        &mut self,
        host: usize,
        pod: &Pod,
        asked: u64,
    ) -> Result<(), Failure> {
        let checked = &self.hosts[host];
        let record = checked.run.pods.get(&pod.name);
        let Some(record) = record.filter(|record| record.state == PodRecordState::Ready) else {
            return Err(format!(
                "{host} says that pod {} is ready, which is not on record",
                pod.name
            )
            .into());
        };
        if checked.tampered > 0 || self.disks {
            return Ok(());
        }
        let view = PodView::of(&record.link);
        let name = view.host_ifname.clone();
        let observed = checked.look(|kernel| kernel.observe(&Kinds::from([Kind::Pod(view)])));
        let plugged = match observed.pods.get(&name) {
            Some(Place::Ours(end)) => end.on_bridge && end.up,
            Some(Place::Absent | Place::Foreign(_)) | None => false,
        };
        let inside = observed
            .insides
            .get(&name)
            .and_then(|inside| inside.interface.as_ref());
        let addressed = inside.is_some_and(|inside| {
            let own: BTreeSet<IpNetwork> = inside.addresses.iter().copied().collect();
            pod.addresses.iter().all(|address| own.contains(address))
        });
        if plugged && addressed {
            return Ok(());
        }
        Err(format!(
            "{host} says that pod {}, asked for at {asked}, is ready: {observed:?}",
            pod.name
        )
        .into())
    }

    /// The list of a host's pods has those that users know to be there, and none of those that they know not to be.
    pub(crate) fn check_list(&mut self, host: usize, names: &[PodName]) -> Result<(), Failure> {
        for (name, fate) in &self.hosts[host].fates {
            let listed = names.contains(name);
            if fate.certain().is_some_and(|there| there != listed) {
                let word = if listed { "lists" } else { "does not list" };
                return Err(format!("{host} {word} pod {name}: {fate:?}").into());
            }
        }
        Ok(())
    }

    /// Everybody was answered in time, and `status` tells the truth.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        for host in 0..self.hosts.len() {
            let looked_at = &self.hosts[host];
            let Some(process) = &looked_at.process else {
                continue;
            };
            let open = process.waiting.iter();
            for (ticket, asked) in open.filter(|(_, asked)| !asked.abandoned) {
                let since = asked.at.max(looked_at.trouble);
                if self.now.saturating_sub(since) > PATIENCE {
                    return Err(format!("{host} does not answer {ticket:?}: {asked:?}").into());
                }
            }
            let since = self
                .is_dishonest(host)
                .then(|| looked_at.dishonest.unwrap_or(self.now));
            let most = if looked_at.untold { UNSEEN } else { SEEN };
            if since
                .is_some_and(|since| self.now - since.max(looked_at.trouble.min(self.now)) > most)
            {
                return Err(format!("{host} finds all well while packets of pods are lost").into());
            }
            self.hosts[host].dishonest = since;
        }
        Ok(())
    }

    /// Whether `status` finds all well though packets of pods are lost.
    fn is_dishonest(&self, host: usize) -> bool {
        let looked_at = &self.hosts[host];
        let Some(process) = &looked_at.process else {
            return false;
        };
        if process.frozen_until > self.now {
            return false;
        }
        let status = process.node.status();
        if status.phase != Phase::Ready || !status.problems.is_empty() {
            return false;
        }
        let routes: BTreeSet<IpNetwork> =
            looked_at.look(|kernel| kernel.own_routes().map(|key| key.destination).collect());
        let peers = status
            .peers
            .iter()
            .filter(|peer| peer.path == Some(PathState::Ok));
        let mut blocks = peers.flat_map(|peer| &peer.blocks);
        self.block_of(host).is_none() || blocks.any(|block| !routes.contains(block))
    }
}
