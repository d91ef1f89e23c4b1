//! Schedules in which disks are rolled back, lost or cloned.

use podnet_core::claim::{ClaimState, Muted};

use crate::directed::{assert_sound, is_broken, reboot};
use crate::mutant::Mutant;
use crate::plan::{Act, Plan};
use crate::verdict::Failure;
use crate::world::World;

fn is_stuck(plan: Plan, mutant: Mutant) -> bool {
    matches!(World::new(plan, mutant).run(), Err(Failure::Stuck(_)))
}

/// A member joins, the founder's disk is kept, others join, the disk is put back, another joins.
fn rolled_back_founder(seed: u64, members: usize, down: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 1, members + 4, 16);
    for host in 1..=members {
        plan = plan.act(100, Act::Join { host });
    }
    plan.act(3000, Act::Save { host: 0 })
        .act(3000 + seed % 7, Act::Join { host: members + 1 })
        .act(6000, Act::Join { host: members + 2 })
        .act(9000, Act::Rollback { host: 0, down })
        .act(9000 + seed * 37 % 3000, Act::Join { host: members + 3 })
}

#[test]
fn a_founder_that_was_rolled_back_gives_no_block_away_twice() {
    // Without a member at first: it has forgotten everybody.
    for members in [0, 1, 4] {
        for seed in 0..40 {
            for down in [1, 5000] {
                assert_sound(&rolled_back_founder(seed, members, down));
            }
        }
        let plans = || (0..40).map(|seed| rolled_back_founder(seed, members, 1));
        assert!(
            plans().any(|plan| is_broken(plan, Mutant::Forgetful)),
            "{members}"
        );
        assert!(
            plans().any(|plan| is_stuck(plan, Mutant::Secretive)),
            "{members}"
        );
    }
}

/// The members that know what the founder has forgotten start again, one after the other.
fn rolled_back_among_restarts(seed: u64) -> Plan {
    let mut plan = rolled_back_founder(seed, 1, 100);
    for time in 0..4 {
        for host in [2, 3] {
            let at = 9200 + time * 700 + seed * 13 % 350 + 350 * (host as u64 % 2);
            plan = plan.act(at, Act::Kill { host, down: 1 });
        }
    }
    plan
}

#[test]
fn a_founder_that_was_rolled_back_does_not_mistake_a_restart_for_ignorance() {
    let plans = || (0..100).map(rolled_back_among_restarts);
    plans().for_each(|plan| _ = assert_sound(&plan));
    assert!(plans().any(|plan| is_broken(plan, Mutant::Fickle)));
}

#[test]
fn a_founder_that_was_rolled_back_while_its_agent_was_restarted_often_finds_its_own_word() {
    for seed in 0..20 {
        let mut plan = rolled_back_founder(seed, 1, 100);
        for at in (6500..8500).step_by(500) {
            plan = plan.act(at, Act::Kill { host: 0, down: 50 });
        }
        assert_sound(&plan);
    }
}

#[test]
fn a_voter_of_three_that_was_rolled_back_catches_up() {
    for seed in 0..40 {
        let plan = Plan::quiet(seed, 3, 6, 16)
            .act(
                3000,
                Act::Save {
                    host: seed as usize % 3,
                },
            )
            .act(3100, Act::Join { host: 3 })
            .act(6000, Act::Join { host: 4 })
            .act(
                8000,
                Act::Rollback {
                    host: seed as usize % 3,
                    down: 100,
                },
            )
            .act(8000 + seed * 31 % 1000, Act::Join { host: 5 });
        assert_sound(&plan);
    }
}

#[test]
fn a_member_that_lost_its_disk_comes_back_as_somebody_else() {
    for seed in 0..20 {
        let plan = Plan::quiet(seed, 1, 3, 8)
            .act(100, Act::Join { host: 1 })
            .act(100, Act::Join { host: 2 })
            .act(5000, Act::Lose { host: 1, down: 500 });
        assert_eq!(assert_sound(&plan).leaks, 1, "its old block");
    }
}

/// A copy of a host's disk starts elsewhere, at a moment that depends on the seed.
fn clone_of(seed: u64, of: usize) -> Plan {
    Plan::quiet(seed, 1, 4, 8)
        .act(100, Act::Join { host: 1 })
        .act(100, Act::Join { host: 2 })
        .act(15_000 + seed * 53 % 2000, Act::Clone { host: 3, of })
}

fn clones(of: usize) -> impl Iterator<Item = Plan> {
    (0..40).map(move |seed| clone_of(seed, of))
}

#[test]
fn a_clone_of_anybody_disturbs_nobody() {
    for of in [0, 1] {
        for plan in clones(of) {
            let mut world = World::new(plan, Mutant::Sound);
            world.run().unwrap();
            let [original, clone] = [of, 3].map(|host| &world.hosts[host]);
            assert_eq!(original.state, Some(ClaimState::Using));
            assert!(
                matches!(clone.muted, Some(Muted::Twin { .. })),
                "{:?}",
                clone.muted
            );
            assert_eq!(clone.pods, None);
        }
    }
    // A clone of the only voter asks nobody else.
    assert!(clones(0).any(|plan| is_broken(plan, Mutant::TwinsUnseen)));
}

/// The founder's agent starts again while a clone is about.
fn clone_at_a_restart(seed: u64) -> Plan {
    clone_of(seed, 1).act(19_000, Act::Kill { host: 0, down: 10 })
}

#[test]
fn no_voter_lets_a_clone_take_a_block_over_that_listens_to_nobody() {
    for seed in 0..40 {
        // To the clone no other instance is there; the voter sees it.
        let blind = World::new(clone_at_a_restart(seed), Mutant::TwinsUnseen).run();
        assert!(!matches!(blind, Err(Failure::Broken(_))), "{blind:?}");
    }
    let plans = || (0..40).map(clone_at_a_restart);
    assert!(plans().any(|plan| is_broken(plan, Mutant::InstancesUnseen)));
}

/// The original's agent starts again while its clone waits for it to be gone.
fn clone_at_restarts_of_the_original(seed: u64) -> Plan {
    let mut plan = clone_of(seed, 1);
    for time in 0..20 {
        let at = 19_000 + seed * 29 % 400 + time * 600;
        plan = plan.act(at, Act::Kill { host: 1, down: 1 });
    }
    plan
}

#[test]
fn a_clone_does_not_take_a_restart_for_an_end() {
    for seed in 0..60 {
        assert_sound(&clone_at_restarts_of_the_original(seed));
    }
}

#[test]
fn a_clone_takes_the_place_of_an_original_that_is_gone() {
    for of in [0, 1] {
        for seed in 0..10 {
            // Time enough to notice.
            let plan = clone_of(seed, of)
                .act(25_000, Act::Off { host: of })
                .act(45_000, Act::Mend);
            let mut world = World::new(plan, Mutant::Sound);
            world.run().unwrap();
            assert_eq!(world.hosts[3].state, Some(ClaimState::Using));
        }
    }
}

#[test]
fn an_original_that_reboots_beside_its_clone_is_one_of_the_two() {
    for seed in 0..40 {
        let plan = clone_of(seed, 1).act(20_000, reboot(1, 50 + seed * 97 % 9000));
        assert_sound(&plan);
    }
}
