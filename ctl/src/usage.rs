//! Errors in what was typed, in the same form as all other errors.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use podnet_proto::{ApiError, ErrorCode};

use crate::cli::Format;
use crate::failure::Failure;
use crate::output::Output;

/// The longest text of clap's that is passed on, in characters.
const MAX_TEXT: usize = 500;

/// Prints what clap has to say: help and version texts as they are, all else as an error.
pub(crate) fn report(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let json = wants_json(arguments);
    let kind = error.kind();
    let code = if matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        0
    } else if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !json {
        ErrorCode::Usage.exit_code()
    } else {
        let format = if json { Format::Json } else { Format::Table };
        return Output::new(format, false, false).fail(&Failure::from(usage(error)));
    };
    // A reader that has gone has seen what it wanted.
    let _ = error.print();
    ExitCode::from(code)
}

fn usage(error: &clap::Error) -> ApiError {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ApiError::new(ErrorCode::Usage, "podnetctl: a command is missing")
            .hint("`podnetctl --help` lists them");
    }
    from_text(&error.render().to_string())
}

/// Takes clap's text apart. Its first paragraph is what is wrong; then come `tip:` and `Usage:`.
fn from_text(text: &str) -> ApiError {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let first = text.split("\n\n").next().unwrap_or(text);
    // It quotes what was typed.
    let what: String = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let what = match what.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}...", &what[..end]),
        None => what,
    };
    let line = |start: &str| {
        text.lines()
            .find_map(|line| line.trim_start().strip_prefix(start))
            .map(str::trim)
    };
    let usage = line("Usage:");
    let command = usage.map_or_else(|| "podnetctl".to_owned(), command_of);
    let hint = match (line("tip:"), usage) {
        (Some(tip), _) => tip.to_owned(),
        (None, Some(usage)) => format!("{usage}; `{command} --help` shows more"),
        (None, None) => format!("`{command} --help` shows more"),
    };
    ApiError::new(ErrorCode::Usage, format!("{command}: {what}")).hint(hint)
}

/// The words of a usage line that name the command: `podnetctl pod add`.
fn command_of(usage: &str) -> String {
    usage
        .split_whitespace()
        .take_while(|word| !word.starts_with(['-', '<', '[']))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether JSON is asked for among arguments that clap refused, and so did not report.
fn wants_json(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    let mut json = false;
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let value = if let Some(value) = word.strip_prefix("--output") {
            value.to_owned()
        } else if let Some(value) = word
            .strip_prefix('-')
            // Short flags without a value may come first in the same word: `-qojson`.
            .and_then(|flags| flags.trim_start_matches(['q', 'v']).strip_prefix('o'))
        {
            value.to_owned()
        } else {
            continue;
        };
        json = match value.as_str() {
            "" => words.next().is_some_and(|value| value == "json"),
            value => value.trim_start_matches('=') == "json",
        };
    }
    json
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn refused(arguments: &[&str]) -> ApiError {
        match Cli::try_parse_from([&["podnetctl"], arguments].concat()) {
            Ok(_) => panic!("{arguments:?} was accepted"),
            Err(error) => usage(&error),
        }
    }

    #[test]
    fn json_is_recognised_in_all_its_spellings() {
        let asks = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            wants_json(&words)
        };
        for line in [
            "podnetctl -o json frobnicate",
            "podnetctl -ojson frobnicate",
            "podnetctl -o=json frobnicate",
            "podnetctl frobnicate --output=json",
            "podnetctl frobnicate --output json",
            "podnetctl -qojson frobnicate",
            "podnetctl -qo json frobnicate",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "podnetctl frobnicate",
            "podnetctl -o table frobnicate json",
            "podnetctl -o",
            "podnetctl pod exec -- ls -o json",
        ] {
            assert!(!asks(line), "{line}");
        }
    }

    #[test]
    fn usage_errors_are_one_line_with_a_cure() {
        let missing = refused(&["init"]);
        assert_eq!(missing.code, ErrorCode::Usage);
        assert_eq!(
            missing.message,
            "podnetctl init: the following required arguments were not provided: \
             --pod-cidr <CIDR[,CIDR6]>"
        );
        assert!(missing.hint.unwrap().starts_with("podnetctl init "));

        let unknown = refused(&["pod", "add", "red", "--pit", "1"]);
        assert!(unknown.message.contains("podnetctl pod add"), "{unknown:?}");
        assert!(unknown.hint.unwrap().contains("--pid"));

        let value = refused(&["-o", "yaml", "status"]);
        assert!(value.message.contains("'yaml'"), "{value:?}");
        assert!(!value.message.contains('\n'));
    }
}
