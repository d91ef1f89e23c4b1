//! `podnetd`: parses, sets up logging and the runtime, and turns errors into exit codes.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use podnet_agent::config::{Cli, Command, Config, ConfigError, LogFormat};
use podnet_agent::daemon::{self, Cleaned};
use podnet_proto::{ApiError, ErrorCode};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    match try_main(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.code.exit_code())
        }
    }
}

fn try_main(cli: Cli) -> Result<(), ApiError> {
    let config = Config::load(cli.settings).map_err(|error| config_error(&error))?;
    start_logging(&config)?;
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
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => runtime.block_on(daemon::run(config)),
        Command::Cleanup { yes, purge } => {
            confirm(
                yes,
                "remove podnet's links, routes, rules and pods from this host",
            )?;
            report(&runtime.block_on(daemon::cleanup(&config, purge))?);
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

fn start_logging(config: &Config) -> Result<(), ApiError> {
    let filter = filter(&config.log_level).map_err(|why| {
        let level: String = config.log_level.escape_default().take(80).collect();
        ApiError::new(ErrorCode::Usage, format!("log level '{level}': {why}")).hint(
            "use off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas between",
        )
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would be told on the same stream, and end the agent where that is broken.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => subscriber.with_ansi(colours()).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Reads a log level. A word alone is a level: `EnvFilter` would take a misspelled one for the name
/// of a module, and say nothing of all others.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let mut words = text.split(',').map(str::trim);
    if let Some(word) = words.find(|word| {
        !word.contains(['=', '[']) && word.parse::<LevelFilter>().is_err() || word.is_empty()
    }) {
        let word: String = word.escape_default().take(80).collect();
        return Err(format!("'{word}' is not a level"));
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Asks on a terminal; without one `--yes` must have been given.
fn confirm(yes: bool, what: &str) -> Result<(), ApiError> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            ApiError::new(ErrorCode::Usage, format!("this would {what}"))
                .hint("say --yes where nobody can be asked"),
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
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "error: {}", error.message);
    if let Some(hint) = &error.hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}

/// A closed pipe is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
