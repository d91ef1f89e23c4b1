//! The claim protocol in a simulated world: seeded, replayable schedules of faults.
//!
//! `SIM_SCHEDULES` sets how many schedules of each kind run, `SIM_SEED` the first seed: a failure
//! names its seed, and `SIM_SEED=N SIM_SCHEDULES=1` replays it.

mod checker;
mod directed;
mod disks;
mod driver;
mod gossip;
mod host;
mod mutant;
mod network;
mod plan;
mod random;
mod setup;
mod signing;
mod verdict;
mod world;
