//! What a search found, for people.

use std::fmt::Write as _;

use super::{
    super::model::table::{Align, render},
    report::{Candidate, Ended, Report},
};
use crate::demo::display::{counted, grouped};

const COLUMNS: [(&str, Align); 6] = [
    ("", Align::Left),
    ("CHANGED", Align::Left),
    ("AUROC", Align::Right),
    ("SPREAD", Align::Right),
    ("LOSS", Align::Right),
    ("SECONDS", Align::Right),
];

/// All that was tried, the best one marked, and what the last comparison says.
pub(super) fn of(report: &Report) -> String {
    let measured = report.tried.iter().enumerate().filter(|(_, one)| one.left_out.is_none());
    let rows: Vec<Vec<String>> = measured.map(|(at, one)| row(one, at == report.best)).collect();
    let mut text = render(&COLUMNS, &rows);
    let left_out = report.tried.len() - rows.len();
    if left_out > 0 {
        let _ = writeln!(
            text,
            "{} can't be and {} left out; --json says why",
            counted(left_out, "candidate"),
            was(left_out)
        );
    }
    let why = match report.ended {
        Ended::Complete => "",
        Ended::Trials => "more could be tried: --trials\n",
        Ended::Time => "more could be tried: --minutes\n",
        Ended::Interrupted => "stopped before all was tried\n",
    };
    text += "losses can be compared within one training.scaling and window only\n";
    text += why;
    let _ = writeln!(text, "\n{}", verdict(report));
    text
}

fn was(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

fn row(one: &Candidate, best: bool) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
    vec![
        if best { "*" } else { "" }.to_owned(),
        changes(one.changes.iter().map(|(key, value)| (key.as_str(), value)), "nothing: as given"),
        number(one.auroc, 4),
        number(one.spread, 4),
        one.held_back_loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.2e}")),
        number(one.seconds, 1),
    ]
}

/// Settings as `--set` takes them.
pub(super) fn changes<'a>(changes: impl Iterator<Item = (&'a str, &'a serde_json::Value)>, nothing: &str) -> String {
    let pairs: Vec<String> = changes.map(|(key, value)| super::session::pair(key, value)).collect();
    if pairs.is_empty() { nothing.to_owned() } else { pairs.join(" ") }
}

/// The last comparison in words.
pub(super) fn verdict(report: &Report) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let kept_out = &report.kept_out;
    let rows = grouped(report.rows.kept_out as u64);
    let given = percent(kept_out.given.area);
    let Some((winner, error)) = kept_out.winner.as_ref().zip(kept_out.standard_error) else {
        return format!(
            "nothing that was tried is better than the given configuration, which tells planted changes from normal rows in \
             {given} of cases, on {rows} rows kept out of the search; nothing is changed"
        );
    };
    let both = format!(
        "on {rows} rows kept out of the search the best one tells planted changes from normal rows in {} of cases, the given \
         configuration in {given} (standard error of the difference {:.1} %)",
        percent(winner.area),
        100.0 * error
    );
    if kept_out.better {
        let what = changes(report.changes.iter().map(|(key, value)| (key.as_str(), value)), "nothing");
        format!("{both}: it is better beyond chance; changed: {what}")
    } else {
        format!("{both}: that is within chance, so nothing is changed")
    }
}
