//! The configuration file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::{ConfigError, Options};

/// The longest message of the parser that is passed on, in bytes.
const MAX_TOLD: usize = 300;

/// The longest configuration file, in bytes: far more than there is to say.
const MAX_FILE: u64 = 1024 * 1024;

/// The options in a file.
///
/// # Errors
/// If the file cannot be read, or holds what is no setting.
pub(super) fn read(path: &Path) -> Result<Options, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 == MAX_FILE {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    parse(path, &text)
}

/// The options in a file's text.
///
/// # Errors
/// If it holds what is no setting.
pub(super) fn parse(path: &Path, text: &str) -> Result<Options, ConfigError> {
    let malformed = |reason: String| ConfigError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let options: Options = toml::from_str(text).map_err(|error| malformed(told(text, &error)))?;
    if let Some(timing) = options.timing {
        timing.check().map_err(malformed)?;
    }
    Ok(options)
}

/// What the parser has to say, in one line.
fn told(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    // It quotes the file.
    let message: String = error.message().escape_default().take(MAX_TOLD).collect();
    format!("line {line}: {message}")
}
