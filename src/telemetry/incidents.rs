//! Metrics of incidents, by the feature to blame. Entities never become labels: who strays stands in the log, on
//! `/status`, and in the events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::{GaugeVec, IntCounterVec, Registry};
use tracing::info;

use super::{
    describe,
    metrics::Metrics,
    register::{counter_vec, gauge_vec},
};

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
    /// The column to blame.
    pub top_feature: Option<usize>,
}

#[derive(Debug)]
pub(super) struct IncidentMetrics {
    opened: IntCounterVec,
    open: GaugeVec,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Label values by column of the model in use.
    labels: Vec<String>,
    /// Incidents that began since the last look at what is open.
    opened: usize,
}

impl Books {
    fn label(&self, top_feature: Option<usize>) -> &str {
        top_feature.and_then(|column| self.labels.get(column)).map_or(OTHER, String::as_str)
    }
}

impl IncidentMetrics {
    pub(super) fn new(add: &Registry) -> Self {
        let metrics = Self {
            opened: counter_vec(add, &describe::INCIDENTS),
            open: gauge_vec(add, &describe::INCIDENTS_OPEN),
            books: Mutex::default(),
        };
        metrics.make(OTHER);
        metrics
    }

    /// The series exist from now on, so that the first incident is seen as a growth from 0.
    fn make(&self, label: &str) {
        self.opened.with_label_values(&[label]);
        self.open.with_label_values(&[label]);
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
        for gone in books.labels.iter().filter(|label| !kept.contains(label.as_str())) {
            // A name that stood twice is gone after the first time, which is what is wanted.
            let _ = self.incidents.opened.remove_label_values(&[gone]);
            let _ = self.incidents.open.remove_label_values(&[gone]);
        }
        next.iter().for_each(|label| self.incidents.make(label));
        books.labels = next;
    }

    /// An incident began.
    pub fn incident_opened(&self, incident: &IncidentOpened<'_>) {
        let IncidentOpened { entity, score, limit, top_feature } = *incident;
        let mut books = self.incidents.books();
        books.opened += 1;
        let label = books.label(top_feature);
        self.incidents.opened.with_label_values(&[label]).inc();
        if books.opened <= MOST_LINES {
            info!(entity, score, limit, top_feature = label, "incident opened");
        }
    }

    /// The columns to blame of all incidents that are open now; to be told about once a second.
    pub fn incidents_open(&self, top_features: impl Iterator<Item = Option<usize>>) {
        let mut books = self.incidents.books();
        let untold = std::mem::take(&mut books.opened).saturating_sub(MOST_LINES);
        if untold > 0 {
            info!(untold, "further incidents opened");
        }
        let names = || books.labels.iter().map(String::as_str).chain([OTHER]);
        let mut counts: BTreeMap<&str, u32> = names().map(|name| (name, 0)).collect();
        top_features.for_each(|feature| *counts.entry(books.label(feature)).or_default() += 1);
        for (label, count) in counts {
            self.incidents.open.with_label_values(&[label]).set(f64::from(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::tests::value;

    fn opened(top_feature: Option<usize>) -> IncidentOpened<'static> {
        IncidentOpened { entity: "pump-7", score: 9.0, limit: 4.0, top_feature }
    }

    #[test]
    fn each_feature_of_the_model_has_its_series_before_the_first_incident() {
        let metrics = Metrics::new();
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"other\"}"), 0.0);
        metrics.incident_features(["flow", "pressure"].into_iter());
        for feature in ["flow", "pressure", "other"] {
            assert_eq!(value(&metrics, &format!("strayd_incidents_total{{top_feature=\"{feature}\"}}")), 0.0);
            assert_eq!(value(&metrics, &format!("strayd_incidents_open{{top_feature=\"{feature}\"}}")), 0.0);
        }
    }

    #[test]
    fn incidents_count_by_the_feature_to_blame_and_the_gauge_goes_down_again() {
        let metrics = Metrics::new();
        metrics.incident_features(["flow", "pressure"].into_iter());
        metrics.incident_opened(&opened(Some(1)));
        metrics.incidents_open([Some(1), None].into_iter());
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"pressure\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_open{top_feature=\"pressure\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_open{top_feature=\"other\"}"), 1.0);
        metrics.incidents_open(std::iter::empty());
        assert_eq!(value(&metrics, "strayd_incidents_open{top_feature=\"pressure\"}"), 0.0);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"pressure\"}"), 1.0);
    }

    #[test]
    fn features_beyond_the_hundredth_share_one_label() {
        let metrics = Metrics::new();
        let names: Vec<String> = (0..150).map(|column| format!("m{column}")).collect();
        metrics.incident_features(names.iter().map(String::as_str));
        metrics.incident_opened(&opened(Some(99)));
        metrics.incident_opened(&opened(Some(100)));
        metrics.incident_opened(&opened(Some(149)));
        metrics.incidents_open([Some(99), Some(149)].into_iter());
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"m99\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_incidents_total{top_feature=\"other\"}"), 2.0);
        assert_eq!(value(&metrics, "strayd_incidents_open{top_feature=\"other\"}"), 1.0);
        assert_eq!(metrics.render().matches("strayd_incidents_total{").count(), 101);
    }

    #[test]
    fn a_model_with_other_columns_ends_the_series_that_nobody_moves_any_more() {
        let metrics = Metrics::new();
        metrics.incident_features(["flow", "pressure"].into_iter());
        metrics.incident_opened(&opened(Some(0)));
        metrics.incident_opened(&opened(Some(1)));
        metrics.incidents_open([Some(0), Some(1)].into_iter());
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
        metrics.incidents_open([Some(0), None].into_iter());
        assert_eq!(value(&metrics, "strayd_incidents_open{top_feature=\"other\"}"), 2.0);
    }
}
