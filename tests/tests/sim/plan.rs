//! What happens in one schedule: drawn from a seed, or written by hand.

use podnet_lab::model::network::{Cut, Weather};

/// The point of a step before which the agent dies: the write to the disk, the change of the data
/// path, the publication, the nudge.
pub(crate) const STAGES: usize = 4;

/// Something that happens to a host or to the network. Durations are in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// A host that has not joined yet is told to.
    Join { host: usize },
    /// Its agent is told to leave; once it is gone the host joins again as somebody else.
    Leave { host: usize },
    /// The agent dies now, and starts again after a while.
    Kill { host: usize, down: u64 },
    /// The agent dies before this stage of its next step that has something to write.
    Crash {
        host: usize,
        stage: usize,
        down: u64,
    },
    /// The host reboots: the run directory and the pods are gone. `moves`: with another address.
    Reboot { host: usize, down: u64, moves: bool },
    /// The host gets another address while it runs.
    Move { host: usize },
    /// The agent is stopped for a while; its pods run on.
    Freeze { host: usize, time: u64 },
    /// What is on the host's disk now is kept for [`Act::Rollback`].
    Save { host: usize },
    /// The disk is put back to what was kept, or else to what it is; the agent starts again.
    Rollback { host: usize, down: u64 },
    /// The disk is lost and the host boots with an empty one: it joins as somebody else.
    Lose { host: usize, down: u64 },
    /// A host that has not joined yet starts with a copy of another's disk and identity.
    Clone { host: usize, of: usize },
    /// The host is switched off for good.
    Off { host: usize },
    /// The network is cut, on top of the cuts that there are.
    Cut(Cut),
    /// The network is whole again.
    Mend,
}

impl Act {
    /// Whether it does to a disk what no crash does.
    pub(crate) const fn is_of_disks(self) -> bool {
        matches!(
            self,
            Self::Rollback { .. } | Self::Lose { .. } | Self::Clone { .. } | Self::Off { .. }
        )
    }
}

/// One schedule.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The first hosts are voters, members with a block each.
    pub(crate) voters: usize,
    pub(crate) hosts: usize,
    /// How many blocks there are: a power of two.
    pub(crate) blocks: u16,
    pub(crate) weather: Weather,
    /// How long gossip keeps a dead entry, in seconds.
    pub(crate) grace: u64,
    pub(crate) acts: Vec<(u64, Act)>,
    /// When the faults end, in milliseconds.
    pub(crate) horizon: u64,
}

impl Plan {
    /// A schedule without faults, for acts written by hand.
    pub(crate) fn quiet(seed: u64, voters: usize, hosts: usize, blocks: u16) -> Self {
        Self {
            seed,
            voters,
            hosts,
            blocks,
            weather: Weather::FAIR,
            grace: 3600,
            acts: Vec::new(),
            horizon: 0,
        }
    }

    pub(crate) fn act(mut self, at: u64, act: Act) -> Self {
        self.acts.push((at, act));
        self.horizon = self.horizon.max(at + 1);
        self
    }

    /// The schedule of a seed.
    pub(crate) fn random(seed: u64, voters: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let hosts = voters + rng.usize(1..=5);
        let small = (voters as u16).next_power_of_two().max(4);
        let horizon = rng.u64(5_000..30_000);
        let mut plan = Self {
            seed,
            voters,
            hosts,
            blocks: small << rng.u16(0..3),
            weather: weather(&mut rng),
            grace: if rng.u8(0..4) == 0 { 20 } else { 3600 },
            acts: Vec::new(),
            horizon,
        };
        let burst = rng.bool();
        for host in voters..hosts {
            let at = if burst { 100 } else { rng.u64(0..horizon / 2) };
            plan.acts.push((at, Act::Join { host }));
        }
        // Without changes of the voters a majority has to stay for ever.
        let mut voters_to_leave = rng.usize(0..=(voters - 1) / 2);
        for _ in 0..rng.usize(3..14) {
            let at = rng.u64(0..horizon);
            let act = plan.random_act(&mut rng, &mut voters_to_leave);
            plan.acts.push((at, act));
        }
        // Of some seeds only, and last: the others have the schedules that they always had.
        if seed % 3 == 1 {
            for _ in 0..rng.usize(1..6) {
                let host = rng.usize(0..hosts);
                plan.acts.push((rng.u64(0..horizon), Act::Move { host }));
            }
        }
        plan
    }

    /// The schedule of a seed in which disks are rolled back, lost or cloned as well.
    pub(crate) fn with_disks(seed: u64, voters: usize) -> Self {
        let mut plan = Self::random(seed, voters);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xd15c);
        for _ in 0..rng.usize(1..4) {
            let (host, at) = (rng.usize(0..plan.hosts), rng.u64(0..plan.horizon));
            let down = rng.u64(1..2_000);
            match rng.u8(0..4) {
                0 | 1 => {
                    plan.acts.push((rng.u64(0..=at), Act::Save { host }));
                    plan.acts.push((at, Act::Rollback { host, down }));
                }
                // Without a majority of the voters' disks nothing is decided for ever.
                2 if host >= voters => plan.acts.push((at, Act::Lose { host, down })),
                _ => {
                    let of = host;
                    plan.acts.push((
                        at,
                        Act::Clone {
                            host: plan.hosts,
                            of,
                        },
                    ));
                    plan.hosts += 1;
                }
            }
        }
        plan
    }

    fn random_act(&self, rng: &mut fastrand::Rng, voters_to_leave: &mut usize) -> Act {
        let host = rng.usize(0..self.hosts);
        let down = if rng.u8(0..8) == 0 {
            rng.u64(0..10_000)
        } else {
            rng.u64(1..2_000)
        };
        match rng.u8(0..16) {
            0 => Act::Kill { host, down },
            1..=4 => Act::Crash {
                host,
                stage: rng.usize(0..STAGES),
                down,
            },
            5..=7 => Act::Reboot {
                host,
                down,
                moves: rng.u8(0..4) == 0,
            },
            8 | 9 => {
                if host >= self.voters {
                    Act::Leave { host }
                } else if *voters_to_leave > 0 {
                    *voters_to_leave -= 1;
                    Act::Leave { host }
                } else {
                    Act::Freeze { host, time: down }
                }
            }
            10 => Act::Freeze { host, time: down },
            11..=13 => Act::Cut(random_cut(rng, self.hosts)),
            _ => Act::Mend,
        }
    }
}

fn random_cut(rng: &mut fastrand::Rng, hosts: usize) -> Cut {
    let one = 1 << rng.usize(0..hosts);
    let some = rng.u64(..) & ((1 << hosts) - 1);
    let set = if rng.bool() { one } else { some };
    match rng.u8(0..4) {
        0 => Cut::Mute(set),
        1 => Cut::Deaf(set),
        _ => Cut::Apart(set),
    }
}

fn weather(rng: &mut fastrand::Rng) -> Weather {
    Weather {
        loss: if rng.bool() { 0.0 } else { rng.f64() * 0.4 },
        duplicates: if rng.bool() { 0.0 } else { 0.1 },
        delay: [5, 50, 500][rng.usize(0..3)],
        stragglers: if rng.bool() { 0.0 } else { 0.1 },
        room: [2, 5, 1000][rng.usize(0..3)],
    }
}
