//! Random schedules, and the proof that they find faults.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::verdict::{Failure, Summary};
use crate::world::World;

/// Seeds whose schedules once failed, with the number of their voters: run always, first.
const REGRESSIONS: &[(u64, usize)] = &[
    // A wish at an address that the node had left was granted after its release.
    (102, 1),
    // A node that left before it was a member was gone before its wish was withdrawn.
    (71, 1),
    (27, 3),
];

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

fn run(seed: u64, voters: usize, mutant: Mutant) -> Result<Summary, Failure> {
    World::new(Plan::random(seed, voters), mutant).run()
}

/// Runs the schedules of some seeds on all cores, until one is `interesting` or the time is over. Returns the
/// first that is, and what the others led to.
fn search<T: Send>(
    seeds: Range<u64>,
    time: Option<Duration>,
    voters: usize,
    mutant: Mutant,
    interesting: impl Fn(Result<Summary, Failure>) -> Result<T, String> + Sync,
) -> (Option<(u64, String)>, Vec<T>) {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let found = Mutex::new((None::<(u64, String)>, Vec::new()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let over = time.is_some_and(|time| began.elapsed() > time);
        if seed >= end.load(Ordering::Relaxed) || over {
            return;
        }
        let result = std::panic::catch_unwind(|| run(seed, voters, mutant));
        let result = result.map_or_else(|_| Err("it panics".to_owned()), &interesting);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(summary) => found.1.push(summary),
            Err(why) => {
                end.fetch_min(seed, Ordering::Relaxed);
                if found.0.as_ref().is_none_or(|(first, _)| seed < *first) {
                    found.0 = Some((seed, why));
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Replays the schedule of a seed, and tells what happened.
fn replay(seed: u64, voters: usize) -> String {
    const LINES: usize = 400;
    let plan = Plan::random(seed, voters);
    let mut world = World::new(plan.clone(), Mutant::Sound);
    world.trace = Some(Vec::new());
    let result = world.run().map_err(|failure| failure.to_string());
    let trace = world.trace.unwrap_or_default();
    let tail = trace[trace.len().saturating_sub(LINES)..].join("\n");
    format!("{tail}\n{plan:#?}\nseed {seed} with {voters} voters: {result:?}")
}

#[expect(
    clippy::print_stdout,
    reason = "what a run saw, for those who ask with --nocapture"
)]
fn tell(what: &str) {
    println!("{what}");
}

/// Runs so many schedules, unless the environment says otherwise, and asserts that none fails.
fn assert_sound(voters: usize, schedules: u64) {
    let regressions = REGRESSIONS.iter().filter(|(_, of)| *of == voters);
    for (seed, _) in regressions {
        if run(*seed, voters, Mutant::Sound).is_err() {
            panic!("{}", replay(*seed, voters));
        }
    }
    let start = from_env("SIM_SEED").unwrap_or(0);
    let time = from_env("SIM_SECONDS").map(Duration::from_secs);
    let unless_told = if time.is_some() {
        u64::MAX - start
    } else {
        schedules
    };
    let count = from_env("SIM_SCHEDULES").unwrap_or(unless_told);
    let failure = |result: Result<Summary, Failure>| result.map_err(|failure| failure.to_string());
    let (failed, all) = search(start..start + count, time, voters, Mutant::Sound, failure);
    let count = all.len() as u64;
    if let Some((seed, _)) = failed {
        panic!("{}", replay(seed, voters));
    }
    let total = |of: fn(&Summary) -> u64| all.iter().map(of).sum::<u64>();
    let slowest = all.iter().map(|summary| summary.convergence).max();
    let leaks = total(|summary| summary.leaks);
    tell(&format!(
        "{voters} voters: {count} schedules, {} steps, {} slots, {leaks} blocks without a host, \
         agreement at most {} ms after the last fault",
        total(|summary| summary.steps),
        total(|summary| summary.slots),
        slowest.unwrap_or(0),
    ));
    assert!(
        leaks * 50 <= count.max(50),
        "{leaks} blocks belong to nobody that exists"
    );
}

#[test]
fn one_voter() {
    assert_sound(1, 1200);
}

#[test]
fn three_voters() {
    assert_sound(3, 550);
}

#[test]
fn five_voters() {
    assert_sound(5, 250);
}

/// Runs schedules in which disks are rolled back, lost and cloned as well. What no protocol can
/// prevent is counted: a voter is rolled back while it hears no member that knows better, a clone
/// starts where the original cannot be heard.
fn assert_residue(voters: usize, schedules: u64, most: u64) {
    let start = from_env("SIM_SEED").unwrap_or(0);
    let count = from_env("SIM_SCHEDULES").unwrap_or(schedules);
    let seeds: Vec<u64> = (start..start + count).collect();
    let half = seeds.len() / 2;
    let run = |seeds: &[u64]| -> Vec<(u64, Failure)> {
        let failed = |seed: &u64| {
            let plan = Plan::with_disks(*seed, voters);
            let result = World::new(plan, Mutant::Sound).run();
            Some((*seed, result.err()?))
        };
        seeds.iter().filter_map(failed).collect()
    };
    let failures = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(&seeds[half..]));
        let mut failures = run(&seeds[..half]);
        failures.extend(other.join().unwrap_or_else(|_| panic!("a schedule panics")));
        failures
    });
    let broken = |(_, failure): &&(u64, Failure)| matches!(failure, Failure::Broken(_));
    let residue = failures.iter().filter(broken).count() as u64;
    for (seed, failure) in &failures {
        tell(&format!("{voters} voters, seed {seed}: {failure:.150}"));
    }
    tell(&format!(
        "{voters} voters: {count} schedules with disks rolled back, lost and cloned: {residue} break \
         a rule, {} do not come to an agreement",
        failures.len() as u64 - residue,
    ));
    assert!(
        residue * schedules <= most * count,
        "{residue} of {count} schedules with {voters} voters break a rule"
    );
}

#[test]
fn disks_of_one_voter() {
    assert_residue(1, 400, 40);
}

#[test]
fn disks_of_three_voters() {
    assert_residue(3, 200, 10);
}

/// Asserts that random schedules break a rule of the protocol where the driver has this fault.
fn assert_caught(mutant: Mutant, voters: usize, within: u64) {
    let broken = |result| match result {
        Err(Failure::Broken(what)) => Err(what),
        Ok(_) | Err(Failure::Stuck(_)) => Ok(()),
    };
    let (caught, _) = search(0..within, None, voters, mutant, broken);
    let Some((seed, what)) = caught else {
        panic!("{mutant:?} is not caught by {within} schedules with {voters} voters");
    };
    tell(&format!(
        "{mutant:?} with {voters} voters, seed {seed}: {what:.200}"
    ));
}

/// [`Mutant::VolatileAcceptor`] is left to a schedule written by hand: a voter that has restarted
/// listens before it votes, so that chance hits it rarely.
#[test]
fn mutants_are_caught() {
    for (mutant, voters, within) in [
        (Mutant::NoBootCheck, 1, 50),
        (Mutant::KeepsBlock, 1, 50),
        (Mutant::LateWrite, 1, 500),
        (Mutant::LiveMajority, 3, 50),
        (Mutant::AcceptedIgnored, 3, 2000),
    ] {
        assert_caught(mutant, voters, within);
    }
}
