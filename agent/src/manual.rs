//! The manual pages, from the definition of what can be typed.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::config::Cli;

/// The section of programs for the administrator.
const SECTION: &str = "8";

/// Writes `podnetd(8)`, and a page for each command.
///
/// # Errors
/// When the file system refuses.
pub fn write(dir: &Path) -> io::Result<()> {
    let mut command = Cli::command()
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    command.build();
    let shown = command.get_subcommands().filter(|each| !each.is_hide_set());
    let all: Vec<_> = shown.chain([&command]).cloned().collect();
    for command in all {
        Man::new(command).section(SECTION).generate_to(dir)?;
    }
    Ok(())
}
