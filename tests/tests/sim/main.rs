//! The claim protocol in a simulated world: seeded, replayable schedules of faults.
//!
//! `SIM_SCHEDULES` sets how many schedules of each kind run, or `SIM_SECONDS` for how long, `SIM_SEED` the first
//! seed: a failure names its seed, and `SIM_SEED=N SIM_SCHEDULES=1` replays it.

mod directed;
mod disks;
mod driver;
mod host;
mod mutant;
mod plan;
mod random;
mod setup;
mod verdict;
mod world;
