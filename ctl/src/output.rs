//! The only place that prints: results on standard output, all else on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use podnet_proto::{ApiError, ErrorCode};
use serde::Serialize;

use crate::cli::Format;
use crate::failure::Failure;
use crate::render::printable;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
}

/// What is printed for a failure with `-o json`.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: &'a ApiError,
}

impl Output {
    /// Printing in this form.
    pub(crate) const fn new(format: Format, quiet: bool, verbose: bool) -> Self {
        Self {
            format,
            quiet,
            verbose,
        }
    }

    /// Whether more columns are wanted.
    pub(crate) const fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether progress and notes are unwanted.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints the result of a command: the document, or the text for people.
    pub(crate) fn result<T: Serialize>(
        &self,
        document: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => text(),
            Format::Json => json(document)?,
        };
        write_stdout(&text).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("standard output: {error}")).into()
        })
    }

    /// Prints a list; if it is empty, standard error says so.
    pub(crate) fn list<T: Serialize>(
        &self,
        list: &[T],
        none: &str,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if list.is_empty() {
            self.result(&list, String::new)?;
            self.note_with_table(none);
            return Ok(());
        }
        self.result(&list, text)
    }

    /// Prints a line on standard error that explains the table on standard output.
    pub(crate) fn note_with_table(&self, line: &str) {
        match self.format {
            Format::Table => self.note(line),
            Format::Json => {}
        }
    }

    /// Prints a line for people on standard error.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            write_stderr(&format!("{}\n", printable(line)));
        }
    }

    /// Prints a line about something that went wrong and stops nothing.
    pub(crate) fn warn(&self, line: &str) {
        if !self.quiet {
            write_stderr(&labelled("warning", AnsiColor::Yellow, line));
        }
    }

    /// Asks a question on the terminal and reads the answer; no answer is a no.
    pub(crate) fn confirm(&self, question: &str) -> bool {
        write_stderr(&format!("{} [y/N] ", printable(question)));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES")
    }

    /// Prints a failure: lines for people on standard error and, with `-o json`, the document.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let error = &failure.error.redacted();
        write_stderr(&labelled("error", AnsiColor::Red, &error.message));
        if let Some(hint) = &error.hint {
            write_stderr(&labelled("hint", AnsiColor::Cyan, hint));
        }
        if self.format == Format::Json
            && let Ok(document) = json(&ErrorDocument { error })
        {
            // If even that fails, only the exit code is left to say so.
            let _ = write_stdout(&document);
        }
        ExitCode::from(failure.exit)
    }
}

fn json<T: Serialize>(document: &T) -> Result<String, ApiError> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("JSON: {error}")))
}

/// A reader that has gone (`podnetctl nodes | head -1`) has seen what it wanted: no error.
fn write_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn write_stderr(text: &str) {
    // There is no other place to report that to.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn labelled(label: &str, color: AnsiColor, line: &str) -> String {
    let style = if has_color() {
        Style::new().bold().fg_color(Some(color.into()))
    } else {
        Style::new()
    };
    format!("{style}{label}:{style:#} {}\n", printable(line))
}

/// Whether standard error may be coloured: a terminal, and `NO_COLOR` is not set (no-color.org).
fn has_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !set("NO_COLOR") && !dumb
}
