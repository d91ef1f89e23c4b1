//! Runs the built `podnetctl` against an agent that is played by the test: exit codes, error
//! documents and the waiting of `join` and `leave` are what scripts rely on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod errors;
mod fake_agent;
mod join;
mod leave;
mod pod;
mod run;
mod shells;
