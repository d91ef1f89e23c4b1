//! Tables without borders, and lists of facts.

use comfy_table::{Table, presets};

use super::text::printable;

/// A column of a table of `T`.
pub(crate) struct Column<T> {
    header: &'static str,
    wide: bool,
    cell: fn(&T) -> String,
}

impl<T> Column<T> {
    /// A column that is always shown.
    pub(crate) const fn new(header: &'static str, cell: fn(&T) -> String) -> Self {
        Self {
            header,
            wide: false,
            cell,
        }
    }

    /// A column that is only shown to those who want to see more.
    pub(crate) const fn wide(header: &'static str, cell: fn(&T) -> String) -> Self {
        Self {
            header,
            wide: true,
            cell,
        }
    }
}

/// A table: headers, two blanks between columns, nothing else. Ends with a newline.
pub(crate) fn table<T>(columns: &[Column<T>], items: &[T], wide: bool) -> String {
    let columns = || columns.iter().filter(|column| wide || !column.wide);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns().map(|column| column.header));
    table.add_rows(items.iter().map(|item| {
        columns()
            .map(|column| printable(&(column.cell)(item)).into_owned())
            .collect::<Vec<_>>()
    }));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Facts, one on each line, the values below each other.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    facts
        .iter()
        .map(|(name, value)| format!("{:width$}  {}\n", format!("{name}:"), printable(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<(&str, &str)>; 3] = [
        Column::new("NAME", |pod| pod.0.to_owned()),
        Column::wide("LENGTH", |pod| pod.0.len().to_string()),
        Column::new("ADDRESS", |pod| pod.1.to_owned()),
    ];

    #[test]
    fn a_table_has_two_blanks_between_columns_and_none_at_the_end() {
        let pods = [("red", "10.244.0.2/24"), ("a-longer-name", "-")];
        assert_eq!(
            table(&COLUMNS, &pods, false),
            "NAME           ADDRESS\n\
             red            10.244.0.2/24\n\
             a-longer-name  -\n"
        );
        assert_eq!(
            table(&COLUMNS, &pods[..1], true),
            "NAME  LENGTH  ADDRESS\n\
             red   3       10.244.0.2/24\n"
        );
    }

    #[test]
    fn a_cell_stays_on_its_line() {
        let text = table(&COLUMNS, &[("a\nb", "\u{1b}[2J")], false);
        assert_eq!(text, "NAME  ADDRESS\na\\nb  \\u{1b}[2J\n");
    }

    #[test]
    fn facts_are_aligned() {
        let text = facts(&[("Node", "node1".to_owned()), ("Phase", "ready".to_owned())]);
        assert_eq!(text, "Node:   node1\nPhase:  ready\n");
    }
}
