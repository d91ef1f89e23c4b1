//! `man`.

use std::path::Path;

use clap::CommandFactory as _;
use podnet_proto::{ApiError, ErrorCode};

use crate::cli::Cli;
use crate::failure::Failure;

/// Writes `podnetctl(1)`, and a page for each command.
pub(crate) fn run(dir: &Path) -> Result<(), Failure> {
    let command = Cli::command().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command, dir).map_err(|error| {
        ApiError::new(ErrorCode::Internal, format!("{}: {error}", dir.display())).into()
    })
}
