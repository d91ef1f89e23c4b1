//! Where the join token comes from. It is a secret: no error holds it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use podnet_proto::token::JoinToken;
use podnet_proto::{ApiError, ErrorCode};
use zeroize::Zeroizing;

/// More than any token: what is longer is the wrong file.
const MAX_FILE: u64 = 64 << 10;

/// Where the token comes from.
#[derive(PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line or the environment.
    Given(Zeroizing<String>),
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Chooses the source: a flag beats the environment. clap has seen to it that there is at most one
/// flag; it does not look at the environment, because it would call that a second source.
pub(crate) fn source(
    flag: Option<String>,
    file: Option<PathBuf>,
    environment: Option<OsString>,
) -> Result<Source, ApiError> {
    if let Some(token) = flag {
        return Ok(Source::Given(Zeroizing::new(token)));
    }
    if let Some(file) = file {
        return Ok(if file == Path::new("-") {
            Source::Stdin
        } else {
            Source::File(file)
        });
    }
    match environment.filter(|token| !token.is_empty()) {
        Some(token) => token
            .into_string()
            .map(|token| Source::Given(Zeroizing::new(token)))
            .map_err(|_| bad_token("it is not text")),
        None => Err(
            ApiError::new(ErrorCode::Usage, "join: the join token is missing").hint(
                "give --token, --token-file or PODNET_TOKEN; `podnetctl token show` on a member \
             prints it",
            ),
        ),
    }
}

/// Reads and checks the token, within `timeout`.
pub(crate) fn read(source: Source, timeout: Duration) -> Result<Zeroizing<String>, ApiError> {
    let text = match source {
        Source::Given(text) => text,
        Source::Stdin => read_within(timeout, "standard input", || Ok(io::stdin()))?,
        Source::File(path) => {
            let name = path.display().to_string();
            read_within(timeout, &name, move || File::open(&path))?
        }
    };
    let text = Zeroizing::new(text.trim().to_owned());
    text.parse::<JoinToken>().map_err(bad_token)?;
    Ok(text)
}

/// Opens and reads on a thread of its own: a pipe without a writer would block for ever.
fn read_within<R: io::Read>(
    timeout: Duration,
    name: &str,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<Zeroizing<String>, ApiError> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Zeroizing::new(Vec::new());
        let read = open().and_then(|from| from.take(MAX_FILE).read_to_end(&mut text));
        // Nobody listens any more once the deadline has passed.
        let _ = sender.send(read.map(|_| text));
    });
    let bytes = receiver
        .recv_timeout(timeout)
        .map_err(|_| {
            let why = format!("join: no token came from {name} in time");
            ApiError::new(ErrorCode::Timeout, why)
        })?
        .map_err(|error| unreadable(name, &error))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(bad_token("it is not text")),
    }
}

fn unreadable(name: &str, error: &io::Error) -> ApiError {
    ApiError::new(ErrorCode::Usage, format!("join token from {name}: {error}"))
}

fn bad_token(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::BadToken, format!("join token: {why}"))
        .hint("copy it once more, whole: `podnetctl token show` on a member prints it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Source {
        Source::Given(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_flag_beats_the_environment() {
        let environment = || Some(OsString::from("from-environment"));
        let choose = |flag: Option<&str>, file: Option<&str>, environment| {
            source(
                flag.map(str::to_owned),
                file.map(PathBuf::from),
                environment,
            )
        };
        assert!(choose(Some("flag"), None, environment()) == Ok(given("flag")));
        assert!(choose(None, Some("-"), environment()) == Ok(Source::Stdin));
        assert!(choose(None, Some("/x"), environment()) == Ok(Source::File("/x".into())));
        assert!(choose(None, None, environment()) == Ok(given("from-environment")));
        for nothing in [None, Some(OsString::new())] {
            let error = choose(None, None, nothing).err().unwrap();
            assert_eq!(error.code, ErrorCode::Usage);
        }
    }

    #[test]
    fn a_token_that_does_not_parse_is_refused_and_not_shown() {
        let error = read(given("podnet1.c2VjcmV0"), Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadToken);
        assert!(!error.message.contains("c2VjcmV0"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let source = Source::File("/nonexistent/token".into());
        let error = read(source, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Usage);
        assert!(error.message.contains("/nonexistent/token"));
    }

    #[test]
    fn an_endless_pipe_ends_at_the_deadline() {
        let (reader, _writer) = io::pipe().unwrap();
        let error =
            read_within(Duration::from_millis(50), "a pipe", move || Ok(reader)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Timeout);
    }
}
