//! Metrics of the model in use: which one it is, what it runs on, and how it took the place of the one before.

use std::time::Duration;

use prometheus::{Gauge, GaugeVec, IntCounter, Registry};
use tracing::{error, info};

use super::{
    board::ModelStatus,
    describe::{self, Part, SwapResult},
    metrics::Metrics,
    register::{counters, gauge, gauge_vec},
};

#[derive(Debug)]
pub(super) struct ModelMetrics {
    info: GaugeVec,
    created: Gauge,
    limit: Gauge,
    active_units: Gauge,
    swaps: Vec<IntCounter>,
    swap_seconds: Gauge,
    device_info: GaugeVec,
    device_fallback: Gauge,
}

impl ModelMetrics {
    pub(super) fn new(add: &Registry) -> Self {
        Self {
            info: gauge_vec(add, &describe::MODEL_INFO),
            created: gauge(add, &describe::MODEL_CREATED, f64::NAN),
            limit: gauge(add, &describe::MODEL_LIMIT, f64::NAN),
            active_units: gauge(add, &describe::MODEL_ACTIVE_UNITS, f64::NAN),
            swaps: counters(add, &describe::MODEL_SWAPS),
            swap_seconds: gauge(add, &describe::MODEL_SWAP_SECONDS, f64::NAN),
            device_info: gauge_vec(add, &describe::DEVICE_INFO),
            device_fallback: gauge(add, &describe::DEVICE_FALLBACK, 0.0),
        }
    }
}

impl ModelMetrics {
    fn runs_on(&self, device: &str) {
        self.device_info.reset();
        self.device_info.with_label_values(&[device]).set(1.0);
    }
}

impl Metrics {
    /// Another model is in use from now on.
    pub fn model_loaded(&self, model: &ModelStatus) {
        self.model.info.reset();
        self.model.info.with_label_values(&[&model.version, &model.kind]).set(1.0);
        self.model.runs_on(&model.device);
        let created = model.created.parse::<jiff::Timestamp>();
        self.model.created.set(created.map_or(f64::NAN, |time| time.as_millisecond() as f64 / 1000.0));
        self.model.limit.set(model.limit);
        self.model.active_units.set(model.active_units.unwrap_or(f64::NAN));
        let ModelStatus { version, kind, device, limit, .. } = model;
        info!(%version, %kind, %device, limit, "model in use");
    }

    /// The limit in use, and how many alarms per entity and day the budget allows.
    pub fn limit(&self, limit: f64, promised: Option<f64>) {
        self.model.limit.set(limit);
        self.alarm_rate_promised.set(promised.unwrap_or(f64::NAN));
    }

    /// Another model took the place of the one in use; scoring paused for so long.
    pub fn model_swapped(&self, model: &ModelStatus, pause: Duration) {
        self.model.swaps[SwapResult::Swapped as usize].inc();
        self.model.swap_seconds.set(pause.as_secs_f64());
        info!(version = %model.version, pause_seconds = pause.as_secs_f64(), "model swapped");
        self.model_loaded(model);
    }

    /// Another model can't be put to work; the one in use stays.
    pub fn swap_failed(&self, cause: &str) {
        self.model.swaps[SwapResult::Failed as usize].inc();
        self.count_error(Part::Model);
        error!("the registry's model can't be put to work, the one in use stays: {cause}");
    }

    /// The device that models run on, and whether it is only the second choice of `auto`.
    pub fn device(&self, device: &str, fallback: bool) {
        self.model.runs_on(device);
        self.model.device_fallback.set(f64::from(u8::from(fallback)));
        info!(device, fallback, "models run here");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::telemetry::metrics::tests::value;

    pub(in crate::telemetry) fn model(version: &str) -> ModelStatus {
        ModelStatus {
            version: version.into(),
            kind: "denoising".into(),
            created: "2026-01-02T03:04:05Z".into(),
            device: "cpu".into(),
            limit: 4.5,
            active_units: Some(0.75),
            verified: true,
        }
    }

    #[test]
    fn only_the_model_in_use_is_shown() {
        let metrics = Metrics::new();
        metrics.model_loaded(&model("v1"));
        metrics.model_loaded(&model("v2"));
        let text = metrics.render();
        assert!(text.contains("strayd_model_info{kind=\"denoising\",model=\"v2\"} 1"), "{text}");
        assert!(!text.contains("model=\"v1\""));
        assert_eq!(value(&metrics, "strayd_model_created_timestamp_seconds"), 1_767_323_045.0);
        assert_eq!(value(&metrics, "strayd_model_limit"), 4.5);
        assert_eq!(value(&metrics, "strayd_model_active_code_units_ratio"), 0.75);
        metrics.model_loaded(&ModelStatus { active_units: None, ..model("v3") });
        assert!(value(&metrics, "strayd_model_active_code_units_ratio").is_nan(), "another tool's model tells none");
        assert_eq!(value(&metrics, "strayd_device_info{device=\"cpu\"}"), 1.0);
    }

    #[test]
    fn a_swap_shows_the_other_model_and_a_failed_one_the_same() {
        let metrics = Metrics::new();
        metrics.model_loaded(&model("v1"));
        assert!(value(&metrics, "strayd_model_swap_seconds").is_nan());
        metrics.model_swapped(&model("v2"), Duration::from_millis(3));
        metrics.swap_failed("its golden rows score differently");
        assert_eq!(value(&metrics, "strayd_model_info{kind=\"denoising\",model=\"v2\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_model_swaps_total{result=\"swapped\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_model_swaps_total{result=\"failed\"}"), 1.0);
        assert_eq!(value(&metrics, "strayd_model_swap_seconds"), 0.003);
        assert_eq!(value(&metrics, "strayd_errors_total{part=\"model\"}"), 1.0);
    }

    #[test]
    fn a_fallback_is_shown_until_it_is_none() {
        let metrics = Metrics::new();
        metrics.device("cpu", true);
        assert_eq!(value(&metrics, "strayd_device_fallback"), 1.0);
        metrics.device("cuda", false);
        assert_eq!(value(&metrics, "strayd_device_fallback"), 0.0);
        assert_eq!(value(&metrics, "strayd_device_info{device=\"cuda\"}"), 1.0);
        assert!(!metrics.render().contains("device=\"cpu\""));
    }
}
