//! Schedules written by hand, for what random ones meet rarely.

use crate::mutant::Mutant;
use crate::plan::{Act, Plan, STAGES};
use crate::verdict::{Failure, Summary};
use crate::world::World;
use podnet_lab::model::network::Cut;

pub(crate) fn assert_sound(plan: &Plan) -> Summary {
    let mut world = World::new(plan.clone(), Mutant::Sound);
    world.trace = Some(Vec::new());
    world.run().unwrap_or_else(|failure| {
        let trace = world.trace.take().unwrap_or_default().join("\n");
        panic!("{trace}\n{plan:#?}\n{failure}")
    })
}

pub(crate) fn is_broken(plan: Plan, mutant: Mutant) -> bool {
    matches!(World::new(plan, mutant).run(), Err(Failure::Broken(_)))
}

pub(crate) const fn reboot(host: usize, down: u64) -> Act {
    let moves = false;
    Act::Reboot { host, down, moves }
}

#[test]
fn a_founder_reboots_alone() {
    let summary = assert_sound(&Plan::quiet(1, 1, 1, 4).act(1000, reboot(0, 2000)));
    assert_eq!(summary.slots, 1, "its new boot");
}

#[test]
fn members_restart_and_a_joiner_comes_while_the_founder_is_down() {
    let down = 5000;
    let plan = Plan::quiet(1, 1, 4, 4)
        .act(100, Act::Join { host: 1 })
        .act(100, Act::Join { host: 2 })
        .act(3000, Act::Kill { host: 0, down })
        .act(3500, Act::Kill { host: 1, down: 100 })
        .act(4000, Act::Join { host: 3 })
        .act(4500, reboot(2, 100));
    assert_sound(&plan);
}

#[test]
fn a_full_network_has_one_wait_until_another_leaves() {
    let mut plan = Plan::quiet(1, 1, 6, 4);
    for host in 1..6 {
        plan = plan.act(100, Act::Join { host });
    }
    assert_sound(&plan);
    assert_sound(&plan.act(5000, Act::Leave { host: 1 }));
}

#[test]
fn a_burst_of_joins_is_one_decision_or_a_few() {
    let mut plan = Plan::quiet(1, 3, 15, 16);
    for host in 3..15 {
        plan = plan.act(2000, Act::Join { host });
    }
    let summary = assert_sound(&plan);
    assert!(summary.slots <= 6, "{} slots", summary.slots);
}

#[test]
fn every_voter_dies_at_every_stage_of_a_decision() {
    for host in 0..3 {
        for stage in 0..STAGES {
            for seed in 0..5 {
                let crash = Act::Crash {
                    host,
                    stage,
                    down: 300,
                };
                let plan = Plan::quiet(seed, 3, 4, 8)
                    .act(2000, crash)
                    .act(2000, Act::Join { host: 3 })
                    .act(2100, crash);
                assert_sound(&plan);
            }
        }
    }
}

/// Everybody gets another address again and again, while a member joins.
#[test]
fn voters_move_amid_a_decision() {
    for seed in 0..50 {
        let mut plan = Plan::quiet(seed, 3, 5, 8)
            .act(2000, Act::Join { host: 3 })
            .act(2500, Act::Join { host: 4 });
        for (at, host) in (1990..2700).step_by(10).zip((0..5).cycle()) {
            plan = plan.act(at + seed % 10, Act::Move { host });
        }
        plan.weather.delay = 50;
        assert_sound(&plan);
    }
}

/// A member leaves, dies at some stage of it, and comes back as somebody else.
fn leave(seed: u64, stage: usize) -> Plan {
    Plan::quiet(seed, 1, 2, 4)
        .act(100, Act::Join { host: 1 })
        .act(
            3000,
            Act::Crash {
                host: 1,
                stage,
                down: 50,
            },
        )
        .act(3000, Act::Leave { host: 1 })
}

#[test]
fn a_member_dies_at_every_stage_of_leaving() {
    for stage in 0..STAGES {
        for seed in 0..5 {
            assert_sound(&leave(seed, stage));
        }
    }
}

#[test]
fn a_member_reboots_while_it_leaves() {
    for seed in 0..10 {
        let plan = Plan::quiet(seed, 1, 3, 4)
            .act(100, Act::Join { host: 1 })
            .act(
                3000,
                Act::Kill {
                    host: 0,
                    down: 2000,
                },
            )
            .act(3100, Act::Leave { host: 1 })
            .act(3200, reboot(1, 500));
        assert_sound(&plan);
    }
}

/// While a decision is under way one voter is cut off and another restarts.
fn forgetful_voter(at: u64, restarts: usize, cut: usize) -> Plan {
    let mut plan = Plan::quiet(at, 3, 5, 8)
        .act(2000, Act::Join { host: 3 })
        .act(2000, Act::Join { host: 4 })
        .act(
            2000 + at,
            Act::Kill {
                host: restarts,
                down: 1,
            },
        )
        .act(2000 + at, Act::Cut(Cut::Apart(1 << cut)))
        .act(9000, Act::Mend);
    plan.weather.delay = 200;
    plan
}

fn forgetful_voters() -> impl Iterator<Item = Plan> {
    let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    (0..1200)
        .step_by(20)
        .flat_map(move |at| pairs.map(|(restarts, cut)| forgetful_voter(at, restarts, cut)))
}

#[test]
fn a_voter_restarts_between_acceptance_and_decision() {
    forgetful_voters().for_each(|plan| _ = assert_sound(&plan));
    assert!(forgetful_voters().any(|plan| is_broken(plan, Mutant::VolatileAcceptor)));
}

/// A member that has seen the wish of a host's first boot, but not its end, tells the founder of it,
/// which has just started and knows from its disk that a second boot is registered.
fn late_relay(at: u64) -> Plan {
    Plan::quiet(at, 1, 3, 4)
        .act(100, Act::Join { host: 1 })
        .act(3000, Act::Join { host: 2 })
        .act(3000 + at, Act::Cut(Cut::Apart(1 << 1)))
        .act(5000, reboot(2, 100))
        .act(9000, Act::Kill { host: 0, down: 100 })
        .act(9000, Act::Mend)
        .act(9000, Act::Cut(Cut::Apart(1 << 2)))
        .act(20_000, Act::Mend)
}

#[test]
fn an_old_wish_comes_by_way_of_another() {
    let plans = || (0..1200).step_by(4).map(late_relay);
    plans().for_each(|plan| _ = assert_sound(&plan));
    assert!(plans().any(|plan| is_broken(plan, Mutant::AnyWish)));
}

/// A wish to be released reaches the founder by way of another member, after the agent that made it
/// has started again and cannot be heard.
#[test]
fn a_release_is_decided_late() {
    let plan = Plan::quiet(1, 1, 3, 4)
        .act(100, Act::Join { host: 1 })
        .act(100, Act::Join { host: 2 })
        .act(3000, Act::Cut(Cut::Apart(1)))
        .act(3100, Act::Leave { host: 1 })
        .act(8000, Act::Cut(Cut::Apart(2)))
        .act(8000, Act::Kill { host: 1, down: 100 })
        .act(9000, Act::Mend)
        .act(9000, Act::Cut(Cut::Apart(2)))
        .act(20_000, Act::Mend);
    assert_sound(&plan);
    assert!(is_broken(plan, Mutant::VolatileLeave));
}
