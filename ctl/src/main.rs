//! `podnetctl`, the podnet command line: a thin client of the agent's control socket.
//!
//! `cli` says what can be typed, `cmd` does it (one file for each noun), `render` turns answers
//! into text, `output` is the only place that prints. What the exit codes and error codes are, and
//! that `-o json` prints exactly one document, scripts rely on.

mod check;
mod cli;
mod cmd;
mod deadline;
mod failure;
mod output;
mod render;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::cmd::Context;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error, &arguments),
    };
    let output = Output::new(cli.global.output, cli.global.quiet, cli.global.verbose);
    match cmd::run(&Context::new(&cli.global, output), cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}
