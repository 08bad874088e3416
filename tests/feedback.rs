//! What people say of alarms, in the pipeline and with the daemon: a false one quietens its like and nothing else, for a set
//! time of events; an expected change ends its incident and is learned from; a right one stays out of training; and no
//! message whatever stops the daemon.

mod support;

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;

use serde_json::{Value, json};
use strayd::{
    config::{Settings, Sources},
    feedback::{Feedback, Subject, Told, Verdict},
    kafka::embedded::{Fed, Feeder},
    model::Model,
    pipeline::{
        NoObserver, Observer, Output, Unscored,
        feedback::{Look, Message},
        observed::Observed,
        prepared::Prepared,
        run::{self, Parts, Plan, Start},
        scoring::{Heard, Scoring},
    },
    record::{Position, RawRecord},
    telemetry::{Board, Metrics},
    testing::{CentreScorers, MemorySink, OwnedRecord, VecSource, VecVerdicts},
    train::{recent::Bounds, recent::KeptOut, sample::SampleRecord},
};
use support::{
    broker::{Broker, Kind, on_both_brokers},
    daemon::{Daemon, PATIENCE, Stage},
    incidents::COLD_START,
    records::{INCIDENT_ROWS, stream},
};

/// Milliseconds since the epoch, about now: messages that were written long ago are left out.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Scores are not smoothed, so that a row is judged by itself, and nothing is held back for other reasons.
fn settings(sets: &[&str]) -> Settings {
    let fixed = [
        "kafka.input_topic=sensors",
        "training.window=2",
        "model.kind=pca",
        "judging.smoothing_span=1",
        "judging.cold_start_rows=0",
        "judging.incident_quiet_rows=5",
        "judging.budget.alarms=50 per entity per day",
    ];
    let set = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Settings::load(&Sources { set, ..Sources::default() }).expect("the settings are sound").settings
}

/// What strays in a row.
#[derive(Clone, Copy, PartialEq)]
enum Odd {
    Nothing,
    X,
    Y,
}

/// A row of two fields that wander slowly.
fn payload(row: i64, odd: Odd) -> Vec<u8> {
    let phase = row as f64 * 0.1;
    let off = |field: Odd| if odd == field { 60.0 } else { 0.0 };
    format!("{{\"x\":{:.5},\"y\":{:.5}}}", phase.sin() + off(Odd::X), phase.cos() + off(Odd::Y)).into_bytes()
}

fn model(settings: &Settings) -> Arc<Model> {
    let record = |row: i64| SampleRecord {
        position: Position { partition: 0, offset: row },
        timestamp_ms: Some(row * 1000),
        key: Some(b"a"[..].into()),
        payload: payload(row, Odd::Nothing).into(),
        headers: None,
        run: 0,
    };
    let sample: Vec<SampleRecord> = (0..400).map(record).collect();
    let go_on = &mut |_: &_| std::ops::ControlFlow::Continue(());
    let recipe = support::models::recipe(CentreScorers, settings.clone());
    Arc::new(recipe.train(&sample, go_on).expect("a model can be made"))
}

/// A row a second of the entity.
fn record(entity: &str, row: i64, odd: Odd) -> OwnedRecord {
    OwnedRecord {
        position: Position { partition: 0, offset: row },
        timestamp_ms: Some(row * 1000),
        key: Some(entity.into()),
        payload: Some(payload(row, odd)),
    }
}

/// What is said of the incident of entity `a` that began and ended with this row.
fn said(row: i64, verdict: Verdict) -> Feedback {
    let subject = Subject::incident(&format!("sensors-0-{row}")).expect("an id");
    Feedback {
        entity: Some("a".to_owned()),
        features: vec!["x".to_owned(), "y".to_owned()],
        first_time_us: Some(row * 1_000_000),
        last_time_us: Some(row * 1_000_000),
        ..Feedback::new(subject, verdict)
    }
}

/// The message of a verdict that was in the topic before the start.
fn message(feedback: &Feedback) -> Message {
    let key = Some(feedback.subject.id().as_bytes().to_vec());
    let position = Position { partition: 0, offset: 0 };
    Message { position, timestamp_ms: Some(now_ms()), key, payload: Some(feedback.to_json()), is_new: false }
}

struct Outcome {
    /// Offsets of the records whose anomaly was published.
    alarms: Vec<i64>,
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

/// Runs over the records with what the topic of feedback gives before the first one.
fn run(rows: Vec<OwnedRecord>, looks: Vec<Result<Look, String>>, settings: &Settings) -> Outcome {
    let (mut source, mut sink) = (VecSource::of_records(rows), MemorySink::default());
    let (metrics, board) = (Metrics::new(), Board::new(Instant::now()));
    let parts = Parts {
        source: &mut source,
        sink: &mut sink,
        observer: &mut NoObserver,
        progress: &mut |_| {},
        metrics: &metrics,
        board: &board,
        stop: &AtomicBool::new(false),
    };
    let mut plan = Plan::from(Start::Model(model(settings)));
    plan.feedback = Some(Box::new(VecVerdicts(VecDeque::from(looks))));
    run::run(parts, plan, settings, &CentreScorers).expect("the run ends well");
    let (mut alarms, mut incidents) = (Vec::new(), Vec::new());
    for (position, output) in &sink.outputs {
        match output {
            Output::Anomaly { .. } => alarms.push(position.offset),
            Output::Incident { json, .. } => incidents.push(serde_json::from_slice(json).expect("an event is JSON")),
            Output::DeadLetter { error, .. } => panic!("{error}"),
            Output::Snapshot { .. } => {}
        }
    }
    let committed = source.committed.get(&0).copied();
    Outcome { alarms, incidents, committed, metrics: metrics.render(), status: board.status() }
}

/// A hundred rows, of which these stray; rows 60 to 69 are those of entity `b`.
fn rows(odd: &[(i64, Odd)]) -> Vec<OwnedRecord> {
    let of = |row: i64| odd.iter().find(|(at, _)| *at == row).map_or(Odd::Nothing, |(_, odd)| *odd);
    let all = (0..100).map(|row| record(if (60..70).contains(&row) { "b" } else { "a" }, row, of(row)));
    all.collect()
}

#[test]
fn a_false_verdict_holds_back_anomalies_alike_and_no_others() {
    let odd = [(40, Odd::X), (50, Odd::Y), (68, Odd::X), (80, Odd::X)];
    let looks = vec![Ok(Look::Message(message(&said(5, Verdict::False)))), Ok(Look::CaughtUp)];
    let told = run(rows(&odd), looks, &settings(&[]));
    assert_eq!((told.alarms.as_slice(), told.committed), (&[50, 68][..], Some(100)));
    told.has("strayd_anomalies_suppressed_total{reason=\"feedback\"} 2");
    told.has("strayd_records_total{outcome=\"suppressed\"} 2");
    told.has("strayd_feedback_verdicts{verdict=\"false\"} 1");
    told.has("strayd_feedback_total{verdict=\"false\"} 0");
    let opened = told.incidents.iter().filter(|event| event["state"] == "opened");
    assert_eq!(opened.map(|event| &event["first_offset"]).collect::<Vec<_>>(), [50, 68]);
    assert_eq!(told.status["feedback"], json!({"true": 0, "false": 1, "expected_change": 0}));
    let unheard = run(rows(&odd), vec![Ok(Look::CaughtUp)], &settings(&[]));
    assert_eq!(unheard.alarms, [40, 50, 68, 80]);
}

#[test]
fn what_is_held_back_ends_in_event_time() {
    let odd = [(4, Odd::X), (30, Odd::X), (44, Odd::X), (45, Odd::X), (80, Odd::X)];
    let short = ["judging.feedback.suppress_for=40s"];
    let looks = |feedback: Feedback| vec![Ok(Look::Message(message(&feedback))), Ok(Look::CaughtUp)];
    let told = run(rows(&odd), looks(said(5, Verdict::False)), &settings(&short));
    assert_eq!(told.alarms, [4, 45, 80], "from the incident on, and for 40 seconds after it");
    let until = Feedback { until_us: Some(31_000_000), ..said(5, Verdict::False) };
    assert_eq!(run(rows(&odd), looks(until), &settings(&short)).alarms, [4, 44, 45, 80]);
}

#[test]
fn messages_that_are_no_verdicts_and_a_topic_that_fails_are_counted_and_stop_nothing() {
    let bad = |payload: &[u8]| {
        let sound = message(&said(5, Verdict::False));
        Ok(Look::Message(Message { key: None, payload: Some(payload.to_vec()), ..sound }))
    };
    let looks = vec![
        bad(b"\xff\xfe"),
        bad(br#"{"incident":"sensors-0-5","verdict":"fasle"}"#),
        Ok(Look::Message(message(&said(5, Verdict::False)))),
        Err("nobody answers".to_owned()),
    ];
    let told = run(rows(&[(40, Odd::X), (50, Odd::Y)]), looks, &settings(&[]));
    assert_eq!((told.alarms.as_slice(), told.committed), (&[50][..], Some(100)));
    told.has("strayd_feedback_invalid_total 2");
    told.has("strayd_errors_total{part=\"feedback\"} 1");
}

#[test]
fn verdicts_that_are_too_old_and_those_of_other_topics_are_left_out() {
    let old = Message { timestamp_ms: Some(now_ms() - 31 * 86_400_000), ..message(&said(5, Verdict::False)) };
    let subject = Subject::incident("pumps-0-5").expect("an id");
    let other = message(&Feedback { subject, ..said(5, Verdict::False) });
    for left_out in [old, other] {
        let looks = vec![Ok(Look::Message(left_out)), Ok(Look::CaughtUp)];
        let told = run(rows(&[(40, Odd::X)]), looks, &settings(&[]));
        assert_eq!(told.alarms, [40]);
        told.has("strayd_feedback_verdicts{verdict=\"false\"} 0");
        told.has("strayd_feedback_invalid_total 0");
    }
}

/// What was seen last of a judged row.
#[derive(Default)]
struct Seen {
    limit: f64,
    is_alarm: bool,
}

impl Observer for Seen {
    fn judged(&mut self, record: &Observed<'_>) {
        (self.limit, self.is_alarm) = (record.limit(), record.is_anomalous());
    }

    fn unscored(&mut self, _: &Unscored<'_>) {}
}

/// Scoring that keeps a sample, one record after the other.
struct Bench {
    scoring: Scoring,
    seen: Seen,
    told: Vec<Value>,
    next: i64,
}

impl Bench {
    fn new(sets: &[&str]) -> Self {
        let settings = settings(sets);
        let prepared = Prepared::new(model(&settings), &settings, &CentreScorers).expect("the model is sound");
        let mut scoring = Scoring::new(prepared, &settings);
        scoring.keep_sample(Bounds::new(1000, 2));
        Self { scoring, seen: Seen::default(), told: Vec::new(), next: 0 }
    }

    /// The next rows of entity `a`; gives the number of alarms.
    fn score(&mut self, rows: i64, odd: Odd) -> usize {
        let mut alarms = 0;
        for row in self.next..self.next + rows {
            let record = record("a", row, odd);
            let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
            let raw =
                RawRecord { position: record.position, timestamp_ms: record.timestamp_ms, key, payload, headers: None };
            self.scoring.take(&raw, &mut NoObserver);
            let told = &mut self.told;
            let scored = self.scoring.flush(&mut self.seen, &mut |_, _, announcements| {
                let read = |json: &[u8]| serde_json::from_slice(json).expect("an event is JSON");
                told.extend(announcements.drain(..).map(|announcement| read(&announcement.json)));
            });
            scored.expect("the batch can be scored");
            alarms += usize::from(self.seen.is_alarm);
        }
        self.next += rows;
        alarms
    }

    fn hear(&mut self, told: Told) {
        assert!(self.scoring.heed(Heard { told, at_ms: now_ms(), is_new: true }));
    }

    fn say(&mut self, row: i64, verdict: Verdict) {
        self.hear(Told::Verdict(Box::new(said(row, verdict))));
    }

    fn sampled(&self) -> usize {
        self.scoring.sample().expect("a sample is kept").counts().rows
    }

    fn kept_out(&self, reason: KeptOut) -> u64 {
        self.scoring.sample().expect("a sample is kept").counts().kept_out[reason as usize]
    }
}

#[test]
fn a_false_verdict_raises_the_limit_by_a_step_a_right_one_gives_the_step_back_and_neither_twice() {
    let mut bench = Bench::new(&["judging.recalibration.step=0.5"]);
    let mut ratio = |said: Option<Told>| {
        let before = bench.seen.limit;
        said.into_iter().for_each(|told| bench.hear(told));
        bench.score(1, Odd::Nothing);
        bench.seen.limit / before
    };
    let verdict = |verdict: Verdict| Some(Told::Verdict(Box::new(said(1, verdict))));
    let is = |ratio: f64, expected: f64| assert!((ratio / expected - 1.0).abs() < 1e-2, "{ratio}, not {expected}");
    for _ in 0..5 {
        ratio(None);
    }
    is(ratio(None), 1.0);
    is(ratio(verdict(Verdict::False)), 1.5);
    is(ratio(verdict(Verdict::False)), 1.0);
    is(ratio(Some(Told::TakenBack("sensors-0-1".to_owned()))), 1.0 / 1.5);
    is(ratio(verdict(Verdict::False)), 1.5);
    is(ratio(verdict(Verdict::True)), 1.0 / 1.5);
    is(ratio(verdict(Verdict::True)), 1.0);
    // The right one had no step to give back: there is none to be undone.
    is(ratio(verdict(Verdict::ExpectedChange)), 1.0);
}

#[test]
fn an_expected_change_resolves_its_incident_and_its_rows_are_learned_from_then_on() {
    let mut bench = Bench::new(&[]);
    bench.score(50, Odd::Nothing);
    assert_eq!(bench.score(10, Odd::X), 10);
    let before = bench.sampled();
    bench.say(50, Verdict::ExpectedChange);
    assert_eq!(bench.score(30, Odd::X), 0);
    assert_eq!(bench.sampled() - before, 30);
    let last = bench.told.last().expect("it was told");
    assert_eq!((&last["state"], &last["verdict"]), (&"resolved".into(), &"expected_change".into()));
    assert_eq!((&last["last_offset"], last["event_id"].as_str()), (&59.into(), Some("sensors-0-50-resolved-60")));
    let opened = bench.told.iter().filter(|event| event["state"] == "opened").count();
    assert_eq!(opened, 1);
    bench.score(5, Odd::Nothing);
    assert_eq!(bench.score(1, Odd::Y), 0, "y is one of the features that were expected to move");
    bench.hear(Told::TakenBack("sensors-0-50".to_owned()));
    assert_eq!(bench.score(1, Odd::X), 1, "what was taken back holds no more");
}

#[test]
fn an_alarm_of_another_kind_keeps_the_incident_open_that_was_expected() {
    let mut bench = Bench::new(&[]);
    bench.score(50, Odd::Nothing);
    bench.score(10, Odd::X);
    let only_x = Feedback { features: vec!["x".to_owned()], ..said(50, Verdict::ExpectedChange) };
    bench.hear(Told::Verdict(Box::new(only_x)));
    assert_eq!(bench.score(2, Odd::Y), 2);
    assert!(bench.told.iter().all(|event| event["state"] != "resolved"), "{:?}", bench.told);
    bench.score(1, Odd::X);
    assert_eq!(bench.told.last().expect("it was told")["state"], "resolved");
}

#[test]
fn rows_that_a_false_verdict_holds_back_are_not_learned_from() {
    let mut bench = Bench::new(&[]);
    bench.score(50, Odd::Nothing);
    bench.score(1, Odd::X);
    bench.say(50, Verdict::False);
    bench.score(10, Odd::Nothing);
    let before = (bench.sampled(), bench.kept_out(KeptOut::Suppressed));
    assert_eq!(bench.score(10, Odd::X), 0);
    assert_eq!((bench.sampled(), bench.kept_out(KeptOut::Suppressed)), (before.0, before.1 + 10));
}

#[test]
fn rows_of_an_incident_that_was_right_or_false_leave_the_sample_and_stay_out() {
    for verdict in [Verdict::True, Verdict::False] {
        let accepted = ["judging.incidents.accept_new_normal=true", "judging.incidents.new_normal_after=20s"];
        let mut bench = Bench::new(&accepted);
        bench.score(50, Odd::Nothing);
        let before = bench.sampled();
        bench.score(60, Odd::X);
        assert_eq!(bench.sampled() - before, 40, "the level was accepted after twenty seconds");
        bench.say(50, verdict);
        assert_eq!(bench.sampled(), before, "{verdict:?}");
        bench.score(20, Odd::X);
        assert_eq!(bench.sampled(), before, "{verdict:?}");
    }
}

on_both_brokers!(a_verdict_from_the_command_line_quietens_the_like_and_outlives_the_daemon);

fn a_verdict_from_the_command_line_quietens_the_like_and_outlives_the_daemon(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "feedback", COLD_START);
    let topic = format!("{}.feedback", stage.name);
    broker.create_topic(&topic, 1);
    let set = format!("kafka.feedback_topic={topic}");
    let (first, second, third) = (2_400, 3_200, 4_000);
    let records = stream(12, 4_400, 4, &[first, second, third]);
    stage.feed(&records[..3_000]);
    let mut daemon = Daemon::start(&stage.config(), &["--set", &set]);
    daemon.wait_ready();
    stage.wait_committed(&mut daemon, 3_000);
    let id = stage.incident_events(1)[0]["id"].as_str().expect("an id").to_owned();

    let say = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
        let config = stage.config();
        command.args(["feedback", "--config"]).arg(config).args(["--set", &set]).args(arguments);
        command.output().expect("the program starts")
    };
    let unknown = say(&["--verdict", "false", &format!("{}-1-999999", stage.input())]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let told = say(&["--verdict", "false", "--by", "kim", &id]);
    assert!(told.status.success(), "{told:?}");
    let line = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(line.starts_with(&format!("{id} of machine-0 (pressure")) && line.ends_with("): false\n"), "{line}");
    let feeder = Feeder::connect(&stage.servers, &topic).expect("a feeder can be made");
    let garbage = Fed { key: Some(b"x"), payload: Some(b"{"), timestamp_ms: None, partition: None };
    feeder.feed(&garbage).expect("it can be fed");
    feeder.flush(PATIENCE).expect("the broker takes it");
    daemon.wait_for("the daemon has heard both", |daemon| {
        let heard = daemon.metric("strayd_feedback_total").get("verdict=\"false\"").copied();
        (heard == Some(1.0) && daemon.sum("strayd_feedback_invalid_total") == 1.0).then_some(())
    });
    stage.feed(&records[3_000..3_600]);
    stage.wait_committed(&mut daemon, 3_600);
    let suppressed = |daemon: &Daemon| daemon.metric("strayd_anomalies_suppressed_total")["reason=\"feedback\""];
    assert!(suppressed(&daemon) >= (INCIDENT_ROWS / 2) as f64, "{}", daemon.log());
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());

    let mut again = Daemon::start(&stage.config(), &["--set", &set]);
    again.wait_ready();
    stage.feed(&records[3_600..]);
    stage.wait_committed(&mut again, records.len());
    assert!(suppressed(&again) >= (INCIDENT_ROWS / 2) as f64, "{}", again.log());
    assert_eq!(again.metric("strayd_feedback_verdicts")["verdict=\"false\""], 1.0);
    assert_eq!(again.metric("strayd_feedback_total")["verdict=\"false\""], 0.0, "it is not new");
    let planted = |event: &&Value| event["state"] == "opened" && event["top_feature"] == "pressure";
    let opened = stage.incident_events(1).iter().filter(planted).filter(|event| event["entity"] == "machine-0").count();
    assert_eq!(opened, 1, "only the one that was called false");
    assert_eq!(again.terminate().code(), Some(0), "{}", again.log());
}

#[test]
fn a_topic_of_feedback_that_is_not_set_is_told_before_anything_is_asked() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
    command.args(["feedback", "--verdict", "false", "s-0-5", "--set", "kafka.brokers=localhost:1"]);
    let told = command.args(["--set", "kafka.input_topic=s"]).output().expect("the program starts");
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(64), "{error}");
    assert!(error.contains("kafka.feedback_topic is not set"), "{error}");
}
