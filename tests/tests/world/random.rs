//! Random schedules, and the proof that they find faults.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::history::History;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::verdict::{Failure, Summary};
use crate::world::World;

/// How many lines of a history are shown.
const LINES: usize = 400;

/// How often a schedule is tried again with less, to find what makes it fail.
const TRIES: usize = 600;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

pub(crate) fn run(plan: Plan, mutant: Mutant) -> Result<Summary, Failure> {
    let run = AssertUnwindSafe(|| World::new(plan, mutant).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::Broken(format!(
            "it panics: {}",
            text.unwrap_or_default()
        )))
    })
}

/// The schedule without what it fails without, too.
fn shrink(plan: &Plan, mutant: Mutant) -> Plan {
    let mut least = plan.clone();
    let mut tries = 0;
    let mut size = least.acts.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < least.acts.len() && tries < TRIES {
            let mut less = least.clone();
            let end = (start + size).min(less.acts.len());
            less.acts.drain(start..end);
            tries += 1;
            if run(less.clone(), mutant).is_err() {
                least = less;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    let mut fair = least.clone();
    fair.weather = podnet_lab::model::network::Weather::FAIR;
    if run(fair.clone(), mutant).is_err() {
        fair
    } else {
        least
    }
}

/// What happens in a schedule, and what is left of it when it is cut down to what makes it fail.
fn replay(plan: &Plan, mutant: Mutant) -> String {
    let least = shrink(plan, mutant);
    let mut world = World::new(least.clone(), mutant);
    let history = History::default();
    let logged = history.logged.clone();
    world.history = Some(history);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(logged)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, || {
        catch_unwind(AssertUnwindSafe(|| world.run()))
    });
    let history = world
        .history
        .map(|history| history.tail(LINES))
        .unwrap_or_default();
    let result = result.map_or_else(
        |_| "it panics".to_owned(),
        |result| match result {
            Ok(summary) => format!("{summary:?}"),
            Err(failure) => failure.to_string(),
        },
    );
    format!("{history}\n{least:?}\nseed {}: {result}", plan.seed)
}

/// Runs the schedules of some seeds on all cores, until one is `interesting` or the time is over. Returns the first
/// that is, and what the others led to.
fn search<T: Send>(
    seeds: Range<u64>,
    time: Option<Duration>,
    of: fn(u64) -> Plan,
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
        let result = interesting(run(of(seed), mutant));
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

#[expect(
    clippy::print_stdout,
    reason = "what a run saw, for those who ask with --nocapture"
)]
fn tell(what: &str) {
    println!("{what}");
}

/// Asserts that a schedule does not fail.
pub(crate) fn assert_sound(plan: &Plan) -> Summary {
    match run(plan.clone(), Mutant::Sound) {
        Ok(summary) => summary,
        Err(_) => panic!("{}", replay(plan, Mutant::Sound)),
    }
}

/// How many schedules run, or for how long: `SIM_SECONDS`, `SIM_SCHEDULES` and `SIM_SEED` say so.
#[test]
fn whole_clusters() {
    let start = from_env("SIM_SEED").unwrap_or(0);
    let time = from_env("SIM_SECONDS").map(Duration::from_secs);
    let count = from_env("SIM_SCHEDULES");
    let count = count.unwrap_or(if time.is_some() {
        u64::MAX - start
    } else {
        20_000
    });
    let failure = |result: Result<Summary, Failure>| result.map_err(|failure| failure.to_string());
    let began = Instant::now();
    let (failed, all) = search(
        start..start + count,
        time,
        Plan::random,
        Mutant::Sound,
        failure,
    );
    if let Some((seed, why)) = failed {
        panic!(
            "{}\nfirst: {why:.2000}",
            replay(&Plan::random(seed), Mutant::Sound)
        );
    }
    let total = |of: fn(&Summary) -> u64| all.iter().map(of).sum::<u64>();
    let slowest = all.iter().map(|summary| summary.settled).max();
    tell(&format!(
        "{} schedules in {:.0} s: {} inputs, at most {} for one node in a second, {} changes of kernels, {} answers, {} pods, {} restarts; all was as it \
         should be at most {} s after the last fault",
        all.len(),
        began.elapsed().as_secs_f64(),
        total(|summary| summary.inputs),
        all.iter().map(|summary| summary.busiest).max().unwrap_or(0),
        total(|summary| summary.changes),
        total(|summary| summary.answers),
        total(|summary| summary.pods),
        total(|summary| summary.restarts),
        slowest.unwrap_or(0) / 1_000_000,
    ));
}

/// Disks are rolled back and cloned as well. What no protocol can prevent is counted.
#[test]
fn clusters_whose_disks_are_rolled_back_and_cloned() {
    let start = from_env("SIM_SEED").unwrap_or(0);
    let count = 200;
    let failed = |result: Result<Summary, Failure>| Ok::<_, String>(result.err());
    let seeds = start..start + count;
    let (_, all) = search(seeds, None, Plan::with_disks, Mutant::Sound, failed);
    let failures: Vec<&Failure> = all.iter().flatten().collect();
    for failure in &failures {
        tell(&format!("{failure:.300}"));
    }
    assert!(
        failures.len() as u64 * 10 <= count,
        "{} of {count} break a rule",
        failures.len()
    );
}

/// Whether schedules find this fault of the driver.
fn is_caught(mutant: Mutant, within: u64) -> bool {
    let broken = |result: Result<Summary, Failure>| match result {
        Err(failure) => Err(failure.to_string()),
        Ok(_) => Ok(()),
    };
    let (caught, _) = search(0..within, None, Plan::random, mutant, broken);
    tell(&match &caught {
        Some((seed, what)) => format!("{mutant:?}, seed {seed}: {what:.200}"),
        None => format!("{mutant:?} is not caught by {within} schedules"),
    });
    caught.is_some()
}

#[test]
fn mutants_are_caught() {
    let mutants = [
        (Mutant::Hasty, 500),
        (Mutant::FailuresHidden, 2000),
        (Mutant::Unrecorded, 100),
        (Mutant::FreedForgotten, 4000),
        (Mutant::PodsForgotten, 100),
        (Mutant::LostReplies, 100),
        (Mutant::TwoReplies, 100),
        (Mutant::NoPause, 2000),
        (Mutant::Oversleeps, 2000),
        (Mutant::PassesForgotten, 2000),
        (Mutant::Late, 2000),
        (Mutant::NotDetached, 2000),
        (Mutant::StoppedTooEarly, 2000),
        (Mutant::SameEpoch, 2000),
        (Mutant::ChangesUnheard, 2000),
        (Mutant::RepairsUnheard, 2000),
        (Mutant::DetachesUnheard, 2000),
        (Mutant::LeavesAtOnce, 2000),
    ];
    let mutants = mutants.into_iter();
    let uncaught = mutants.filter(|(mutant, within)| !is_caught(*mutant, *within));
    let uncaught: Vec<_> = uncaught.collect();
    assert_eq!(uncaught, [], "so many schedules do not find these");
}
