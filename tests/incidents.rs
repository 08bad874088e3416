//! Incidents and silences through the whole pipeline: one id from the first record to the last, in event time, and no
//! offset moves before what a record caused is delivered.

mod support;

use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;

use serde_json::Value;
use strayd::{
    config::{Settings, Sources, settings::TimestampFormat},
    detect::{LoadError, ScoreError, Scorer, Scorers},
    feedback::{Feedback, Subject, Told, Verdict},
    model::Model,
    pipeline::{
        NoObserver, Output, SourceEvent,
        prepared::Prepared,
        run::{self, Parts, RunError, RunSummary, Start},
        scoring::{Heard, Scoring},
    },
    record::{Position, RawRecord, timestamp},
    telemetry::{Board, Metrics, OutputKind},
    testing::{CentreScorers, MemorySink, OwnedRecord, SinkBehaviour, VecSource},
    train::{recent::Bounds, sample::SampleRecord},
};
use support::{
    broker::{Broker, Kind},
    daemon::{Daemon, Stage},
    incidents::COLD_START,
    records::{INCIDENT_ROWS, stream},
};

/// Records of the sample that the tests' model is made of.
const SAMPLE: usize = 400;
/// Rows from which on the tests' entities stray.
const ODD_FROM: i64 = 100;

fn settings(sets: &[&str]) -> Settings {
    let fixed = [
        "kafka.input_topic=sensors",
        "training.window=2",
        "model.kind=pca",
        "judging.budget.quantile=0.001",
        "judging.incident_quiet_rows=5",
        "judging.incidents.update_interval=30s",
        "judging.incidents.new_normal_after=5m",
    ];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

/// A row of two fields that wander slowly; `x` is far off where `odd`.
fn payload(row: i64, odd: bool) -> String {
    let phase = row as f64 * 0.1;
    let x = phase.sin() + if odd { 60.0 } else { 0.0 };
    format!("{{\"x\":{x:.5},\"y\":{:.5}}}", phase.cos())
}

fn model(settings: &Settings) -> Model {
    let record = |row: i64| SampleRecord {
        position: Position { partition: 0, offset: row },
        timestamp_ms: Some(row * 1000),
        key: Some(b"a"[..].into()),
        payload: payload(row, false).into_bytes().into(),
        headers: None,
        run: 0,
    };
    let sample: Vec<SampleRecord> = (0..SAMPLE as i64).map(record).collect();
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    support::models::recipe(CentreScorers, settings.clone()).train(&sample, go_on).expect("a model can be made")
}

/// A record of an entity, `second` seconds after the epoch.
fn record((partition, offset): (i32, i64), entity: &str, second: i64, odd: bool) -> OwnedRecord {
    OwnedRecord {
        position: Position { partition, offset },
        timestamp_ms: Some(second * 1000),
        key: Some(entity.as_bytes().to_vec()),
        payload: Some(payload(offset, odd).into_bytes()),
    }
}

/// One record a second of entity `a`, which is odd in `odd`.
fn of_a(rows: i64, odd: std::ops::Range<i64>) -> Vec<OwnedRecord> {
    (0..rows).map(|row| record((0, row), "a", row, odd.contains(&row))).collect()
}

struct Outcome {
    result: Result<RunSummary, RunError>,
    source: VecSource,
    sink: MemorySink,
    metrics: Metrics,
    status: Value,
}

fn run(source: VecSource, behaviour: SinkBehaviour, settings: &Settings) -> Outcome {
    let (mut source, mut sink, metrics) = (source, MemorySink::new(behaviour), Metrics::new());
    let board = Board::new(Instant::now());
    let parts = Parts {
        source: &mut source,
        sink: &mut sink,
        observer: &mut NoObserver,
        progress: &mut |_| {},
        metrics: &metrics,
        board: &board,
        stop: &AtomicBool::new(false),
    };
    let result = run::run(parts, Start::Model(Arc::new(model(settings))), settings, &CentreScorers);
    let status = board.status();
    Outcome { result, source, sink, metrics, status }
}

/// Events of incidents with the offset of the record that each hangs on.
fn events(sink: &MemorySink) -> Vec<(i64, Value)> {
    let event = |(position, output): &(Position, Output)| match output {
        Output::Incident { entity, json } => {
            let event: Value = serde_json::from_slice(json).expect("an event is JSON");
            assert_eq!(event["entity"], entity.as_str(), "the key is the entity");
            Some((position.offset, event))
        }
        Output::Anomaly { .. } | Output::DeadLetter { .. } | Output::Snapshot { .. } => None,
    };
    sink.outputs.iter().filter_map(event).collect()
}

/// Kind, state and causing offset of each event.
fn told(events: &[(i64, Value)]) -> Vec<(String, String, i64)> {
    let text = |event: &Value, key: &str| event[key].as_str().expect("a text").to_owned();
    events.iter().map(|(offset, event)| (text(event, "kind"), text(event, "state"), *offset)).collect()
}

#[test]
fn an_incident_is_opened_updated_and_resolved_under_one_id_with_the_offsets_of_its_records() {
    let Outcome { result, source, sink, metrics, .. } =
        run(VecSource::of_records(of_a(300, ODD_FROM..ODD_FROM + 70)), SinkBehaviour::Works, &settings(&[]));
    let events = events(&sink);
    assert_eq!(result.unwrap().incidents, events.len() as u64);
    let opened = &events[0].1;
    assert_eq!((opened["state"].as_str(), &opened["first_offset"]), (Some("opened"), &ODD_FROM.into()));
    assert_eq!(opened["event_id"], format!("sensors-0-{ODD_FROM}-opened-{ODD_FROM}"));
    assert!(events.iter().all(|(_, event)| event["id"] == format!("sensors-0-{ODD_FROM}")), "{events:?}");
    let (cause, resolved) = events.last().unwrap();
    assert_eq!(resolved["state"], "resolved");
    assert_eq!(*cause - resolved["last_offset"].as_i64().unwrap(), 6, "five quiet rows, and the one that ends it");
    assert_eq!(resolved["event_id"], format!("sensors-0-{ODD_FROM}-resolved-{cause}"));
    let last = resolved["last_offset"].as_i64().unwrap();
    assert_eq!(resolved["duration_seconds"], (last - ODD_FROM) as f64);
    assert_eq!(resolved["anomalies"], last - ODD_FROM + 1);
    assert_eq!((&resolved["severity"], &resolved["top_feature"]), (&"critical".into(), &"x".into()));
    assert!(resolved["peak_score"].as_f64() > resolved["limit"].as_f64(), "{resolved}");
    assert!(
        resolved["feature_values"][0].as_f64().unwrap() > 50.0 && resolved["feature_shares"][0].as_f64().unwrap() > 0.9
    );
    // Thirty seconds between updates, but for a severity that rises.
    let updates: Vec<i64> =
        events.iter().filter(|(_, event)| event["state"] == "updated").map(|(offset, _)| *offset).collect();
    let calm: Vec<i64> = updates.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap < 30).collect();
    assert!(updates.len() >= 2 && updates.len() <= 4 && calm.is_empty(), "{updates:?}");
    let severities: Vec<&str> = events.iter().map(|(_, event)| event["severity"].as_str().unwrap()).collect();
    let rank = |severity: &&str| ["info", "warning", "critical"].iter().position(|word| word == severity);
    assert!(severities.iter().map(rank).is_sorted(), "{severities:?}");
    assert_eq!(source.committed[&0], 300);
    assert!(metrics.render().contains("strayd_incidents_resolved_total{severity=\"critical\",top_feature=\"x\"} 1\n"));
    assert!(metrics.render().contains("strayd_outputs_total{kind=\"incident\",result=\"refused\"} 0\n"));
}

#[test]
fn events_are_the_same_to_the_byte_however_rows_are_batched() {
    let stream = || VecSource::of_records(of_a(400, ODD_FROM..ODD_FROM + 70));
    let one = run(stream(), SinkBehaviour::Works, &settings(&["pipeline.batch_rows=1"]));
    let many = run(stream(), SinkBehaviour::Works, &settings(&["pipeline.batch_rows=64"]));
    assert_eq!(one.sink.outputs, many.sink.outputs);
}

/// Rows of entities that take turns, whose fields are further up by so much in `odd`.
fn turns(entities: i64, rows: i64, odd: std::ops::Range<i64>, by: [f64; 2]) -> Vec<OwnedRecord> {
    let of = |offset: i64| {
        let (row, entity) = (offset / entities, offset % entities);
        let [x, y] = if odd.contains(&row) { by } else { [0.0; 2] };
        let phase = row as f64 * 0.1;
        let payload = format!("{{\"x\":{:.5},\"y\":{:.5}}}", phase.sin() + x, phase.cos() + y);
        let record = record((0, offset), &format!("e{entity}"), row, false);
        OwnedRecord { payload: Some(payload.into_bytes()), ..record }
    };
    (0..entities * rows).map(of).collect()
}

fn anomalies(sink: &MemorySink) -> Vec<Value> {
    let event = |(_, output): &(Position, Output)| match output {
        Output::Anomaly { json, .. } => Some(serde_json::from_slice(json).expect("an event is JSON")),
        Output::Incident { .. } | Output::DeadLetter { .. } | Output::Snapshot { .. } => None,
    };
    sink.outputs.iter().filter_map(event).collect()
}

#[test]
fn features_that_are_named_explain_an_incident_where_its_first_row_would_have_been_no_anomaly_without_them() {
    let told = |named: usize| {
        let stream = VecSource::of_records(turns(1, 300, ODD_FROM..ODD_FROM + 20, [60.0, 60.0]));
        run(stream, SinkBehaviour::Works, &settings(&[&format!("judging.top_features={named}")]))
    };
    for (named, explained, counted) in [(2, true, "explained"), (1, false, "unexplained")] {
        let Outcome { sink, metrics, .. } = told(named);
        let (events, rows) = (events(&sink), anomalies(&sink));
        let score = rows[0]["counterfactual_score"].as_f64().unwrap();
        let limit = rows[0]["limit"].as_f64().unwrap();
        assert_eq!(score <= limit, explained, "{}", rows[0]);
        assert!(score < rows[0]["score"].as_f64().unwrap(), "one of two would be something: {}", rows[0]);
        for event in events.iter().map(|(_, event)| event).chain(&rows[..1]) {
            assert_eq!(event["counterfactual_under_limit"], explained, "{event}");
            assert_eq!(event["counterfactual_score"], score, "it is of the first row in all events: {event}");
        }
        for row in &rows[1..] {
            assert!(row["counterfactual_score"].is_null() && row["counterfactual_under_limit"].is_null(), "{row}");
        }
        let count = format!("strayd_counterfactuals_total{{result=\"{counted}\"}} 1\n");
        assert!(rows.len() > 1 && metrics.render().contains(&count), "{count} is missing");
    }
    // Whatever is asked, nothing is remembered of it.
    let scores =
        |named: usize| -> Vec<Value> { anomalies(&told(named).sink).iter().map(|row| row["score"].clone()).collect() };
    assert_eq!(scores(1), scores(2));
}

#[test]
fn a_feature_strays_since_the_row_in_which_it_began_to_however_late_the_alarm() {
    let stream = VecSource::of_records(turns(1, 300, ODD_FROM..ODD_FROM + 60, [4.0, 0.0]));
    let settings = settings(&["judging.persistence.anomalies=4", "judging.persistence.rows=4"]);
    let Outcome { sink, .. } = run(stream, SinkBehaviour::Works, &settings);
    let (events, rows) = (events(&sink), anomalies(&sink));
    let first = events[0].1["first_offset"].as_i64().unwrap();
    assert_eq!(first, ODD_FROM + 3, "the fourth of four");
    for (_, event) in &events {
        assert_eq!(
            (&event["feature_names"][0], &event["feature_onsets"][0]),
            (&"x".into(), &(first - ODD_FROM).into())
        );
        assert!(event["feature_errors"][0].as_f64().unwrap() > 3.0, "it came from above: {event}");
    }
    for row in rows {
        let since = row["offset"].as_i64().unwrap() - ODD_FROM;
        if since >= 60 {
            assert!(row["feature_onsets"][0].is_null(), "it no longer strays: {row}");
            continue;
        }
        assert_eq!((&row["top_feature"], &row["feature_onsets"][0]), (&"x".into(), &since.into()));
        let (errors, shares) = (row["feature_errors"].as_array().unwrap(), row["feature_shares"].as_array().unwrap());
        let squares: Vec<f64> = errors.iter().map(|error| error.as_f64().unwrap().powi(2)).collect();
        let share = squares[0] / squares.iter().sum::<f64>();
        assert!((share - shares[0].as_f64().unwrap()).abs() < 1e-6, "shares are those of squared errors: {row}");
        assert_eq!(row["top_feature_error"], errors[0]);
    }
}

/// Scorers that count how often they are asked, and of how many rows.
#[derive(Clone, Default)]
struct Counting(Arc<std::sync::Mutex<Vec<usize>>>);

struct CountingScorer(Box<dyn Scorer>, Counting);

impl Scorers for Counting {
    fn scorer(&self, model: &Model) -> Result<Box<dyn Scorer>, LoadError> {
        Ok(Box::new(CountingScorer(CentreScorers.scorer(model)?, self.clone())))
    }
}

impl Scorer for CountingScorer {
    fn score(&mut self, windows: &[f32], rows: usize, residuals: &mut Vec<f32>) -> Result<(), ScoreError> {
        self.1.0.lock().expect("nobody panicked").push(rows);
        self.0.score(windows, rows, residuals)
    }
}

#[test]
fn entities_that_begin_to_stray_in_one_batch_cost_one_more_run_and_normal_rows_none() {
    const ENTITIES: i64 = 40;
    let set = |rows: usize| settings(&[&format!("pipeline.batch_rows={rows}")]);
    let stream = || turns(ENTITIES, ODD_FROM + 10, ODD_FROM..ODD_FROM + 10, [60.0, 0.0]);
    let counting = Counting::default();
    let settings = set(ENTITIES as usize);
    let prepared = Prepared::new(Arc::new(model(&settings)), &settings, &counting).unwrap();
    let mut scoring = Scoring::new(prepared, &settings);
    counting.0.lock().unwrap().clear();
    for record in stream() {
        let raw = RawRecord {
            position: record.position,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            headers: None,
        };
        scoring.take(&raw, &mut NoObserver);
        if scoring.room() == 0 {
            scoring.flush(&mut NoObserver, &mut |_, _, _| {}).unwrap();
        }
    }
    let runs = counting.0.lock().unwrap().clone();
    // The first row of each fills its window of two with the second; all incidents open in one batch.
    assert_eq!(scoring.open_incidents().count(), ENTITIES as usize);
    assert_eq!(runs, vec![ENTITIES as usize; ODD_FROM as usize + 10], "one run a batch, and one more");

    let one_by_one = run(VecSource::of_records(stream()), SinkBehaviour::Works, &set(1));
    let at_once = run(VecSource::of_records(stream()), SinkBehaviour::Works, &set(ENTITIES as usize));
    assert_eq!(one_by_one.sink.outputs, at_once.sink.outputs);
    assert!(events(&at_once.sink).iter().all(|(_, event)| event["counterfactual_under_limit"] == true));
}

#[test]
fn without_a_topic_for_incidents_none_is_told_and_all_else_goes_on() {
    let settings = settings(&["kafka.incident_topic=null"]);
    let Outcome { result, sink, metrics, .. } =
        run(VecSource::of_records(of_a(300, ODD_FROM..ODD_FROM + 70)), SinkBehaviour::Works, &settings);
    assert_eq!((result.unwrap().incidents, events(&sink).len()), (0, 0));
    assert!(metrics.render().contains("strayd_incidents_total{top_feature=\"x\"} 1\n"));
}

#[test]
fn a_level_shift_is_one_incident_and_offered_once_as_the_new_normal() {
    let Outcome { sink, metrics, .. } =
        run(VecSource::of_records(of_a(1000, ODD_FROM..1000)), SinkBehaviour::Works, &settings(&[]));
    let events = events(&sink);
    let ids: std::collections::BTreeSet<&str> = events.iter().map(|(_, event)| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1, "{events:?}");
    assert!(events.iter().all(|(_, event)| event["state"] != "resolved"), "it lasts: {events:?}");
    let offers: Vec<i64> =
        events.iter().filter(|(_, event)| event["new_normal_offered"] == true).map(|(offset, _)| *offset).collect();
    assert_eq!(offers, [ODD_FROM + 300]);
    for (offset, event) in &events {
        assert_eq!(event["level_shift"], *offset >= ODD_FROM + 300, "{event}");
    }
    assert!(metrics.render().contains("strayd_level_shifts_total 1\n"));
}

/// Scoring on a model of these settings, one record after the other, and the events told.
struct Bench {
    settings: Settings,
    scoring: Scoring,
    told: Vec<Value>,
}

impl Bench {
    fn new(sets: &[&str]) -> Self {
        let settings = settings(sets);
        let scoring = Scoring::new(Self::prepared(&settings), &settings);
        Self { settings, scoring, told: Vec::new() }
    }

    fn prepared(settings: &Settings) -> Prepared {
        Prepared::new(Arc::new(model(settings)), settings, &CentreScorers).expect("the model can be put to work")
    }

    fn score(&mut self, record: &OwnedRecord) {
        let raw = RawRecord {
            position: record.position,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            headers: None,
        };
        let read = |json: &[u8]| serde_json::from_slice(json).expect("an event is JSON");
        self.scoring.take(&raw, &mut NoObserver);
        let told = &mut self.told;
        told.extend(self.scoring.announcements().drain(..).map(|announcement| read(&announcement.json)));
        let scored = self.scoring.flush(&mut NoObserver, &mut |_, _, announcements| {
            told.extend(announcements.drain(..).map(|announcement| read(&announcement.json)));
        });
        scored.expect("the batch can be scored");
    }
}

#[test]
fn an_accepted_level_is_learned_from_then_on_and_any_other_is_not() {
    let kept = |accept: bool| {
        let mut bench = Bench::new(&[&format!("judging.incidents.accept_new_normal={accept}")]);
        bench.scoring.keep_sample(Bounds::new(10_000, 2));
        of_a(ODD_FROM + 500, ODD_FROM..10_000).iter().for_each(|record| bench.score(record));
        bench.scoring.sample().expect("it is kept").counts().rows as i64
    };
    let (accepted, refused) = (kept(true), kept(false));
    assert!(refused <= ODD_FROM, "{refused}");
    assert_eq!(accepted - refused, 200, "the rows after the offer");
}

#[test]
fn a_model_that_is_swapped_amid_an_incident_keeps_its_id() {
    let mut bench = Bench::new(&[]);
    let records = of_a(300, ODD_FROM..ODD_FROM + 70);
    let (before, after) = records.split_at(ODD_FROM as usize + 40);
    before.iter().for_each(|record| bench.score(record));
    let other = Settings { judging: settings(&["judging.smoothing_span=3"]).judging, ..bench.settings.clone() };
    let prepared = Bench::prepared(&other);
    let version = prepared.model().version.clone();
    let old = bench.scoring.swap(prepared).model().version.clone();
    assert_ne!(old, version);
    after.iter().for_each(|record| bench.score(record));
    let states: Vec<&str> = bench.told.iter().map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!((states[0], states[states.len() - 1]), ("opened", "resolved"));
    assert_eq!(states.iter().filter(|state| **state != "updated").count(), 2, "{states:?}");
    assert!(bench.told.iter().all(|event| event["id"] == format!("sensors-0-{ODD_FROM}")));
    assert_eq!((&bench.told[0]["model"], &bench.told[states.len() - 1]["model"]), (&old.into(), &version.into()));
}

#[test]
fn a_revoked_partition_drops_its_incidents_and_nothing_is_called_resolved() {
    let source = VecSource::of_records(of_a(150, ODD_FROM..150))
        .then_event(SourceEvent::Revoked(vec![0]))
        .then_event(SourceEvent::Assigned(vec![0]))
        .then_records((150..300).map(|row| record((0, row), "a", row, false)));
    let settings = settings(&["pipeline.batch_rows=16"]);
    let Outcome { result, source, sink, .. } = run(source, SinkBehaviour::Works, &settings);
    assert!(result.is_ok(), "{result:?}");
    let states: Vec<String> = told(&events(&sink)).into_iter().map(|(_, state, _)| state).collect();
    assert!(states.contains(&"opened".to_owned()) && !states.contains(&"resolved".to_owned()), "{states:?}");
    assert_eq!(source.committed[&0], 300);
}

#[test]
fn the_end_of_a_run_leaves_incidents_open() {
    let Outcome { sink, .. } =
        run(VecSource::of_records(of_a(150, ODD_FROM..150)), SinkBehaviour::Works, &settings(&[]));
    let states: Vec<String> = told(&events(&sink)).into_iter().map(|(_, state, _)| state).collect();
    assert!(states[0] == "opened" && !states.contains(&"resolved".to_owned()), "{states:?}");
}

#[test]
fn no_offset_moves_past_a_record_before_each_of_its_outputs_is_acknowledged() {
    let settings = settings(&["pipeline.shutdown_deadline=1s", "pipeline.batch_rows=8"]);
    for withheld in [OutputKind::Incident, OutputKind::Anomaly] {
        let source = VecSource::of_records(of_a(300, ODD_FROM..ODD_FROM + 70));
        let Outcome { result, source, sink, .. } = run(source, SinkBehaviour::Withholds(withheld), &settings);
        let waiting = sink.outputs.iter().filter(|(_, output)| output.kind() == withheld).count();
        assert!(matches!(result, Err(RunError::Deadline { outputs }) if outputs == waiting), "{result:?}");
        assert_eq!(source.finished.iter().map(|next| next.offset).max(), Some(ODD_FROM), "{withheld:?}");
    }
}

#[test]
fn incidents_that_the_sink_refuses_for_good_are_counted_and_hold_nothing_up() {
    let source = VecSource::of_records(of_a(300, ODD_FROM..ODD_FROM + 70));
    let Outcome { result, source, sink, .. } = run(source, SinkBehaviour::Refuses, &settings(&[]));
    assert_eq!(result.unwrap().refused, sink.outputs.len() as u64);
    assert_eq!(source.committed[&0], 300);
}

/// Three entities that report every minute; `c` is away from minute 60 on, until minute 100.
fn minutes(until: i64) -> Vec<OwnedRecord> {
    let reports = |minute: i64, place: i64| place != 2 || !(60..100).contains(&minute);
    let moments = (0..until).flat_map(|minute| (0..3).map(move |place| (minute, place)));
    let present = moments.filter(|(minute, place)| reports(*minute, *place));
    let of = |(offset, (minute, place)): (usize, (i64, i64))| {
        record((0, offset as i64), ["a", "b", "c"][place as usize], minute * 60, false)
    };
    present.enumerate().map(of).collect()
}

#[test]
fn a_silence_is_opened_and_resolved_in_event_time() {
    let records = minutes(150);
    // Offsets of c's last record before, of the first record of minute 69, and of c's first record after.
    let at = |minute: i64, entity: &str| {
        let is_it = |record: &&OwnedRecord| {
            record.timestamp_ms == Some(minute * 60_000) && record.key.as_deref() == Some(entity.as_bytes())
        };
        records.iter().find(is_it).expect("there is one").position.offset
    };
    let (last, fired, back) = (at(59, "c"), at(69, "a"), at(100, "c"));
    let Outcome { result, source, sink, metrics, .. } =
        run(VecSource::of_records(records), SinkBehaviour::Works, &settings(&[]));
    assert!(result.is_ok(), "{result:?}");
    let events = events(&sink);
    let silence = |state: &str, offset| ("silence".to_owned(), state.to_owned(), offset);
    assert_eq!(told(&events), [silence("opened", fired), silence("resolved", back)]);
    for (_, event) in &events {
        assert_eq!((&event["id"], &event["entity"]), (&format!("sensors-0-{last}-silence").into(), &"c".into()));
        assert_eq!((&event["first_offset"], &event["interval_seconds"]), (&last.into(), &60.0.into()));
        assert_eq!((&event["severity"], &event["peak_score"]), (&"warning".into(), &Value::Null));
    }
    assert_eq!((&events[0].1["duration_seconds"], &events[1].1["duration_seconds"]), (&600.0.into(), &2460.0.into()));
    assert_eq!(events[1].1["last_offset"], back);
    assert_eq!(source.committed[&0], 410);
    assert!(metrics.render().contains("strayd_silences_total 1\n"));
    assert!(
        metrics.render().contains("strayd_incidents_total{top_feature=\"x\"} 0\n"),
        "silence is in no alarm budget"
    );
}

#[test]
fn the_record_that_shows_a_silence_is_not_done_before_that_is_delivered() {
    let settings = settings(&["pipeline.shutdown_deadline=1s", "pipeline.batch_rows=8"]);
    let Outcome { result, source, sink, .. } =
        run(VecSource::of_records(minutes(90)), SinkBehaviour::Withholds(OutputKind::Incident), &settings);
    assert!(matches!(result, Err(RunError::Deadline { outputs: 1 })), "{result:?}");
    let fired = events(&sink)[0].0;
    assert_eq!(source.finished.iter().map(|next| next.offset).max(), Some(fired));
}

#[test]
fn who_is_silent_stands_on_the_board_and_goes_with_its_partition() {
    let Outcome { status, .. } = run(VecSource::of_records(minutes(90)), SinkBehaviour::Works, &settings(&[]));
    let newest = &status["incidents"]["newest"][0];
    assert_eq!(
        (&newest["kind"], &newest["entity"], &newest["severity"]),
        (&"silence".into(), &"c".into(), &"warning".into())
    );
    let mut bench = Bench::new(&[]);
    minutes(90).iter().for_each(|record| bench.score(record));
    assert_eq!(bench.scoring.silent_entities().map(|silent| silent.entity.to_owned()).collect::<Vec<_>>(), ["c"]);
    bench.scoring.forget(&[0]);
    assert_eq!(bench.scoring.silent_entities().count(), 0);
    assert_eq!(bench.told.len(), 1, "nothing is called resolved");
}

#[test]
fn silence_is_not_watched_for_where_it_is_switched_off_and_by_default_in_tabular_data() {
    for sets in [&["judging.silence.after_intervals=null"][..], &["preset=tabular", "training.window=1"]] {
        let mut bench = Bench::new(sets);
        minutes(90).iter().for_each(|record| bench.score(record));
        assert_eq!(bench.told, Vec::<Value>::new(), "{sets:?}");
    }
}

#[test]
fn what_fills_windows_at_a_cold_start_teaches_intervals_and_tells_no_silence() {
    let mut bench = Bench::new(&[]);
    let records = minutes(90);
    let (primed, scored) = records.split_at(records.len() - 10);
    for record in primed {
        let raw = RawRecord {
            position: record.position,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            headers: None,
        };
        bench.scoring.prime(&raw).expect("the record is sound");
    }
    assert!(bench.scoring.announcements().is_empty());
    scored.iter().for_each(|record| bench.score(record));
    assert_eq!(bench.told.len(), 1, "found with the first record that is scored");
    assert_eq!(
        bench.told[0]["event_id"].as_str().unwrap().rsplit('-').next().unwrap(),
        scored[0].position.offset.to_string()
    );
}

/// Entities whose names begin alike are a group: those of a rack, by its number.
const RACKS: &str = r#"judging.incidents.groups=[{"entities":"rack-{group}-*","least":3,"within":"5m"}]"#;

/// Rows are judged by themselves alone, so that an entity that is as it was is no second incident.
const STEADY: [&str; 2] = ["judging.residuals=held_back", "judging.smoothing_span=1"];

/// Settings with [`RACKS`].
fn grouped(sets: &[&str]) -> Settings {
    settings(&[&[RACKS], &STEADY[..], sets].concat())
}

/// One record a second of each of these entities, each in its partition; which are odd when, `is_odd` says.
fn of_many(entities: &[(String, i32)], seconds: i64, is_odd: impl Fn(usize, i64) -> bool) -> Vec<OwnedRecord> {
    let mut next = std::collections::BTreeMap::<i32, i64>::new();
    let moments = (0..seconds).flat_map(|second| (0..entities.len()).map(move |entity| (second, entity)));
    let of = |(second, entity): (i64, usize)| {
        let (name, partition) = &entities[entity];
        let offset = next.entry(*partition).or_default();
        let position = (*partition, *offset);
        *offset += 1;
        let payload = Some(payload(second, is_odd(entity, second)).into_bytes());
        OwnedRecord { payload, ..record(position, name, second, false) }
    };
    moments.map(of).collect()
}

/// So many pumps of a rack, all in this partition.
fn pumps(rack: u32, count: usize, partition: i32) -> Vec<(String, i32)> {
    (0..count).map(|pump| (format!("rack-{rack}-pump-{pump}"), partition)).collect()
}

fn of_kind<'a>(events: &'a [(i64, Value)], kind: &str) -> Vec<(i64, &'a Value)> {
    events.iter().filter(|(_, event)| event["kind"] == kind).map(|(offset, event)| (*offset, event)).collect()
}

fn states(events: &[(i64, &Value)]) -> Vec<String> {
    events.iter().map(|(_, event)| event["state"].as_str().expect("a text").to_owned()).collect()
}

/// Forty pumps that begin to stray a second after each other, for 70 seconds each.
fn forty(seconds: i64) -> Vec<OwnedRecord> {
    let is_odd = |pump: usize, second: i64| (ODD_FROM..ODD_FROM + 70).contains(&(second - pump as i64));
    of_many(&pumps(7, 40, 0), seconds, is_odd)
}

/// What is told of them.
fn told_of_forty() -> Vec<(i64, Value)> {
    events(&run(VecSource::of_records(forty(260)), SinkBehaviour::Works, &grouped(&[])).sink)
}

#[test]
fn forty_entities_that_stray_within_a_minute_are_one_incident_of_their_group() {
    let records = forty(260);
    let count = records.len() as i64;
    let Outcome { result, source, sink, .. } = run(VecSource::of_records(records), SinkBehaviour::Works, &grouped(&[]));
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(source.committed[&0], count);
    let events = events(&sink);
    let parts = of_kind(&events, "anomaly");
    let group = of_kind(&events, "group");
    // The third that opened made it one.
    let opened: Vec<&(i64, &Value)> = parts.iter().filter(|(_, event)| event["state"] == "opened").collect();
    let (made_by, first) = (opened[2].0, opened[0].1);
    let id = format!("sensors-0-{made_by}-group");
    for (offset, event) in &group {
        assert_eq!(
            (&event["id"], &event["entity"], &event["group_id"]),
            (&id.as_str().into(), &"rack-7-*".into(), &Value::Null)
        );
        assert_eq!(event["event_id"], format!("{id}-{}-{offset}", event["state"].as_str().unwrap()));
        assert_eq!(event["first_offset"], first["first_offset"]);
    }
    let told = states(&group);
    assert_eq!((told[0].as_str(), told[told.len() - 1].as_str()), ("opened", "resolved"));
    assert!(told.len() >= 4 && told[1..told.len() - 1].iter().all(|state| state == "updated"), "{told:?}");
    let calm = group.windows(2).filter(|pair| pair[0].1["severity"] == pair[1].1["severity"]);
    let second = |event: &Value| {
        timestamp::from_text(event["last_time"].as_str().unwrap(), TimestampFormat::Rfc3339).unwrap() / 1_000_000
    };
    for pair in calm.filter(|pair| pair[1].1["state"] == "updated") {
        assert!(second(pair[1].1) - second(pair[0].1) >= 30, "{pair:?}");
    }
    let (last, end) = (parts.last().unwrap(), group.last().unwrap());
    assert_eq!(last.0, end.0, "it is over with the last of it");
}

#[test]
fn an_incident_of_a_group_sums_up_its_parts_and_names_the_worst() {
    let events = told_of_forty();
    let (parts, group) = (of_kind(&events, "anomaly"), of_kind(&events, "group"));
    let end = group.last().unwrap();
    assert_eq!((&end.1["members"], &end.1["members_open"]), (&40.into(), &0.into()));
    assert_eq!((&end.1["severity"], &end.1["top_feature"]), (&"critical".into(), &"x".into()));
    let of_parts = |key: &str, state: &str| {
        parts
            .iter()
            .filter(move |(_, event)| event["state"] == state)
            .map(|(_, event)| event[key].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(end.1["anomalies"].as_f64().unwrap(), of_parts("anomalies", "resolved").iter().sum::<f64>());
    let worst = of_parts("peak_p_value", "resolved").into_iter().fold(1.0, f64::min);
    assert_eq!(end.1["peak_p_value"].as_f64().unwrap(), worst);
    let (names, ids) = (end.1["worst_members"].as_array().unwrap(), end.1["worst_member_ids"].as_array().unwrap());
    assert_eq!((names.len(), ids.len()), (10, 10));
    let worst = parts.iter().find(|(_, event)| event["id"] == ids[0]).expect("the id is that of a part");
    assert_eq!(worst.1["entity"], names[0]);
}

#[test]
fn each_part_of_a_groups_incident_names_it() {
    let events = told_of_forty();
    let (parts, group) = (of_kind(&events, "anomaly"), of_kind(&events, "group"));
    let id = group[0].1["id"].as_str().unwrap();
    let opened: Vec<&(i64, &Value)> = parts.iter().filter(|(_, event)| event["state"] == "opened").collect();
    // Two stood alone at first and are told once that they don't any more; all others are part of it from the first.
    for (number, (_, event)) in opened.iter().enumerate() {
        assert_eq!(event["group_id"], if number < 2 { Value::Null } else { id.into() }, "{event}");
    }
    for (_, alone) in &opened[..2] {
        let told: Vec<&(i64, &Value)> = parts.iter().filter(|(_, event)| event["id"] == alone["id"]).collect();
        let joined = told.iter().position(|(_, event)| event["group_id"] == id).expect("it is told");
        assert_eq!((told[joined].0, &told[joined].1["state"]), (group[0].0, &"updated".into()));
    }
    assert!(parts.iter().filter(|(_, event)| event["state"] == "resolved").all(|(_, event)| event["group_id"] == id));
    let ids: std::collections::BTreeSet<&str> =
        events.iter().map(|(_, event)| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "each event has an id of its own");
}

#[test]
fn what_alerts_are_made_of_counts_forty_that_stray_together_as_one() {
    let over = |settings: &Settings| {
        let Outcome { sink, metrics, .. } = run(VecSource::of_records(forty(260)), SinkBehaviour::Works, settings);
        (events(&sink), metrics.render())
    };
    let has =
        |text: &str, series: &str| assert!(text.lines().any(|line| line == series), "{series} is missing in\n{text}");
    let (_, metrics) = over(&grouped(&[]));
    // Two alone, and the group.
    has(&metrics, "strayd_incidents_total{top_feature=\"x\"} 3");
    has(&metrics, "strayd_incidents_joined_total 38");
    has(&metrics, "strayd_group_incidents_total 1");
    has(&metrics, "strayd_incidents_resolved_total{severity=\"critical\",top_feature=\"x\"} 1");
    for severity in ["info", "warning"] {
        has(&metrics, &format!("strayd_incidents_resolved_total{{severity=\"{severity}\",top_feature=\"x\"}} 0"));
    }
    let (told, metrics) = over(&settings(&STEADY));
    assert_eq!(of_kind(&told, "group").len(), 0, "without the setting nothing is grouped");
    has(&metrics, "strayd_incidents_total{top_feature=\"x\"} 40");
    has(&metrics, "strayd_incidents_resolved_total{severity=\"critical\",top_feature=\"x\"} 40");
    let open = |sets: &[&str]| {
        let mut bench = Bench::new(sets);
        forty(160).iter().for_each(|record| bench.score(record));
        let groups: Vec<usize> = bench.scoring.open_groups().map(|group| group.open_entities()).collect();
        (bench.scoring.open_incidents().count(), bench.scoring.alone_incidents().count(), groups)
    };
    assert_eq!((open(&[&STEADY[..], &[RACKS]].concat()), open(&STEADY)), ((40, 0, vec![40]), (40, 40, Vec::new())));
}

#[test]
fn groups_change_who_is_told_and_nothing_that_is_found() {
    let found = |settings: &Settings| {
        let sink = run(VecSource::of_records(forty(260)), SinkBehaviour::Works, settings).sink;
        let anomalies: Vec<(Position, Output)> =
            sink.outputs.iter().filter(|(_, output)| output.kind() == OutputKind::Anomaly).cloned().collect();
        let ends: Vec<(i64, Value)> = events(&sink)
            .into_iter()
            .filter(|(_, event)| event["kind"] == "anomaly" && event["state"] == "resolved")
            .map(|(offset, mut event)| {
                event["group_id"] = Value::Null;
                (offset, event)
            })
            .collect();
        (anomalies, ends)
    };
    assert_eq!(found(&settings(&STEADY)), found(&grouped(&[])));
}

#[test]
fn events_of_groups_are_the_same_to_the_byte_however_rows_are_batched() {
    let outputs = |rows: &str| {
        let settings = grouped(&[rows]);
        run(VecSource::of_records(forty(260)), SinkBehaviour::Works, &settings).sink.outputs
    };
    assert_eq!(outputs("pipeline.batch_rows=1"), outputs("pipeline.batch_rows=64"));
}

#[test]
fn two_of_forty_are_no_group_and_groups_are_kept_apart() {
    let two = of_many(&pumps(7, 40, 0), 200, |pump, second| pump < 2 && (ODD_FROM..ODD_FROM + 50).contains(&second));
    let Outcome { sink, metrics, .. } = run(VecSource::of_records(two), SinkBehaviour::Works, &grouped(&[]));
    let told = events(&sink);
    assert!(told.iter().all(|(_, event)| event["kind"] == "anomaly" && event["group_id"] == Value::Null), "{told:?}");
    assert_eq!(told.iter().filter(|(_, event)| event["state"] == "opened").count(), 2);
    assert!(metrics.render().contains("strayd_incidents_resolved_total{severity=\"critical\",top_feature=\"x\"} 2\n"));

    let fans = ["fan-0", "fan-1", "fan-2"].map(|fan| (fan.to_owned(), 0));
    let entities: Vec<(String, i32)> = [pumps(7, 3, 0), pumps(8, 3, 0), fans.to_vec()].concat();
    let all = of_many(&entities, 200, |_, second| (ODD_FROM..ODD_FROM + 50).contains(&second));
    let Outcome { sink, .. } = run(VecSource::of_records(all), SinkBehaviour::Works, &grouped(&[]));
    let told = events(&sink);
    let over = |kind: &str| -> Vec<Value> {
        of_kind(&told, kind)
            .into_iter()
            .filter(|(_, event)| event["state"] == "resolved")
            .map(|(_, event)| event.clone())
            .collect()
    };
    let groups = over("group");
    let names: Vec<&str> = groups.iter().map(|event| event["entity"].as_str().unwrap()).collect();
    assert_eq!(names, ["rack-7-*", "rack-8-*"]);
    assert_ne!(groups[0]["id"], groups[1]["id"]);
    for part in over("anomaly") {
        let entity = part["entity"].as_str().unwrap();
        let group =
            groups.iter().find(|group| entity.starts_with(group["entity"].as_str().unwrap().trim_end_matches('*')));
        assert_eq!(part["group_id"], group.map_or(Value::Null, |group| group["id"].clone()), "{entity}");
    }
}

#[test]
fn a_group_goes_on_without_the_partitions_that_went_and_changes_its_id_if_that_was_theirs() {
    // In each partition two pumps, which stray together; the third in order makes the group: it reads partition 1.
    let pumps: Vec<(String, i32)> =
        [pumps(7, 2, 0), pumps(7, 4, 1)[2..].to_vec(), pumps(7, 7, 2)[4..].to_vec()].concat();
    let records: Vec<OwnedRecord> = of_many(&pumps, 300, |_, second| (ODD_FROM..ODD_FROM + 100).contains(&second));
    let second = |record: &OwnedRecord| record.timestamp_ms.unwrap() / 1000;
    for (revoked, keeps_id) in [(0, true), (1, false)] {
        let (before, after): (Vec<_>, Vec<_>) =
            records.iter().cloned().partition(|record| second(record) < ODD_FROM + 60);
        let after = after.into_iter().filter(|record| record.position.partition != revoked);
        let source = VecSource::of_records(before).then_event(SourceEvent::Revoked(vec![revoked])).then_records(after);
        let Outcome { result, source, sink, metrics, .. } = run(source, SinkBehaviour::Works, &grouped(&[]));
        assert!(result.is_ok(), "{result:?}");
        let told = events(&sink);
        let groups = of_kind(&told, "group");
        let ids: Vec<&str> = groups.iter().map(|(_, event)| event["id"].as_str().unwrap()).collect();
        assert!(ids[0].starts_with("sensors-1-"), "{ids:?}");
        let (_, end) = groups.last().unwrap();
        assert_eq!((&end["state"], end["id"] == ids[0]), (&"resolved".into(), keeps_id), "{ids:?}");
        if !keeps_id {
            assert!(!end["id"].as_str().unwrap().starts_with("sensors-1-"), "its record is ours: {end}");
            assert_eq!(end["members"], 5);
        }
        let resolved: Vec<&str> = of_kind(&told, "anomaly")
            .iter()
            .filter(|(_, event)| event["state"] == "resolved")
            .map(|(_, event)| {
                assert_eq!(event["group_id"], end["id"], "{event}");
                event["entity"].as_str().unwrap()
            })
            .collect();
        let ours = pumps.iter().filter(|(_, partition)| *partition != revoked);
        assert_eq!(resolved, ours.map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        assert!(
            metrics.render().contains("strayd_incidents_resolved_total{severity=\"critical\",top_feature=\"x\"} 1\n")
        );
        let kept =
            |partition: i32| records.iter().filter(|record| record.position.partition == partition).count() as i64;
        for partition in (0..3).filter(|partition| *partition != revoked) {
            assert_eq!(source.committed[&partition], kept(partition), "all of ours is done");
        }
    }
}

#[test]
fn no_offset_moves_past_the_record_that_made_a_group_before_all_that_it_caused_is_acknowledged() {
    let settings = grouped(&["pipeline.shutdown_deadline=1s", "pipeline.batch_rows=8"]);
    // The one that makes the group has a partition of its own.
    let entities = [pumps(7, 2, 0), pumps(7, 3, 1)[2..].to_vec()].concat();
    let records = of_many(&entities, 200, |_, second| (ODD_FROM..ODD_FROM + 50).contains(&second));
    let source = VecSource::of_records(records);
    let Outcome { source, sink, .. } = run(source, SinkBehaviour::Withholds(OutputKind::Incident), &settings);
    let caused: Vec<Value> = sink
        .outputs
        .iter()
        .filter_map(|(position, output)| match output {
            Output::Incident { json, .. } if position.partition == 1 => Some((position.offset, json)),
            _ => None,
        })
        .take_while({
            let mut first = None;
            move |(offset, _)| *first.get_or_insert(*offset) == *offset
        })
        .map(|(_, json)| serde_json::from_slice(json).expect("an event is JSON"))
        .collect();
    let told: Vec<(&str, &str)> = caused
        .iter()
        .map(|event: &Value| (event["entity"].as_str().unwrap(), event["state"].as_str().unwrap()))
        .collect();
    let expected = [
        ("rack-7-pump-2", "opened"),
        ("rack-7-pump-0", "updated"),
        ("rack-7-pump-1", "updated"),
        ("rack-7-*", "opened"),
    ];
    assert_eq!(told, expected);
    let made_by = caused[0]["first_offset"].as_i64().unwrap();
    assert_eq!(caused[1]["event_id"], format!("{}-updated-1-{made_by}", caused[1]["id"].as_str().unwrap()));
    let done = source.finished.iter().filter(|next| next.partition == 1).map(|next| next.offset).max();
    assert_eq!(done, Some(made_by));
}

#[test]
fn a_group_outlives_a_swap_of_models_and_a_verdict_on_it_ends_what_was_expected_of_all_its_entities() {
    let mut bench = Bench::new(&[RACKS, "judging.cold_start_rows=0"]);
    let entities = pumps(7, 4, 0);
    let records: Vec<OwnedRecord> = of_many(&entities, 300, |_, second| second >= ODD_FROM);
    let (before, after) = records.split_at(4 * (ODD_FROM as usize + 40));
    before.iter().for_each(|record| bench.score(record));
    let prepared = Bench::prepared(&Settings {
        judging: settings(&["judging.smoothing_span=3"]).judging,
        ..bench.settings.clone()
    });
    bench.scoring.swap(prepared);
    let group = bench.told.iter().find(|event| event["kind"] == "group").expect("it opened").clone();
    let id = group["id"].as_str().unwrap();
    let (said, rest) = after.split_at(4 * 20);
    said.iter().for_each(|record| bench.score(record));
    let text = |key: &str| group[key].as_str().unwrap().to_owned();
    let verdict = Feedback {
        entity: Some(text("entity")),
        features: vec!["x".to_owned(), "y".to_owned()],
        first_time_us: Some(ODD_FROM * 1_000_000),
        last_time_us: Some(ODD_FROM * 1_000_000),
        ..Feedback::new(Subject::incident(id).unwrap(), Verdict::ExpectedChange)
    };
    let told = Told::Verdict(Box::new(verdict));
    assert!(bench.scoring.heed(Heard { told, at_ms: 0, is_new: true }));
    let so_far = bench.told.len();
    assert!(bench.told.iter().all(|event| event["state"] != "resolved"), "they stray on");
    rest.iter().for_each(|record| bench.score(record));
    let told: Vec<(&str, &str, &str)> = bench.told[so_far..]
        .iter()
        .map(|event| ["kind", "state", "verdict"].map(|key| event[key].as_str().unwrap()).into())
        .collect();
    let over = |kind| (kind, "resolved", "expected_change");
    assert_eq!(told, [over("anomaly"), over("anomaly"), over("anomaly"), over("anomaly"), over("group")]);
    assert_eq!(bench.told.last().unwrap()["id"], id, "neither swap nor verdict changed it");
    assert_eq!(bench.scoring.open_groups().count(), 0);
}

#[test]
fn entities_that_make_room_leave_their_group_and_nothing_is_called_resolved() {
    let mut bench = Bench::new(&[RACKS, "pipeline.max_entities=4"]);
    let records: Vec<OwnedRecord> = of_many(&pumps(7, 4, 0), ODD_FROM + 40, |_, second| second >= ODD_FROM);
    records.iter().for_each(|record| bench.score(record));
    assert_eq!(bench.scoring.open_groups().map(|group| group.open_entities()).collect::<Vec<_>>(), [4]);
    let others: Vec<(String, i32)> = (0..4).map(|fan| (format!("fan-{fan}"), 0)).collect();
    for (left, record) in of_many(&others, 1, |_, _| false).into_iter().enumerate() {
        bench.score(&record);
        let open: Vec<usize> = bench.scoring.open_groups().map(|group| group.open_entities()).collect();
        assert_eq!(open, if left < 3 { vec![3 - left] } else { Vec::new() });
    }
    assert!(bench.told.iter().all(|event| event["state"] != "resolved"));
}

#[test]
fn machines_that_stray_together_are_one_incident_of_the_daemon() {
    let stage = Stage::new(&Broker::own(Kind::Embedded).unwrap(), "groups", COLD_START);
    // All three machines at one moment; they lie in both partitions, which the one daemon reads.
    let (planted, machines) = ([2_400, 2_401, 2_402], 3);
    let records = stream(21, 2_700, machines, &planted);
    let sets = [
        "--set",
        r#"judging.incidents.groups=[{"entities":"machine-*"}]"#,
        "--set",
        "judging.budget.alarms=0.01 per entity per day",
        "--set",
        "model.kind=denoising",
    ];
    stage.feed(&records[..2_400 + machines * (INCIDENT_ROWS - 2)]);
    let mut daemon = Daemon::start(&stage.config(), &sets);
    daemon.wait_for("the group is open", |daemon| {
        let [open, members, groups] =
            ["strayd_incidents_open", "strayd_group_members_open", "strayd_group_incidents_open"]
                .map(|name| daemon.sum(name));
        ((open, members, groups) == (1.0, 3.0, 1.0)).then_some(())
    });
    daemon.wait_for("the group is listed as one", |daemon| {
        let (_, status) = daemon.get("/status")?;
        let status: Value = serde_json::from_str(&status).expect("/status is JSON");
        let (open, newest) = (&status["incidents"]["open"], status["incidents"]["newest"].as_array().expect("a list"));
        let group = newest.first()?;
        let told = ["kind", "entity"].map(|key| group[key].as_str().unwrap_or_default());
        (open == 1 && newest.len() == 1 && told == ["group", "machine-*"] && group["members_open"] == 3).then_some(())
    });
    stage.feed(&records[2_400 + machines * (INCIDENT_ROWS - 2)..]);
    stage.wait_committed(&mut daemon, records.len());
    let events = stage.incident_events(3);
    let group: Vec<&Value> = events.iter().filter(|event| event["kind"] == "group").collect();
    let (first, last) = (group[0], group[group.len() - 1]);
    assert_eq!((&first["state"], &last["state"]), (&"opened".into(), &"resolved".into()), "{group:?}");
    assert!(group.iter().all(|event| event["id"] == first["id"] && event["entity"] == "machine-*"), "{group:?}");
    assert_eq!((&last["members"], &last["members_open"]), (&3.into(), &0.into()));
    let parts = events.iter().filter(|event| event["kind"] == "anomaly" && event["state"] == "resolved");
    assert_eq!(parts.filter(|event| event["group_id"] == first["id"]).count(), 3);
    assert_eq!(daemon.sum("strayd_incidents_resolved_total"), 1.0);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}
