//! Schedules written by hand, or cut down from those of seeds that once failed.

use crate::mutant::Mutant;
use crate::plan::{Act, Command, Plan, Tamper, Trouble};
use crate::random::{assert_sound, run};

const fn add(pod: u8) -> Command {
    Command::AddPod { pod, made: true }
}

const fn remove(pod: u8) -> Command {
    Command::RemovePod { pod }
}

const LEAVE: Command = Command::Leave { remove_pods: true };

/// The seeds decide how long everything takes.
fn assert_all_sound(plan: impl Fn(u64) -> Plan) {
    for seed in 0..20 {
        assert_sound(&plan(seed));
    }
}

#[test]
fn a_cluster_comes_up_has_pods_and_is_left_again() {
    for seed in 0..20 {
        let plan = Plan::cluster(seed, 4)
            .ask(3000, 1, add(0))
            .ask(3000, 2, add(0))
            .ask(3500, 2, remove(0))
            .ask(4000, 3, LEAVE);
        let summary = assert_sound(&plan);
        assert_eq!(summary.pods, 2);
        assert!(summary.changes > 20, "{summary:?}");
        assert!(summary.settled < 5_000_000, "{summary:?}");
    }
}

/// The same seed is the same schedule, to the last input.
#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let [first, second] = [0, 1].map(|_| run(Plan::random(seed), Mutant::Sound));
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

/// Its first agent is killed before each effect in turn.
#[test]
fn no_end_of_an_agent_leaves_anything_half_done() {
    for effects in 0..40 {
        for down in [1, 300] {
            let crash = |host| Act::Crash {
                host,
                effects,
                down,
            };
            assert_sound(&Plan::cluster(u64::from(effects), 2).act(1, crash(0)));
            assert_sound(&Plan::cluster(u64::from(effects), 2).act(900, crash(1)));
            let with_pods = |at, command| {
                Plan::cluster(u64::from(effects), 2)
                    .ask(3000, 1, add(0))
                    .act(at - 1, crash(1))
                    .ask(at, 1, command)
            };
            assert_sound(&with_pods(4000, add(1)));
            assert_sound(&with_pods(4000, remove(0)));
            assert_sound(&with_pods(4000, LEAVE));
        }
    }
}

#[test]
fn who_founds_a_cluster_on_a_node_that_leaves_is_answered() {
    assert_all_sound(|seed| {
        Plan::cluster(seed, 2)
            .ask(4000, 1, LEAVE)
            .ask(4001, 1, Command::Init)
    });
}

#[test]
fn who_founds_a_cluster_on_a_member_without_a_block_is_answered() {
    assert_all_sound(|seed| {
        Plan::cluster(seed, 2)
            .act(
                1200,
                Act::Kill {
                    host: 0,
                    down: 60_000,
                },
            )
            .act(1300, Act::Reboot { host: 1, down: 10 })
            .ask(3000, 1, Command::Init)
    });
}

#[test]
fn a_pod_that_could_not_be_removed_is_not_called_ready() {
    assert_all_sound(|seed| {
        let trouble = Trouble::Refuses { every: 1 };
        Plan::cluster(seed, 1)
            .ask(1000, 0, add(2))
            .act(
                1500,
                Act::Kernel {
                    host: 0,
                    trouble,
                    time: 500,
                },
            )
            .ask(1600, 0, remove(2))
            .ask(2500, 0, add(2))
    });
}

/// Its wish for a block may be granted while it leaves.
#[test]
fn a_node_that_leaves_before_it_has_heard_of_the_ledger_takes_no_block_along() {
    assert_all_sound(|seed| {
        let mut plan = Plan::cluster(seed, 2).ask(1050 + seed * 10, 1, LEAVE);
        plan.weather.delay = 200;
        plan
    });
}

#[test]
fn nothing_is_left_of_a_pod_whose_namespace_has_vanished() {
    for seed in 0..20 {
        assert_all_sound(|other| {
            let trouble = Trouble::Blind { every: 3 };
            let tamper = Tamper::DeleteNetns { pod: 1 };
            Plan::cluster(seed * 20 + other, 1)
                .ask(1000, 0, add(1))
                .act(
                    1500,
                    Act::Kernel {
                        host: 0,
                        trouble,
                        time: 800,
                    },
                )
                .act(
                    1600,
                    Act::Tamper {
                        host: 0,
                        tamper,
                        told: true,
                    },
                )
        });
    }
}

/// In one and the same boot the kernel remembers the connections of the pods of a membership that has ended.
#[test]
fn a_node_that_is_a_member_again_remembers_which_addresses_pods_have_had() {
    assert_all_sound(|seed| {
        Plan::cluster(seed, 1)
            .ask(1000, 0, add(2))
            .ask(1500, 0, LEAVE)
            .ask(3000, 0, Command::Init)
            .ask(3500, 0, add(1))
    });
}

#[test]
fn a_node_that_has_left_joins_again() {
    for seed in 0..20 {
        let plan = Plan::cluster(seed, 2)
            .ask(3000, 1, LEAVE)
            .ask(5000, 1, Command::Join)
            .ask(8000, 1, add(0));
        assert_eq!(assert_sound(&plan).pods, 1);
    }
}

/// Its user was told that it is no member.
#[test]
fn nothing_stays_on_disk_of_a_membership_that_could_not_begin() {
    for at in 10..20 {
        let fails = |host| Act::DiskFails { host, time: 1000 };
        assert_all_sound(|seed| Plan::cluster(seed, 1).act(at, fails(0)));
        assert_all_sound(|seed| Plan::cluster(seed, 2).act(990 + 5 * at, fails(1)));
        assert_all_sound(|seed| {
            Plan::cluster(seed, 1)
                .act(at, fails(0))
                .ask(at + 100, 0, Command::Init)
                .ask(at + 1100, 0, Command::Init)
        });
    }
}
