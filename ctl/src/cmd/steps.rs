//! The steps of something that takes time, shown while it is waited for.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::output::Output;
use crate::render::printable;

/// Shows steps on standard error: a spinner on a terminal, elsewhere a line for each new step.
/// The spinner vanishes when this is dropped.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    output: &'a Output,
    spinner: Option<ProgressBar>,
    last: String,
}

impl<'a> Steps<'a> {
    const TICK: Duration = Duration::from_millis(100);

    /// Shows nothing yet.
    pub(crate) fn new(output: &'a Output) -> Self {
        let spins = !output.is_quiet() && std::io::stderr().is_terminal();
        let spinner = spins.then(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.enable_steady_tick(Self::TICK);
            spinner
        });
        Self {
            output,
            spinner,
            last: String::new(),
        }
    }

    /// Shows where it stands; the same again changes nothing.
    pub(crate) fn show(&mut self, step: &str) {
        if step == self.last {
            return;
        }
        step.clone_into(&mut self.last);
        match &self.spinner {
            Some(spinner) => spinner.set_message(printable(step).into_owned()),
            None => self.output.note(step),
        }
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
