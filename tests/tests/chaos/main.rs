//! Everything that can happen to a cluster, at random, and then it has to be as it should be.
//!
//! `make chaos SECONDS=3600 SEED=7` begins with bad times again until so long has passed. The seed
//! alone decides what happens, in which order; what the kernel and the agents make of it at the same time does not
//! come back with the seed. Needs root, and the programs to be built.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod action;
mod cluster;
mod tally;
mod verdict;

use std::env;
use std::time::{Duration, Instant};

use action::Plan;
use cluster::Cluster;

/// What happens when nobody says for how long, and with which seed.
const SECONDS: u64 = 20;
const SEED: u64 = 1;

#[test]
fn after_whatever_happened_all_is_as_it_should_be() {
    let seconds = number("PODNET_CHAOS_SECONDS", SECONDS);
    let seed = number("PODNET_CHAOS_SEED", SEED);
    println!("seed {seed}, {seconds} s");
    let mut plan = Plan::new(seed);
    let mut cluster = Cluster::up();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut bad_times = 0;
    while Instant::now() < end {
        bad_times += 1;
        for actions in plan.bad_times() {
            println!("{actions:?}");
            cluster.carry_out(&actions);
        }
        cluster.calm();
        verdict::all_is_well(&mut cluster);
    }
    cluster.tally.assert_eventful(bad_times);
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: not a number")),
        Err(_) => otherwise,
    }
}
