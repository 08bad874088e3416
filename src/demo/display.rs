//! What the demo writes on the terminal: the progress of the training, a line per incident, and a table at the end.
//! Every line is plain text; colour is added only on a terminal, and never where `NO_COLOR` is set
//! (<https://no-color.org>).

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{self, Write},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::summary::Summary;
use crate::train::TimedEpoch;

/// Without a terminal, a line is written each so many epochs.
const EPOCHS_PER_LINE: usize = 10;

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// ANSI escape sequences.
    Ansi,
    /// Plain text.
    Plain,
}

impl Colour {
    /// Colour where the stream is a terminal, unless `no_color` (the variable `NO_COLOR`) is set to anything but
    /// nothing.
    pub fn of(terminal: bool, no_color: Option<&OsStr>) -> Self {
        let forbidden = no_color.is_some_and(|value| !value.is_empty());
        if terminal && !forbidden { Self::Ansi } else { Self::Plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";

/// An incident, for one line.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentLine<'a> {
    /// Event time, microseconds since the epoch.
    pub time_us: i64,
    /// Whose incident it is; empty: the nameless entity.
    pub entity: &'a str,
    /// The judged score.
    pub score: f64,
    /// The limit that it broke.
    pub limit: f64,
    /// Chance of such a score on normal rows, 0..=1.
    pub p_value: f64,
    /// The features with the largest shares of the error, largest first.
    pub top: &'a [TopFeature<'a>],
}

/// One feature to blame.
#[derive(Debug, Clone, PartialEq)]
pub struct TopFeature<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it was, in its own unit.
    pub value: f64,
    /// What it should have been, in its own unit.
    pub expected: f64,
    /// Its share of the error, 0..=1.
    pub share: f64,
}

/// One line per incident, without line end. Times are UTC; control characters in names become `?`.
pub fn incident_line(incident: &IncidentLine<'_>, colour: Colour) -> String {
    let time = match Timestamp::from_microsecond(incident.time_us) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => format!("{} us", incident.time_us),
    };
    let mut line = colour.paint(DIM, &time);
    if !incident.entity.is_empty() {
        let _ = write!(line, "  {}", colour.paint(BOLD, &printable(incident.entity)));
    }
    let score = colour.paint(RED, &format!("score {}", score(incident.score)));
    let _ = write!(line, "  {score} (limit {}, p {})", self::score(incident.limit), small(incident.p_value));
    for (index, feature) in incident.top.iter().enumerate() {
        line.push_str(if index == 0 { "  " } else { ", " });
        let _ = write!(
            line,
            "{} {} expected {} ({})",
            colour.paint(BOLD, &printable(feature.name)),
            value(feature.value),
            value(feature.expected),
            percent(feature.share)
        );
    }
    line
}

/// The outcome as a table of two aligned columns, a line end after each row.
pub fn summary_table(summary: &Summary, colour: Colour) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "n/a".to_owned(), |rate| format!("{rate:.2} a day"));
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "n/a".to_owned(), |ratio| format!("{ratio:.3}"));
    let speed = summary
        .records_per_second
        .filter(|speed| speed.is_finite())
        .map_or_else(String::new, |speed| format!(" ({} records/s)", grouped(speed.round() as u64)));
    let mut rows = vec![
        ("records", format!("{} in {:.1} s{speed}", grouped(summary.records_in), summary.seconds)),
        ("anomalies", grouped(summary.anomalies_out)),
        ("incidents", grouped(summary.incidents)),
        ("dead letters", grouped(summary.dead_letters)),
        ("events found", format!("{} of {}", summary.events_found, summary.events_labelled)),
        ("precision", ratio(summary.precision)),
        ("recall", ratio(summary.recall)),
        ("AUROC", ratio(summary.auroc)),
        ("AUCPR", ratio(summary.aucpr)),
        ("alarms promised", format!("at most {}", rate(summary.alarm_rate_promised))),
        ("alarms measured", rate(summary.alarm_rate_measured)),
        ("model", printable(&summary.model)),
        ("broker", printable(&summary.broker)),
    ];
    if summary.alarm_rate_promised.is_none() {
        rows.retain(|row| row.0 != "alarms promised");
    }
    if let Some(file) = &summary.config_file {
        rows.push(("configuration", printable(file)));
    }
    let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut table, (name, value)| {
        let _ = writeln!(table, "{}  {value}", colour.paint(DIM, &format!("{name:<width$}")));
        table
    })
}

/// The progress of a training: a bar on a terminal, else a line each ten epochs. Members of a model share their epochs; a cold
/// start that got no model out of its sample trains once more on a larger one, and counts its epochs from 1 again.
pub struct TrainingProgress {
    /// Trainings begun.
    attempts: usize,
    /// The last epoch of the current one.
    epoch: usize,
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    lines: Box<dyn Write + Send>,
}

impl TrainingProgress {
    /// Begins a training. With `terminal` the bar is drawn on standard error and nothing is written to `lines`.
    pub fn new(terminal: bool, lines: Box<dyn Write + Send>) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("training{prefix} [{bar:30}] epoch {pos} of {len}  {msg}");
            bar.set_style(style.expect("the template is constant and valid").progress_chars("=> "));
            bar
        });
        Self { attempts: 0, epoch: 0, bar, lines }
    }

    /// One epoch ended. Fails where the line can't be written.
    pub fn epoch(&mut self, timed: &TimedEpoch) -> io::Result<()> {
        let report = &timed.report;
        if self.attempts == 0 || report.epoch <= self.epoch {
            self.attempts += 1;
        }
        self.epoch = report.epoch;
        let losses = format!("loss {}, held back {}", loss(report.training_loss), loss(report.validation_loss));
        let (attempt, speed) = (self.attempt(), speed(timed));
        if let Some(bar) = &self.bar {
            bar.set_length(report.epochs as u64);
            bar.set_prefix(attempt);
            bar.set_position(report.epoch as u64);
            bar.set_message(format!("{losses}{speed}"));
            return Ok(());
        }
        if report.epoch == 1 || report.epoch.is_multiple_of(EPOCHS_PER_LINE) {
            writeln!(self.lines, "training{attempt}: epoch {} of {}, {losses}{speed}", report.epoch, report.epochs)?;
        }
        Ok(())
    }

    /// The training ended. Takes the bar away or writes the last line; there is none where nothing was trained.
    pub fn finish(mut self) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None if self.attempts == 0 => {}
            None => {
                let (attempt, epochs) = (self.attempt(), counted(self.epoch, "epoch"));
                writeln!(self.lines, "training{attempt}: done after {epochs}")?;
            }
        }
        self.lines.flush()
    }

    /// The first one needs no number.
    fn attempt(&self) -> String {
        if self.attempts > 1 { format!(", attempt {}", self.attempts) } else { String::new() }
    }
}

/// Rows per second, and the time left where epochs are.
fn speed(timed: &TimedEpoch) -> String {
    let mut text = String::new();
    if timed.rows_per_second.is_finite() {
        let _ = write!(text, ", {} rows/s", grouped(timed.rows_per_second.round() as u64));
    }
    if timed.seconds_left > 0.0 {
        let _ = write!(text, ", {} left", bound("at most", timed.seconds_left));
    }
    text
}

/// An upper bound in words: `at_most` and the time span, or `less than 0.1 s`.
pub(crate) fn bound(at_most: &str, seconds: f64) -> String {
    if seconds < 0.1 { "less than 0.1 s".to_owned() } else { format!("{at_most} {}", time_span(seconds)) }
}

/// `1 epoch`, `1,200 epochs`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(count as u64), if count == 1 { "" } else { "s" })
}

/// Seconds in words: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min.
fn time_span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "n/a".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{} h {minutes} min", grouped(hours)),
    }
}

/// A score or limit: one decimal from 1 on, two digits below.
fn score(value: f64) -> String {
    if !value.is_finite() || value.abs() < 1.0 { small(value) } else { format!("{value:.1}") }
}

/// A value of a feature: whole numbers as they are, else about three digits.
fn value(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size >= 1e15 {
        return small(value);
    }
    // What rounds to a whole number of hundreds or more needs no decimals either.
    if value.fract() == 0.0 || size >= 100.0 {
        return format!("{value:.0}");
    }
    match size {
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => small(value),
    }
}

/// A number of two digits: 0.031, 1.2e-4.
fn small(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "n/a".to_owned(),
        0.0 => "0".to_owned(),
        size if !(1e-3..1e15).contains(&size) => format!("{value:.1e}"),
        size => {
            let decimals = (1.0 - size.log10().floor()).max(0.0) as usize;
            format!("{value:.decimals$}")
        }
    }
}

fn loss(value: f64) -> String {
    if value.is_finite() { format!("{value:.5}") } else { "n/a".to_owned() }
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0} %", share * 100.0) } else { "n/a".to_owned() }
}

/// 10,080
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Names come from records, so they must not be able to move the terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::train::EpochReport;

    const TOP: [TopFeature<'static>; 2] = [
        TopFeature { name: "m03", value: 0.91, expected: 0.12, share: 0.412 },
        TopFeature { name: "m12", value: 0.8, expected: 0.31, share: 0.22 },
    ];

    fn incident() -> IncidentLine<'static> {
        IncidentLine {
            time_us: 1_704_820_920_000_000,
            entity: "server-1",
            score: 14.21,
            limit: 6.1,
            p_value: 1.2e-4,
            top: &TOP,
        }
    }

    fn summary() -> Summary {
        Summary {
            records_in: 10_080,
            anomalies_out: 1812,
            dead_letters: 0,
            events_labelled: 6,
            events_found: 5,
            precision: Some(0.7123),
            recall: Some(0.5),
            auroc: Some(0.88),
            aucpr: None,
            alarm_rate_promised: Some(1.0),
            alarm_rate_measured: Some(0.254),
            records_per_second: Some(1_234_567.4),
            seconds: 0.0081,
            incidents: 9,
            model: "models/server.onnx".to_owned(),
            broker: "embedded".to_owned(),
            config_file: Some("strayd-demo.yaml".to_owned()),
        }
    }

    #[test]
    fn an_incident_is_one_plain_line() {
        assert_eq!(
            incident_line(&incident(), Colour::Plain),
            "2024-01-09 17:22  server-1  score 14.2 (limit 6.1, p 1.2e-4)  m03 0.91 expected 0.12 (41 %), m12 0.80 \
             expected 0.31 (22 %)"
        );
    }

    #[test]
    fn an_incident_without_entity_and_features_leaves_no_gaps() {
        let bare = IncidentLine { entity: "", top: &[], p_value: 0.0, score: f64::NAN, ..incident() };
        assert_eq!(incident_line(&bare, Colour::Plain), "2024-01-09 17:22  score n/a (limit 6.1, p 0)");
    }

    #[test]
    fn colour_changes_nothing_but_escape_sequences() {
        let coloured = incident_line(&incident(), Colour::Ansi);
        assert!(coloured.starts_with("\u{1b}[2m2024-01-09 17:22\u{1b}[0m  \u{1b}[1mserver-1\u{1b}[0m"), "{coloured:?}");
        let mut plain = coloured;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, incident_line(&incident(), Colour::Plain));
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let evil = IncidentLine { entity: "a\x1b[2J\nb", top: &[], ..incident() };
        assert!(incident_line(&evil, Colour::Plain).contains("  a?[2J?b  "));
    }

    #[test]
    fn only_a_terminal_is_coloured_and_no_color_is_honoured() {
        assert_eq!(Colour::of(false, None), Colour::Plain);
        assert_eq!(Colour::of(true, None), Colour::Ansi);
        assert_eq!(Colour::of(true, Some(OsStr::new(""))), Colour::Ansi);
        assert_eq!(Colour::of(true, Some(OsStr::new("0"))), Colour::Plain);
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let found = [0.0, 55.0, -3.0, 12_345.678, 123.4, 12.34, 1.234, 0.5, 0.0123, 0.00012, 1e20, f64::NAN].map(value);
        let expected = ["0", "55", "-3", "12346", "123", "12.3", "1.23", "0.50", "0.012", "1.2e-4", "1.0e20", "n/a"];
        assert_eq!(found, expected);
        assert_eq!([0.031, 1.0, 0.5, 1.2e-9].map(small), ["0.031", "1.0", "0.50", "1.2e-9"]);
        assert_eq!([14.25, 1.0, 0.031].map(score), ["14.2", "1.0", "0.031"]);
        let spans = [0.04, 0.14, 9.96, 59.4, 185.0, 7_805.0, f64::NAN].map(|seconds| bound("at most", seconds));
        let expected =
            ["0.1 s", "10 s", "59 s", "3 min 5 s", "2 h 10 min", "n/a"].map(|span| format!("at most {span}"));
        assert_eq!((spans[0].as_str(), &spans[1..]), ("less than 0.1 s", &expected[..]));
        assert_eq!([0, 1, 1200].map(|count| counted(count, "row")), ["0 rows", "1 row", "1,200 rows"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_summary_is_an_aligned_table() {
        assert_eq!(
            summary_table(&summary(), Colour::Plain),
            "records          10,080 in 0.0 s (1,234,567 records/s)\n\
             anomalies        1,812\n\
             incidents        9\n\
             dead letters     0\n\
             events found     5 of 6\n\
             precision        0.712\n\
             recall           0.500\n\
             AUROC            0.880\n\
             AUCPR            n/a\n\
             alarms promised  at most 1.00 a day\n\
             alarms measured  0.25 a day\n\
             model            models/server.onnx\n\
             broker           embedded\n\
             configuration    strayd-demo.yaml\n"
        );
    }

    #[test]
    fn rows_of_the_summary_that_say_nothing_are_left_out() {
        let bare = Summary { alarm_rate_promised: None, config_file: None, records_per_second: None, ..summary() };
        let table = summary_table(&bare, Colour::Plain);
        assert!(!table.contains("promised") && !table.contains("configuration") && !table.contains("records/s"));
    }

    /// Lines that the test can read while the progress writes them.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn report(epoch: usize, epochs: usize, training_loss: f64) -> TimedEpoch {
        let report = EpochReport { epoch, epochs, rows: 1, training_loss, validation_loss: 0.25, best_epoch: 1 };
        let seconds_left = 2.5 * (epochs - epoch) as f64;
        TimedEpoch { report, rows_per_second: 12_345.6, seconds_left }
    }

    fn lines_of(reports: impl Iterator<Item = TimedEpoch>) -> String {
        let lines = Shared::default();
        let mut progress = TrainingProgress::new(false, Box::new(lines.clone()));
        reports.for_each(|report| progress.epoch(&report).unwrap());
        progress.finish().unwrap();
        let written = lines.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn without_a_terminal_progress_is_the_first_and_each_tenth_epoch_and_the_end() {
        assert_eq!(
            lines_of((1..=21).map(|epoch| report(epoch, 30, if epoch == 20 { f64::NAN } else { 0.5 / epoch as f64 }))),
            "training: epoch 1 of 30, loss 0.50000, held back 0.25000, 12,346 rows/s, at most 1 min 13 s left\n\
             training: epoch 10 of 30, loss 0.05000, held back 0.25000, 12,346 rows/s, at most 50 s left\n\
             training: epoch 20 of 30, loss n/a, held back 0.25000, 12,346 rows/s, at most 25 s left\n\
             training: done after 21 epochs\n"
        );
    }

    #[test]
    fn a_training_that_begins_anew_is_another_attempt_and_a_solved_one_has_one_epoch() {
        let attempts = [(1, 2), (2, 2), (1, 2), (1, 2), (2, 2)].map(|(epoch, epochs)| report(epoch, epochs, 0.5));
        assert_eq!(
            lines_of(attempts.into_iter()),
            "training: epoch 1 of 2, loss 0.50000, held back 0.25000, 12,346 rows/s, at most 2.5 s left\n\
             training, attempt 2: epoch 1 of 2, loss 0.50000, held back 0.25000, 12,346 rows/s, at most 2.5 s left\n\
             training, attempt 3: epoch 1 of 2, loss 0.50000, held back 0.25000, 12,346 rows/s, at most 2.5 s left\n\
             training, attempt 3: done after 2 epochs\n"
        );
        assert_eq!(
            lines_of([report(1, 1, 0.5)].into_iter()),
            "training: epoch 1 of 1, loss 0.50000, held back 0.25000, 12,346 rows/s\ntraining: done after 1 epoch\n"
        );
        assert_eq!(lines_of([].into_iter()), "");
    }

    #[test]
    fn with_a_terminal_a_bar_tells_the_same_and_nothing_is_written_as_lines() {
        let lines = Shared::default();
        let mut progress = TrainingProgress::new(true, Box::new(lines.clone()));
        progress.epoch(&report(10, 30, 0.5)).unwrap();
        let bar = progress.bar.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length(), bar.prefix().as_str()), (10, Some(30), ""));
        assert_eq!(bar.message(), "loss 0.50000, held back 0.25000, 12,346 rows/s, at most 50 s left");
        progress.epoch(&report(1, 30, 0.5)).unwrap();
        assert_eq!(progress.bar.as_ref().unwrap().prefix(), ", attempt 2");
        progress.finish().unwrap();
        assert!(lines.0.lock().unwrap().is_empty());
    }
}
