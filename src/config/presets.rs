//! Every default in one place, as it would be written.

use serde_json::{Value, json};

use super::settings::Preset;

/// The lowest layer of the configuration: what holds where nothing is written.
pub(super) fn defaults(preset: Preset) -> Value {
    let mut defaults = shared();
    let own = match preset {
        Preset::Timeseries => timeseries(),
        Preset::Tabular => tabular(),
    };
    lay_over(&mut defaults, own);
    defaults["preset"] = json!(preset);
    defaults
}

/// What holds whatever the preset.
fn shared() -> Value {
    json!({
        "role": "all",
        "kafka": {
            "group": "strayd",
            "start": "earliest",
            "on_loss": "continue",
            "delivery": "at_least_once",
            "anomaly_topic": "strayd.anomalies",
            "incident_topic": "strayd.incidents",
            "dead_letter_topic": "strayd.dead-letters",
            "output_format": "json",
            "state_topic": "strayd.state",
            "properties": {},
            "secrets": {},
        },
        "record": {
            "entity": "key",
            "format": "json",
            "schema_registry": { "timeout": "5s" },
            "features": "all_numeric",
            "exclude": [],
            "transform": "none",
            "max_bytes": "1MiB",
            "lateness": null,
            "duplicates": "keep",
            "max_missing": 0.5,
        },
        "model": model(),
        "training": training(),
        "judging": {
            "top_features": 5,
            "recalibration": { "most": 50.0 },
            "incidents": { "update_interval": "10m", "new_normal_after": "6h", "accept_new_normal": false, "groups": [] },
            "severity": { "warning": 1e-4, "critical": 1e-6 },
            "silence": { "least": "5m" },
            "feedback": { "suppress_for": "7d", "keep": "30d" },
            "features": [],
            "persistence": { "anomalies": 1, "rows": 1 },
            "maintenance": [],
            "overrides": [],
            "publish_suppressed": false,
        },
        "pipeline": {
            "batch_rows": 512,
            "batch_wait": "5ms",
            "commit_interval": "1s",
            "max_entities": 100_000,
            "snapshot_interval": "30s",
            "max_rewind": 1_000_000,
            "evict_after": "30d",
            "shutdown_deadline": "25s",
        },
        "http": { "listen": "0.0.0.0:9464" },
        "log": { "level": "info", "format": "human" },
        "runtime": { "device": "cpu", "device_id": 0 },
    })
}

fn model() -> Value {
    json!({
        "registry": "./models",
        "poll_interval": "2s",
        "keep": 20,
        "convolution": { "channels": [16, 32], "kernel": 3, "stride": 2, "dilation": 1 },
        "variational": { "beta": 0.1, "warm_up": 5, "score": "error", "draws": 8 },
        "sequence": { "rows": 1 },
    })
}

fn training() -> Value {
    json!({
        "rows": 10_000,
        "max_rows": 200_000,
        "sample_rows": 20_000,
        "schedule": { "jitter": "10m" },
        "held_back": 0.2,
        "loss": "mean_squared_error",
        "noise": { "gaussian": 0.3, "masking": 0.0, "swap": 0.0 },
        "sparsity": { "l1": 0.001, "kl": 0.0, "target": 0.05 },
        "contraction": { "weight": 0.1, "projections": 1 },
        "batch_size": 128,
        "optimiser": "adam",
        "learning_rate": 0.002,
        "learning_rate_schedule": "constant",
        "weight_decay": 0.0,
        "trim": 0.0,
        "patience": 8,
        "threads": 1,
        "seed": 42,
        "gate": { "withheld": 0.2, "tolerance": 0.03 },
    })
}

/// What is particular to rows that follow each other in time. Kind, code and widths are left to what the rows are like.
fn timeseries() -> Value {
    json!({
        "model": { "activation": "tanh", "members": 1 },
        "training": { "epochs": 60 },
        "judging": {
            "budget": { "alarms": "1 per entity per day" },
            "smoothing_span": 15,
            "incident_quiet_rows": 30,
            "recalibration": { "step": 0.25 },
            "silence": { "after_intervals": 10 },
            "cold_start_rows": 15,
        },
    })
}

/// What is particular to rows that are independent of each other.
fn tabular() -> Value {
    json!({
        "model": { "kind": "denoising", "hidden": [256], "code_size": 64, "activation": "relu", "members": 3 },
        "training": { "window": 1, "scaling": "standard", "epochs": 100, "learning_rate": 0.001 },
        "judging": {
            "budget": { "quantile": 0.01 },
            "smoothing_span": 1,
            "residuals": "raw",
            "incident_quiet_rows": 0,
            "recalibration": { "step": 0.0 },
            "cold_start_rows": 0,
        },
    })
}

/// Puts each value of `top` in its place, table by table.
fn lay_over(base: &mut Value, top: Value) {
    match (base, top) {
        (Value::Object(base), Value::Object(top)) => {
            for (key, value) in top {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, top) => *base = top,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_keeps_what_is_shared_beside_its_own() {
        for (preset, window) in [(Preset::Timeseries, Value::Null), (Preset::Tabular, json!(1))] {
            let training = &defaults(preset)["training"];
            assert_eq!(
                (training.get("window").unwrap_or(&Value::Null), &training["noise"]["gaussian"]),
                (&window, &json!(0.3))
            );
        }
        assert_eq!(defaults(Preset::Tabular)["judging"]["budget"], json!({ "quantile": 0.01 }));
        assert_eq!(defaults(Preset::Timeseries)["model"].get("code_size"), None);
    }
}
