//! Whole clusters in one process: the node as it is, over models of the kernel, the disk and the network, with seeded,
//! replayable schedules of commands and faults.
//!
//! `SIM_SCHEDULES` sets how many schedules run, or `SIM_SECONDS` for how long, and `SIM_SEED` the first seed: a failure
//! names its seed, what is left of its schedule when it is cut down to what makes it fail, and what happens in that.
//! `SIM_SEED=N SIM_SCHEDULES=1` replays it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a fault is about one thing, and leaves the rest alone"
)]

mod acts;
mod checks;
mod closing;
mod directed;
mod disk;
mod draw;
mod echo;
mod edge;
mod history;
mod host;
mod kernel;
mod mutant;
mod plan;
mod process;
mod quiet;
mod random;
mod talk;
mod tamper;
mod trouble;
mod users;
mod verdict;
mod world;
