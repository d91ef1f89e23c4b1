//! Schedules: what befalls a cluster, and when.

use std::fmt;

use podnet_lab::model::network::{Cut, Weather};

/// What a user asks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Init,
    /// With the last token that anybody was given.
    Join,
    Leave {
        remove_pods: bool,
    },
    /// A pod of this number, whose namespace podnet makes, or which is there already.
    AddPod {
        pod: u8,
        made: bool,
    },
    RemovePod {
        pod: u8,
    },
    Status,
    Pods,
    Token,
}

/// What somebody does to a kernel behind podnet's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tamper {
    DeleteRoutes,
    DeleteBridge,
    BridgeDown,
    DeleteGateway,
    FlushRules,
    DeleteJumps,
    DeleteHolding,
    DeleteNeighbours,
    DeleteHostEnd {
        pod: u8,
    },
    HostEndDown {
        pod: u8,
    },
    ReleasePort {
        pod: u8,
    },
    /// The namespace of a pod is removed.
    DeleteNetns {
        pod: u8,
    },
    Router {
        on: bool,
    },
    OtherAddress,
    OtherRule,
}

/// What goes wrong with a kernel for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Every so many changes one is refused.
    Refuses { every: u8 },
    /// Every so many changes one happens, and an error is reported all the same.
    Loses { every: u8 },
    /// Every so many looks one fails.
    Blind { every: u8 },
    /// Each change and each look takes up to so many milliseconds.
    Slow { most: u64 },
}

/// Something that befalls a host, or the network.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Ask {
        host: usize,
        command: Command,
    },
    /// The agent dies before so many effects of those that change something are carried out.
    Crash {
        host: usize,
        effects: u8,
        down: u64,
    },
    /// The agent dies now.
    Kill {
        host: usize,
        down: u64,
    },
    /// The host reboots: the run directory is lost, and all that podnet has in the kernel.
    Reboot {
        host: usize,
        down: u64,
    },
    /// The agent is stopped for so many milliseconds.
    Freeze {
        host: usize,
        time: u64,
    },
    /// Writes to the state directory fail for so long.
    DiskFails {
        host: usize,
        time: u64,
    },
    /// They take up to a second each.
    DiskSlow {
        host: usize,
        time: u64,
    },
    Kernel {
        host: usize,
        trouble: Trouble,
        time: u64,
    },
    /// Without `told`, the kernel does not report it.
    Tamper {
        host: usize,
        tamper: Tamper,
        told: bool,
    },
    /// The host gets another address while it runs.
    Move {
        host: usize,
    },
    /// Its gossip ends by itself.
    GossipEnds {
        host: usize,
    },
    /// Who has waited longest for an answer of it gives up.
    HangUp {
        host: usize,
    },
    Cut(Cut),
    Mend,
    /// What is on disk is kept for a rollback.
    Save {
        host: usize,
    },
    Rollback {
        host: usize,
        down: u64,
    },
    /// A host that is no member starts with a copy of another's disk.
    Clone {
        host: usize,
        of: usize,
    },
}

impl Act {
    /// Whether it does to a disk what no crash does.
    pub(crate) const fn is_of_disks(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Clone { .. })
    }
}

/// One schedule.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) hosts: usize,
    /// The length of a block's prefix in a /24.
    pub(crate) prefix: u8,
    pub(crate) weather: Weather,
    /// When, in milliseconds, and what.
    pub(crate) acts: Vec<(u64, Act)>,
    /// When the faults end, in milliseconds.
    pub(crate) horizon: u64,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            hosts,
            prefix,
            weather,
            acts,
            horizon,
        } = self;
        writeln!(
            f,
            "Plan::quiet({seed}, {hosts}, {prefix}) with {weather:?}, {horizon} ms"
        )?;
        for (at, act) in acts {
            writeln!(f, "    .act({at}, Act::{act:?})")?;
        }
        Ok(())
    }
}

/// How many pods users know names for.
pub(crate) const PODS: u8 = 3;

impl Plan {
    /// A schedule without faults, for acts written by hand.
    pub(crate) fn quiet(seed: u64, hosts: usize, prefix: u8) -> Self {
        Self {
            seed,
            hosts,
            prefix,
            weather: Weather::FAIR,
            acts: Vec::new(),
            horizon: 0,
        }
    }

    pub(crate) fn act(mut self, at: u64, act: Act) -> Self {
        self.acts.push((at, act));
        self.horizon = self.horizon.max(at + 1);
        self
    }

    pub(crate) fn ask(self, at: u64, host: usize, command: Command) -> Self {
        self.act(at, Act::Ask { host, command })
    }

    /// A cluster of so many hosts.
    pub(crate) fn cluster(seed: u64, hosts: usize) -> Self {
        let founded = Self::quiet(seed, hosts, 28).ask(10, 0, Command::Init);
        (1..hosts).fold(founded, |plan, host| plan.ask(1000, host, Command::Join))
    }

    pub(crate) fn is_of_disks(&self) -> bool {
        self.acts.iter().any(|(_, act)| act.is_of_disks())
    }
}
