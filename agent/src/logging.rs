//! Log lines on stderr.

use std::io::IsTerminal;

use podnet_proto::{ApiError, ErrorCode};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format;

use crate::config::{Config, LogFormat};
use crate::journal::{self, Prioritised};

/// Starts logging, as the configuration wants it. The journal is given priorities, and puts the time
/// before each line itself.
///
/// # Errors
/// When the log level is none.
pub fn start(config: &Config) -> Result<(), ApiError> {
    let filter = filter(&config.log_level).map_err(|why| {
        let level: String = config.log_level.escape_default().take(80).collect();
        ApiError::new(ErrorCode::Usage, format!("log level '{level}': {why}")).hint(
            "use off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas between",
        )
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would be written to the same stream, and end the agent if that is broken.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match (config.log_format, journal::is_stderr()) {
        (LogFormat::Text, false) => subscriber.with_ansi(colours()).init(),
        (LogFormat::Json, false) => subscriber.json().init(),
        (LogFormat::Text, true) => subscriber
            .with_ansi(false)
            .event_format(Prioritised(format().without_time()))
            .init(),
        (LogFormat::Json, true) => subscriber.json().map_event_format(Prioritised).init(),
    }
    log_panics();
    Ok(())
}

/// Lets a panic be a log line as other errors are; if errors are not logged, Rust prints it as ever.
fn log_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if tracing::enabled!(Level::ERROR) {
            let place = panic.location().map(ToString::to_string);
            let place = place.as_deref().unwrap_or("an unknown place");
            let said = panic.payload_as_str().unwrap_or("no message");
            tracing::error!("panicked at {place}: {said}");
        } else {
            print(panic);
        }
    }));
}

/// Reads a log level. A word alone is a level: `EnvFilter` would take a misspelled one for the name
/// of a module, and say nothing of other modules.
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
