//! Schedules that are drawn from a seed.

use podnet_lab::model::network::{Cut, Weather};

use crate::plan::{Act, Command, PODS, Plan, Tamper, Trouble};

impl Plan {
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
