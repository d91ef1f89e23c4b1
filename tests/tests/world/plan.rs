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

    /// The schedule of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let hosts = rng.usize(1..=4);
        let horizon = rng.u64(3_000..12_000);
        let mut plan = Self {
            seed,
            hosts,
            prefix: [26, 28, 29][rng.usize(0..3)],
            weather: weather(&mut rng),
            acts: vec![(
                10,
                Act::Ask {
                    host: 0,
                    command: Command::Init,
                },
            )],
            horizon,
        };
        for host in 1..hosts {
            // Who asks too early asks again.
            for _ in 0..2 {
                let at = rng.u64(500..horizon / 2);
                plan.acts.push((
                    at,
                    Act::Ask {
                        host,
                        command: Command::Join,
                    },
                ));
            }
        }
        for _ in 0..rng.usize(2..8) {
            let pod = rng.u8(0..PODS);
            let command = Command::AddPod {
                pod,
                made: rng.u8(0..4) > 0,
            };
            plan.acts.push((
                rng.u64(500..horizon),
                Act::Ask {
                    host: rng.usize(0..hosts),
                    command,
                },
            ));
        }
        for _ in 0..rng.usize(2..16) {
            let act = plan.random_act(&mut rng);
            plan.acts.push((rng.u64(0..horizon), act));
        }
        // One host only: where two lose each other's address, their users have to say it.
        if seed.is_multiple_of(4) {
            let host = rng.usize(0..hosts);
            for _ in 0..rng.usize(1..3) {
                plan.acts.push((rng.u64(0..horizon), Act::Move { host }));
            }
        }
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    /// The schedule of a seed in which disks are rolled back and cloned as well.
    pub(crate) fn with_disks(seed: u64) -> Self {
        let mut plan = Self::random(seed);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xd15c);
        for _ in 0..rng.usize(1..3) {
            let (host, at) = (rng.usize(0..plan.hosts), rng.u64(500..plan.horizon));
            if rng.bool() {
                plan.acts.push((rng.u64(0..=at), Act::Save { host }));
                plan.acts.push((
                    at,
                    Act::Rollback {
                        host,
                        down: rng.u64(1..2_000),
                    },
                ));
            } else {
                plan.acts.push((
                    at,
                    Act::Clone {
                        host: plan.hosts,
                        of: host,
                    },
                ));
                plan.hosts += 1;
            }
        }
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    fn random_act(&self, rng: &mut fastrand::Rng) -> Act {
        let host = rng.usize(0..self.hosts);
        let down = if rng.u8(0..8) == 0 {
            rng.u64(0..8_000)
        } else {
            rng.u64(1..1_000)
        };
        let time = rng.u64(100..3_000);
        match rng.u8(0..34) {
            0..=5 => Act::Crash {
                host,
                effects: rng.u8(0..6),
                down,
            },
            6 | 7 => Act::Kill { host, down },
            8..=10 => Act::Reboot { host, down },
            11 => Act::Freeze { host, time: down },
            12 => Act::DiskFails { host, time },
            13 => Act::DiskSlow { host, time },
            14..=16 => Act::Kernel {
                host,
                trouble: trouble(rng),
                time,
            },
            17..=21 => Act::Tamper {
                host,
                tamper: tamper(rng),
                told: rng.u8(0..6) > 0,
            },
            22 => Act::Cut(random_cut(rng, self.hosts)),
            23 => Act::Mend,
            24 | 25 => ask(
                host,
                Command::Leave {
                    remove_pods: rng.bool(),
                },
            ),
            26..=28 => ask(
                host,
                Command::RemovePod {
                    pod: rng.u8(0..PODS),
                },
            ),
            29 => ask(
                host,
                [Command::Init, Command::Join, Command::Token][rng.usize(0..3)],
            ),
            30 => ask(host, Command::Status),
            31 => Act::GossipEnds { host },
            32 => Act::HangUp { host },
            _ => ask(host, Command::Pods),
        }
    }
}

const fn ask(host: usize, command: Command) -> Act {
    Act::Ask { host, command }
}

fn trouble(rng: &mut fastrand::Rng) -> Trouble {
    let every = rng.u8(1..6);
    match rng.u8(0..4) {
        0 => Trouble::Refuses { every },
        1 => Trouble::Loses { every },
        2 => Trouble::Blind { every },
        _ => Trouble::Slow {
            most: rng.u64(5..400),
        },
    }
}

fn tamper(rng: &mut fastrand::Rng) -> Tamper {
    let pod = rng.u8(0..PODS);
    match rng.u8(0..15) {
        0 => Tamper::DeleteRoutes,
        1 => Tamper::DeleteBridge,
        2 => Tamper::BridgeDown,
        3 => Tamper::DeleteGateway,
        4 => Tamper::FlushRules,
        5 => Tamper::DeleteJumps,
        6 => Tamper::DeleteHolding,
        7 => Tamper::DeleteNeighbours,
        8 => Tamper::DeleteHostEnd { pod },
        9 => Tamper::HostEndDown { pod },
        10 => Tamper::ReleasePort { pod },
        11 => Tamper::DeleteNetns { pod },
        12 => Tamper::Router { on: rng.bool() },
        13 => Tamper::OtherAddress,
        _ => Tamper::OtherRule,
    }
}

fn random_cut(rng: &mut fastrand::Rng, hosts: usize) -> Cut {
    let set = 1 << rng.usize(0..hosts);
    match rng.u8(0..4) {
        0 => Cut::Mute(set),
        1 => Cut::Deaf(set),
        _ => Cut::Apart(set),
    }
}

fn weather(rng: &mut fastrand::Rng) -> Weather {
    Weather {
        loss: if rng.u8(0..3) > 0 {
            0.0
        } else {
            rng.f64() * 0.3
        },
        duplicates: if rng.bool() { 0.0 } else { 0.1 },
        delay: [2, 20, 200][rng.usize(0..3)],
        stragglers: if rng.u8(0..4) > 0 { 0.0 } else { 0.1 },
        room: [3, 1000][rng.usize(0..2)],
    }
}
