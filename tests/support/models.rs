//! Small models that the trainer makes of the streams of [`super::records`].

use std::sync::Arc;

use strayd::{
    config::{Settings, Sources},
    detect::{Scorers, runtime::Runtime},
    model::Model,
    record::{Position, RawRecord},
    train::{recipe::Recipe, sample::SampleRecord},
};

use super::records::{Record, stream};
use super::tools::{leave_out, root};

/// Settings for streams of sensor records.
pub fn settings(sets: &[&str]) -> Settings {
    let fixed = ["record.entity=key", "record.timestamp.field=time", "training.epochs=3", "model.poll_interval=100ms"];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

/// Two models of the same records that differ by their seed, and what they were made with.
pub fn models(sets: &[&str]) -> (Runtime, Settings, [Arc<Model>; 2]) {
    let runtime = Runtime::load(None).expect("ONNX Runtime is here");
    let sample: Vec<SampleRecord> = stream(21, 2_000, 4, &[])
        .iter()
        .enumerate()
        .filter_map(|(at, record)| SampleRecord::copy(&raw(at, record)))
        .collect();
    let make = |seed: &str| {
        let seed = format!("training.seed={seed}");
        let recipe = recipe(runtime.clone(), settings(&[sets, &[seed.as_str()]].concat()));
        Arc::new(recipe.train(&sample, &mut |_| std::ops::ControlFlow::Continue(())).expect("a model can be made"))
    };
    let pair = [make("1"), make("2")];
    assert_ne!(pair[0].version, pair[1].version);
    (runtime.clone(), settings(sets), pair)
}

/// How a test's model is trained, with these settings and these scorers for its drafts.
pub fn recipe(scorers: impl Scorers + 'static, settings: Settings) -> Recipe {
    Recipe {
        settings: Arc::new(settings),
        scorers: Arc::new(scorers),
        foreign: None,
        source: "memory".to_owned(),
        config_sha256: String::new(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        parent: None,
    }
}

/// ONNX Runtime from where `make test` says it is; where it isn't, `else_left_out` says what no test does.
pub fn runtime(else_left_out: &str) -> Option<Runtime> {
    let filled = root().join(".local/onnxruntime/lib/libonnxruntime.so");
    let library = std::env::var_os("ORT_DYLIB_PATH").map_or(filled, Into::into);
    if !library.is_file() {
        leave_out(&format!("ONNX RUNTIME IS NOT HERE, SO {else_left_out}"));
        return None;
    }
    Some(Runtime::load(Some(&library)).expect("the library can be loaded"))
}

/// A record as a source lends it.
pub fn raw(at: usize, record: &Record) -> RawRecord<'_> {
    RawRecord {
        position: Position { partition: 0, offset: at as i64 },
        timestamp_ms: Some(at as i64),
        key: Some(record.key.as_bytes()),
        payload: Some(record.payload.as_bytes()),
        headers: None,
    }
}
