//! The gates between a score and an alarm, in the pipeline: what they hold back is counted, is published with its reason
//! only when asked, moves its offset, opens no incident, and is learned from or not as its reason says.

mod support;

use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;

use serde_json::Value;
use strayd::{
    config::{Settings, Sources},
    detect::{
        gates::{Suppression, cold_start::WatchState},
        incident::IncidentChange,
    },
    model::{Model, registry::Registry},
    pipeline::{
        NoObserver, Observer, Output, Unscored,
        entities::EntityState,
        observed::Observed,
        prepared::Prepared,
        run::{self, Parts, Start},
        scoring::Scoring,
    },
    record::{Position, RawRecord},
    telemetry::{Board, Metrics},
    testing::{CentreScorers, MemorySink, OwnedRecord, VecSource},
    train::{
        recent::{Bounds, KeptOut},
        sample::SampleRecord,
    },
};

/// Scores are not smoothed, so that a row is judged by itself.
fn settings(sets: &[&str]) -> Settings {
    let fixed = ["training.window=2", "model.kind=pca", "judging.budget.quantile=0.001", "judging.smoothing_span=1"];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

/// A row of two fields that wander slowly, a second after the one before; `x` is higher by `off`.
fn payload(row: usize, off: f64) -> String {
    let phase = row as f64 * 0.1;
    format!("{{\"x\":{:.5},\"y\":{:.5}}}", phase.sin() + off, phase.cos())
}

fn model(settings: &Settings) -> Model {
    let record = |row: usize| SampleRecord {
        position: Position { partition: 0, offset: row as i64 },
        timestamp_ms: Some(row as i64 * 1000),
        key: Some(b"a"[..].into()),
        payload: payload(row, 0.0).into_bytes().into(),
        headers: None,
        run: 0,
    };
    let sample: Vec<SampleRecord> = (0..400).map(record).collect();
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    support::models::recipe(CentreScorers, settings.clone()).train(&sample, go_on).expect("a model can be made")
}

/// Rows of the entity `a`, of which those at `odd` are far above what is expected.
fn records(rows: usize, odd: &[usize]) -> Vec<OwnedRecord> {
    let record = |row: usize| OwnedRecord {
        position: Position { partition: 0, offset: row as i64 },
        timestamp_ms: Some(row as i64 * 1000),
        key: Some(b"a".to_vec()),
        payload: Some(payload(row, if odd.contains(&row) { 60.0 } else { 0.0 }).into_bytes()),
    };
    (0..rows).map(record).collect()
}

/// What was seen of judged rows: offset, limit, what held the anomaly back, and what became of the incident.
#[derive(Default)]
struct Seen(Vec<(i64, f64, Option<Suppression>, bool, IncidentChange)>);

impl Observer for Seen {
    fn judged(&mut self, record: &Observed<'_>) {
        let end = (record.position.offset, record.limit(), record.suppressed, record.is_anomalous(), record.incident);
        self.0.push(end);
    }

    fn unscored(&mut self, _: &Unscored<'_>) {}
}

impl Seen {
    /// Offsets of what was held back, with the reasons.
    fn held(&self) -> Vec<(i64, Suppression)> {
        self.0.iter().filter_map(|(offset, _, held, ..)| Some((*offset, (*held)?))).collect()
    }

    fn alarms(&self) -> Vec<i64> {
        self.0.iter().filter(|(_, _, _, anomalous, _)| *anomalous).map(|(offset, ..)| *offset).collect()
    }
}

struct Outcome {
    seen: Seen,
    /// Events by offset.
    events: Vec<(i64, Value)>,
    /// Events of incidents.
    incidents: Vec<Value>,
    committed: Option<i64>,
    metrics: String,
    status: Value,
}

impl Outcome {
    fn has(&self, series: &str) {
        assert!(self.metrics.lines().any(|line| line == series), "{series} is missing in\n{}", self.metrics);
    }
}

fn run(start: Start, rows: Vec<OwnedRecord>, settings: &Settings) -> Outcome {
    let (mut source, mut sink, mut seen) = (VecSource::of_records(rows), MemorySink::default(), Seen::default());
    let (metrics, board) = (Metrics::new(), Board::new(Instant::now()));
    let parts = Parts {
        source: &mut source,
        sink: &mut sink,
        observer: &mut seen,
        progress: &mut |_| {},
        metrics: &metrics,
        board: &board,
        stop: &AtomicBool::new(false),
    };
    run::run(parts, start, settings, &CentreScorers).expect("the run ends well");
    let (mut events, mut incidents) = (Vec::new(), Vec::new());
    for (position, output) in &sink.outputs {
        let event = |json: &[u8]| serde_json::from_slice(json).expect("an event is JSON");
        match output {
            Output::Anomaly { json, .. } => events.push((position.offset, event(json))),
            Output::Incident { json, .. } => incidents.push(event(json)),
            Output::DeadLetter { error, .. } => panic!("{error}"),
            Output::Snapshot { .. } => {}
        }
    }
    let committed = source.committed.get(&0).copied();
    Outcome { seen, events, incidents, committed, metrics: metrics.render(), status: board.status() }
}

/// Scores with a model that is there from the start.
fn score(rows: Vec<OwnedRecord>, sets: &[&str]) -> Outcome {
    let settings = settings(sets);
    run(Start::Model(Arc::new(model(&settings))), rows, &settings)
}

#[test]
fn a_suppressed_anomaly_is_counted_not_published_and_its_offset_moves() {
    let told = score(records(100, &[5]), &[]);
    assert_eq!(told.seen.held(), [(5, Suppression::ColdStart)]);
    assert_eq!((told.events.len(), told.committed), (0, Some(100)));
    told.has("strayd_anomalies_suppressed_total{reason=\"cold_start\"} 1");
    told.has("strayd_records_total{outcome=\"suppressed\"} 1");
    told.has("strayd_records_total{outcome=\"anomalous\"} 0");
    told.has("strayd_records_total{outcome=\"normal\"} 98");
}

#[test]
fn a_suppressed_anomaly_is_published_with_its_reason_when_asked_for_and_is_still_none() {
    let told = score(records(100, &[5, 50]), &["judging.publish_suppressed=true"]);
    let reasons: Vec<(i64, &Value)> =
        told.events.iter().map(|(offset, event)| (*offset, &event["suppressed_by"])).collect();
    assert_eq!(reasons, [(5, &Value::from("cold_start")), (50, &Value::Null)]);
    assert_eq!((told.seen.alarms(), told.committed), (vec![50], Some(100)));
    told.has("strayd_records_total{outcome=\"suppressed\"} 1");
    told.has("strayd_records_total{outcome=\"anomalous\"} 1");
    told.has("strayd_outputs_total{kind=\"anomaly\",result=\"acknowledged\"} 2");
    let opened = told.seen.0.iter().filter(|(.., change)| *change == IncidentChange::Opened);
    assert_eq!(opened.count(), 1);
}

#[test]
fn with_default_settings_nothing_but_the_first_rows_of_an_entity_is_held_back() {
    let odd = [3, 14, 15, 16, 40, 41, 90];
    let (default, at_once) =
        (score(records(100, &odd), &[]), score(records(100, &odd), &["judging.cold_start_rows=0"]));
    assert_eq!(at_once.seen.held(), []);
    assert_eq!(at_once.seen.alarms(), odd.map(|row| row as i64));
    // The first row fills no window, so the 15th judged one is row 15.
    assert_eq!(default.seen.held().iter().map(|(row, _)| *row).collect::<Vec<_>>(), [3, 14, 15]);
    // Which row opens an incident, and so is asked what explains it, hangs on what was held back before.
    let bare = |(row, mut event): (i64, Value)| {
        for field in ["counterfactual_score", "counterfactual_under_limit"] {
            event[field].take();
        }
        (row, event)
    };
    let later = |told: &Outcome| told.events.iter().filter(|(row, _)| *row > 15).cloned().map(bare).collect::<Vec<_>>();
    assert_eq!(later(&default), later(&at_once));
    assert_eq!(default.events.len(), 4);
}

#[test]
fn entities_that_a_cold_start_of_the_daemon_was_trained_on_are_watched_from_the_next_row_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&["training.rows=300"]);
    let recipe = Box::new(support::models::recipe(CentreScorers, settings.clone()));
    let start = Start::ColdStart { recipe, registry: Registry::new(folder.path()) };
    let told = run(start, records(320, &[301]), &settings);
    assert_eq!((told.seen.held(), told.seen.alarms()), (vec![], vec![301]));
    assert_eq!(told.status["entities"], serde_json::json!({"warming_up": 0, "cold": 0, "watched": 1}));
    told.has("strayd_entities_in_state{state=\"watched\"} 1");
}

#[test]
fn maintenance_goes_by_event_time() {
    let hours = r#"judging.maintenance=[{"entities":"?","from":"1970-01-01T00:00:40Z","to":"1970-01-01T00:01:00Z"}]"#;
    let told = score(records(100, &[39, 40, 59, 60]), &[hours]);
    assert_eq!(told.seen.held(), [(40, Suppression::Maintenance), (59, Suppression::Maintenance)]);
    assert_eq!(told.seen.alarms(), [39, 60]);
}

#[test]
fn size_direction_and_range_of_a_feature_hold_back_what_they_say() {
    for (rule, reason) in [
        (r#"{"name":"x","min_absolute":70}"#, Some(Suppression::DeviationTooSmall)),
        (r#"{"name":"*","direction":"down"}"#, Some(Suppression::Direction)),
        (r#"{"name":"x","normal_range":[-100,100]}"#, Some(Suppression::WithinRange)),
        (r#"{"name":"x","min_absolute":50,"direction":"up","normal_range":[-2,2]}"#, None),
        (r#"{"name":"y","min_absolute":70}"#, None),
        (r#"{"name":"not there","min_absolute":70}"#, None),
    ] {
        let told = score(records(100, &[50]), &[&format!("judging.features=[{rule}]")]);
        let expected: Vec<(i64, Suppression)> = reason.map(|reason| (50, reason)).into_iter().collect();
        assert_eq!(told.seen.held(), expected, "{rule}");
        assert_eq!(told.events.len(), usize::from(reason.is_none()), "{rule}");
    }
}

#[test]
fn an_anomaly_has_to_persist_where_that_is_asked_for() {
    let sets = ["judging.persistence.anomalies=2", "judging.persistence.rows=3"];
    let told = score(records(100, &[30, 50, 52, 54, 70]), &sets);
    let held = [30, 50, 70].map(|row| (row, Suppression::NotPersistent));
    assert_eq!((told.seen.held(), told.seen.alarms()), (held.to_vec(), vec![52, 54]));
}

#[test]
fn suppressed_rows_neither_open_nor_prolong_an_incident() {
    let hours = r#"judging.maintenance=[{"entities":"*","from":"1970-01-01T00:00:51Z","to":"1970-01-01T00:02:00Z"}]"#;
    let told = score(records(100, &[50, 52, 54, 56]), &[hours, "judging.incident_quiet_rows=5"]);
    let change = |row: i64| told.seen.0.iter().find(|(offset, ..)| *offset == row).unwrap().4;
    assert_eq!((change(50), change(56)), (IncidentChange::Opened, IncidentChange::Resolved));
    let resolved = told.incidents.iter().find(|event| event["state"] == "resolved").unwrap();
    assert_eq!((&resolved["anomalies"], &resolved["last_offset"]), (&Value::from(1), &Value::from(50)));
}

#[test]
fn an_entitys_own_budget_gives_it_a_limit_of_its_own_that_is_told() {
    let own = r#"judging.overrides=[{"entities":"b*","budget":{"quantile":0.5},"cold_start_rows":0},{"entities":"*"}]"#;
    let settings = settings(&[own, "judging.publish_suppressed=true"]);
    let model = Arc::new(model(&settings));
    let limits = [0.001, 0.5].map(|share| {
        let budget = strayd::config::settings::AlarmBudget::Quantile(share);
        model.metadata.calibration.limit_of(budget).unwrap()
    });
    assert!(limits[1] < limits[0], "{limits:?}");
    for (entity, limit, held) in [("a", limits[0], true), ("bee", limits[1], false)] {
        let rows = records(30, &[5]).into_iter().map(|row| OwnedRecord { key: Some(entity.into()), ..row });
        let told = run(Start::Model(Arc::clone(&model)), rows.collect(), &settings);
        assert!(told.seen.0.iter().all(|(_, found, ..)| *found == limit), "{entity}");
        assert_eq!(told.seen.held().contains(&(5, Suppression::ColdStart)), held, "{entity}");
        assert!(!told.events.is_empty() && told.events.iter().all(|(_, event)| event["limit"] == limit), "{entity}");
        let open = &told.status["incidents"]["newest"];
        assert!(open.as_array().unwrap().iter().all(|incident| incident["limit"] == limit), "{entity}: {open}");
    }
}

/// Scoring that keeps a sample.
fn learning(sets: &[&str]) -> Scoring {
    let settings = settings(sets);
    let prepared = Prepared::new(Arc::new(model(&settings)), &settings, &CentreScorers).expect("the model is sound");
    let mut scoring = Scoring::new(prepared, &settings);
    scoring.keep_sample(Bounds::new(1000, 2));
    scoring
}

fn judge(scoring: &mut Scoring, rows: &[OwnedRecord]) {
    for row in rows {
        let (key, payload) = (row.key.as_deref(), row.payload.as_deref());
        let raw = RawRecord { position: row.position, timestamp_ms: row.timestamp_ms, key, payload, headers: None };
        scoring.take(&raw, &mut NoObserver);
        scoring.flush(&mut NoObserver, &mut |_, _, _| {}).expect("the batch can be scored");
    }
}

/// Rows kept, and rows kept out by reason, of a hundred of which `odd` are anomalous.
fn learned(odd: &[usize], sets: &[&str]) -> (usize, Vec<(KeptOut, u64)>) {
    let mut scoring = learning(sets);
    judge(&mut scoring, &records(100, odd));
    let counts = scoring.sample().expect("a sample is kept").counts();
    let out = KeptOut::ALL.into_iter().zip(counts.kept_out).filter(|(_, rows)| *rows > 0);
    (counts.rows, out.collect())
}

#[test]
fn what_a_gate_of_columns_holds_back_is_learned_from_and_what_the_others_hold_back_is_not() {
    // Of a hundred rows the first one fills no window.
    assert_eq!(learned(&[], &[]), (99, vec![]));
    assert_eq!(learned(&[50], &[r#"judging.features=[{"name":"x","direction":"down"}]"#]), (99, vec![]));
    assert_eq!(learned(&[8], &[]), (98, vec![(KeptOut::Suppressed, 1)]));
    let persistent = ["judging.persistence.anomalies=2", "judging.persistence.rows=2"];
    assert_eq!(learned(&[50], &persistent), (98, vec![(KeptOut::Suppressed, 1)]));
    let hours = r#"judging.maintenance=[{"entities":"*","from":"1970-01-01T00:00:40Z","to":"1970-01-01T00:01:00Z"}]"#;
    assert_eq!(learned(&[50], &[hours]), (79, vec![(KeptOut::Maintenance, 20)]), "anomalous or not");
}

#[test]
fn entities_are_counted_by_how_well_they_are_known_until_they_are_gone() {
    let mut scoring = learning(&["judging.cold_start_rows=3", "pipeline.max_entities=2"]);
    let counts = |scoring: &Scoring| WatchState::ALL.map(|state| scoring.population().of(state));
    let rows = |entity: &str, partition: i32, rows: usize| {
        let own = |row: OwnedRecord| OwnedRecord {
            key: Some(entity.into()),
            position: Position { partition, ..row.position },
            ..row
        };
        records(rows, &[]).into_iter().map(own).collect::<Vec<_>>()
    };
    judge(&mut scoring, &rows("a", 0, 1));
    assert_eq!(counts(&scoring), [1, 0, 0]);
    judge(&mut scoring, &rows("a", 0, 1));
    assert_eq!(counts(&scoring), [0, 1, 0], "one row was judged");
    judge(&mut scoring, &rows("b", 1, 4));
    assert_eq!(counts(&scoring), [0, 1, 1]);
    judge(&mut scoring, &rows("c", 1, 1));
    assert_eq!(counts(&scoring), [1, 0, 1], "a made room");
    scoring.forget(&[1]);
    assert_eq!(counts(&scoring), [0, 0, 0]);
}

#[test]
fn what_is_remembered_of_an_entity_stays_small() {
    let bytes = std::mem::size_of::<EntityState>();
    assert!(bytes <= 304, "{bytes} bytes beside window and running statistics");
}
