//! `podnetd`: parses, sets up logging and the runtime, and turns errors into exit codes.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use podnet_agent::config::{Cli, Command, Config, ConfigError, Options};
use podnet_agent::daemon::{self, Cleaned};
use podnet_agent::{journal, logging, manual};
use podnet_proto::{ApiError, ErrorCode};
use tracing::Level;

/// What `podnetd run` ends with if another start would end the same until the operator has looked
/// at the state: the unit does not start it again.
const EXIT_STATE: u8 = 6;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && journal::is_stderr() => {
            for line in error.to_string().lines().filter(|line| !line.is_empty()) {
                complain_line(line);
            }
            return ExitCode::from(ErrorCode::Usage.exit_code());
        }
        Err(error) => error.exit(),
    };
    let command = cli.command.unwrap_or(Command::Run);
    let runs = matches!(command, Command::Run);
    match try_main(command, cli.options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            let stays = runs && error.code == ErrorCode::StateCorrupt;
            ExitCode::from(if stays {
                EXIT_STATE
            } else {
                error.code.exit_code()
            })
        }
    }
}

fn try_main(command: Command, options: Options) -> Result<(), ApiError> {
    if let Command::Man { dir } = command {
        return manual::write(&dir).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("{}: {error}", dir.display()))
        });
    }
    let config = Config::load(options).map_err(|error| config_error(&error))?;
    logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            ApiError::new(
                ErrorCode::Internal,
                format!("cannot start the runtime: {error}"),
            )
        })?;
    match command {
        Command::Man { dir: _ } => Ok(()),
        Command::Run => runtime.block_on(daemon::run(config)),
        Command::Cleanup { yes, purge } => {
            confirm(
                yes,
                "remove podnet's links, routes, rules and pods from this host",
            )?;
            let cleaned = runtime.block_on(daemon::cleanup(&config, purge))?;
            if cleaned.removed.is_empty() {
                say("nothing of podnet's was there to remove");
            }
            report(&cleaned);
            Ok(())
        }
        Command::Reset { new_identity: _ } => {
            report(&runtime.block_on(daemon::reset(&config))?);
            Ok(())
        }
    }
}

fn report(cleaned: &Cleaned) {
    for what in &cleaned.removed {
        say(&format!("removed: {what}"));
    }
    for what in &cleaned.left {
        say(&format!("left: {what}"));
    }
}

fn config_error(error: &ConfigError) -> ApiError {
    let code = match error {
        ConfigError::Unreadable { .. }
        | ConfigError::Malformed { .. }
        | ConfigError::Empty { .. }
        | ConfigError::Relative { .. } => ErrorCode::Usage,
        ConfigError::Unsupported { .. } => ErrorCode::Unsupported,
    };
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    ApiError::new(code, format!("{error}{}", source.unwrap_or_default()))
}

/// Asks on a terminal; without one `--yes` must have been given.
fn confirm(yes: bool, what: &str) -> Result<(), ApiError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            ApiError::new(ErrorCode::Usage, format!("this would {what}"))
                .hint("say --yes if there is no terminal to ask at"),
        );
    }
    let mut terminal = std::io::stderr();
    let _ = write!(terminal, "This will {what}. Go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(ApiError::new(
            ErrorCode::Usage,
            "not confirmed: nothing was done",
        ))
    }
}

fn complain(error: &ApiError) {
    complain_line(&format!("error: {}", error.message));
    if let Some(hint) = &error.hint {
        complain_line(&format!("hint: {hint}"));
    }
}

/// A line on stderr, which the journal knows as an error.
fn complain_line(line: &str) {
    let priority = journal::is_stderr().then(|| journal::prefix(Level::ERROR));
    let _ = writeln!(std::io::stderr(), "{}{line}", priority.unwrap_or_default());
}

/// A closed pipe is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
