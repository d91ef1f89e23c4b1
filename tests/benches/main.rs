//! What podnet costs: each figure beside that of a peer, or of the goal, from the same run.
//!
//! `make bench` runs all subjects, `make bench ONLY="pods routes"` some. Needs root, the tools that
//! `make deps` installs, and the programs to be built.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot measure fails by a panic, and prints what it measured"
)]

mod agent;
mod join;
mod path;
mod pods;
mod repair;
mod routes;
mod row;
mod script;

use std::env;

use row::Row;

/// What can be measured: its name, and how.
type Subject = (&'static str, fn() -> Vec<Row>);

const SUBJECTS: [Subject; 6] = [
    ("pods", pods::measure),
    ("routes", routes::measure),
    ("path", path::measure),
    ("join", join::measure),
    ("agent", agent::measure),
    ("repair", repair::measure),
];

fn main() {
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for word in &wanted {
        let known = SUBJECTS.iter().any(|(name, _)| name == word);
        assert!(
            known,
            "no such subject: {word}; there are {:?}",
            SUBJECTS.map(|(name, _)| name)
        );
    }
    let mut all = Vec::new();
    for (name, measure) in SUBJECTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            println!("measuring {name} ...");
            let rows = measure();
            row::save(name, &rows);
            all.extend(rows);
        }
    }
    println!("{}", row::table(&all));
}
