//! What is done, and how long each of it took.

use std::time::{Duration, Instant};

use comfy_table::Table;

/// The steps so far; their times are shown when it is dropped, whatever the reason.
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
    begun: Instant,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self {
            done: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Takes a step.
    pub(crate) fn take<T>(&mut self, name: &str, step: impl FnOnce() -> T) -> T {
        println!("{name} ...");
        let begun = Instant::now();
        let value = step();
        let took = begun.elapsed();
        println!("{name}: {:.0} s", took.as_secs_f64());
        self.done.push((name.to_owned(), took));
        value
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let mut table = Table::new();
        table.set_header(["step", "seconds"]);
        let seconds = |took: Duration| format!("{:.0}", took.as_secs_f64());
        for (name, took) in &self.done {
            table.add_row([name.clone(), seconds(*took)]);
        }
        table.add_row(["all".to_owned(), seconds(self.begun.elapsed())]);
        println!("{table}");
    }
}
