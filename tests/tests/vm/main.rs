//! podnet on virtual machines with Debian's own kernel and systemd, installed from the package.
//!
//! Run by `make vm-test`, not by `make test`: without hardware acceleration it takes long. It makes
//! its machines, their images and their network itself, and needs root.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy's exception for tests does not reach the functions that they share"
)]

mod cluster;
mod driver;
mod flow;
mod node;
mod programs;
mod scenes;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use podnet_lab::interrupt;

use crate::world::World;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The machines are there once, and end with the thread that has started them.
    arguments.test_threads = Some(1);
    if let Err(error) = interrupt::watch() {
        println!("error: {error}");
        return ExitCode::FAILURE;
    }
    let world = Arc::new(Mutex::new(World::default()));
    let trial = |scene: scenes::Scene| {
        let world = Arc::clone(&world);
        Trial::test(scene.name, move || {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            world.play(&scene).map_err(Into::into)
        })
    };
    let trials = scenes::all().into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    world.print_times();
    world.tear_down();
    conclusion.exit_code()
}
