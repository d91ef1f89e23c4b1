//! How the demo looks.

use std::env;
use std::io::IsTerminal as _;
use std::time::Duration;

use super::paths::{Destination, Measured, Source, Verdict};
use crate::render::Screen;

/// How many lines of a command's output are shown.
const MAX_LINES: usize = 8;
/// What every join token begins with.
const TOKEN_PREFIX: &str = "podnet1";
/// The width of a column of the matrix.
const COLUMN: usize = 12;

/// The terminal, in colour where it can.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    screen: &'a Screen,
    colour: bool,
}

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Good,
    Bad,
}

impl Style {
    /// The parameter of SGR (ECMA-48, 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
        }
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(screen: &'a Screen) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            screen,
            colour: std::io::stdout().is_terminal() && !refused,
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    fn line(&self, text: &str) {
        self.screen.text(&format!("{text}\n"));
    }

    pub(super) fn title(&self, text: &str) {
        self.line(&self.paint(Style::Bold, text));
    }

    pub(super) fn done(&self, text: &str, took: Duration) {
        let took = self.paint(Style::Dim, &format!("({})", seconds(took)));
        self.line(&format!("\n{text} {took}"));
    }

    pub(super) fn command(&self, node: &str, words: &[&str]) {
        let command = format!("{node}# podnetctl {}", words.join(" "));
        self.line(&format!("\n{}", self.paint(Style::Bold, &command)));
    }

    pub(super) fn output(&self, text: &str, took: Duration) {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        for line in lines.iter().take(MAX_LINES) {
            self.line(&format!("  {}", without_token(line)));
        }
        if lines.len() > MAX_LINES {
            self.line(&format!("  ... {} more lines", lines.len() - MAX_LINES));
        }
        self.line(&self.paint(Style::Dim, &format!("  ({})", seconds(took))));
    }

    /// The round trips of all paths: a row for each source, a column for each destination.
    pub(super) fn matrix(
        &self,
        sources: &[Source<'_>],
        destinations: &[Destination],
        measured: &[Measured],
    ) {
        let mut head = format!("\n{:COLUMN$}", "ping");
        for destination in destinations {
            head += &format!("{:>COLUMN$}", destination.name);
        }
        self.line(&self.paint(Style::Bold, &head));
        for source in sources {
            let name = source.place.to_string();
            let mut row = format!("{name:COLUMN$}");
            for destination in destinations {
                let path = measured
                    .iter()
                    .find(|path| path.source == name && path.destination == destination.name);
                row += &self.cell(path);
            }
            self.line(&row);
        }
    }

    fn cell(&self, path: Option<&Measured>) -> String {
        // Padded before it is painted: the codes have no width.
        match path.map(|path| &path.pong) {
            None => format!("{:>COLUMN$}", ""),
            Some(Ok(pong)) => {
                let text = format!("{:.2} ms", pong.round_trip.as_secs_f64() * 1000.0);
                self.paint(Style::Good, &format!("{text:>COLUMN$}"))
            }
            Some(Err(_)) => self.paint(Style::Bad, &format!("{:>COLUMN$}", "no answer")),
        }
    }

    pub(super) fn verdicts(&self, verdicts: &[Verdict]) {
        self.line("");
        for verdict in verdicts {
            let mark = if verdict.failures.is_empty() {
                self.paint(Style::Good, "ok  ")
            } else {
                self.paint(Style::Bad, "FAIL")
            };
            let kept = verdict.checked - verdict.failures.len();
            let example = verdict
                .example
                .as_ref()
                .map_or(String::new(), |example| format!("  ({example})"));
            self.line(&format!(
                "{mark} {:<50} {kept:>2} of {:>2}{}",
                verdict.promise,
                verdict.checked,
                self.paint(Style::Dim, &example)
            ));
            for failure in &verdict.failures {
                self.line(&format!("     {}", self.paint(Style::Bad, failure)));
            }
        }
    }

    pub(super) fn total(&self, passed: bool, took: Duration) {
        let verdict = if passed {
            self.paint(Style::Good, "all paths work")
        } else {
            self.paint(Style::Bad, "some paths do not work as they should")
        };
        self.line(&format!("{verdict}, {} in all", seconds(took)));
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// The line without the join token that may be in it: it is a secret.
fn without_token(line: &str) -> String {
    let mut shown = String::new();
    for (index, word) in line.split(' ').enumerate() {
        if index > 0 {
            shown.push(' ');
        }
        if word.starts_with(TOKEN_PREFIX) {
            shown += "TOKEN";
        } else {
            shown += word;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(
            without_token("  podnetctl join 192.168.56.11 --token podnet1abc"),
            "  podnetctl join 192.168.56.11 --token TOKEN"
        );
    }
}
