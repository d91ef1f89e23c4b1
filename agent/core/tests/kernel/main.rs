//! What the difference of desired and observed does to the model of the kernel.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod converge;
mod fault;
mod history;
mod node;
mod strangers;
mod tamper;
mod unreadable;
