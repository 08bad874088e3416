//! The report for people.

use super::{
    super::model::table::{Align, render},
    report::{AlarmReport, EntityReport, LabelReport, ModelReport, Report, Rows, SuppressedRows, Unit},
    suggest::CAUTION,
};
use crate::demo::display::{counted, grouped};

/// Entities that are shown by themselves, those with the most alarms first.
const ENTITIES: usize = 10;
/// Where there is nothing to say.
const NOTHING: &str = "-";

type Line = (&'static str, String);

/// Names, figures with their units, and a blank line between the parts.
pub(super) fn of(report: &Report) -> String {
    let mut lines = figures(report);
    if !report.suggestions.is_empty() {
        lines.push((String::new(), String::new()));
    }
    lines.extend(
        report.suggestions.iter().map(|one| ("suggestion".to_owned(), format!("{}: {}", one.assignment(), one.why))),
    );
    let rows: Vec<Vec<String>> = lines.into_iter().map(|(name, value)| vec![name, value]).collect();
    let mut table = render(&[("", Align::Left), ("", Align::Left)], &rows);
    if !report.suggestions.is_empty() && report.labels.is_some() {
        table += CAUTION;
        table += "\n";
    }
    if report.per_entity.len() > 1 {
        table += "\n";
        table += &per_entity(&report.per_entity);
    }
    table
}

/// Names and figures with their units; an empty name between two groups.
pub(super) fn figures(report: &Report) -> Vec<(String, String)> {
    let blank = || ("", String::new());
    let mut lines = vec![("data", report.data.clone())];
    lines.extend(rows(&report.rows));
    lines.extend(report.span.as_ref().map(|span| {
        let days = span.days.map_or_else(String::new, |days| format!(", {days:.2} days"));
        let step = span.step_seconds.map_or_else(String::new, |step| format!(", a row per {}", duration(step)));
        ("event time", format!("{} to {}{days}{step}", span.first, span.last))
    }));
    lines.push(blank());
    lines.extend(model(&report.model));
    lines.push(blank());
    lines.extend(alarms(&report.alarms, report.labels.is_some()));
    if let Some(labels) = &report.labels {
        lines.push(blank());
        lines.extend(of_labels(labels));
    }
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A line for each of the entities with the most alarms.
fn per_entity(entities: &[EntityReport]) -> String {
    let (head, rows) = entity_rows(entities, ENTITIES);
    let align = |at: usize| if at == 0 { Align::Left } else { Align::Right };
    let columns: Vec<(&str, Align)> = head.into_iter().enumerate().map(|(at, name)| (name, align(at))).collect();
    let table = render(&columns, &rows);
    match entities.len().saturating_sub(ENTITIES) {
        0 => table,
        more => format!("{table}and {} with no more alarms\n", counted(more, "other")),
    }
}

/// The names of the columns, and a row for each of so many entities with the most alarms.
pub(super) fn entity_rows(entities: &[EntityReport], most: usize) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let mut columns = vec!["ENTITY", "ROWS", "ALARMS", "FALSE", "FOUND", "AUROC", "AUCPR", "VUS-PR"];
    if !entities.iter().any(|entity| entity.events.is_some()) {
        columns.truncate(3);
    }
    let mut sorted: Vec<&EntityReport> = entities.iter().collect();
    // Stable, so that those with as many stay in the order in which they appeared.
    sorted.sort_by_key(|entity| std::cmp::Reverse(entity.incidents));
    let row = |entity: &EntityReport| of_entity(entity).into_iter().take(columns.len()).collect();
    let rows = sorted.into_iter().take(most).map(row).collect();
    (columns, rows)
}

fn of_entity(entity: &EntityReport) -> Vec<String> {
    let count = |count: Option<usize>| count.map_or_else(|| NOTHING.to_owned(), |count| grouped(count as u64));
    let found = entity.events_found.zip(entity.events).map(|(found, events)| format!("{found} of {events}"));
    vec![
        entity.entity.clone(),
        grouped(entity.rows as u64),
        grouped(entity.incidents as u64),
        count(entity.false_alarms),
        found.unwrap_or_else(|| NOTHING.to_owned()),
        ratio(entity.auroc),
        ratio(entity.aucpr),
        ratio(entity.vus_pr),
    ]
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| NOTHING.to_owned(), |ratio| format!("{ratio:.3}"))
}

fn rows(rows: &Rows) -> Vec<Line> {
    let mut lines = vec![
        ("rows scored", format!("{} of {}", grouped(rows.judged as u64), grouped(rows.total as u64))),
        ("rows warming up", grouped(rows.warming_up as u64)),
        ("unusable records", grouped(rows.unusable as u64)),
        ("entities", grouped(rows.entities as u64)),
    ];
    if rows.back_in_time > 0 {
        lines.push(("back in time", counted(rows.back_in_time, "row")));
    }
    lines
}

fn model(model: &ModelReport) -> Vec<Line> {
    let left_out = model
        .labelled_rows_left_out
        .map_or_else(String::new, |rows| format!(", {} left out as labelled 1", counted(rows, "row")));
    let loss = |loss: Option<f64>| loss.map_or_else(|| NOTHING.to_owned(), |loss| format!("{loss:.3e}"));
    let columns = counted(model.columns, "column");
    vec![
        ("model", format!("{} {}", model.version, model.network)),
        ("input", format!("{columns} in windows of {}", counted(model.window, "row"))),
        ("trained on", model.source.clone()),
        (
            "training rows",
            format!(
                "{} fitted, {} held back, {} unusable{left_out}",
                grouped(model.fitted_rows as u64),
                grouped(model.held_back_rows as u64),
                grouped(model.unusable_records as u64),
            ),
        ),
        ("training loss", format!("{}, held back {}", loss(model.training_loss), loss(model.held_back_loss))),
    ]
}

fn alarms(alarms: &AlarmReport, is_labelled: bool) -> Vec<Line> {
    let rate = |rate: f64| match alarms.unit {
        Unit::PerEntityAndDay => format!("{rate:.2} alarms per entity and day"),
        Unit::ShareOfRows => format!("{:.2} % of rows", rate * 100.0),
    };
    let normal = if is_labelled { ", on rows labelled 0" } else { "" };
    let mut lines =
        vec![("limit", format!("{:.4}", alarms.limit)), ("anomalous rows", grouped(alarms.anomalies as u64))];
    lines.extend(suppressed(&alarms.suppressed));
    lines.push((
        "alarms",
        match alarms.per_day {
            Some(per_day) => format!("{}, {per_day:.2} a day in all", grouped(alarms.incidents as u64)),
            None => grouped(alarms.incidents as u64),
        },
    ));
    lines.extend(alarms.group_incidents.map(|groups| ("group incidents", grouped(groups as u64))));
    lines.extend([
        ("explained", explained(alarms)),
        ("promised", format!("at most {}", rate(alarms.promised))),
        ("measured", alarms.measured.map_or_else(|| NOTHING.to_owned(), |found| format!("{}{normal}", rate(found)))),
    ]);
    lines
}

/// How many alarms the features that they name explain.
fn explained(alarms: &AlarmReport) -> String {
    let Some(share) = alarms.explained_share else { return NOTHING.to_owned() };
    let explained = grouped(alarms.explained as u64);
    format!("{explained} alarms, {:.0} %: none with the features they name as expected", share * 100.0)
}

/// Only where there are any: most users set no gates.
fn suppressed(rows: &SuppressedRows) -> Option<Line> {
    let by_reason: Vec<(&str, usize)> = rows.by_reason().into_iter().filter(|(_, rows)| *rows > 0).collect();
    let all: usize = by_reason.iter().map(|(_, rows)| rows).sum();
    let told: Vec<String> =
        by_reason.iter().map(|(reason, rows)| format!("{reason} {}", grouped(*rows as u64))).collect();
    (all > 0).then(|| ("suppressed rows", format!("{}: {}", grouped(all as u64), told.join(", "))))
}

fn of_labels(labels: &LabelReport) -> Vec<Line> {
    let delay = |seconds: Option<f64>| seconds.map_or_else(|| NOTHING.to_owned(), duration);
    let unknown = match labels.unknown_rows {
        0 => String::new(),
        rows => format!(", {} of unknown label left out", counted(rows, "row")),
    };
    let limit = labels.best_f1_limit.map_or_else(String::new, |limit| format!(" from a score of {limit:.4} on"));
    let per_day = labels
        .false_alarms_per_entity_and_day
        .map_or_else(String::new, |rate| format!(", {rate:.2} per entity and day labelled 0"));
    vec![
        ("labels", format!("{}: {} labelled 1{unknown}", labels.column, counted(labels.rows, "row"))),
        ("AUROC", ratio(labels.auroc)),
        ("AUCPR", ratio(labels.aucpr)),
        ("VUS-PR", ratio(labels.vus_pr)),
        ("best F1", format!("{}{limit}", ratio(labels.best_f1))),
        ("row precision", ratio(labels.precision)),
        ("row recall", ratio(labels.recall)),
        ("events found", format!("{} of {}", grouped(labels.events_found as u64), grouped(labels.events as u64))),
        ("event precision", ratio(labels.event_precision)),
        ("event recall", ratio(labels.event_recall)),
        (
            "delay",
            format!("{} median, {} longest", delay(labels.median_delay_seconds), delay(labels.longest_delay_seconds)),
        ),
        ("false alarms", format!("{}{per_day}", grouped(labels.false_alarms as u64))),
    ]
}

/// Seconds in the unit in which they are easiest to grasp.
fn duration(seconds: f64) -> String {
    let (size, unit) = match seconds {
        days if days >= 86_400.0 => (86_400.0, "days"),
        hours if hours >= 3600.0 => (3600.0, "h"),
        minutes if minutes >= 60.0 => (60.0, "min"),
        _ => (1.0, "s"),
    };
    let rounded = format!("{:.2}", seconds / size);
    format!("{} {unit}", rounded.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            report::Span,
            suggest::{Outcome, Suggestion},
        },
        *,
    };

    fn entity(name: &str, incidents: usize, events: Option<usize>) -> EntityReport {
        EntityReport {
            entity: name.to_owned(),
            rows: 1440,
            anomalies: 2 * incidents,
            incidents,
            events,
            events_found: events.map(|events| events / 2),
            false_alarms: events,
            auroc: events.map(|_| 0.75),
            aucpr: None,
            vus_pr: None,
        }
    }

    fn report() -> Report {
        Report {
            data: "a.csv".to_owned(),
            model: ModelReport {
                version: "5c0ffee5a11d".to_owned(),
                network: "pca 8-2-8 x 1".to_owned(),
                columns: 2,
                window: 4,
                source: "rows 0 to 9 of a.csv".to_owned(),
                fitted_rows: 8,
                held_back_rows: 2,
                unusable_records: 1,
                labelled_rows_left_out: Some(1),
                training_loss: Some(0.00123),
                held_back_loss: None,
            },
            rows: Rows { total: 1440, judged: 1436, warming_up: 3, unusable: 1, back_in_time: 0, entities: 1 },
            span: Some(Span {
                first: "2026-01-01T00:00:00Z".to_owned(),
                last: "2026-01-01T23:59:00Z".to_owned(),
                days: Some(1.0),
                step_seconds: Some(60.0),
            }),
            alarms: AlarmReport {
                limit: 3.25,
                unit: Unit::PerEntityAndDay,
                promised: 1.0,
                measured: Some(2.5),
                anomalies: 1234,
                suppressed: SuppressedRows::default(),
                incidents: 3,
                per_day: Some(3.0),
                group_incidents: None,
                explained: 2,
                explained_share: Some(2.0 / 3.0),
            },
            labels: None,
            per_entity: vec![entity("", 3, None)],
            suggestions: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn figures_stand_below_each_other_with_their_units() {
        let expected = "\
data              a.csv
rows scored       1,436 of 1,440
rows warming up   3
unusable records  1
entities          1
event time        2026-01-01T00:00:00Z to 2026-01-01T23:59:00Z, 1.00 days, a row per 1 min

model             5c0ffee5a11d pca 8-2-8 x 1
input             2 columns in windows of 4 rows
trained on        rows 0 to 9 of a.csv
training rows     8 fitted, 2 held back, 1 unusable, 1 row left out as labelled 1
training loss     1.230e-3, held back -

limit             3.2500
anomalous rows    1,234
alarms            3, 3.00 a day in all
explained         2 alarms, 67 %: none with the features they name as expected
promised          at most 1.00 alarms per entity and day
measured          2.50 alarms per entity and day
";
        assert_eq!(of(&report()), expected);
    }

    #[test]
    fn incidents_of_groups_are_told_where_there_are_groups() {
        let mut report = report();
        report.alarms.group_incidents = Some(2);
        assert!(of(&report).contains("a day in all\ngroup incidents   2\nexplained "), "{}", of(&report));
    }

    #[test]
    fn suppressed_rows_are_told_with_their_reasons_where_there_are_any() {
        assert_eq!(suppressed(&SuppressedRows::default()), None);
        let rows = SuppressedRows { cold_start: 1200, not_persistent: 3, ..SuppressedRows::default() };
        let line = ("suppressed rows", "1,203: cold_start 1,200, not_persistent 3".to_owned());
        assert_eq!(suppressed(&rows), Some(line));
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let labels = LabelReport {
            column: "label".to_owned(),
            rows: 0,
            unknown_rows: 2,
            auroc: None,
            aucpr: Some(0.5),
            vus_pr: None,
            best_f1: None,
            best_f1_limit: None,
            precision: None,
            recall: None,
            events: 0,
            events_found: 0,
            event_precision: None,
            event_recall: None,
            median_delay_seconds: Some(90.0),
            longest_delay_seconds: None,
            false_alarms: 4,
            false_alarms_per_entity_and_day: Some(0.5),
        };
        let told = of(&Report { labels: Some(labels), ..report() });
        for line in [
            "labels            label: 0 rows labelled 1, 2 rows of unknown label left out\n",
            "AUROC             -\n",
            "AUCPR             0.500\n",
            "best F1           -\n",
            "delay             1.5 min median, - longest\n",
            "false alarms      4, 0.50 per entity and day labelled 0\n",
            "measured          2.50 alarms per entity and day, on rows labelled 0\n",
        ] {
            assert!(told.contains(line), "{line} is missing in {told}");
        }
    }

    #[test]
    fn several_entities_are_told_apart_and_those_with_the_most_alarms_come_first() {
        let expected = "\
ENTITY   ROWS  ALARMS  FALSE   FOUND  AUROC  AUCPR  VUS-PR
b       1,440       2      4  2 of 4  0.750      -       -
a       1,440       1      -       -      -      -       -
";
        let both = vec![entity("a", 1, None), entity("b", 2, Some(4))];
        assert!(of(&Report { per_entity: both, ..report() }).ends_with(&format!("\n\n{expected}")));
        let many: Vec<EntityReport> = (0..12).map(|at| entity(&format!("e{at}"), 0, None)).collect();
        let told = per_entity(&many);
        assert!(told.starts_with("ENTITY   ROWS  ALARMS\ne0      1,440       0\n"), "{told}");
        assert!(told.ends_with("e9      1,440       0\nand 2 others with no more alarms\n"), "{told}");
    }

    #[test]
    fn a_suggestion_comes_last_and_is_taken_with_care_where_labels_chose_it() {
        let suggestion = Suggestion {
            setting: "judging.budget.quantile".to_owned(),
            value: Some("0.01".to_owned()),
            why: "finds more".to_owned(),
            before: Outcome::default(),
            after: None,
        };
        let line = "\n\nsuggestion        judging.budget.quantile=0.01: finds more\n";
        let told = of(&Report { suggestions: vec![suggestion.clone()], ..report() });
        assert!(told.ends_with(line), "{told}");
        assert_eq!(Suggestion { value: None, ..suggestion }.assignment(), "judging.budget.quantile");
    }

    #[test]
    fn durations_are_told_in_the_unit_that_fits() {
        let told = [0.0, 1.25, 60.0, 5400.0, 172_800.0].map(duration);
        assert_eq!(told, ["0 s", "1.25 s", "1 min", "1.5 h", "2 days"]);
    }
}
