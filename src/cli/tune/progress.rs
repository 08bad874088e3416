//! How far a search is: a bar on a terminal, else a line for each candidate.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    search::{Changes, Worth},
    session::pair,
};

/// The progress of a search.
pub(super) struct SearchProgress {
    bar: Option<ProgressBar>,
    trials: usize,
    best: Option<f64>,
}

impl SearchProgress {
    pub(super) fn new() -> Self {
        Self { bar: None, trials: 0, best: None }
    }

    /// So many candidates may come.
    pub(super) fn begin(&mut self, trials: usize) {
        self.trials = trials;
        if !io::stderr().is_terminal() {
            return;
        }
        let draw = ProgressDrawTarget::stderr();
        let (length, template) = match trials {
            usize::MAX => (None, "tuning {spinner} candidate {pos}{prefix}  {msg}"),
            trials => (Some(trials as u64), "tuning [{bar:30}] candidate {pos} of at most {len}{prefix}  {msg}"),
        };
        let bar = ProgressBar::with_draw_target(length, draw);
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("the template is constant and valid").progress_chars("=> "));
        self.bar = Some(bar);
    }

    /// A candidate begins, counted from 1.
    pub(super) fn trial(&mut self, number: usize, changes: &Changes) {
        let words = words(changes);
        match &self.bar {
            Some(bar) => {
                bar.set_position(number as u64);
                bar.set_message(words);
            }
            None => {
                let of = if self.trials == usize::MAX { String::new() } else { format!(" of at most {}", self.trials) };
                // A terminal that can't be written to is no reason to stop searching.
                let _ = writeln!(io::stderr(), "tuning: candidate {number}{of}: {words}");
            }
        }
    }

    /// A candidate was measured.
    pub(super) fn measured(&mut self, worth: &Worth) {
        let best = self.best.map_or(worth.area, |best| best.max(worth.area));
        self.best = Some(best);
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!(", best {best:.4}"));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// What a candidate changes.
pub(super) fn words(changes: &Changes) -> String {
    if changes.is_empty() {
        return "the given configuration".to_owned();
    }
    changes.iter().map(|(key, value)| pair(key, value)).collect::<Vec<_>>().join(" ")
}
