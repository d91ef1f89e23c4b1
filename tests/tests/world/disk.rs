//! What of a host is on disk, and what in the run directory, which is lost with the boot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use podnet_core::claim::Durable;
use podnet_core::node::{Joined, Member, PeerBook, PodRecord, Start, Write};
use podnet_proto::{Boot, PodName};

use crate::kernel::Opened;

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
