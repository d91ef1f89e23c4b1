//! One figure, and how figures are kept and shown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// A figure of podnet's beside a peer's. A ratio below 1 is in podnet's favour.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    podnet: f64,
    peer: f64,
    peer_name: &'static str,
    ratio: f64,
}

impl Row {
    /// A figure beside one that was measured in turn with it.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        podnet: f64,
        (peer_name, peer): (&'static str, f64),
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            podnet,
            peer,
            peer_name,
            ratio: podnet / peer,
        }
    }
}

/// The middle one: half of the figures are below it.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Writes the figures of a subject to `target/bench/NAME.json`.
pub(crate) fn save(name: &str, rows: &[Row]) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    fs::create_dir_all(&dir).unwrap();
    let json = serde_json::to_vec_pretty(rows).unwrap();
    fs::write(dir.join(format!("{name}.json")), json).unwrap();
}

/// The figures for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "unit", "podnet", "beside", "of what", "ratio"]);
    for row in rows {
        let figure = |figure: f64| format!("{figure:.2}");
        table.add_row([
            row.name.clone(),
            row.unit.to_owned(),
            figure(row.podnet),
            figure(row.peer),
            row.peer_name.to_owned(),
            figure(row.ratio),
        ]);
    }
    for column in [2, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
