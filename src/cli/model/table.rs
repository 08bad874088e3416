//! Answers for people: columns that stand below each other.

use std::path::Path;

use super::json::architecture;
use crate::{
    demo::display::counted,
    detect::calibrate::Calibration,
    model::{
        Model,
        registry::{Entry, State},
    },
};

/// What stands between two columns.
const GAP: &str = "  ";
/// Where there is nothing to say.
const NOTHING: &str = "-";

/// Where a cell stands in its column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    Left,
    Right,
}

/// One line a model; the one in use has a mark.
pub(super) fn of_models(models: &[Entry]) -> String {
    let mut columns = vec![
        (" VERSION", Align::Left),
        ("STATE", Align::Left),
        ("STORED", Align::Left),
        ("KIND", Align::Left),
        ("ROWS", Align::Right),
        ("LOSS", Align::Right),
        ("PARENT", Align::Left),
        ("SOURCE", Align::Left),
    ];
    if models.iter().any(Entry::is_refused) {
        columns.push(("REFUSED BECAUSE", Align::Left));
    }
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    render(&columns, &rows)
}

fn row(entry: &Entry) -> Vec<String> {
    let from = &entry.provenance;
    let mark = if entry.state == State::Current { '*' } else { ' ' };
    vec![
        format!("{mark}{}", entry.version),
        entry.state.as_str().to_owned(),
        entry.stored.clone(),
        entry.kind.clone(),
        from.fitted_rows.to_string(),
        format!("{:.3e}", from.validation_loss),
        entry.parent.clone().unwrap_or_else(|| NOTHING.to_owned()),
        from.source.clone(),
        entry.reasons.join("; "),
    ]
}

/// A line for each thing that is known of the model.
pub(super) fn of_model(entry: &Entry, path: &Path, model: Option<&Model>) -> String {
    let mut lines = identity(entry, path);
    lines.extend(model.into_iter().flat_map(network));
    lines.extend(provenance(entry));
    of_lines(lines)
}

/// The same of a file that lies in no registry.
pub(super) fn of_file(entry: &Entry, model: &Model) -> String {
    let mut lines = identity(entry, Path::new(&entry.file));
    lines.retain(|(key, _)| !["state", "stored", "promoted"].contains(key));
    lines.extend(network(model));
    lines.extend(provenance(entry));
    of_lines(lines)
}

fn of_lines(lines: Vec<(&'static str, String)>) -> String {
    let rows: Vec<Vec<String>> = lines.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
    render(&[("", Align::Left), ("", Align::Left)], &rows)
}

fn network(model: &Model) -> [(&'static str, String); 4] {
    let metadata = &model.metadata;
    let names: Vec<&str> = metadata.columns.iter().map(|column| column.name.as_str()).collect();
    [
        ("network", architecture(&metadata.graph)),
        ("window", counted(metadata.window, "row")),
        ("columns", format!("{}: {}", names.len(), names.join(", "))),
        ("entities", entities(&metadata.calibration)),
    ]
}

/// How many the calibration stands on, and how far those stray that have a factor of their own.
fn entities(calibration: &Calibration) -> String {
    let scales = calibration.entity_scales.values();
    let (count, least) = (scales.len(), scales.clone().copied().fold(f32::INFINITY, f32::min));
    let known = if calibration.entities == 0 { NOTHING.to_owned() } else { calibration.entities.to_string() };
    match count {
        0 => known,
        _ => format!(
            "{known}, {count} of them with a variance of their own: {least:.2} to {:.2} times that of all",
            scales.fold(0.0, |most: f32, scale| most.max(*scale))
        ),
    }
}

fn identity(entry: &Entry, path: &Path) -> Vec<(&'static str, String)> {
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
    let mut lines = vec![
        ("version", entry.version.clone()),
        ("state", entry.state.as_str().to_owned()),
        ("file", path.display().to_string()),
        ("bytes", entry.bytes.to_string()),
        ("sha256", entry.sha256.clone()),
        ("parent", or_nothing(&entry.parent)),
        ("created", entry.provenance.created.clone()),
        ("stored", entry.stored.clone()),
        ("promoted", or_nothing(&entry.promoted)),
    ];
    lines.extend(entry.reasons.iter().map(|reason| ("refused because", reason.clone())));
    lines.extend([("program", entry.program.clone()), ("kind", entry.kind.clone())]);
    lines
}

fn provenance(entry: &Entry) -> Vec<(&'static str, String)> {
    let from = &entry.provenance;
    let mut lines = vec![("source", from.source.clone())];
    let offsets =
        from.ranges.iter().map(|(partition, first, last)| format!("partition {partition}: {first} to {last}"));
    lines.extend(offsets.map(|offsets| ("offsets", offsets)));
    let span = from.span.as_ref().map(|(first, last)| format!("{first} to {last}"));
    let active = from.active_units.map_or_else(|| NOTHING.to_owned(), |share| format!("{:.0} %", share * 100.0));
    lines.extend([
        ("event time", span.unwrap_or_else(|| NOTHING.to_owned())),
        ("fitted rows", from.fitted_rows.to_string()),
        ("held-back rows", format!("{} ({} left out)", from.held_back_rows, from.left_out_rows)),
        ("unusable records", from.unusable_records.to_string()),
        ("loss", format!("{:.3e} on fitted rows, {:.3e} on held-back rows", from.training_loss, from.validation_loss)),
        ("epochs", from.epochs.to_string()),
        ("active code units", active),
        ("seed", from.seed.to_string()),
        ("config sha256", from.config_sha256.clone()),
    ]);
    lines
}

/// Lines of cells, each as wide as the widest of its column; cells beyond the columns are left out. Without a heading
/// where all headings are empty.
pub(in crate::cli) fn render(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let has_heading = heading.iter().any(|name| !name.is_empty());
    let lines: Vec<Vec<String>> = has_heading
        .then_some(&heading)
        .into_iter()
        .chain(rows)
        .map(|line| line.iter().take(columns.len()).map(|cell| plain(cell)).collect())
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let cell = |at: usize, text: &String| match columns[at].1 {
        Align::Left => format!("{text:<width$}", width = widths[at]),
        Align::Right => format!("{text:>width$}", width = widths[at]),
    };
    let line = |line: &Vec<String>| {
        let cells: Vec<String> = line.iter().enumerate().map(|(at, text)| cell(at, text)).collect();
        format!("{}\n", cells.join(GAP).trim_end())
    };
    lines.iter().map(line).collect()
}

/// Names come from outside: a control character must not reach the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other_and_lines_end_without_spaces() {
        let rows = [["a", "1", "x"], ["länger", "100", ""]].map(|row| row.map(str::to_owned).to_vec());
        let columns = [("NAME", Align::Left), ("ROWS", Align::Right), ("SOURCE", Align::Left)];
        assert_eq!(render(&columns, &rows), "NAME    ROWS  SOURCE\na          1  x\nlänger   100\n");
        assert_eq!(render(&[("", Align::Left); 2], &rows), "a       1\nlänger  100\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[31m\n"), "a?[31m?");
    }
}
