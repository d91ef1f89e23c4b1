//! Ctrl-C and SIGTERM: the program stops where it is, and takes down what it has built.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::error::LabError;

static REQUESTED: AtomicBool = AtomicBool::new(false);

fn watched() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals
}

/// Watches for the signals from now on, instead of dying of them. To be called before any other
/// thread is there.
///
/// # Errors
/// [`LabError::System`] when the kernel refuses.
pub fn watch() -> Result<(), LabError> {
    let signals = watched();
    signals
        .thread_block()
        .map_err(|errno| LabError::system("blocking signals", errno))?;
    thread::spawn(move || {
        while signals.wait().is_ok() {
            REQUESTED.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Whether a signal has come.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Fails if a signal has come: for use between two steps.
///
/// # Errors
/// [`LabError::Interrupted`].
pub fn check() -> Result<(), LabError> {
    if requested() {
        Err(LabError::Interrupted)
    } else {
        Ok(())
    }
}

/// Lets the signals through again. Programs inherit what their parent blocks, so every one that a
/// lab starts goes through this.
///
/// # Errors
/// [`LabError::System`] when the kernel refuses.
pub fn unblock() -> Result<(), LabError> {
    watched()
        .thread_unblock()
        .map_err(|errno| LabError::system("unblocking signals", errno))
}
