//! `podnet-lab`: a testbed for podnet on one host.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    ExitCode::from(podnet_lab::cli::main(&arguments))
}
