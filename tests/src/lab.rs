//! A lab: nodes, their underlay and the internet, on one host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use crate::build;
use crate::census;
use crate::dir::LabDir;
use crate::error::LabError;
use crate::lock::LabLock;
use crate::name::{LabName, MAX_NODES, Member};
use crate::node::Node;
use crate::process::ProcessId;
use crate::programs::Programs;
use crate::record::{Plan, RECORD_VERSION, Record, load, save};
use crate::teardown::{down, sweep};
use crate::underlay::{MAX_SUBNETS, Underlay};

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    dir: LabDir,
    programs: Programs,
    plan: Plan,
    underlay: Underlay,
    /// How many nodes were added to those of the plan.
    clones: AtomicU8,
    owned: bool,
}

impl Lab {
    /// What a new lab is to be.
    #[must_use]
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// The lab of this name, which stays when the value is dropped.
    ///
    /// # Errors
    /// [`LabError::NoLab`] when there is none.
    pub fn open(name: LabName) -> Result<Self, LabError> {
        let dir = LabDir::of(name)?;
        match load::<Record>(&dir.record())? {
            Some(record) => {
                let lab = Self::with(dir, record.plan, false)?;
                lab.grow_to(record.clones);
                Ok(lab)
            }
            None => Err(LabError::NoLab {
                lab: dir.name().clone(),
            }),
        }
    }

    fn with(dir: LabDir, plan: Plan, owned: bool) -> Result<Self, LabError> {
        Ok(Self {
            underlay: Underlay::new(dir.name().clone(), plan.nodes, plan.subnets),
            programs: Programs::locate()?,
            dir,
            plan,
            clones: AtomicU8::new(0),
            owned,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LabName {
        self.dir.name()
    }

    /// Its run directory.
    #[must_use]
    pub fn dir(&self) -> &LabDir {
        &self.dir
    }

    /// Where its programs are.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The plan of its underlay.
    #[must_use]
    pub fn underlay(&self) -> &Underlay {
        &self.underlay
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many nodes it has.
    #[must_use]
    pub fn size(&self) -> u8 {
        let clones = self.clones.load(Ordering::Relaxed);
        self.plan.nodes.saturating_add(clones)
    }

    /// Knows of so many clones from now on.
    pub(crate) fn grow_to(&self, clones: u8) {
        self.clones.store(clones, Ordering::Relaxed);
    }

    /// The right to change what the lab consists of, once nobody else has it.
    pub(crate) fn lock(&self) -> Result<LabLock, LabError> {
        if census::inside(&self.dir.marker()) {
            return Err(LabError::Inside {
                lab: self.name().clone(),
            });
        }
        LabLock::acquire(&self.dir)?.ok_or_else(|| LabError::NoLab {
            lab: self.name().clone(),
        })
    }

    /// A member by its name: a node, `internet` or `router`.
    ///
    /// # Errors
    /// [`LabError::NoMember`] when the lab has none of that name.
    pub fn node(&self, name: &str) -> Result<Node<'_>, LabError> {
        name.parse::<Member>()
            .ok()
            .filter(|member| self.has(*member))
            .map(|member| Node::new(self, member))
            .ok_or_else(|| LabError::NoMember {
                lab: self.name().clone(),
                member: name.to_owned(),
            })
    }

    /// A node by its name, and nothing else that the lab has.
    ///
    /// # Errors
    /// [`LabError::NoMember`] when the lab has no node of that name.
    pub fn own_node(&self, name: &str) -> Result<Node<'_>, LabError> {
        let member = self.node(name)?;
        match member.member() {
            Member::Node(_) => Ok(member),
            Member::Router | Member::Internet => Err(LabError::NoMember {
                lab: self.name().clone(),
                member: name.to_owned(),
            }),
        }
    }

    fn has(&self, member: Member) -> bool {
        match member {
            Member::Router | Member::Internet => true,
            Member::Node(number) => number <= self.size(),
        }
    }

    /// Its nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node<'_>> {
        Member::nodes(self.size())
            .map(|member| Node::new(self, member))
            .collect()
    }

    /// The host beyond the router.
    #[must_use]
    pub fn internet(&self) -> Node<'_> {
        Node::new(self, Member::Internet)
    }

    /// The underlay: a bridge per subnet, from `br0`, with a port per node, called like the node.
    #[must_use]
    pub fn router(&self) -> Node<'_> {
        Node::new(self, Member::Router)
    }

    /// Takes the lab down, where a drop could not tell of a failure.
    ///
    /// # Errors
    /// As [`down`].
    pub fn down(mut self) -> Result<(), LabError> {
        self.owned = false;
        down(self.name().clone())
    }

    /// Keeps the lab when the value is dropped.
    pub fn keep(&mut self) {
        self.owned = false;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned {
            // A drop cannot report; what is left is swept by the next lab.
            let _ = down(self.name().clone());
        }
    }
}

/// A name that no other lab of any process has.
#[must_use]
pub fn unique_name(stem: &str) -> LabName {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{stem}-{}-{count}", process::id());
    name.parse().unwrap_or_else(|_| unique_name("lab"))
}

/// What a new lab is to be: by default three nodes with agents that belong to no cluster yet, under
/// a name of its own, taken down with the value or with the process.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    name: Option<LabName>,
    owned: bool,
    plan: Plan,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self {
            name: None,
            owned: true,
            plan: Plan {
                nodes: 3,
                subnets: 1,
                join: false,
                encapsulation: None,
                agents: true,
                mirrors: false,
                config: String::new(),
                environment: BTreeMap::new(),
            },
        }
    }
}

impl LabBuilder {
    /// How many nodes.
    #[must_use]
    pub fn nodes(mut self, nodes: u8) -> Self {
        self.plan.nodes = nodes;
        self
    }

    /// How many subnets the nodes are spread over in turn; the router forwards between them.
    #[must_use]
    pub fn subnets(mut self, subnets: u8) -> Self {
        self.plan.subnets = subnets;
        self
    }

    /// Its name, instead of a unique one.
    #[must_use]
    pub fn name(mut self, name: LabName) -> Self {
        self.name = Some(name);
        self
    }

    /// Whether the nodes form a cluster from the start.
    #[must_use]
    pub fn join(mut self, join: bool) -> Self {
        self.plan.join = join;
        self
    }

    /// The encapsulation of the cluster: `auto`, `direct` or `wireguard`.
    #[must_use]
    pub fn encapsulation(mut self, encapsulation: Option<String>) -> Self {
        self.plan.encapsulation = encapsulation;
        self
    }

    /// Whether the nodes have agents.
    #[must_use]
    pub fn agents(mut self, agents: bool) -> Self {
        self.plan.agents = agents;
        self
    }

    /// Whether the nodes' file systems are made without overlays, as on a host that cannot stack
    /// any more of them.
    #[must_use]
    pub fn mirrors(mut self, mirrors: bool) -> Self {
        self.plan.mirrors = mirrors;
        self
    }

    /// A key of the agents' `[timing]`.
    #[must_use]
    pub fn timing(mut self, key: &str, value: Duration) -> Self {
        if self.plan.config.is_empty() {
            self.plan.config.push_str("[timing]\n");
        }
        // Writing to a String does not fail.
        let _ = writeln!(self.plan.config, "{key} = \"{}ms\"", value.as_millis());
        self
    }

    /// A variable in the agents' environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.plan
            .environment
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Whether the lab stays when this value and this process are gone.
    #[must_use]
    pub fn detached(mut self, detached: bool) -> Self {
        self.owned = !detached;
        self
    }

    /// Starts the lab, or finds one of this name that was asked to be the same.
    ///
    /// # Errors
    /// [`LabError::Exists`] when a lab of this name is something else. After any other error
    /// nothing is left of the lab.
    pub fn up(self) -> Result<Lab, LabError> {
        if !(1..=MAX_NODES).contains(&self.plan.nodes) {
            return Err(LabError::Unsupported {
                what: format!("a lab has 1 to {MAX_NODES} nodes"),
            });
        }
        if !(1..=MAX_SUBNETS).contains(&self.plan.subnets) {
            return Err(LabError::Unsupported {
                what: format!("a lab has 1 to {MAX_SUBNETS} subnets"),
            });
        }
        sweep();
        let dir = LabDir::of(self.name.clone().unwrap_or_else(|| unique_name("lab")))?;
        let lock = loop {
            dir.create()?;
            if let Some(lock) = LabLock::acquire(&dir)? {
                break lock;
            }
        };
        if let Some(record) = load::<Record>(&dir.record())? {
            return self.found(dir, &record);
        }
        let lab = Lab::with(dir, self.plan, self.owned)?;
        let mut record = Record {
            version: RECORD_VERSION,
            plan: lab.plan.clone(),
            owner: if lab.owned {
                Some(ProcessId::own()?)
            } else {
                None
            },
            complete: false,
            clones: 0,
        };
        let built = save(&lab.dir.record(), &record)
            .and_then(|()| build::build(&lab))
            .and_then(|()| {
                record.complete = true;
                save(&lab.dir.record(), &record)
            });
        drop(lock);
        match built {
            Ok(()) => Ok(lab),
            Err(error) => {
                // The first failure is the one to tell.
                let _ = down(lab.name().clone());
                Err(error)
            }
        }
    }

    fn found(self, dir: LabDir, record: &Record) -> Result<Lab, LabError> {
        let difference = if !record.complete {
            "its start came to no end"
        } else if record.plan != self.plan {
            "with other arguments"
        } else if record.owner.is_some() {
            "and belongs to a running program"
        } else {
            let lab = Lab::with(dir, self.plan, false)?;
            lab.grow_to(record.clones);
            for node in lab.nodes() {
                node.holder()?;
            }
            return Ok(lab);
        };
        Err(LabError::Exists {
            lab: dir.name().clone(),
            difference: difference.to_owned(),
        })
    }
}
