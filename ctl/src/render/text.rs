//! Words and numbers for people.

use std::borrow::Cow;
use std::fmt::Display;

/// Stands for what is unknown or empty.
pub(crate) const NOTHING: &str = "-";

/// The text without anything that a terminal would act on. Some of it was written by other nodes,
/// and an escape sequence in a name must not move the cursor of the terminal that shows it.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_terminals) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if acts_on_terminals(char) {
            safe.extend(char.escape_default());
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

/// Control characters, line and paragraph separators, and what reverses the direction of text.
fn acts_on_terminals(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// [`NOTHING`], owned.
pub(crate) fn nothing() -> String {
    NOTHING.to_owned()
}

/// A list in one cell.
pub(crate) fn joined<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return nothing();
    }
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// What may be unknown.
pub(crate) fn optional<T: Display>(item: Option<&T>) -> String {
    item.map_or_else(nothing, ToString::to_string)
}

pub(crate) const fn yes_no(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

/// How long ago, in the largest unit that leaves two digits or so: `45s`, `12m`, `3h`, `9d`.
pub(crate) fn age(seconds: f64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    // Negative and NaN become 0, the infinite the largest number.
    match seconds as u64 {
        seconds if seconds < 2 * MINUTE => format!("{seconds}s"),
        seconds if seconds < 2 * HOUR => format!("{}m", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        seconds => format!("{}d", seconds / DAY),
    }
}

/// How long something took, in seconds or milliseconds.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.1}ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in [
            (0.4, "0s"),
            (119.0, "119s"),
            (120.0, "2m"),
            (7_199.0, "119m"),
            (7_200.0, "2h"),
            (172_799.0, "47h"),
            (864_000.0, "10d"),
            (-1.0, "0s"),
            (f64::NAN, "0s"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(0.001_23), "1.2ms");
        assert_eq!(span(2.0), "2.0s");
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(printable("plain, ünïcode"), "plain, ünïcode");
        assert_eq!(
            printable("a\u{1b}[31mb\r\nc\u{202e}d"),
            "a\\u{1b}[31mb\\r\\nc\\u{202e}d"
        );
    }
}
