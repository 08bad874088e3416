//! What the configuration promises, from the outside: shipped files, layers, and problems told all at once.

// Helpers of tests may fail as loudly as the tests themselves.
#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use strayd::{
    config::{
        ConfigError, Loaded, Problems, Settings, Sources, schema,
        settings::{
            AlarmBudget, EntityFrom, FeatureSelection, Loss, Optimiser, OptimiserRule, Preset, RateSchedule, Residuals,
            TimestampFormat,
        },
        settings_table,
    },
    detect::gates::{
        columns::{Direction, NormalRange},
        maintenance::Hours,
        persistence::Persistence,
    },
    record::features::{FeatureKind, Transform},
};
use tempfile::TempDir;

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn load_shipped(name: &str) -> Loaded {
    let sources = Sources { file: Some(shipped(name)), ..Sources::default() };
    Settings::load(&sources).unwrap_or_else(|error| panic!("{name}:\n{error}"))
}

/// A configuration file in a directory of its own, with an environment and a command line.
struct Case {
    directory: TempDir,
    sources: Sources,
}

impl Case {
    fn of(extension: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(format!("strayd.{extension}"));
        fs::write(&file, text).unwrap();
        Self { directory, sources: Sources { file: Some(file), ..Sources::default() } }
    }

    fn yaml(text: &str) -> Self {
        Self::of("yaml", text)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(mut self, pair: &str) -> Self {
        self.sources.set.push(pair.to_owned());
        self
    }

    fn load(&self) -> Loaded {
        assert!(self.directory.path().exists());
        Settings::load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    fn problems(&self) -> Problems {
        match Settings::load(&self.sources) {
            Err(ConfigError::Problems(problems)) => problems,
            other => panic!("expected problems, got {other:?}"),
        }
    }

    fn lines(&self) -> Vec<String> {
        self.problems().0.iter().map(ToString::to_string).collect()
    }

    /// The only problem.
    fn line(&self) -> String {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
    }
}

/// The keys of all settings with their nodes, in the schema.
fn leaves<'a>(node: &'a Value, key: &str, found: &mut Vec<(String, &'a Value)>) {
    match node.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            for (name, child) in properties {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                leaves(child, &below, found);
            }
        }
        None => found.push((key.to_owned(), node)),
    }
}

#[test]
fn every_shipped_file_loads() {
    let mut names = Vec::new();
    for entry in fs::read_dir(shipped("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let settings = load_shipped(&name).settings;
        assert!(settings.require_kafka().is_ok(), "{name} is a whole example");
        names.push(name);
    }
    assert!(names.len() >= 5, "{names:?}");
}

#[test]
fn every_shipped_file_follows_the_schema() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    for entry in fs::read_dir(shipped("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let merged = load_shipped(&name).merged;
        let faults: Vec<_> =
            validator.iter_errors(&merged).map(|e| format!("{} at {}", e, e.instance_path())).collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
    for bad in [
        json!({"training": {"held_back": 2}}),
        json!({"training": {"epoch": 2}}),
        json!({"pipeline": {"batch_wait": "5"}}),
        json!({"judging": {"residuals": {"running": {"half_life": 0}}}}),
    ] {
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}

#[test]
fn the_reference_file_holds_every_key() {
    let text = fs::read_to_string(shipped("strayd.yaml")).unwrap();
    let merged = load_shipped("strayd.yaml").merged;
    let schema = schema();
    let mut keys = Vec::new();
    leaves(&schema, "", &mut keys);
    assert!(keys.len() > 40);
    for (key, _) in keys {
        let name = key.rsplit('.').next().unwrap();
        // The one table that is null as a whole; its keys stand in the comment above it.
        let written = if key.starts_with("record.timestamp.") { "record.timestamp" } else { &key };
        let pointer = format!("/{}", written.replace('.', "/"));
        assert!(merged.pointer(&pointer).is_some(), "{key} is not in strayd.yaml");
        assert!(text.contains(&format!("{name}:")), "{key} is not in strayd.yaml");
    }
}

#[test]
fn the_reference_file_states_the_defaults() {
    let settings = load_shipped("strayd.yaml").settings;
    let mut defaults = Settings::defaults(Preset::Timeseries);
    // What has no default shows an example.
    defaults.kafka.brokers = "localhost:9092".into();
    defaults.kafka.input_topic = "sensors".into();
    assert_eq!(format!("{settings:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_table_of_settings_has_every_key_with_default_and_meaning() {
    let table = settings_table();
    let schema = schema();
    let mut keys = Vec::new();
    leaves(&schema, "", &mut keys);
    for (key, node) in keys {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("{key} is not in the table"));
        let meaning = node["description"].as_str().unwrap_or_else(|| panic!("{key} has no meaning"));
        assert!(row.contains(meaning), "{row}");
        assert_eq!(row.replace("\\|", "").matches('|').count(), 5, "{row}");
    }
    assert!(table.contains("milliseconds, microseconds | `auto` |"), "{table}");
    assert!(table.contains("| timeseries: `1 per entity per day`; tabular: not set | Alarms"), "{table}");
    assert!(
        table.contains("| `training.window` | an integer in 1..1024 | timeseries: not set; tabular: `1` |"),
        "{table}"
    );
}

#[test]
fn the_preset_chooses_defaults_and_what_is_written_wins() {
    let settings = Case::yaml("preset: tabular\nmodel:\n  members: 5\n").load().settings;
    assert_eq!(settings.preset, Preset::Tabular);
    assert_eq!(settings.training.window, 1);
    assert_eq!(settings.training.network.hidden, Some(vec![256]));
    assert_eq!(settings.training.network.members, 5);
    assert_eq!(settings.judging.budget, AlarmBudget::Quantile(0.01));
}

#[test]
fn null_takes_back_a_default_of_the_preset() {
    let settings = Case::yaml("preset: tabular\nmodel:\n  hidden: null\n").load().settings;
    assert_eq!(settings.training.network.hidden, None);
    let settings = Case::yaml("preset: tabular").set("model.hidden=null").load().settings;
    assert_eq!(settings.training.network.hidden, None);
}

#[test]
fn a_key_without_a_value_is_told_and_not_filled_in() {
    assert_eq!(
        Case::yaml("training:\n  epochs:\n").line(),
        "training.epochs: null has the wrong type, expected an integer in 1..100000"
    );
    assert_eq!(Case::yaml("training:\n  # epochs: 5\n").load().settings.training.network.epochs, 60);
}

#[test]
fn command_line_wins_over_environment_over_file_over_defaults() {
    let text = "training: {epochs: 1, patience: 1, batch_size: 64}\n";
    let case = Case::yaml(text)
        .env("STRAYD__TRAINING__EPOCHS", "2")
        .env("STRAYD__TRAINING__PATIENCE", "2")
        .set("training.epochs=3");
    let network = case.load().settings.training.network;
    assert_eq!((network.epochs, network.patience, network.batch_size, network.members), (3, 2, 64, 1));
}

#[test]
fn the_environment_can_set_values_of_every_kind() {
    let settings = Case::yaml("")
        .env("STRAYD__KAFKA__BROKERS", "a:1,b:2")
        .env("STRAYD__KAFKA__GROUP", "17")
        .env("STRAYD__KAFKA__PROPERTIES__SECURITY__PROTOCOL", "SSL")
        .env("STRAYD__KAFKA__SECRETS__SASL__PASSWORD", "/run/secrets/kafka")
        .env("STRAYD__RECORD__FEATURES", "a, b.c")
        .env("STRAYD__RECORD__ENTITY__FIELD", "host")
        .env("STRAYD__RECORD__MAX_BYTES", "2048")
        .env("STRAYD__MODEL__HIDDEN", "64,32")
        .env("STRAYD__TRAINING__LOSS", r#"{"huber": {"delta": 0.5}}"#)
        .env("STRAYD__JUDGING__BUDGET__QUANTILE", "0.02")
        .env("STRAYD__JUDGING__RESIDUALS", "held_back")
        .env("STRAYD__PIPELINE__BATCH_WAIT", "7ms")
        .env("STRAYD__HTTP__LISTEN", "none")
        .load()
        .settings;
    assert_eq!(settings.kafka.brokers, "a:1,b:2", "brokers are one text, whatever their commas");
    assert_eq!(settings.kafka.group, "17");
    assert_eq!(settings.kafka.properties["security.protocol"], "SSL");
    assert_eq!(settings.kafka.secrets["sasl.password"], PathBuf::from("/run/secrets/kafka"));
    let FeatureSelection::Listed(listed) = &settings.record.features else { panic!("{:?}", settings.record.features) };
    assert_eq!(listed.iter().map(|feature| feature.name.as_str()).collect::<Vec<_>>(), ["a", "b.c"]);
    assert_eq!(settings.record.entity, EntityFrom::Field("host".parse().unwrap()));
    assert_eq!(settings.record.max_bytes, 2048);
    assert_eq!(settings.training.network.hidden, Some(vec![64, 32]));
    assert_eq!(settings.training.network.loss, Loss::Huber { delta: 0.5 });
    assert_eq!(settings.judging.budget, AlarmBudget::Quantile(0.02), "one budget replaces the other");
    assert_eq!(settings.judging.residuals, Some(Residuals::HeldBack));
    assert_eq!(settings.pipeline.batch_wait, Duration::from_millis(7));
    assert_eq!(settings.http.listen, None);
}

#[test]
fn a_network_is_described_under_model_and_its_fitting_under_training() {
    let text = "
model:
  kind: [sequence, denoising, convolutional]
  layers: 2
  convolution: {channels: [8], kernel: 5}
  sequence: {rows: 2}
training:
  window: 8
  optimiser: adamw
  learning_rate_schedule: one_cycle
  weight_decay: 0.01
  clip_norm: 1
  trim: 0.05
  threads: 2
";
    let network = Case::yaml(text).load().settings.training.network;
    assert_eq!(network.kinds.as_ref().unwrap().to_string(), "denoising + convolutional + sequence");
    assert_eq!((network.layers, network.hidden, network.predicted_rows), (Some(2), None, 2));
    assert_eq!((network.convolution.channels.as_slice(), network.convolution.kernel), (&[8][..], 5));
    assert_eq!((network.convolution.stride, network.skip), (2, None), "the rest keeps its defaults");
    let Optimiser { rule, schedule, weight_decay, clip_norm, .. } = network.optimiser;
    assert_eq!((rule, schedule), (OptimiserRule::AdamW, RateSchedule::OneCycle));
    assert_eq!((weight_decay, clip_norm), (0.01, Some(1.0)));
    assert_eq!((network.trim, network.threads), (0.05, 2));
}

#[test]
fn a_key_at_its_old_place_is_told_with_its_new_one() {
    for name in ["kind: sparse", "hidden: [8]", "code_size: 2", "activation: relu", "members: 2"] {
        let key = name.split(':').next().unwrap();
        let line = Case::yaml(&format!("training: {{{name}}}")).line();
        assert_eq!(line, format!("training.{key}: is now model.{key}, expected the value there"));
    }
    let line = Case::yaml("").env("STRAYD__TRAINING__KIND", "sparse").line();
    assert_eq!(line, "training.kind: is now model.kind (from STRAYD__TRAINING__KIND), expected the value there");
    let line = Case::yaml("").set("training.members=2").line();
    assert_eq!(line, "training.members: is now model.members (from --set training.members), expected the value there");
}

#[test]
fn layers_written_later_replace_widths_written_earlier() {
    let network = Case::yaml("model: {hidden: [64, 32]}").set("model.layers=3").load().settings.training.network;
    assert_eq!((network.layers, network.hidden), (Some(3), None));
    let network = Case::yaml("model: {layers: 3}").set("model.hidden=8").load().settings.training.network;
    assert_eq!((network.layers, network.hidden), (None, Some(vec![8])));
}

#[test]
fn variables_that_kubernetes_sets_are_ignored() {
    let case = Case::yaml("")
        .env("STRAYD_SERVICE_HOST", "10.0.0.1")
        .env("STRAYD_PORT_9464_TCP", "tcp://10.0.0.1:9464")
        .env("STRAYD_KAFKA_BROKERS", "not:1")
        .env("PATH", "/bin");
    assert_eq!(case.load().settings.kafka.brokers, "");
}

#[test]
fn an_unknown_variable_is_told_by_its_name() {
    let line = Case::yaml("").env("STRAYD__TRAINING__EPOCH", "3").line();
    assert!(
        line.starts_with(
            "training.epoch: unknown key (did you mean training.epochs?) (from STRAYD__TRAINING__EPOCH), expected"
        ),
        "{line}"
    );
    let line = Case::yaml("").set("trainin.epochs=3").line();
    assert!(line.contains("did you mean training.epochs?) (from --set trainin.epochs)"), "{line}");
    assert_eq!(Case::yaml("").set("training.epochs").line(), "--set: `training.epochs` has no `=`, expected key=value");
}

/// Twenty slips in one file.
const SLIPS: &str = "
kafka:
  brokrs: localhost:9092
  brokers: localhost
  start: middle
  anomaly_topic: a/b
record:
  features: [ok, {path: x, kind: integer}, {pth: y}, ok, {kind: boolean}]
  timestamp: {format: auto}
model:
  hidden: [0, 8]
  kind: sparse
training:
  held_back: 1.5
  epochs: many
  batch_size: -1
  sparsity: {l1: 0}
  trim: 0.6
  members: 2
  loss: {huber: {delta: 0}}
judging:
  budget: {alarms: 1 per entity per day, quantile: 0.1}
  residuals: {running: {}}
pipeline:
  batch_wait: 5
  commit_interval: 1ms
http:
  listen: localhost
  port: 80
log:
  level: infos
";

#[test]
fn all_problems_are_told_at_once_each_with_its_key() {
    let problems = Case::yaml(SLIPS).problems();
    let keys: Vec<_> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
    for expected in [
        "kafka.brokrs",
        "kafka.brokers",
        "kafka.start",
        "kafka.anomaly_topic",
        "record.features[1].kind",
        "record.features[2].pth",
        "record.features[3]",
        "record.features[4].path",
        "record.timestamp",
        "training.held_back",
        "training.epochs",
        "training.batch_size",
        "model.hidden[0]",
        "training.sparsity",
        "training.trim",
        "training.members",
        "training.loss.huber.delta",
        "judging.budget",
        "judging.residuals.running",
        "pipeline.batch_wait",
        "pipeline.commit_interval",
        "http.listen",
        "http.port",
        "log.level",
    ] {
        assert!(keys.contains(&expected), "{expected} is missing in\n{problems}");
    }
    let text = problems.to_string();
    for line in [
        "record.features[3]: the name `ok` is taken, expected a name of its own",
        "training.held_back: 1.5 is out of range, expected a number in 0..0.9",
        "training.members: is now model.members, expected the value there",
        "training.epochs: string \"many\" has the wrong type, expected an integer in 1..100000",
        "kafka.start: `middle` is not known, expected earliest or latest",
        "pipeline.commit_interval: 1ms is out of range, expected a duration in 10ms..10m",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert_eq!(problems.0.len(), text.lines().count(), "one line each");
}

#[test]
fn what_is_not_finite_is_refused_with_its_key() {
    let toml = "[training]\nheld_back = nan\nlearning_rate = inf\n[model.foreign]\ncenter = [nan]\nscale = [1.0]\n";
    let lines = Case::of("toml", toml).lines();
    assert!(
        lines.contains(&"training.held_back: NaN is not finite, expected a number in 0..0.9".to_owned()),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.starts_with("training.learning_rate: inf is not finite")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("model.foreign.center[0]: NaN is not finite")), "{lines:#?}");
    for number in [".nan", ".inf", "-.inf", "NaN", "1e999"] {
        let refused = Settings::load(&Case::yaml(&format!("training:\n  held_back: {number}\n")).sources);
        assert!(refused.is_err(), "{number}");
    }
    let error = Settings::load(&Case::yaml("training:\n  held_back: .nan\n").sources).unwrap_err().to_string();
    assert!(error.ends_with("expected finite numbers (line 2)"), "{error}");
    for number in ["NaN", "inf", "1e999"] {
        assert_eq!(
            Case::yaml("").set(&format!("training.held_back={number}")).problems().0[0].key,
            "training.held_back"
        );
        let case = Case::yaml("").env("STRAYD__JUDGING__BUDGET__QUANTILE", number);
        assert_eq!(case.problems().0[0].key, "judging.budget.quantile");
    }
    let lines = Case::yaml("model: {foreign: {center: [1e39], scale: [1e-60]}}").lines();
    assert_eq!(lines.len(), 2, "32 bits hold neither: {lines:#?}");
}

#[test]
fn values_that_clash_are_told() {
    for (text, key) in [
        ("training: {loss: binary_cross_entropy, scaling: standard}", "training.loss"),
        ("training: {noise: {gaussian: 0}}", "training.noise"),
        ("{model: {kind: sparse}, training: {sparsity: {l1: 0}}}", "training.sparsity"),
        ("{model: {kind: denoising}, training: {sparsity: {kl: 1}}}", "training.sparsity.kl"),
        ("{model: {kind: pca}, training: {trim: 0.3}}", "training.trim"),
        ("{model: {kind: pca, members: 2}}", "model.members"),
        ("{model: {kind: convolutional, convolution: {kernel: 5}}}", "model.convolution.kernel"),
        ("{model: {hidden: [65536, 65536]}}", "model.hidden"),
        ("training: {noise: {swap: 0.1}, batch_size: 1}", "training.noise.swap"),
        ("{model: {kind: [pca, denoising]}}", "model.kind"),
        ("{model: {kind: [variational, contractive]}}", "model.kind"),
        ("{model: {kind: [denoising, sequence], sequence: {rows: 4}}}", "training.window"),
        ("{model: {kind: [denoising, convolutional]}, training: {window: 1}}", "training.window"),
        ("{model: {layers: 2, hidden: [8, 4]}}", "model.layers"),
        ("{model: {skip: pca}, training: {loss: binary_cross_entropy}}", "model.skip"),
        ("training: {held_back: 0}", "training.held_back"),
        ("training: {rows: 100, window: 100}", "training.rows"),
        ("{record: {features: [a, b]}, model: {kind: undercomplete, code_size: 8}}", "model.code_size"),
        ("{record: {features: [a], exclude: [b]}}", "record.exclude"),
        ("{record: {features: [a], transform: log1p}}", "record.transform"),
        ("{record: {features: [a, a]}}", "record.features[1]"),
        ("{record: {features: []}}", "record.features"),
        ("{record: {features: [{path: a, kind: boolean, transform: log1p}]}}", "record.features[0].transform"),
        ("{record: {features: [{path: a, vocabulary: [x]}]}}", "record.features[0].vocabulary"),
        ("{record: {features: [{path: a, kind: hour_of_day}]}}", "record.features[0].path"),
        ("kafka: {input_topic: x, anomaly_topic: x}", "kafka.anomaly_topic"),
        ("kafka: {dead_letter_topic: strayd.anomalies}", "kafka.dead_letter_topic"),
        ("kafka: {incident_topic: strayd.anomalies}", "kafka.incident_topic"),
        ("kafka: {incident_topic: a/b}", "kafka.incident_topic"),
        ("kafka: {output_format: avro}", "record.schema_registry.url"),
        ("{kafka: {output_format: avro}, record: {format: avro}}", "record.schema_registry.url"),
        (r#"kafka: {group_instance_id: ""}"#, "kafka.group_instance_id"),
        ("kafka: {group_instance_id: pump 0}", "kafka.group_instance_id"),
        ("kafka: {properties: {group.instance.id: pump-0}}", "kafka.properties.group.instance.id"),
        (
            "kafka: {properties: {group.protocol: consumer, session.timeout.ms: 6000}}",
            "kafka.properties.session.timeout.ms",
        ),
        (
            "kafka: {properties: {consumer.group.protocol: consumer, consumer.session.timeout.ms: 6000}}",
            "kafka.properties.consumer.session.timeout.ms",
        ),
        ("kafka: {properties: {sasl.username: a}, secrets: {sasl.username: b}}", "kafka.secrets.sasl.username"),
        ("kafka: {properties: {sasl.password: a}}", "kafka.properties.sasl.password"),
        ("model: {foreign: {center: [1]}}", "model.foreign.scale"),
        ("model: {foreign: {center: [1, 2], scale: [1]}}", "model.foreign.scale"),
        ("model: {foreign: {center: [1], scale: [0]}}", "model.foreign.scale[0]"),
        ("judging: {budget: {alarms: null}}", "judging.budget"),
        ("judging: {budget: {alarms: 3 a day}}", "judging.budget.alarms"),
        ("judging: {budget: {alarms: 3}}", "judging.budget.alarms"),
        ("judging: {budget: {alarms: 0 per day}}", "judging.budget.alarms"),
        ("judging: {budget: {alarms_per_entity_and_day: 1}}", "judging.budget.alarms_per_entity_and_day"),
        ("judging: {overrides: [{entities: a, budget: {alarms: 1 per entity}}]}", "judging.overrides[0].budget.alarms"),
    ] {
        let problems = Case::yaml(text).problems();
        assert_eq!(problems.0.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), [key], "{text}\n{problems}");
    }
}

#[test]
fn what_is_out_of_range_or_clashes_in_severity_incidents_and_silence_is_told() {
    for (text, key) in [
        ("judging: {severity: {warning: 1e-6, critical: 1e-4}}", "judging.severity.critical"),
        ("judging: {severity: {warning: 1e-6}}", "judging.severity.critical"),
        ("judging: {severity: {warning: 1}}", "judging.severity.warning"),
        ("judging: {severity: {critical: 0}}", "judging.severity.critical"),
        (
            "judging: {incidents: {new_normal_after: null, accept_new_normal: true}}",
            "judging.incidents.accept_new_normal",
        ),
        ("judging: {incidents: {update_interval: 0s}}", "judging.incidents.update_interval"),
        ("judging: {silence: {after_intervals: 1}}", "judging.silence.after_intervals"),
        ("judging: {silence: {least: 0s}}", "judging.silence.least"),
    ] {
        let problems = Case::yaml(text).problems();
        assert_eq!(problems.0.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), [key], "{text}\n{problems}");
    }
}

#[test]
fn verdicts_are_kept_for_as_long_as_they_hold_and_come_on_a_topic_of_their_own() {
    for (text, key) in [
        ("kafka: {feedback_topic: strayd.incidents}", "kafka.feedback_topic"),
        ("judging: {feedback: {suppress_for: 0s}}", "judging.feedback.suppress_for"),
        ("judging: {feedback: {suppress_for: 31d}}", "judging.feedback.keep"),
        ("judging: {feedback: {keep: 1d}}", "judging.feedback.keep"),
    ] {
        let problems = Case::yaml(text).problems();
        assert_eq!(problems.0.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), [key], "{text}\n{problems}");
    }
}

#[test]
fn gates_can_be_written_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let ics = folder.path().join("hours.ics");
    fs::write(&ics, "BEGIN:VCALENDAR\nEND:VCALENDAR\n").unwrap();
    let text = format!(
        "
record:
  features: [pressure, {{path: mode, kind: categorical, vocabulary: [idle, busy]}}]
judging:
  features:
    - {{name: pressure, min_absolute: 0.5, min_relative: 0.1, direction: up, normal_range: [0, 60]}}
    - {{name: 'mode=*', direction: both}}
  persistence: {{anomalies: 3, rows: 5}}
  cold_start_rows: 100
  maintenance:
    - {{entities: '*', weekdays: [Sat, sunday], from: 22:00, to: 04:00, time_zone: Europe/Berlin}}
    - {{entities: 'pump-*', from: 2026-05-01T08:00:00Z, to: 2026-05-01T12:00:00+02:00}}
    - {{entities: fan, ics: {}, time_zone: UTC}}
  overrides:
    - {{entities: 'pump-?', budget: {{quantile: 0.01}}, persistence: {{anomalies: 1, rows: 1}}}}
    - {{entities: '*', cold_start_rows: 0, features: [{{name: '*', min_relative: 0.5}}]}}
  publish_suppressed: true
",
        ics.display()
    );
    let judging = Case::yaml(&text).load().settings.judging;
    assert_eq!((judging.features.len(), judging.maintenance.len(), judging.overrides.len()), (2, 3, 2));
    assert_eq!((judging.persistence, judging.cold_start_rows), (Persistence::new(3, 5).unwrap(), 100));
    assert_eq!(judging.features[0].normal_range, NormalRange::new(0.0, 60.0));
    assert!(
        matches!(judging.maintenance[1].hours, Hours::Once { from_us, to_us } if to_us - from_us == 2 * 3_600_000_000)
    );
    assert_eq!(judging.overrides[0].budget, Some(AlarmBudget::Quantile(0.01)));
    assert!(judging.publish_suppressed);
    let env = Case::yaml("").env("STRAYD__JUDGING__FEATURES", r#"[{"name": "a", "direction": "down"}]"#).load();
    assert_eq!(env.settings.judging.features[0].direction, Some(Direction::Down));
    assert_eq!(Settings::defaults(Preset::Tabular).judging.cold_start_rows, 0);
}

/// Each text has one problem, whose line begins as told.
fn each_is_told(cases: &[(String, &str)]) {
    for (text, line) in cases {
        let told = Case::yaml(text).line();
        assert!(told.starts_with(line), "{text}: {told}");
    }
}

#[test]
fn what_is_wrong_with_the_gates_of_a_feature_is_told_with_its_place_and_what_would_be_right() {
    let cases = [
        (
            "{name: presure}",
            "name: `presure` matches no feature (did you mean pressure?), expected one of pressure, flow",
        ),
        ("{name: ''}", "name: is empty, expected a name in which"),
        ("{name: flow, min_absolute: -1}", "min_absolute: -1 is out of range"),
        ("{name: flow, min_relative: -0.1}", "min_relative: -0.1 is out of range"),
        ("{name: flow, direction: upwards}", "direction: `upwards` is not known, expected one of up, down, both"),
        ("{name: flow, normal_range: [5, 1]}", "normal_range: 5 to 1 is no range, expected [LOW, HIGH], the lower"),
        ("{name: flow, size: 1}", "size: `size` is not known"),
    ]
    .map(|(entry, line)| {
        let text = format!("{{record: {{features: [pressure, flow]}}, judging: {{features: [{entry}]}}}}");
        (text, format!("judging.features[0].{line}"))
    });
    each_is_told(&cases.each_ref().map(|(text, line)| (text.clone(), line.as_str())));
    each_is_told(&[("judging: {features: [{min_absolute: 1}]}".to_owned(), "judging.features[0]: `name` is missing")]);
    let nan = Case::of("toml", "[[judging.features]]\nname = \"a\"\nnormal_range = [nan, 1.0]\n").lines();
    assert!(nan[0].starts_with("judging.features[0].normal_range[0]: NaN is not finite"), "{nan:#?}");
}

#[test]
fn what_is_wrong_with_persistence_and_overrides_is_told_with_its_place_and_what_would_be_right() {
    let cases = [
        (
            "persistence: {anomalies: 3, rows: 2}",
            "persistence.anomalies: 3 of 2 rows can't be anomalous, expected at most 2",
        ),
        ("persistence: {rows: 65}", "persistence.rows: 65 is out of range, expected an integer in 1..64"),
        ("persistence: {anomalies: 0}", "persistence.anomalies: 0 is out of range"),
        ("overrides: [{entities: a, budget: {}}]", "overrides[0].budget: no budget is set"),
        ("overrides: [{entities: a, budget: {quantile: 2}}]", "overrides[0].budget.quantile: 2 is out of range"),
        (
            "overrides: [{entities: a, persistence: {anomalies: 9, rows: 8}}]",
            "overrides[0].persistence.anomalies: 9 of 8",
        ),
        ("overrides: [{entities: x, features: [{name: b}]}]", "overrides[0].features[0].name: `b` matches no feature"),
        (
            "overrides: [{entities: x, features: [{name: a, direction: no}]}]",
            "overrides[0].features[0].direction: `no` is not",
        ),
        ("overrides: [{cold_start_rows: 1}]", "overrides[0]: `entities` is missing"),
        ("cold_start_rows: -1", "cold_start_rows: -1 is out of range"),
    ]
    .map(|(setting, line)| {
        (format!("{{record: {{features: [a]}}, judging: {{{setting}}}}}"), format!("judging.{line}"))
    });
    each_is_told(&cases.each_ref().map(|(text, line)| (text.clone(), line.as_str())));
}

#[test]
fn what_is_wrong_with_groups_is_told_with_its_place_and_what_would_be_right() {
    let cases = [
        (
            "{entities: 'rack-{rack}-*'}",
            ".entities: `{rack}` is unknown, expected {group}, or ? where a name has a brace",
        ),
        ("{entities: '{group}-{group}-*'}", ".entities: {group} stands in it more than once, expected it once"),
        (
            "{entities: '{group}*'}",
            ".entities: `{group}*` leaves open where the group's part of the name ends, expected a",
        ),
        ("{entities: '{group}'}", ".entities: `{group}` tells each entity apart, expected * or ?"),
        ("{entities: ''}", ".entities: is empty, expected a name in which *"),
        ("{entities: '*', least: 1}", ".least: 1 is out of range, expected an integer in 2..1000000"),
        ("{entities: '*', within: 0s}", ".within: 0s is out of range, expected a duration in 1s..30d"),
        ("{entities: '*', withn: 1m}", ".withn: `withn` is not known, expected one of entities, least, within"),
        ("{least: 3}", ": `entities` is missing"),
    ]
    .map(|(entry, line)| {
        (format!("judging: {{incidents: {{groups: [{entry}]}}}}"), format!("judging.incidents.groups[0]{line}"))
    });
    each_is_told(&cases.each_ref().map(|(text, line)| (text.clone(), line.as_str())));
    let text = "judging: {incidents: {groups: [{entities: 'rack-{group}-*'}, {entities: '*', least: 5, within: 1h}]}}";
    let groups = Case::yaml(text).load().settings.judging.incidents.groups;
    let told: Vec<(usize, i64)> = groups.iter().map(|group| (group.least, group.within_us / 1_000_000)).collect();
    assert_eq!(told, [(3, 300), (5, 3600)]);
    assert_eq!(groups[0].entities.group_of("rack-7-pump").as_deref(), Some("rack-7-*"));
}

#[test]
fn what_is_wrong_with_maintenance_is_told_with_its_place_and_what_would_be_right() {
    let cases = [
        ("", ": says not when, or in two ways, expected from and to"),
        (", from: '02:00'", ": says not when"),
        (", from: '02:00', to: '02:00'", ".to: 02:00 is from too, expected another time than from"),
        (", from: '2am', to: '02:00'", ".from: `2am` is no time of day, expected HH:MM"),
        (", from: '24:00', to: '02:00'", ".from: `24:00` is no time of day"),
        (
            ", from: '02:00', to: '04:00', weekdays: [mon, thr]",
            ".weekdays: `thr` is no weekday (did you mean thu?), expected",
        ),
        (", from: '02:00', to: '04:00', weekdays: []", ".weekdays: is empty, expected some of mon, tue"),
        (
            ", from: '02:00', to: '04:00', time_zone: Europe/Berlni",
            ".time_zone: `Europe/Berlni` is no time zone (did you mean",
        ),
        (
            ", from: 2026-05-01T08:00:00Z, to: 2026-05-01T08:00:00Z",
            ".to: 2026-05-01T08:00:00Z is not after 2026-05-01T08",
        ),
        (", from: 2026-05-01, to: 2026-05-02T08:00:00Z", ".from: `2026-05-01` is not a time, expected RFC 3339"),
        (", ics: /nowhere/hours.ics", ".ics: /nowhere/hours.ics: it can't be read: No such file"),
    ]
    .map(|(rest, line)| {
        (format!("judging: {{maintenance: [{{entities: a{rest}}}]}}"), format!("judging.maintenance[0]{line}"))
    });
    each_is_told(&cases.each_ref().map(|(text, line)| (text.clone(), line.as_str())));
    let both = Case::yaml("judging: {maintenance: [{entities: a, ics: a.ics, weekdays: [mon]}]}").lines();
    assert!(both[0].starts_with("judging.maintenance[0].weekdays: has no effect"), "{both:#?}");
    assert_eq!(both.len(), 2, "{both:#?}");
}

#[test]
fn a_broken_calendar_is_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let ics = folder.path().join("hours.ics");
    fs::write(&ics, "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;TZID=Berlin:20260101T000000\nEND:VEVENT\nEND:VCALENDAR\n")
        .unwrap();
    let line = Case::yaml(&format!("judging: {{maintenance: [{{entities: a, ics: {}}}]}}", ics.display())).line();
    let told = "line 3: unknown time zone `Berlin` (did you mean Europe/Berlin?), expected a name of the IANA database";
    assert!(line.starts_with(&format!("judging.maintenance[0].ics: {}: {told}", ics.display())), "{line}");
}

#[test]
fn features_can_be_written_in_every_form() {
    let text = "
record:
  entity: {field: meta.host}
  timestamp: {field: ts}
  features:
    - cpu
    - {path: net.sent, name: sent, transform: log1p}
    - {path: mode, kind: categorical, vocabulary: [a, b]}
    - {path: total, kind: counter}
    - {kind: day_of_week}
";
    let record = Case::yaml(text).load().settings.record;
    assert_eq!(record.entity, EntityFrom::Field("meta.host".parse().unwrap()));
    assert_eq!(record.timestamp.unwrap().format, TimestampFormat::Auto);
    let FeatureSelection::Listed(listed) = record.features else { panic!("{:?}", record.features) };
    let names: Vec<_> = listed.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["cpu", "sent", "mode", "total", "day_of_week"]);
    assert_eq!(listed[1].kind, FeatureKind::Numeric { transform: Transform::Log1p });
    assert_eq!(listed[2].kind, FeatureKind::Categorical { vocabulary: vec!["a".into(), "b".into()] });
    assert_eq!(listed[4].kind, FeatureKind::DayOfWeek);
}

#[test]
fn a_feature_is_called_by_its_plain_name() {
    let names = |text: &str| {
        let record = Case::yaml(text).load().settings.record;
        let FeatureSelection::Listed(listed) = record.features else { panic!("{:?}", record.features) };
        listed.into_iter().map(|feature| feature.name).collect::<Vec<_>>()
    };
    assert_eq!(names(r"record: {features: ['pressure\.bar', a.b]}"), ["pressure.bar", "a.b"]);
    assert_eq!(names(r"record: {features: ['a\.b', a.b]}"), [r"a\.b", "a.b"]);
}

#[test]
fn the_scaler_of_a_foreign_model_is_read() {
    let foreign = load_shipped("byo-model.yaml").settings.model.foreign.unwrap();
    assert_eq!(foreign.center, Some(vec![21.0, 45.0, 1013.0]));
    assert_eq!(foreign.scale, Some(vec![4.0, 12.0, 9.0]));
}

#[test]
fn the_transform_belongs_to_all_numeric_fields() {
    let record = Case::yaml("record: {transform: log1p, exclude: [label]}").load().settings.record;
    let exclude = vec!["label".parse().unwrap()];
    assert_eq!(record.features, FeatureSelection::AllNumeric { exclude, transform: Transform::Log1p });
}

#[test]
fn properties_may_be_nested_flat_or_numbers() {
    let text = "kafka: {properties: {linger.ms: 5, ssl: {ca: {location: /ca.pem}}, enable.idempotence: true}}";
    let properties = Case::yaml(text).set("kafka.properties.linger.ms=7").load().settings.kafka.properties;
    assert_eq!(properties["linger.ms"], "7", "a nested and a flat key are the same key");
    assert_eq!(properties["ssl.ca.location"], "/ca.pem");
    assert_eq!(properties["enable.idempotence"], "true");
}

#[test]
fn secrets_are_hidden_in_what_is_printed_and_kept_in_what_is_used() {
    let text = "kafka: {properties: {sasl.username: me, ssl.key.location: /key.pem}}";
    let environment = Case::yaml(text).env("STRAYD__KAFKA__PROPERTIES__SSL__KEY__PASSWORD", "hunter3");
    let loaded = environment.env("STRAYD__KAFKA__PROPERTIES__SASL__PASSWORD", "hunter2").load();
    let printed = loaded.merged.to_string();
    assert!(!printed.contains("hunter"), "{printed}");
    assert_eq!(loaded.merged["kafka"]["properties"]["sasl.password"], "***");
    assert_eq!(loaded.merged["kafka"]["properties"]["sasl.username"], "me");
    assert_eq!(loaded.merged["kafka"]["properties"]["ssl.key.location"], "/key.pem");
    assert_eq!(loaded.settings.kafka.properties["sasl.password"], "hunter2");
    assert_eq!(loaded.settings.kafka.properties["ssl.key.password"], "hunter3");
}

#[test]
fn secrets_stand_in_files_of_their_own_or_in_the_environment_and_nowhere_else() {
    let file = Case::yaml("kafka: {properties: {ssl: {key: {password: hunter2}}}}").line();
    let wanted = "kafka.properties.ssl.key.password: is a secret, which the configuration file must not hold, expected the name of \
                  a file in kafka.secrets.ssl.key.password, or the environment variable \
                  STRAYD__KAFKA__PROPERTIES__SSL__KEY__PASSWORD";
    assert_eq!(file, wanted);
    for set in ["kafka.properties.sasl.password=hunter2", "kafka.properties={\"sasl.password\": \"hunter2\"}"] {
        let line = Case::yaml("").set(set).line();
        assert!(line.starts_with("kafka.properties.sasl.password: is a secret, which the command line"), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn problems_never_show_a_property() {
    for line in Case::yaml("kafka: {properties: {sasl.password: [hunter2]}}").lines() {
        assert!(line.starts_with("kafka.properties") && !line.contains("hunter2"), "{line}");
    }
    for set in [
        "kafka.properties=sasl.password=hunter2",
        "kafka.properties=[\"hunter2\"]",
        "kafka.properties={\"sasl.password\": hunter2}",
        "kafka.properties.sasl.password hunter2",
        "kafka.properties.acks=hunter2",
        "kafka.secrets=hunter2",
        "kafka.secrets.sasl.password=[\"hunter2\"]",
    ] {
        let text = Settings::load_with_clients(&Case::yaml("").set(set).sources).unwrap_err().to_string();
        assert!(!text.contains("hunter2") && text.contains("kafka") | text.contains("--set"), "{set}: {text}");
    }
    let case = Case::yaml("").env("STRAYD__KAFKA__PROPERTIES", "sasl.password=hunter2");
    assert!(!case.problems().to_string().contains("hunter2"));
    let broken = Case::of("toml", "[kafka.properties]\n\"sasl.password\" = hunter2\n");
    let text = Settings::load(&broken.sources).unwrap_err().to_string();
    assert!(text.contains("malformed") && text.contains("line 2") && !text.contains("hunter2"), "{text}");
    let broken = Case::yaml("kafka: {properties: {sasl.password: hunter2");
    let text = Settings::load(&broken.sources).unwrap_err().to_string();
    assert!(text.contains("malformed") && !text.contains("hunter2"), "{text}");
}

#[test]
fn what_librdkafka_would_refuse_is_told_with_all_other_problems() {
    let text = "
kafka:
  properties: {group.id: other, lingr.ms: 5, acks: some}
  secrets: {sasl.password: /nonexistent/password, ssl.key.password: ''}
training: {epochs: 0}
";
    let keys = |sources: &Sources| match Settings::load_with_clients(sources) {
        Err(ConfigError::Problems(problems)) => problems.0.into_iter().map(|problem| problem.key).collect::<Vec<_>>(),
        other => panic!("expected problems, got {other:?}"),
    };
    let expected = [
        "training.epochs",
        "kafka.secrets.ssl.key.password",
        "kafka.secrets.sasl.password",
        "kafka.properties.acks",
        "kafka.properties.group.id",
        "kafka.properties.lingr.ms",
    ];
    let found = keys(&Case::yaml(text).sources);
    expected.iter().for_each(|key| assert!(found.contains(&(*key).to_owned()), "{key} is missing in {found:?}"));
    // Files of secrets lie where the daemon runs: only what connects to Kafka needs them.
    let secret = Case::yaml("kafka: {secrets: {sasl.password: /nonexistent/password}}");
    assert!(Settings::load(&secret.sources).is_ok());
    assert_eq!(keys(&secret.sources), ["kafka.secrets.sasl.password"]);
    let registry = Case::yaml(
        "{kafka: {output_format: avro}, record: {schema_registry: {url: 'https://r', user: u, password_file: /nonexistent/p, ca_file: /nonexistent/ca}}}",
    );
    assert!(Settings::load(&registry.sources).is_ok());
    assert_eq!(keys(&registry.sources), ["record.schema_registry.password_file", "record.schema_registry.ca_file"]);
}

#[test]
fn an_empty_name_of_a_file_is_refused() {
    for key in ["model.file", "model.registry", "runtime.library"] {
        let variable = format!("STRAYD__{}", key.to_uppercase().replace('.', "__"));
        let line = Case::yaml("").env(&variable, "").line();
        assert!(line.starts_with(&format!("{key}: is empty, expected ")), "{line}");
    }
}

#[test]
fn what_is_printed_loads_to_the_same_settings() {
    let first = load_shipped("tabular.yaml");
    let again = Case::of("json", &first.merged.to_string()).load();
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", first.settings));
    assert_eq!(again.training_sha256, first.training_sha256);
}

#[test]
fn the_fingerprint_moves_with_training_and_not_with_brokers() {
    let of = |pair: &str| Case::yaml("").set(pair).load().training_sha256;
    let plain = Case::yaml("").load().training_sha256;
    assert_eq!(of("kafka.brokers=x:1"), plain);
    assert_ne!(of("training.seed=7"), plain);
    assert_ne!(of("record.transform=log1p"), plain);
}

#[test]
fn what_follows_from_the_data_stands_below_all_that_is_written_and_above_the_defaults() {
    let derived = || {
        let mut case = Case::yaml("");
        case.sources.derived =
            Some(json!({"preset": "timeseries", "record": {"timestamp": {"field": "ts"}, "exclude": ["label"]}}));
        case
    };
    let by_environment = derived().env("STRAYD__PRESET", "tabular").load().settings;
    assert_eq!((by_environment.preset, by_environment.training.window), (Preset::Tabular, 1));
    let mut tabular = derived();
    tabular.sources.derived = Some(json!({"preset": "tabular"}));
    assert_eq!(tabular.load().settings.training.window, 1);
    assert_eq!(tabular.set("preset=timeseries").load().settings.training.window, 4);
    // The user never wrote the exclusion that a list of features makes pointless.
    let listed = derived().set("record.features=load").load().settings;
    assert!(matches!(listed.record.features, FeatureSelection::Listed(listed) if listed.len() == 1));
    let all = derived().set("record.features=all_numeric").load().settings;
    assert!(matches!(all.record.features, FeatureSelection::AllNumeric { exclude, .. } if exclude.len() == 1));
    let line = derived().set("record.features=load").set("record.exclude=a").line();
    assert!(line.starts_with("record.exclude: has no effect"), "{line}");
    let format = derived().set("record.timestamp.format=seconds").load().settings.record.timestamp.unwrap();
    assert_eq!((format.path.to_string().as_str(), format.format), ("ts", TimestampFormat::Seconds));
}

#[test]
fn a_budget_that_somebody_wrote_is_told_from_a_default() {
    assert!(!Case::yaml("judging: {smoothing_span: 3}").load().budget_is_written);
    assert!(Case::yaml("judging: {budget: {quantile: 0.1}}").load().budget_is_written);
    assert!(Case::yaml("").env("STRAYD__JUDGING__BUDGET__QUANTILE", "0.1").load().budget_is_written);
    assert!(Case::yaml("").set("judging.budget.alarms=2 per entity per day").load().budget_is_written);
}

#[test]
fn toml_and_json_are_as_good_as_yaml() {
    let toml = Case::of("toml", "[training]\nepochs = 7\n[judging.residuals.running]\nhalf_life = 9\n").load().settings;
    let json =
        Case::of("json", r#"{"training": {"epochs": 7}, "judging": {"residuals": {"running": {"half_life": 9}}}}"#);
    assert_eq!(format!("{toml:?}"), format!("{:?}", json.load().settings));
    assert_eq!(toml.judging.residuals, Some(Residuals::Running { half_life: 9.0 }));
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let missing = Sources { file: Some("/nowhere/strayd.yaml".into()), ..Sources::default() };
    assert!(matches!(Settings::load(&missing), Err(ConfigError::Unreadable { .. })));
    assert!(matches!(Settings::load(&Case::of("ini", "").sources), Err(ConfigError::UnknownFormat(_))));
    let error = Settings::load(&Case::yaml("training: [1\n").sources).unwrap_err().to_string();
    assert!(error.contains("strayd.yaml is malformed"), "{error}");
    let error = Settings::load(&Case::yaml("kafka: {group: a, group: b}").sources).unwrap_err().to_string();
    assert!(error.contains("malformed"), "a key that stands twice: {error}");
}

#[test]
fn run_needs_brokers_and_a_topic() {
    let error = Case::yaml("").load().settings.require_kafka().unwrap_err().to_string();
    assert_eq!(
        error,
        "kafka.brokers: is not set, expected host:port, comma separated\n\
         kafka.input_topic: is not set, expected the name of a topic"
    );
    let case = Case::yaml("{training: {epochs: 0}, kafka: {brokers: nowhere}}");
    let text = Settings::load_for_run(&case.sources).unwrap_err().to_string();
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(keys, ["training.epochs", "kafka.brokers", "kafka.input_topic"], "all at once");
}

#[test]
fn bounds_of_severity_in_the_wrong_order_are_told_with_both_and_nan_is_refused() {
    let lines = Case::yaml("judging: {severity: {warning: 1e-7, critical: 1e-6}}").lines();
    let told = "judging.severity.critical: 1e-6 is not below judging.severity.warning, 1e-7, expected the smaller p-value of the two";
    assert_eq!(lines, [told]);
    let lines = Case::of("toml", "[judging.severity]\ncritical = nan\n").lines();
    assert!(lines[0].starts_with("judging.severity.critical: NaN is not finite"), "{lines:?}");
}

#[test]
fn null_switches_incident_events_offers_silence_and_feedback_off() {
    let text = "{kafka: {incident_topic: null, feedback_topic: null}, judging: {incidents: {new_normal_after: null}, silence: {after_intervals: null}}}";
    let settings = Settings::load(&Case::yaml(text).sources).unwrap().settings;
    assert_eq!((settings.kafka.incident_topic, settings.kafka.feedback_topic), (None, None));
    assert_eq!((settings.judging.incidents.new_normal_after, settings.judging.silence), (None, None));
    assert!(Settings::load(&Case::yaml("{preset: timeseries}").sources).unwrap().settings.judging.silence.is_some());
    assert_eq!(Settings::load(&Case::yaml("{preset: tabular}").sources).unwrap().settings.judging.silence, None);
}
