//! `completion`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use serde_json::json;

use super::Context;
use crate::cli::{Cli, CompletedShell};
use crate::failure::Failure;

/// Prints the script that lets a shell complete what is typed.
pub(crate) fn run(context: &Context, shell: CompletedShell) -> Result<(), Failure> {
    let shell = match shell {
        CompletedShell::Bash => Shell::Bash,
        CompletedShell::Zsh => Shell::Zsh,
        CompletedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "podnetctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let document = json!({"shell": shell.to_string(), "script": script});
    context.output.result(&document, || script)
}
