//! Retraining, as processes on real brokers: a new model is trained while records are scored, is taken up between two
//! batches, and no record is lost or scored twice; a scorer and a trainer meet in the registry alone.

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

use support::{
    broker::{Broker, Kind, on_both_brokers},
    daemon::{Daemon, Stage},
    incidents::{COLD_START, incidents_found_at, text},
    records::{Record, stream},
    tools::root,
};

on_both_brokers!(
    a_model_is_trained_when_the_schedule_says_so,
    a_model_that_the_gate_refuses_is_kept_with_its_reasons_and_the_one_in_use_stays,
    a_loss_that_is_not_finite_is_told_with_epoch_and_batch_and_the_model_in_use_stays,
    a_model_asked_for_is_trained_on_normal_rows_and_taken_up_without_losing_a_record,
    a_scorer_waits_for_the_trainers_model_and_only_it_publishes,
    replicas_follow_a_rollback,
);

const TOKEN: &str = "open-sesame";

/// Writes the token and gives the settings of a daemon that can be asked.
fn admin(stage: &Stage) -> (PathBuf, Vec<String>) {
    let file = stage.folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).expect("the token can be written");
    let sets = [
        format!("http.admin_token_file={}", file.display()),
        "model.poll_interval=100ms".to_owned(),
        "training.sample_rows=2000".to_owned(),
        "training.schedule.every=never".to_owned(),
        // These streams are so nearly linear that principal components are the better model, which the gate would say.
        "training.gate.tolerance=0.2".to_owned(),
    ];
    (file, sets.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect())
}

fn start(stage: &Stage, sets: &[String], more: &[&str]) -> Daemon {
    let arguments: Vec<&str> = sets.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Daemon::start(&stage.config(), &arguments)
}

fn strayd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
    command.args(arguments).current_dir(root()).output().expect("the program starts")
}

fn retrain(daemon: &Daemon, token: &std::path::Path) -> Output {
    let url = format!("http://{}", daemon.address().expect("it serves pages"));
    strayd(&["retrain", "--url", &url, "--token-file", &token.display().to_string()])
}

/// The model in use, by its metric.
fn model_of(daemon: &Daemon) -> String {
    let labels = daemon.metric("strayd_model_info");
    let (labels, _) = labels.first_key_value().expect("a model is in use");
    labels.split("model=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("the label").to_owned()
}

fn wait_for_another_model(daemon: &mut Daemon, than: &str) -> String {
    daemon.wait_for("another model is in use", |daemon| Some(model_of(daemon)).filter(|model| model != than))
}

fn a_model_asked_for_is_trained_on_normal_rows_and_taken_up_without_losing_a_record(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "retrain", COLD_START);
    let (token, sets) = admin(&stage);
    // One incident among the rows that the second model is trained on, one after it.
    let (early, late) = (3_000, 9_000);
    let records = stream(11, 10_000, 4, &[early, late]);
    let mut daemon = start(&stage, &sets, &[]);
    stage.feed(&records[..2_500]);
    daemon.wait_ready();
    daemon.wait_records(2_500);
    let first = model_of(&daemon);

    let refused = retrain(&daemon, &token);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("too_few_rows"), "{told}");

    stage.feed(&records[2_500..6_000]);
    daemon.wait_records(6_000);
    let asked = retrain(&daemon, &token);
    let told = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success() && told.contains("\"answer\":\"started\""), "{told}{asked:?}");
    // While it trains, records go on to be scored.
    stage.feed(&records[6_000..8_000]);
    daemon.wait_records(8_000);
    let second = wait_for_another_model(&mut daemon, &first);
    stage.feed(&records[8_000..]);
    daemon.wait_records(records.len());

    let outcomes = daemon.metric("strayd_records_total");
    assert_eq!(outcomes.values().sum::<f64>(), records.len() as f64, "each record ends once: {outcomes:?}");
    assert_eq!(outcomes["outcome=\"warming_up\""], 0.0, "windows outlive the swap: {outcomes:?}");
    assert_eq!(daemon.metric("strayd_model_swaps_total")["result=\"swapped\""], 1.0);
    daemon.wait_for("the training is counted", |daemon| {
        (daemon.metric("strayd_training_runs_total")["result=\"succeeded\""] == 2.0).then_some(())
    });
    assert!(daemon.metric("strayd_training_sample_kept_out_total")["reason=\"anomalous\""] > 0.0);
    let events = stage.events(2);
    assert_eq!(incidents_found_at(&[early, late], &events, &records), 2, "{events:?}");
    let ids: std::collections::BTreeSet<String> = events.iter().map(|event| text(event, "id")).collect();
    assert_eq!(ids.len(), events.len(), "no event is published twice");
    assert_eq!(text(events.last().expect("there are events"), "model"), second);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    assert_eq!(stage.committed(), records.len() as i64);
}

fn a_model_is_trained_when_the_schedule_says_so(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "due", COLD_START);
    let (_, mut sets) = admin(&stage);
    sets.retain(|set| !set.starts_with("training.schedule"));
    sets.retain(|set| set != "--set");
    sets.extend(["training.schedule.every=3s".to_owned(), "training.schedule.jitter=100ms".to_owned()]);
    let sets: Vec<String> = sets.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect();
    let mut daemon = start(&stage, &sets, &[]);
    stage.feed(&stream(17, 6_000, 4, &[]));
    daemon.wait_ready();
    let first = model_of(&daemon);
    daemon.wait_for("it is told when the next training is due", |daemon| {
        (daemon.sum("strayd_training_next_timestamp_seconds") > 0.0).then_some(())
    });
    wait_for_another_model(&mut daemon, &first);
    let (_, status) = daemon.get("/status").expect("pages are served");
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    assert!(
        status["learning"]["next"].is_string() && status["learning"]["sample_rows"].as_u64() > Some(1_000),
        "{status}"
    );
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

fn a_model_that_the_gate_refuses_is_kept_with_its_reasons_and_the_one_in_use_stays(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "gate", COLD_START);
    let (token, mut sets) = admin(&stage);
    // A network that saw each row once can't win against principal components, and no allowance is made.
    for set in
        ["model.kind=denoising", "training.epochs=1", "training.learning_rate=0.00001", "training.gate.tolerance=0"]
    {
        sets.extend(["--set".to_owned(), set.to_owned()]);
    }
    let records = stream(16, 5_000, 4, &[]);
    stage.feed(&records);
    let mut daemon = start(&stage, &sets, &[]);
    daemon.wait_records(records.len());
    let first = model_of(&daemon);
    let asked = retrain(&daemon, &token);
    assert!(asked.status.success(), "{asked:?}");
    daemon.wait_for("the gate refuses", |daemon| {
        (daemon.metric("strayd_training_runs_total")["result=\"refused\""] == 1.0).then_some(())
    });
    assert_eq!(daemon.metric("strayd_gate_refusals_total")["reason=\"worse_than_pca\""], 1.0);
    assert!(daemon.log().contains("the gate refuses a new model"), "{}", daemon.log());
    assert_eq!(model_of(&daemon), first);
    let listed = strayd(&["model", "list", "--json", "--registry", &stage.models().display().to_string()]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("refused") && listed.contains("principal components"), "{listed}");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

fn a_loss_that_is_not_finite_is_told_with_epoch_and_batch_and_the_model_in_use_stays(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "loss", COLD_START);
    let (token, mut sets) = admin(&stage);
    let records = stream(17, 6_000, 4, &[]);
    stage.feed(&records[..2_500]);
    let mut first = start(&stage, &sets, &[]);
    first.wait_records(2_500);
    let model = model_of(&first);
    assert_eq!(first.terminate().code(), Some(0));

    // Steps of 1 through so many wide layers overflow at once.
    for set in ["model.kind=denoising", "model.hidden=[256,256,256,256,256]", "model.activation=relu"] {
        sets.extend(["--set".to_owned(), set.to_owned()]);
    }
    sets.extend(["--set".to_owned(), "training.learning_rate=1".to_owned()]);
    let mut daemon = start(&stage, &sets, &[]);
    stage.feed(&records[2_500..]);
    daemon.wait_records(3_500);
    let asked = retrain(&daemon, &token);
    assert!(asked.status.success(), "{asked:?}");
    daemon.wait_for("the training fails", |daemon| {
        (daemon.metric("strayd_training_runs_total")["result=\"failed\""] == 1.0).then_some(())
    });
    let log = daemon.log();
    let told = log.lines().find(|line| line.contains("the training loss is")).expect("the log says why");
    assert!(
        told.contains("in epoch ") && told.contains(", batch ") && told.contains("a smaller learning rate"),
        "{told}"
    );
    assert_eq!(model_of(&daemon), model);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    assert_eq!(stage.committed(), records.len() as i64);
}

fn a_scorer_waits_for_the_trainers_model_and_only_it_publishes(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "roles", COLD_START);
    let (_, sets) = admin(&stage);
    let planted = 3_000;
    let records = stream(12, 4_000, 4, &[planted]);
    let mut scorer = start(&stage, &sets, &["--role", "scorer"]);
    let (code, why) = scorer.wait_for("it says why it waits", |daemon| {
        daemon.get("/readyz").filter(|(_, why)| why.contains("waiting for a trainer"))
    });
    assert_eq!(code, 503, "{why}");
    stage.feed(&records);
    let mut trainer = start(&stage, &sets, &["--role", "trainer"]);
    trainer.wait_records(records.len());
    scorer.wait_ready();
    scorer.wait_records(records.len());
    assert_eq!(model_of(&scorer), model_of(&trainer));
    assert_eq!(scorer.metric("strayd_role_info")["role=\"scorer\""], 1.0);

    let events = stage.events(1);
    assert_eq!(incidents_found_at(&[planted], &events, &records), 1, "{events:?}");
    let anomalous = |daemon: &Daemon| daemon.metric("strayd_records_total")["outcome=\"anomalous\""];
    assert_eq!(anomalous(&scorer), events.len() as f64, "all events are the scorer's");
    assert!(anomalous(&trainer) > 0.0, "the trainer judges too, to know what is normal");
    assert_eq!(trainer.sum("strayd_outputs_total"), 0.0, "and publishes nothing");
    assert_eq!(trainer.sum("strayd_incidents_total"), 0.0, "nor raises an alarm that the scorer raises too");
    assert!(scorer.sum("strayd_incidents_total") >= 1.0);
    assert_eq!(scorer.sum("strayd_training_runs_total"), 0.0);
    for daemon in [&mut scorer, &mut trainer] {
        assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    }
    assert_eq!(stage.committed(), records.len() as i64, "each in a group of its own");
}

fn replicas_follow_a_rollback(kind: Kind) {
    let Some(broker) = Broker::shared(kind) else { return };
    let stage = Stage::new(&broker, "follow", COLD_START);
    let (token, sets) = admin(&stage);
    let records = stream(13, 6_000, 4, &[]);
    let mut daemon = start(&stage, &sets, &[]);
    stage.feed(&records[..5_000]);
    daemon.wait_ready();
    daemon.wait_records(5_000);
    let first = model_of(&daemon);
    let asked = retrain(&daemon, &token);
    assert!(asked.status.success(), "{asked:?}");
    let second = wait_for_another_model(&mut daemon, &first);
    let mut replica = start(&stage, &sets, &["--role", "scorer"]);
    replica.wait_for("it has the second model", |daemon| {
        daemon
            .metric("strayd_model_info")
            .first_key_value()
            .is_some_and(|(label, _)| label.contains(&second))
            .then_some(())
    });
    let models = stage.models().display().to_string();
    let rolled_back = strayd(&["model", "rollback", "--registry", &models]);
    assert!(rolled_back.status.success(), "{rolled_back:?}");
    assert_eq!(wait_for_another_model(&mut daemon, &second), first);
    assert_eq!(wait_for_another_model(&mut replica, &second), first);

    // A file that is torn is refused by name, and the model in use stays.
    let torn = stage.models().join(format!("{second}.onnx"));
    let bytes = fs::read(&torn).expect("the second model is kept");
    fs::write(&torn, &bytes[..bytes.len() / 2]).expect("it can be torn");
    fs::write(stage.models().join("current"), format!("{second}.onnx")).expect("the pointer can be written");
    daemon.wait_for("the torn file is told", |daemon| {
        (daemon.metric("strayd_model_swaps_total")["result=\"failed\""] == 1.0).then_some(())
    });
    assert!(daemon.log().contains(&format!("{second}.onnx")), "{}", daemon.log());
    assert_eq!(model_of(&daemon), first);
    stage.feed(&records[5_000..]);
    daemon.wait_for("scoring goes on", |daemon| {
        (daemon.sum("strayd_records_total") + replica.sum("strayd_records_total") >= 6_000.0).then_some(())
    });
}

/// The settings of a member that the broker would miss after six seconds, and of a training without end.
const IMPATIENT: [&str; 4] = [
    "kafka.properties={\"session.timeout.ms\":\"6000\",\"heartbeat.interval.ms\":\"1000\",\"max.poll.interval.ms\":\"6000\"}",
    "training.epochs=100000",
    "training.patience=100000",
    "training.learning_rate=0.000001",
];

/// Longer than `max.poll.interval.ms`.
const TRAINED_FOR: Duration = Duration::from_secs(8);

/// How nice the daemon's threads of this name are to others: 0 unless asked.
fn niceness(daemon: &Daemon, thread: &str) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("Linux tells");
    let stat = |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("stat")).ok();
    let of_thread = |stat: String| {
        // Fields from the third on follow the name, which may hold blanks; the niceness is the nineteenth.
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        (name == thread).then(|| fields.split_whitespace().nth(16)?.parse().ok())?
    };
    tasks.filter_map(stat).filter_map(of_thread).collect()
}

/// Waits until a training has lasted so long that a member that doesn't poll would be out of its group.
fn train_for_long(daemon: &mut Daemon) {
    daemon.wait_for("training is under way", |daemon| {
        (daemon.sum("strayd_training_in_progress") == 1.0 && daemon.sum("strayd_training_epoch") > 0.0).then_some(())
    });
    let (_, status) = daemon.get("/status").expect("pages are served");
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    assert!(status["training"]["epoch"].as_u64() > Some(0), "{status}");
    assert!(status["training"]["seconds_left"].as_f64() > Some(0.0), "{status}");
    assert_eq!(niceness(daemon, "trainer"), [10], "it gives way to the others");
    assert_eq!(niceness(daemon, "http"), [0]);
    let begun = Instant::now();
    daemon.wait_for("it lasts", |_| (begun.elapsed() > TRAINED_FOR).then_some(()));
    assert_eq!(daemon.sum("strayd_training_in_progress"), 1.0);
    assert_eq!(daemon.log().matches("partitions assigned").count(), 1, "{}", daemon.log());
    assert!(!daemon.log().contains("partitions revoked"), "{}", daemon.log());
}

#[test]
fn a_cold_start_that_trains_for_longer_than_max_poll_interval_stays_in_its_group() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "slow-cold", COLD_START);
    let sets: Vec<String> = IMPATIENT.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
    stage.feed(&stream(14, 2_500, 4, &[]));
    let mut daemon = start(&stage, &sets, &[]);
    train_for_long(&mut daemon);
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_retraining_longer_than_max_poll_interval_stays_in_its_group_and_records_are_scored_meanwhile() {
    let Some(broker) = Broker::shared(Kind::Apache) else { return };
    let stage = Stage::new(&broker, "slow", COLD_START);
    let (token, mut sets) = admin(&stage);
    let records: Vec<Record> = stream(15, 7_000, 4, &[]);
    stage.feed(&records[..2_500]);
    let mut first = start(&stage, &sets, &[]);
    first.wait_records(2_500);
    assert_eq!(first.terminate().code(), Some(0));

    // The second daemon has a model at hand, and its next one will take for ever.
    sets.extend(IMPATIENT.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]));
    stage.feed(&records[2_500..6_000]);
    let mut daemon = start(&stage, &sets, &[]);
    daemon.wait_records(3_500);
    let asked = retrain(&daemon, &token);
    assert!(asked.status.success(), "{asked:?}");
    train_for_long(&mut daemon);
    let again = retrain(&daemon, &token);
    assert!(String::from_utf8_lossy(&again.stderr).contains("busy"), "{again:?}");
    stage.feed(&records[6_000..]);
    daemon.wait_records(4_500);
    assert_eq!(daemon.sum("strayd_training_in_progress"), 1.0, "scored while it trains");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    assert_eq!(stage.committed(), records.len() as i64);
}
