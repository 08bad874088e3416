//! What a backtest found, as one document: `docs/backtest.md` says what each figure means.

use schemars::JsonSchema;
use serde::Serialize;

use super::{super::model::json::architecture, suggest::Suggestion};
use crate::{
    detect::gates::Suppression,
    evaluate::{Evaluation, Series},
    model::Model,
};

/// The outcome of a backtest. What is not known or not defined is null.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The files that were scored.
    pub data: String,
    /// The model that scored them.
    pub model: ModelReport,
    /// How the rows ended.
    pub rows: Rows,
    /// Event time of the scored rows; null where rows have no time.
    pub span: Option<Span>,
    /// What was raised.
    pub alarms: AlarmReport,
    /// How well scores and alarms agree with the labels; null without `--labels`.
    pub labels: Option<LabelReport>,
    /// Figures of each entity of which a row could be used, in the order in which they appeared.
    pub per_entity: Vec<EntityReport>,
    /// Settings that are clearly better here; those that labels chose are better than they will be on other data.
    pub suggestions: Vec<Suggestion>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
}

/// A model and how it was trained.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ModelReport {
    /// First 12 hexadecimal digits of the file's SHA-256.
    pub version: String,
    /// Kind and layer widths of the network.
    pub network: String,
    /// Columns of a row.
    pub columns: usize,
    /// Rows per window.
    pub window: usize,
    /// What it was trained on.
    pub source: String,
    /// Rows that the network was fitted on.
    pub fitted_rows: usize,
    /// Rows held back for early stopping and the limit.
    pub held_back_rows: usize,
    /// Records kept out of the training because they could not be used.
    pub unusable_records: usize,
    /// Rows kept out of the training because they are labelled 1; null where nothing was trained.
    pub labelled_rows_left_out: Option<usize>,
    /// Loss on the fitted rows at the end.
    pub training_loss: Option<f64>,
    /// Loss on the held-back rows at the end.
    pub held_back_loss: Option<f64>,
}

/// Rows by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rows {
    /// Rows that were to be scored.
    pub total: usize,
    /// Those with a score and a verdict.
    pub judged: usize,
    /// Those whose window was not full yet.
    pub warming_up: usize,
    /// Those that could not be used.
    pub unusable: usize,
    /// Those with an event time before that of the row before them of their entity. They are scored in the order of the file.
    pub back_in_time: usize,
    /// Entities of which a row could be used.
    pub entities: usize,
}

/// A span of event time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Span {
    /// The earliest row, RFC 3339.
    pub first: String,
    /// The latest row, RFC 3339.
    pub last: String,
    /// Days from the earliest row to the end of the latest.
    pub days: Option<f64>,
    /// Usual distance of two rows of an entity, seconds.
    pub step_seconds: Option<f64>,
}

/// Alarms, and what was promised of them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AlarmReport {
    /// The calibrated score above which a row is anomalous, as long as its entity's limit has not moved.
    pub limit: f64,
    /// What the budget counts.
    pub unit: Unit,
    /// What the budget allows on normal rows, in that unit.
    pub promised: f64,
    /// What was raised, in that unit: with labels on normal rows only, without them in all.
    pub measured: Option<f64>,
    /// Rows taken for anomalous.
    pub anomalies: usize,
    /// Rows above the limit that a gate held back; they are not among the anomalies.
    pub suppressed: SuppressedRows,
    /// Incidents, each of which is one alarm.
    pub incidents: usize,
    /// Incidents of all entities per day of the span.
    pub per_day: Option<f64>,
    /// Incidents of groups, whose entities' incidents are among the incidents too; null without `judging.incidents.groups`.
    pub group_incidents: Option<usize>,
    /// Incidents whose first row would not have been anomalous with its top features as the model expected them.
    pub explained: usize,
    /// Share of those among all incidents of which that can be told.
    pub explained_share: Option<f64>,
}

/// Rows above the limit that raised no alarm, by the gate that held them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct SuppressedRows {
    /// The first judged rows of an entity.
    pub cold_start: usize,
    /// In hours of maintenance.
    pub maintenance: usize,
    /// Of too small a deviation.
    pub deviation_too_small: usize,
    /// In a direction that isn't watched.
    pub direction: usize,
    /// Within a range where values can't be wrong.
    pub within_range: usize,
    /// Like an anomaly of which a person said so. Nobody does in a backtest.
    pub feedback: usize,
    /// Too few of the entity's last rows were anomalous.
    pub not_persistent: usize,
}

impl SuppressedRows {
    /// Those that another limit would have held back or let through too, for reasons of their own.
    pub(super) fn by_gates(&self) -> usize {
        let Self { cold_start: _, maintenance, deviation_too_small, direction, within_range, feedback, not_persistent } =
            *self;
        maintenance + deviation_too_small + direction + within_range + feedback + not_persistent
    }

    pub(super) fn of(count: impl Fn(Suppression) -> usize) -> Self {
        Self {
            cold_start: count(Suppression::ColdStart),
            maintenance: count(Suppression::Maintenance),
            deviation_too_small: count(Suppression::DeviationTooSmall),
            direction: count(Suppression::Direction),
            within_range: count(Suppression::WithinRange),
            feedback: count(Suppression::Feedback),
            not_persistent: count(Suppression::NotPersistent),
        }
    }

    /// Each reason with its rows, in the order of the gates.
    pub(super) fn by_reason(&self) -> [(&'static str, usize); Suppression::ALL.len()] {
        Suppression::ALL.map(|reason| {
            let rows = match reason {
                Suppression::ColdStart => self.cold_start,
                Suppression::Maintenance => self.maintenance,
                Suppression::DeviationTooSmall => self.deviation_too_small,
                Suppression::Direction => self.direction,
                Suppression::WithinRange => self.within_range,
                Suppression::Feedback => self.feedback,
                Suppression::NotPersistent => self.not_persistent,
            };
            (reason.as_str(), rows)
        })
    }
}

/// What an alarm budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Incidents per entity and day.
    PerEntityAndDay,
    /// Anomalous rows per row.
    ShareOfRows,
}

/// Figures against labels.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LabelReport {
    /// The column.
    pub column: String,
    /// Rows labelled 1.
    pub rows: usize,
    /// Rows of which the label could not be read; they are in no figure.
    pub unknown_rows: usize,
    /// Area under the receiver operating characteristic, 0..=1.
    pub auroc: Option<f64>,
    /// Average precision, 0..=1.
    pub aucpr: Option<f64>,
    /// Volume under the range-aware precision-recall surface, 0..=1.
    pub vus_pr: Option<f64>,
    /// F1 of rows at the best of all limits, 0..=1.
    pub best_f1: Option<f64>,
    /// That limit: the lowest score that is taken for anomalous.
    pub best_f1_limit: Option<f64>,
    /// Share of anomalous rows that are labelled 1.
    pub precision: Option<f64>,
    /// Share of rows labelled 1 that are anomalous.
    pub recall: Option<f64>,
    /// Runs of rows labelled 1 of one entity.
    pub events: usize,
    /// Events with an anomalous row inside.
    pub events_found: usize,
    /// Events found / (events found + false alarms).
    pub event_precision: Option<f64>,
    /// Events found / events.
    pub event_recall: Option<f64>,
    /// Median time from an event's first row to its first anomalous one, of events found, seconds.
    pub median_delay_seconds: Option<f64>,
    /// Longest of these times, seconds.
    pub longest_delay_seconds: Option<f64>,
    /// Incidents without an anomalous row in an event.
    pub false_alarms: usize,
    /// The same per entity and day of rows labelled 0.
    pub false_alarms_per_entity_and_day: Option<f64>,
}

/// One entity's figures. Those that need labels are null without `--labels`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EntityReport {
    /// Its name; empty where rows have no entity.
    pub entity: String,
    /// Rows of it that were to be scored, but for those of unknown label.
    pub rows: usize,
    /// Rows taken for anomalous.
    pub anomalies: usize,
    /// Incidents, each of which is one alarm.
    pub incidents: usize,
    /// Runs of rows labelled 1.
    pub events: Option<usize>,
    /// Events with an anomalous row inside.
    pub events_found: Option<usize>,
    /// Incidents without an anomalous row in an event.
    pub false_alarms: Option<usize>,
    /// Area under the receiver operating characteristic, 0..=1.
    pub auroc: Option<f64>,
    /// Average precision, 0..=1.
    pub aucpr: Option<f64>,
    /// Volume under the range-aware precision-recall surface, 0..=1.
    pub vus_pr: Option<f64>,
}

impl Report {
    /// One line of JSON; numbers that are not finite are null.
    pub(super) fn to_json_line(&self) -> String {
        let json = serde_json::to_string(self);
        json.expect("a structure of numbers and text can always be written as JSON") + "\n"
    }
}

/// The report's JSON Schema, as kept in `docs/backtest.schema.json`.
pub fn json_schema() -> serde_json::Value {
    // As it is written: a figure that can't be had is there too, as null.
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Report>().to_value()
}

impl ModelReport {
    pub(super) fn of(model: &Model, labelled_rows_left_out: Option<usize>) -> Self {
        let from = &model.metadata.provenance;
        // A graph of another tool has no loss that strayd knows of.
        let loss = |loss: f64| (from.epochs > 0 || loss > 0.0).then_some(loss).filter(|loss| loss.is_finite());
        Self {
            version: model.version.clone(),
            network: architecture(&model.metadata.graph),
            columns: model.metadata.columns.len(),
            window: model.metadata.window,
            source: from.source.clone(),
            fitted_rows: from.fitted_rows,
            held_back_rows: from.held_back_rows,
            unusable_records: from.unusable_records,
            labelled_rows_left_out,
            training_loss: loss(from.training_loss),
            held_back_loss: loss(from.validation_loss),
        }
    }
}

impl EntityReport {
    pub(super) fn of(entity: &str, series: &Series<'_>, found: Option<&Evaluation>) -> Self {
        Self {
            entity: entity.to_owned(),
            rows: series.anomalies.len(),
            anomalies: series.anomalies.iter().filter(|anomaly| **anomaly).count(),
            incidents: series.opened.len(),
            events: found.map(|found| found.events.labelled),
            events_found: found.map(|found| found.events.found),
            false_alarms: found.map(|found| found.events.false_alarms),
            auroc: found.and_then(|found| found.auroc),
            aucpr: found.and_then(|found| found.aucpr),
            vus_pr: found.and_then(|found| found.vus_pr),
        }
    }
}

impl LabelReport {
    pub(super) fn of(column: &str, unknown_rows: usize, found: &Evaluation) -> Self {
        let events = found.events;
        Self {
            column: column.to_owned(),
            rows: found.positives,
            unknown_rows,
            auroc: found.auroc,
            aucpr: found.aucpr,
            vus_pr: found.vus_pr,
            best_f1: found.best_f1.map(|best| best.f1),
            best_f1_limit: found.best_f1.map(|best| best.limit),
            precision: found.precision,
            recall: found.recall,
            events: events.labelled,
            events_found: events.found,
            event_precision: events.precision,
            event_recall: events.recall,
            median_delay_seconds: events.median_delay,
            longest_delay_seconds: events.longest_delay,
            false_alarms: events.false_alarms,
            false_alarms_per_entity_and_day: events.false_alarms_per_day,
        }
    }
}
