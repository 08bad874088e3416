//! Metrics of incidents, by the feature to blame. Entities never become labels: who strays stands in the log, on
//! `/status`, and in the events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Registry};
use tracing::info;

use super::{
    describe::{self, CounterfactualResult},
    metrics::Metrics,
    register::{counter, counter_vec, counters, gauge, gauge_vec},
};
use crate::detect::severity::Severity;

/// Columns whose names become label values; all further ones share [`OTHER`].
const MOST_FEATURES: usize = 100;
/// Lines that incidents may make between two looks at what is open, which are a second apart: when everything strays at
/// once, a flood of incidents must not become a flood of lines.
const MOST_LINES: usize = 10;
/// The label value of features beyond [`MOST_FEATURES`], and of incidents without a feature to blame.
const OTHER: &str = "other";

/// An incident that began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IncidentOpened<'a> {
    /// Whose.
    pub entity: &'a str,
    /// Score of its first anomaly.
    pub score: f64,
    /// The limit that this score is above.
    pub limit: f64,
    /// How bad that is.
    pub severity: Severity,
    /// The column to blame.
    pub top_feature: Option<usize>,
    /// Whether that anomaly would have been none with its top features as expected; `None` where that can't be told.
    pub is_explained: Option<bool>,
}

/// An incident of a group that began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupOpened<'a> {
    /// The group: a pattern of its entities.
    pub name: &'a str,
    /// Entities that stray.
    pub members: usize,
    /// How bad the worst of them is.
    pub severity: Severity,
    /// The column to blame for the first anomaly.
    pub top_feature: Option<usize>,
}

#[derive(Debug)]
pub(super) struct IncidentMetrics {
    opened: IntCounterVec,
    open: GaugeVec,
    resolved: IntCounterVec,
    joined: IntCounter,
    groups: IntCounter,
    groups_open: Gauge,
    members_open: Gauge,
    counterfactuals: Vec<IntCounter>,
    level_shifts: IntCounter,
    silences: IntCounter,
    silences_open: Gauge,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Label values by column of the model in use.
    labels: Vec<String>,
    /// Incidents and silences that began since the last look at what is open.
    opened: usize,
}

impl Books {
    fn label(&self, top_feature: Option<usize>) -> &str {
        top_feature.and_then(|column| self.labels.get(column)).map_or(OTHER, String::as_str)
    }

    /// Whether one that began now is worth a line.
    fn is_worth_a_line(&mut self) -> bool {
        self.opened += 1;
        self.opened <= MOST_LINES
    }
}

impl IncidentMetrics {
    pub(super) fn new(add: &Registry) -> Self {
        let metrics = Self {
            opened: counter_vec(add, &describe::INCIDENTS),
            open: gauge_vec(add, &describe::INCIDENTS_OPEN),
            resolved: counter_vec(add, &describe::INCIDENTS_RESOLVED),
            joined: counter(add, &describe::INCIDENTS_JOINED),
            groups: counter(add, &describe::GROUP_INCIDENTS),
            groups_open: gauge(add, &describe::GROUP_INCIDENTS_OPEN, 0.0),
            members_open: gauge(add, &describe::GROUP_MEMBERS_OPEN, 0.0),
            counterfactuals: counters(add, &describe::COUNTERFACTUALS),
            level_shifts: counter(add, &describe::LEVEL_SHIFTS),
            silences: counter(add, &describe::SILENCES),
            silences_open: gauge(add, &describe::SILENCES_OPEN, 0.0),
            books: Mutex::default(),
        };
        metrics.make(OTHER);
        metrics
    }

    /// The series exist from now on, so that the first incident is seen as a growth from 0.
    fn make(&self, label: &str) {
        self.opened.with_label_values(&[label]);
        for severity in Severity::ALL {
            self.open.with_label_values(&[label, severity.as_str()]);
            self.resolved.with_label_values(&[label, severity.as_str()]);
        }
    }

    /// Ends the series of a column that the model lacks.
    fn end(&self, label: &str) {
        // A name that stood twice is gone after the first time, which is what is wanted.
        let _ = self.opened.remove_label_values(&[label]);
        for severity in Severity::ALL {
            let _ = self.open.remove_label_values(&[label, severity.as_str()]);
            let _ = self.resolved.remove_label_values(&[label, severity.as_str()]);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Each write is whole even if a thread panicked while it held the lock.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// The model in use has these columns. Series of columns that it lacks end here.
    pub fn incident_features<'a>(&self, columns: impl Iterator<Item = &'a str>) {
        let next: Vec<String> = columns.take(MOST_FEATURES).map(str::to_owned).collect();
        let mut books = self.incidents.books();
        let kept: BTreeSet<&str> = next.iter().map(String::as_str).chain([OTHER]).collect();
        let gone = books.labels.iter().filter(|label| !kept.contains(label.as_str()));
        gone.for_each(|label| self.incidents.end(label));
        next.iter().for_each(|label| self.incidents.make(label));
        books.labels = next;
    }

    /// An incident began.
    pub fn incident_opened(&self, incident: &IncidentOpened<'_>) {
        let IncidentOpened { entity, score, limit, severity, top_feature, is_explained } = *incident;
        self.counterfactual(is_explained);
        let mut books = self.incidents.books();
        let is_told = books.is_worth_a_line();
        let label = books.label(top_feature);
        self.incidents.opened.with_label_values(&[label]).inc();
        if is_told {
            let severity = severity.as_str();
            info!(entity, score, limit, severity, top_feature = label, "incident opened");
        }
    }

    /// An incident began that is part of one of its group; with what is known of its first anomaly without its top features.
    pub fn incident_joined(&self, is_explained: Option<bool>) {
        self.counterfactual(is_explained);
        self.incidents.joined.inc();
    }

    fn counterfactual(&self, is_explained: Option<bool>) {
        let result = match is_explained {
            Some(true) => CounterfactualResult::Explained,
            Some(false) => CounterfactualResult::Unexplained,
            None => CounterfactualResult::Unknown,
        };
        self.incidents.counterfactuals[result as usize].inc();
    }

    /// Incidents of a group became one.
    pub fn group_incident_opened(&self, incident: &GroupOpened<'_>) {
        let GroupOpened { name, members, severity, top_feature } = *incident;
        let mut books = self.incidents.books();
        let is_told = books.is_worth_a_line();
        let label = books.label(top_feature);
        self.incidents.opened.with_label_values(&[label]).inc();
        self.incidents.groups.inc();
        if is_told {
            info!(group = name, members, severity = severity.as_str(), top_feature = label, "group incident opened");
        }
    }

    /// So many incidents of groups are open now, and so many entities' are part of them.
    pub fn group_incidents_open(&self, groups: usize, members: usize) {
        self.incidents.groups_open.set(groups as f64);
        self.incidents.members_open.set(members as f64);
    }

    /// An incident is over; so bad its worst anomaly was.
    pub fn incident_resolved(&self, top_feature: Option<usize>, severity: Severity) {
        let books = self.incidents.books();
        let label = books.label(top_feature);
        self.incidents.resolved.with_label_values(&[label, severity.as_str()]).inc();
    }

    /// The level that an incident has been at for long was offered as the new normal.
    pub fn level_shift_offered(&self) {
        self.incidents.level_shifts.inc();
    }

    /// An entity has not been heard of for so many seconds of event time.
    pub fn silence_began(&self, entity: &str, seconds: f64) {
        self.incidents.silences.inc();
        if self.incidents.books().is_worth_a_line() {
            info!(entity, seconds, "an entity stopped reporting");
        }
    }

    /// So many entities are silent now.
    pub fn silences_open(&self, entities: usize) {
        self.incidents.silences_open.set(entities as f64);
    }

    /// The columns to blame and the severities of all incidents that are open now, but for those that are part of one of a
    /// group; to be told about once a second.
    pub fn incidents_open(&self, incidents: impl Iterator<Item = (Option<usize>, Severity)>) {
        let mut books = self.incidents.books();
        let untold = std::mem::take(&mut books.opened).saturating_sub(MOST_LINES);
        if untold > 0 {
            info!(untold, "further incidents opened");
        }
        let names = || books.labels.iter().map(String::as_str).chain([OTHER]);
        let mut counts: BTreeMap<&str, [u32; Severity::ALL.len()]> = names().map(|name| (name, [0; 3])).collect();
        for (feature, severity) in incidents {
            counts.entry(books.label(feature)).or_default()[severity as usize] += 1;
        }
        for (label, counts) in counts {
            for (severity, count) in Severity::ALL.into_iter().zip(counts) {
                self.incidents.open.with_label_values(&[label, severity.as_str()]).set(f64::from(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::tests::value;

    fn opened(top_feature: Option<usize>) -> IncidentOpened<'static> {
        let is_explained = Some(true);
        IncidentOpened { entity: "pump-7", score: 9.0, limit: 4.0, severity: Severity::Info, top_feature, is_explained }
    }

    #[test]
    fn each_feature_of_the_model_has_its_series_before_the_first_incident() {
        let metrics = Metrics::new();
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"other\"}"), 0.0);
        metrics.incident_features(["flow", "pressure"].into_iter());
        for feature in ["flow", "pressure", "other"] {
            assert_eq!(value(&metrics, &format!("strayd_incidents_total{{top_feature=\"{feature}\"}}")), 0.0);
            assert_eq!(
                value(&metrics, &format!("strayd_incidents_open{{severity=\"critical\",top_feature=\"{feature}\"}}")),
                0.0
            );
        }
    }

    #[test]
    fn incidents_count_by_the_feature_to_blame_and_the_gauge_goes_down_again() {
        let metrics = Metrics::new();
        metrics.incident_features(["flow", "pressure"].into_iter());
        metrics.incident_opened(&opened(Some(1)));
        metrics.incidents_open([(Some(1), Severity::Info), (None, Severity::Info)].into_iter());
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"pressure\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_open{severity=\"info\",top_feature=\"pressure\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_open{severity=\"info\",top_feature=\"other\"}"), 1.0);
        metrics.incidents_open(std::iter::empty());
        assert_eq!(value(&metrics, "strayd_incidents_open{severity=\"info\",top_feature=\"pressure\"}"), 0.0);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"pressure\"}"), 1.0);
    }

    #[test]
    fn an_incident_is_open_under_its_worst_severity_and_counted_under_it_when_it_is_over() {
        let metrics = Metrics::new();
        metrics.incident_features(["flow"].into_iter());
        let open = |severity| format!("strayd_incidents_open{{severity=\"{severity}\",top_feature=\"flow\"}}");
        metrics.incidents_open([(Some(0), Severity::Warning)].into_iter());
        metrics.incidents_open([(Some(0), Severity::Critical)].into_iter());
        assert_eq!((value(&metrics, &open("warning")), value(&metrics, &open("critical"))), (0.0, 1.0));
        metrics.incident_resolved(Some(0), Severity::Critical);
        let over = "strayd_incidents_resolved_total{severity=\"critical\",top_feature=\"flow\"}";
        assert_eq!(value(&metrics, over), 1.0);
    }

    #[test]
    fn an_incident_of_a_group_is_one_alarm_of_its_feature_and_what_joins_it_is_none() {
        let metrics = Metrics::new();
        metrics.incident_features(["flow"].into_iter());
        metrics.group_incident_opened(&GroupOpened {
            name: "rack-7-*",
            members: 3,
            severity: Severity::Warning,
            top_feature: Some(0),
        });
        metrics.incident_joined(None);
        metrics.incident_joined(None);
        metrics.group_incidents_open(1, 5);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"flow\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_group_incidents_total"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_joined_total"), 2.0);
        let open = ["strayd_group_incidents_open", "strayd_group_members_open"].map(|name| value(&metrics, name));
        assert_eq!(open, [1.0, 5.0]);
    }

    #[test]
    fn silences_and_level_shifts_are_no_incidents_of_a_feature() {
        let metrics = Metrics::new();
        metrics.silence_began("pump-7", 600.0);
        metrics.silences_open(1);
        metrics.level_shift_offered();
        assert_eq!(value(&metrics, "strayd_silences_total"), 1.0);
        assert_eq!(value(&metrics, "strayd_silences_open"), 1.0);
        assert_eq!(value(&metrics, "strayd_level_shifts_total"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"other\"}"), 0.0);
    }

    #[test]
    fn features_beyond_the_hundredth_share_one_label() {
        let metrics = Metrics::new();
        let names: Vec<String> = (0..150).map(|column| format!("m{column}")).collect();
        metrics.incident_features(names.iter().map(String::as_str));
        metrics.incident_opened(&opened(Some(99)));
        metrics.incident_opened(&opened(Some(100)));
        metrics.incident_opened(&opened(Some(149)));
        metrics.incidents_open([(Some(99), Severity::Info), (Some(149), Severity::Info)].into_iter());
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"m99\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"other\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_incidents_open{severity=\"info\",top_feature=\"other\"}"), 1.0);
        assert_eq!(metrics.render().matches("strayd_incidents_total{").count(), 101);
    }

    #[test]
    fn a_model_with_other_columns_ends_the_series_that_nobody_moves_any_more() {
        let metrics = Metrics::new();
        metrics.incident_features(["flow", "pressure"].into_iter());
        metrics.incident_opened(&opened(Some(0)));
        metrics.incident_opened(&opened(Some(1)));
        metrics.incidents_open([(Some(0), Severity::Info), (Some(1), Severity::Info)].into_iter());
        metrics.incident_features(["pressure", "speed"].into_iter());
        let text = metrics.render();
        assert!(!text.contains("top_feature=\"flow\""), "{text}");
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"pressure\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"speed\"}"), 0.0);
    }

    #[test]
    fn a_feature_that_is_itself_named_other_is_counted_with_the_others() {
        let metrics = Metrics::new();
        metrics.incident_features(["other"].into_iter());
        metrics.incidents_open([(Some(0), Severity::Info), (None, Severity::Info)].into_iter());
        assert_eq!(value(&metrics, "strayd_incidents_open{severity=\"info\",top_feature=\"other\"}"), 2.0);
    }
}
