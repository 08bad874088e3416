//! From descriptions to registered series.

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    core::Collector,
};

use super::describe::{Description, MetricKind};

/// Why a registration can't fail.
const DISTINCT: &str = "the metrics' names are distinct and valid, which a test shows";

pub(super) fn register<C: Collector + 'static>(registry: &Registry, collector: C) {
    registry.register(Box::new(collector)).expect(DISTINCT);
}

fn opts(description: &Description) -> Opts {
    Opts::new(description.name, description.help)
}

fn label_names(description: &Description) -> Vec<&'static str> {
    description.labels.iter().map(|label| label.name).collect()
}

fn label_values(description: &Description, label: usize) -> Vec<&'static str> {
    (description.labels[label].values)()
}

pub(super) fn counter(registry: &Registry, description: &Description) -> IntCounter {
    let counter = IntCounter::with_opts(opts(description)).expect(DISTINCT);
    register(registry, counter.clone());
    counter
}

/// A counter of what comes in fractions, such as seconds.
pub(super) fn fraction_counter(registry: &Registry, description: &Description) -> Counter {
    let counter = Counter::with_opts(opts(description)).expect(DISTINCT);
    register(registry, counter.clone());
    counter
}

pub(super) fn counter_vec(registry: &Registry, description: &Description) -> IntCounterVec {
    let counters = IntCounterVec::new(opts(description), &label_names(description)).expect(DISTINCT);
    register(registry, counters.clone());
    counters
}

pub(super) fn counters(registry: &Registry, description: &Description) -> Vec<IntCounter> {
    let all = counter_vec(registry, description);
    label_values(description, 0).into_iter().map(|value| all.with_label_values(&[value])).collect()
}

pub(super) fn counters_by_two(registry: &Registry, description: &Description) -> Vec<Vec<IntCounter>> {
    let all = counter_vec(registry, description);
    let second = label_values(description, 1);
    let row = |first: &str| second.iter().map(|second| all.with_label_values(&[first, second])).collect();
    label_values(description, 0).into_iter().map(row).collect()
}

pub(super) fn gauge(registry: &Registry, description: &Description, initially: f64) -> Gauge {
    let gauge = Gauge::with_opts(opts(description)).expect(DISTINCT);
    gauge.set(initially);
    register(registry, gauge.clone());
    gauge
}

pub(super) fn gauge_vec(registry: &Registry, description: &Description) -> GaugeVec {
    let gauges = GaugeVec::new(opts(description), &label_names(description)).expect(DISTINCT);
    register(registry, gauges.clone());
    gauges
}

pub(super) fn gauges(registry: &Registry, description: &Description, initially: f64) -> Vec<Gauge> {
    let all = gauge_vec(registry, description);
    let gauges: Vec<Gauge> =
        label_values(description, 0).into_iter().map(|value| all.with_label_values(&[value])).collect();
    gauges.iter().for_each(|gauge| gauge.set(initially));
    gauges
}

fn histogram_opts(description: &Description) -> HistogramOpts {
    let MetricKind::Histogram(buckets) = description.kind else {
        unreachable!("{} is described as a histogram", description.name)
    };
    HistogramOpts::new(description.name, description.help).buckets(buckets.to_vec())
}

pub(super) fn histogram(registry: &Registry, description: &Description) -> Histogram {
    let histogram = Histogram::with_opts(histogram_opts(description)).expect(DISTINCT);
    register(registry, histogram.clone());
    histogram
}

pub(super) fn histograms(registry: &Registry, description: &Description) -> Vec<Histogram> {
    let all = HistogramVec::new(histogram_opts(description), &label_names(description)).expect(DISTINCT);
    register(registry, all.clone());
    label_values(description, 0).into_iter().map(|value| all.with_label_values(&[value])).collect()
}
