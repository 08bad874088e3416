//! Every default in one place, as it would be written.

use serde_json::{Value, json};

use super::settings::Preset;

/// The lowest layer of the configuration: what holds where nothing is written.
pub(super) fn defaults(preset: Preset) -> Value {
    let (model, training, judging) = match preset {
        Preset::Timeseries => (timeseries_model(), timeseries_training(), timeseries_judging()),
        Preset::Tabular => (tabular_model(), tabular_training(), tabular_judging()),
    };
    json!({
        "preset": preset,
        "role": "all",
        "kafka": {
            "group": "strayd",
            "start": "earliest",
            "anomaly_topic": "strayd.anomalies",
            "dead_letter_topic": "strayd.dead-letters",
            "properties": {},
            "secrets": {},
        },
        "record": {
            "entity": "key",
            "format": "json",
            "features": "all_numeric",
            "exclude": [],
            "transform": "none",
            "max_bytes": "1MiB",
            "max_missing": 0.5,
        },
        "model": model,
        "training": training,
        "judging": judging,
        "pipeline": {
            "batch_rows": 512,
            "batch_wait": "5ms",
            "commit_interval": "1s",
            "max_entities": 100_000,
            "shutdown_deadline": "25s",
        },
        "http": { "listen": "0.0.0.0:9464" },
        "log": { "level": "info", "format": "human" },
        "runtime": { "device": "cpu", "device_id": 0 },
    })
}

fn timeseries_model() -> Value {
    json!({
        "registry": "./models",
        "poll_interval": "2s",
        "keep": 20,
        "activation": "tanh",
        "members": 1,
        "skip": "none",
        "convolution": { "channels": [16, 32], "kernel": 3, "stride": 2, "dilation": 1 },
        "variational": { "beta": 0.1, "warm_up": 5, "score": "error", "draws": 8 },
        "sequence": { "rows": 1 },
    })
}

fn timeseries_training() -> Value {
    json!({
        "rows": 10_000,
        "max_rows": 200_000,
        "sample_rows": 20_000,
        "schedule": { "jitter": "10m" },
        "window": 4,
        "held_back": 0.2,
        "loss": "mean_squared_error",
        "noise": { "gaussian": 0.3, "masking": 0.0, "swap": 0.0 },
        "sparsity": { "l1": 0.001, "kl": 0.0, "target": 0.05 },
        "contraction": { "weight": 0.1, "projections": 1 },
        "epochs": 60,
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

fn timeseries_judging() -> Value {
    json!({
        "budget": { "alarms_per_entity_and_day": 1.0 },
        "smoothing_span": 15,
        "incident_quiet_rows": 30,
        "top_features": 5,
    })
}

fn tabular_model() -> Value {
    json!({
        "registry": "./models",
        "poll_interval": "2s",
        "keep": 20,
        "kind": "denoising",
        "hidden": [256],
        "code_size": 64,
        "activation": "relu",
        "members": 3,
        "skip": "none",
        "convolution": { "channels": [16, 32], "kernel": 3, "stride": 2, "dilation": 1 },
        "variational": { "beta": 0.1, "warm_up": 5, "score": "error", "draws": 8 },
        "sequence": { "rows": 1 },
    })
}

fn tabular_training() -> Value {
    json!({
        "rows": 10_000,
        "max_rows": 200_000,
        "sample_rows": 20_000,
        "schedule": { "jitter": "10m" },
        "window": 1,
        "held_back": 0.2,
        "loss": "mean_squared_error",
        "noise": { "gaussian": 0.3, "masking": 0.0, "swap": 0.0 },
        "sparsity": { "l1": 0.001, "kl": 0.0, "target": 0.05 },
        "contraction": { "weight": 0.1, "projections": 1 },
        "scaling": "standard",
        "epochs": 100,
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

fn tabular_judging() -> Value {
    json!({
        "budget": { "quantile": 0.01 },
        "smoothing_span": 1,
        "residuals": "raw",
        "incident_quiet_rows": 0,
        "top_features": 5,
    })
}
