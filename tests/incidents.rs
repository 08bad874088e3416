//! Incidents and silences through the whole pipeline: one id from the first record to the last, in event time, and no
//! offset moves before what a record caused is delivered.

mod support;

use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;

use serde_json::Value;
use strayd::{
    config::{Settings, Sources},
    model::Model,
    pipeline::{
        NoObserver, Output, SourceEvent,
        prepared::Prepared,
        run::{self, Parts, RunError, RunSummary, Start},
        scoring::Scoring,
    },
    record::{Position, RawRecord},
    telemetry::{Board, Metrics, OutputKind},
    testing::{CentreScorers, MemorySink, OwnedRecord, SinkBehaviour, VecSource},
    train::{recent::Bounds, sample::SampleRecord},
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
        Output::Anomaly { .. } | Output::DeadLetter { .. } => None,
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
