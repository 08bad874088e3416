//! The commands on files, as a user types them: `strayd train`, `strayd score`, `strayd config`, `--help`.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use flate2::{Compression, write::GzEncoder};
use parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use support::tools::root;

/// First line of every `scores.csv`.
const HEADER: &str =
    "row,entity,timestamp,raw_score,score,p_value,verdict,top_feature,top_feature_value,top_feature_expected";

/// Rows of the made-up data, of two machines that take turns, and where one of them has a spike in `pressure`.
const ROWS: usize = 2_400;
const SPIKE: usize = 2_000;

/// One row as all formats hold it.
struct Row {
    time: String,
    machine: String,
    values: [Option<f64>; 3],
    label: i64,
}

const FEATURES: [&str; 3] = ["load", "pressure", "flow"];

fn rows() -> Vec<Row> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(21);
    (0..ROWS)
        .map(|row| {
            let step = row / 2;
            let load = (step as f64 / 30.0).sin() + 0.05 * random.r#gen::<f64>();
            let spike = row == SPIKE;
            let pressure = 3.0 + 0.5 * load + 0.05 * random.r#gen::<f64>() + if spike { 9.0 } else { 0.0 };
            // One value is missing, in a row of its own.
            let flow = (row != 1_500).then(|| 8.0 - load + 0.05 * random.r#gen::<f64>());
            Row {
                time: strayd::record::timestamp::to_rfc3339((1_767_225_600 + step as i64 * 60) * 1_000_000),
                machine: format!("m{}", row % 2),
                values: [Some(load), Some(pressure), flow],
                label: i64::from(spike),
            }
        })
        .collect()
}

fn text(value: Option<f64>) -> String {
    value.map(|value| format!("{value}")).unwrap_or_default()
}

fn csv(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let [load, pressure, flow] = row.values.map(text);
        format!("{},{},{load},{pressure},{flow},{}\n", row.time, row.machine, row.label)
    };
    let head = "timestamp,machine,load,pressure,flow,label\n".to_owned();
    rows.iter().fold(head, |csv, row| csv + &line(row))
}

fn json_lines(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let [load, pressure, flow] = row.values;
        let json = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
        format!(
            "{{\"timestamp\":\"{}\",\"machine\":\"{}\",\"load\":{},\"pressure\":{},\"flow\":{},\"label\":{}}}",
            row.time,
            row.machine,
            json(load),
            json(pressure),
            json(flow),
            row.label
        )
    };
    rows.iter().map(|row| line(row) + "\n").collect()
}

fn gzip(path: &Path, content: &str) {
    let mut encoder = GzEncoder::new(File::create(path).expect("the file can be made"), Compression::fast());
    encoder.write_all(content.as_bytes()).expect("the file can be written");
    encoder.finish().expect("the file can be written");
}

fn parquet(path: &Path, rows: &[Row]) {
    let schema = "message rows { required binary timestamp (UTF8); required binary machine (UTF8); \
                  optional double load; optional double pressure; optional double flow; required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).expect("the schema is sound"));
    let file = File::create(path).expect("the file can be made");
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("the file can be written");
    let mut group = writer.next_row_group().expect("a row group");
    for of in [|row: &Row| row.time.clone(), |row: &Row| row.machine.clone()] {
        let values: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(of(row).into_bytes())).collect();
        let mut column = group.next_column().expect("a column").expect("one more column");
        column.typed::<ByteArrayType>().write_batch(&values, None, None).expect("values");
        column.close().expect("a column");
    }
    for feature in 0..FEATURES.len() {
        let values: Vec<f64> = rows.iter().filter_map(|row| row.values[feature]).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.values[feature].is_some())).collect();
        let mut column = group.next_column().expect("a column").expect("one more column");
        column.typed::<DoubleType>().write_batch(&values, Some(&levels), None).expect("values");
        column.close().expect("a column");
    }
    let labels: Vec<i64> = rows.iter().map(|row| row.label).collect();
    let mut column = group.next_column().expect("a column").expect("one more column");
    column.typed::<Int64Type>().write_batch(&labels, None, None).expect("values");
    column.close().expect("a column");
    group.close().expect("the row group");
    writer.close().expect("the file");
}

fn strayd(folder: &Path, arguments: &[&str]) -> Output {
    strayd_in(&[], folder, arguments)
}

/// The same with environment variables.
fn strayd_in(environment: &[(&str, &str)], folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).envs(environment.iter().copied()).output().expect("the program starts")
}

/// The program, not started yet.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let runtime = root().join(".local/onnxruntime/lib/libonnxruntime.so");
    let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("ORT_DYLIB_PATH", std::env::var_os("ORT_DYLIB_PATH").map_or(runtime, Into::into))
        .env("COLUMNS", "100");
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it and asserts that it succeeds; gives standard output.
fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = strayd(folder, arguments);
    assert!(output.status.success(), "strayd {arguments:?}: {}", told(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Trains and scores on one file and gives the scores. Few epochs: what is learned is not the point here.
fn train_and_score(folder: &Path, file: &str, sets: &[&str]) -> String {
    let sets: Vec<&str> = ["training.epochs=4"].iter().chain(sets).flat_map(|set| ["--set", set]).collect();
    let train = [&["train", "--data", file, "--out", "model.onnx"], &sets[..]].concat();
    succeed(folder, &train);
    let score = [&["score", "--model", "model.onnx", "--data", file, "--out", "scores.csv"], &sets[..]].concat();
    succeed(folder, &score);
    fs::read_to_string(folder.join("scores.csv")).expect("scores were written")
}

#[test]
fn the_same_rows_score_the_same_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows();
    fs::write(folder.path().join("rows.csv"), csv(&rows)).unwrap();
    gzip(&folder.path().join("rows.csv.gz"), &csv(&rows));
    fs::write(folder.path().join("rows.jsonl"), json_lines(&rows)).unwrap();
    gzip(&folder.path().join("rows.jsonl.gz"), &json_lines(&rows));
    parquet(&folder.path().join("rows.parquet"), &rows);
    let entity = ["record.entity={\"field\":\"machine\"}"];
    let scores = train_and_score(folder.path(), "rows.csv", &entity);
    for file in ["rows.csv.gz", "rows.jsonl", "rows.jsonl.gz", "rows.parquet"] {
        assert!(train_and_score(folder.path(), file, &entity) == scores, "{file} scores other than rows.csv");
    }

    let lines: Vec<Vec<&str>> = scores.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0].join(","), HEADER);
    assert_eq!(lines.len(), 1 + ROWS);
    for (row, line) in lines[1..].iter().enumerate() {
        assert_eq!((line[0], line[1]), (row.to_string().as_str(), rows[row].machine.as_str()));
        let warming_up = row < 6;
        assert_eq!(line[6] == "warming_up", warming_up, "{line:?}");
        assert_eq!(line[3..6].iter().all(|field| field.is_empty()), warming_up, "{line:?}");
    }
    let spike = &lines[1 + SPIKE];
    assert_eq!((spike[6], spike[7]), ("anomalous", "pressure"), "{spike:?}");
    assert!(spike[8].parse::<f64>().unwrap() > 10.0 && spike[9].parse::<f64>().unwrap() < 10.0, "{spike:?}");
    assert!(spike[5].parse::<f64>().unwrap() < 0.01, "{spike:?}");
}

#[test]
fn rows_are_made_only_by_a_model_that_can() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows()[..600])).unwrap();
    succeed(folder.path(), &["train", "--data", "rows.csv", "--out", "model.onnx", "--set", "training.epochs=1"]);
    let output = strayd(folder.path(), &["model", "generate", "model.onnx"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    for word in ["can't make rows", "model.kind: variational"] {
        assert!(told(&output).contains(word), "`{word}` is missing in {}", told(&output));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows()[..600])).unwrap();
    let sets = ["--set", "training.epochs=1", "--set", "model.kind=variational", "--set", "model.members=1"];
    succeed(folder.path(), &[&["train", "--data", "rows.csv", "--out", "model.onnx"], &sets[..]].concat());
    let commands: [&[&str]; 5] = [
        &["model", "generate", "model.onnx"],
        &["model", "generate", "model.onnx", "--format", "csv", "--rows", "5000"],
        &["model", "list", "--registry", "."],
        &["config", "schema"],
        &["train", "--data", "rows.csv", "--dry-run", "--set", "log.level=warn"],
    ];
    for arguments in commands {
        assert!(!succeed(folder.path(), arguments).is_empty(), "{arguments:?}");
        // A pipe that nobody reads any more.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(folder.path(), arguments).stdout(writer).output().expect("the program starts");
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn without_a_time_rows_are_independent_and_labels_are_no_features() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(22);
    let mut text = "a,b,label,label_series\n".to_owned();
    for row in 0..400 {
        let a: f64 = random.r#gen();
        let b = if row == 399 { 5.0 } else { a + 0.1 * random.r#gen::<f64>() };
        text += &format!("{a},{b},{},{}\n", i64::from(row == 399), row);
    }
    fs::write(folder.path().join("rows.csv"), text).unwrap();
    let scores = train_and_score(folder.path(), "rows.csv", &["model.members=1"]);
    let lines: Vec<&str> = scores.lines().collect();
    assert!(lines[400].starts_with("399,,,") && lines[400].contains(",anomalous,b,5,"), "{}", lines[400]);
    assert!(lines[1].contains(",normal,"), "a row alone is scored: {}", lines[1]);
    // A label that is a feature would be blamed somewhere.
    assert!(!scores.contains(",label"), "{scores:.300}");

    let model = fs::read(folder.path().join("model.onnx")).unwrap();
    let model = String::from_utf8_lossy(&model).into_owned();
    assert!(model.contains("\"window\":1") && !model.contains("label_series"));
    train_and_score(folder.path(), "rows.csv", &["preset=timeseries"]);
    let model = fs::read(folder.path().join("model.onnx")).unwrap();
    assert!(String::from_utf8_lossy(&model).contains("\"window\":8"), "the preset is a setting");
    train_and_score(folder.path(), "rows.csv", &["preset=timeseries", "record.exclude=[\"a\"]", "training.window=2"]);
    let model = String::from_utf8_lossy(&fs::read(folder.path().join("model.onnx")).unwrap()).into_owned();
    assert!(!model.contains("\"label"), "labels stay out whatever else is left out");
}

/// The document about the model in its file.
fn document(folder: &Path) -> String {
    let bytes = fs::read(folder.join("model.onnx")).expect("a model was written");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_the_user_says_goes_before_what_the_data_say() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows()[..600])).unwrap();
    let train = ["train", "--data", "rows.csv", "--out", "model.onnx", "--set", "training.epochs=1"];
    let output = strayd_in(&[("STRAYD__PRESET", "tabular")], folder.path(), &train);
    assert!(output.status.success(), "{}", told(&output));
    assert!(document(folder.path()).contains("\"window\":1"), "the preset of the environment counts");
    succeed(folder.path(), &[&train[..], &["--set", "record.features=load"]].concat());
    let document = document(folder.path());
    assert!(document.contains("\"window\":8") && !document.contains("pressure"), "one feature, as it was set");
}

#[test]
fn features_that_need_a_time_are_refused_on_files_that_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let untimed = (0..300).fold("load\n".to_owned(), |text, row| text + &format!("{}\n", row % 7));
    let timed = csv(&rows()[..600]).replacen("timestamp", "clock", 1);
    fs::write(folder.path().join("untimed.csv"), untimed).unwrap();
    fs::write(folder.path().join("timed.csv"), timed).unwrap();
    let features =
        "record.features=[\"load\",{\"kind\":\"hour_of_day\"},{\"path\":\"load\",\"name\":\"n\",\"kind\":\"counter\"}]";
    let train = |data: &str, more: &[&str]| {
        let train = ["train", "--data", data, "--out", "model.onnx", "--set", features, "--set", "training.epochs=1"];
        strayd(folder.path(), &[&train[..], more].concat())
    };
    let refused = |output: &Output| {
        let told = told(output);
        assert_eq!(output.status.code(), Some(64), "{told}");
        for word in ["record.timestamp: is not set", "`hour_of_day`", "`n`", "--set record.timestamp.field=time"] {
            assert!(told.contains(word), "`{word}` is missing in {told}");
        }
    };
    refused(&train("untimed.csv", &[]));
    let output = train("timed.csv", &["--set", "record.timestamp.field=clock"]);
    assert!(output.status.success(), "{}", told(&output));
    let score = ["score", "--model", "model.onnx", "--data", "untimed.csv", "--out", "scores.csv"];
    refused(&strayd(folder.path(), &score));
}

#[test]
fn a_budget_that_the_user_wrote_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let text = (0..400).fold("a,b\n".to_owned(), |text, row| text + &format!("{},{}\n", row % 7, row % 5));
    fs::write(folder.path().join("rows.csv"), text).unwrap();
    // A time series without a time: by default it is judged by a share of rows, as its model knows no day.
    let preset = ["model.members=1", "preset=timeseries", "training.window=1"];
    train_and_score(folder.path(), "rows.csv", &preset);
    let score = ["score", "--model", "model.onnx", "--data", "rows.csv", "--out", "scores.csv"];
    let output =
        strayd(folder.path(), &[&score[..], &["--set", "judging.budget.alarms=3 per entity per day"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("set judging.budget.quantile"), "{}", told(&output));
}

#[test]
fn several_files_are_read_as_one_and_a_configuration_file_goes_before_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows();
    fs::write(folder.path().join("all.csv"), csv(&rows)).unwrap();
    fs::write(folder.path().join("first.csv"), csv(&rows[..1_000])).unwrap();
    gzip(&folder.path().join("second.jsonl.gz"), &json_lines(&rows[1_000..]));
    fs::write(
        folder.path().join("strayd.yaml"),
        "record: {entity: {field: machine}, timestamp: {field: timestamp}, exclude: [label]}\n\
         training: {epochs: 3, window: 2}\n",
    )
    .unwrap();
    let run = |data: &[&str]| {
        let common = ["--config", "strayd.yaml", "--data"];
        succeed(folder.path(), &[&["train", "--out", "model.onnx"], &common[..], data].concat());
        let score = ["score", "--model", "model.onnx", "--out", "scores.csv"];
        succeed(folder.path(), &[&score[..], &common[..], data].concat());
        fs::read_to_string(folder.path().join("scores.csv")).unwrap()
    };
    let one = run(&["all.csv"]);
    assert!(document(folder.path()).contains("\"window\":2"), "the window is the file's");
    assert_eq!(one.lines().count(), 1 + ROWS);
    assert!(run(&["first.csv", "second.jsonl.gz"]) == one, "two files score other than the one that holds both");
}

#[test]
fn names_that_look_like_numbers_are_kept_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let text = (0..600).fold("id,mode,x\n".to_owned(), |text, row| {
        text + &format!("{},0{},{}\n", ["007", "7", "1e2"][row % 3], 1 + row % 2, row % 5)
    });
    fs::write(folder.path().join("rows.csv"), text + "\n7,01,2\n").unwrap();
    let features = "record.features=[\"x\",{\"path\":\"mode\",\"kind\":\"categorical\"}]";
    let scores = train_and_score(folder.path(), "rows.csv", &["record.entity={\"field\":\"id\"}", features]);
    let entity = |row: usize| scores.lines().nth(1 + row).unwrap().split(',').nth(1).unwrap().to_owned();
    assert_eq!([0, 1, 2].map(entity), ["007", "7", "1e2"]);
    assert!(
        document(folder.path()).contains(r#""vocabulary":["01","02"]"#),
        "categories are learned as they are written"
    );
    let blank: Vec<&str> = scores.lines().nth(601).unwrap().split(',').collect();
    assert_eq!((blank[0], blank[6]), ("600", "undecodable"), "the blank line keeps its place");
    assert!(scores.lines().nth(602).unwrap().starts_with("601,7,"), "and so does what follows it");
}

/// Frames of 2 rows of 3 cells: one warm spot that wanders; the rows in `hot` have a second one.
fn frames(rows: usize, hot: &[usize]) -> String {
    let frame = |row: usize| {
        let wave = (row as f64 * 0.2).sin();
        let cell = |cell: usize| {
            let hot = if cell == 5 && hot.contains(&row) { 30.0 } else { 0.0 };
            format!("{:.3}", 20.0 + wave * (cell as f64 - 2.0) + ((row * 7 + cell * 3) % 11) as f64 * 0.02 + hot)
        };
        let line = |first: usize| (first..first + 3).map(cell).collect::<Vec<_>>().join(",");
        format!("{{\"ts\":{},\"frame\":[[{}],[{}]]}}\n", 1_700_000_000 + row * 60, line(0), line(3))
    };
    (0..rows).map(frame).collect()
}

#[test]
fn records_whose_value_is_a_grid_are_trained_on_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let whole = frames(1_200, &[700, 900]);
    let cut = whole.lines().take(1_000).chain([r#"{"ts":1700060000,"frame":[[1,2,3],[4,5]]}"#]);
    let ragged = cut.map(|line| format!("{line}\n")).collect::<String>();
    fs::write(folder.path().join("rows.jsonl"), frames(1_200, &[])).unwrap();
    fs::write(folder.path().join("new.jsonl"), ragged).unwrap();
    let features = r#"record.features=[{"path":"frame","kind":"grid","shape":[2,3]}]"#;
    let sets = ["--set", features, "--set", "training.window=1", "--set", "training.epochs=4"];
    let train = [&["train", "--data", "rows.jsonl", "--out", "model.onnx"], &sets[..]].concat();
    let explained = succeed(folder.path(), &[&train[..], &["--dry-run"]].concat());
    assert!(explained.contains("input             a grid of 2 rows of 3 cells each\n"), "{explained}");
    let output = strayd(folder.path(), &train);
    assert!(output.status.success() && told(&output).contains("6 columns"), "{}", told(&output));
    succeed(folder.path(), &["score", "--model", "model.onnx", "--data", "new.jsonl", "--out", "scores.csv"]);
    let scores = fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    let rows: Vec<&str> = scores.lines().skip(1).collect();
    assert_eq!(rows.len(), 1_001);
    for hot in [700, 900] {
        assert!(rows[hot].contains("anomalous") && rows[hot].contains("frame[1][2]"), "{}", rows[hot]);
    }
    assert!(rows[1_000].contains("undecodable"), "{}", rows[1_000]);
    // Raw bytes come from Kafka.
    let raw = r#"record.format={"raw":{"shape":[2,3],"type":"uint8"}}"#;
    let output = strayd(
        folder.path(),
        &["score", "--model", "model.onnx", "--data", "new.jsonl", "--out", "no.csv", "--set", raw],
    );
    assert_eq!(output.status.code(), Some(64), "{}", told(&output));
    assert!(told(&output).contains("record.format") && told(&output).contains("from Kafka only"), "{}", told(&output));
}

/// A model file without the document about it, which says when it was made.
fn graph(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).expect("a model was written");
    let document = bytes.windows(9).position(|window| window == b"\"format\":").expect("it holds the document");
    bytes[..document].to_vec()
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows())).unwrap();
    let train = |out: &str, seed: &str| {
        let seed = format!("training.seed={seed}");
        let sets = ["--set", &seed, "--set", "training.epochs=2"];
        succeed(folder.path(), &[&["train", "--data", "rows.csv", "--out", out], &sets[..]].concat());
        graph(&folder.path().join(out))
    };
    let first = train("a.onnx", "1");
    assert!(first == train("b.onnx", "1"), "the same seed gives the same weights");
    assert!(first != train("c.onnx", "2"), "another seed gives other weights");
}

#[test]
fn what_can_not_be_used_is_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("the file can be written");
    write("rows.csv", &csv(&rows()));
    write("empty.csv", "");
    write("head.csv", "timestamp,a,b\n");
    write("ragged.csv", "timestamp,a,b\n2026-01-01T00:00:00Z,1,2\n2026-01-01T00:01:00Z,1\n");
    write("words.csv", &format!("a,b\n{}", "x,y\n".repeat(300)));
    write("few.csv", &format!("a,b\n{}", "1,2\n3,4\n".repeat(5)));
    write("rows.xlsx", "PK");
    write("broken.jsonl", "{\"a\":1}\n{\"a\":\n");
    write("model.onnx", "no model");
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe.csv")).status().unwrap().success());
    let train = |data: &'static str| vec!["train", "--data", data, "--out", "new.onnx"];
    let score =
        |model: &'static str, out: &'static str| vec!["score", "--model", model, "--data", "rows.csv", "--out", out];
    for (arguments, words) in [
        (train("not-there.csv"), vec!["not-there.csv"]),
        (train("."), vec![". is a folder", "regular file"]),
        (train("pipe.csv"), vec!["pipe.csv is a pipe", "regular file"]),
        (train("empty.csv"), vec!["empty.csv"]),
        (train("head.csv"), vec![]),
        (train("ragged.csv"), vec!["1 records could not be used", "line 3 has 2 cells"]),
        (train("words.csv"), vec!["number", "record.features"]),
        (train("few.csv"), vec!["too few", "50"]),
        (train("rows.xlsx"), vec!["rows.xlsx", ".csv", ".parquet"]),
        (train("broken.jsonl"), vec!["1 records could not be used"]),
        (score("model.onnx", "out.csv"), vec!["model.onnx"]),
        (score("not-there.onnx", "out.csv"), vec!["not-there.onnx"]),
    ] {
        let output = strayd(folder.path(), &arguments);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        words.iter().for_each(|word| assert!(told.contains(word), "{arguments:?}: `{word}` is missing in {told}"));
        assert!(!told.contains("panicked"), "{told}");
        assert!(!folder.path().join("new.onnx").exists() && !folder.path().join("out.csv").exists(), "{arguments:?}");
    }
    let output =
        strayd(folder.path(), &["train", "--data", "rows.csv", "--out", "m.onnx", "--set", "training.epoch=3"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(told(&output).contains("training.epochs"), "the right name is guessed: {}", told(&output));
}

#[test]
fn scores_that_can_not_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows())).unwrap();
    train_and_score(folder.path(), "rows.csv", &[]);
    let output = strayd(
        folder.path(),
        &["score", "--model", "model.onnx", "--data", "rows.csv", "--out", "no/such/folder/scores.csv"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("no/such/folder"), "{}", told(&output));
}

#[test]
fn a_picture_that_can_not_be_drawn_is_told_before_anything_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows()[..600])).unwrap();
    train_and_score(folder.path(), "rows.csv", &[]);
    fs::remove_file(folder.path().join("scores.csv")).unwrap();
    let score = |out: &str, plot: &str| {
        strayd(folder.path(), &["score", "--model", "model.onnx", "--data", "rows.csv", "--out", out, "--plot", plot])
    };
    for (out, plot, code, words) in [
        ("scores.svg", "./scores.svg", 64, "--plot and --out both name ./scores.svg, expected two files"),
        ("scores.csv", "scores.csv", 64, "expected two files"),
        ("scores.csv", "scores.png", 1, "expected a name that ends in .svg"),
        ("scores.csv", "no/such/folder/scores.svg", 1, "no/such/folder/scores.svg"),
    ] {
        let output = score(out, plot);
        assert_eq!(output.status.code(), Some(code), "{plot}: {}", told(&output));
        assert!(told(&output).contains(words), "{plot}: {}", told(&output));
        assert!(!told(&output).contains("anomalous"), "{plot}: rows were scored before it was told");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{plot}: no file is left behind");
    }
    let output = score("scores.csv", "scores.svg");
    assert!(output.status.success(), "{}", told(&output));
    let picture = fs::read_to_string(folder.path().join("scores.svg")).unwrap();
    for words in ["<svg", "score / limit", "pca 24-3-24 x 1, budget 0.01 of normal rows"] {
        assert!(picture.contains(words), "`{words}` is missing in {picture:.600}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_row_that_can_not_be_used_keeps_its_place_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = rows();
    fs::write(folder.path().join("train.csv"), csv(&rows)).unwrap();
    rows[100].values = [None; 3];
    rows[200].time = "soon".to_owned();
    fs::write(folder.path().join("rows.csv"), csv(&rows)).unwrap();
    succeed(folder.path(), &["train", "--data", "train.csv", "--out", "model.onnx", "--set", "training.epochs=2"]);
    succeed(folder.path(), &["score", "--model", "model.onnx", "--data", "rows.csv", "--out", "scores.csv"]);
    let scores = fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    // Its own time, or none: never that of the row before.
    let time = |row: usize| scores.lines().nth(1 + row).unwrap().split(',').nth(2).unwrap();
    assert_eq!((time(100), time(200), time(201)), (rows[100].time.as_str(), "", rows[201].time.as_str()));
    let line: Vec<&str> = scores.lines().nth(101).unwrap().split(',').collect();
    assert_eq!((line[0], line[3], line[5], line[7]), ("100", "", "", ""), "{line:?}");
    assert!(line[6].contains("missing"), "{line:?}");
    assert_eq!(scores.lines().count(), 1 + ROWS);
}

#[test]
fn shipped_configurations_are_sound_and_fit_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&succeed(root(), &["config", "schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).expect("the schema is a JSON Schema");
    let files = fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path());
    let mut checked = 0;
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let name = file.to_str().unwrap().to_owned();
        succeed(root(), &["config", "check", "--config", &name]);
        checked += 1;
    }
    assert!(checked >= 2, "config/ holds the default configuration and examples");
    assert!(validator.is_valid(&serde_json::json!({"preset": "tabular", "training": {"window": 3}})));
    assert!(!validator.is_valid(&serde_json::json!({"training": {"windw": 3}})));
}

#[test]
fn a_training_is_explained_before_it_starts_or_instead() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows()[..1_500])).unwrap();
    let sets =
        ["--set", "model.kind=denoising,convolutional", "--set", "model.members=2", "--set", "training.epochs=2"];
    let dry = [&["train", "--data", "rows.csv", "--set", "preset=timeseries", "--dry-run"], &sets[..]].concat();
    let explained = strayd(folder.path(), &dry);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.status.success(), "{explained:?}");
    for words in [
        "PART     LAYER                   OUTPUT  ACTIVATION  PARAMETERS\n",
        "encoder  convolution             2 x 16  tanh",
        "code     dense                   2       identity",
        "kind              denoising + convolutional",
        "input             3 columns in windows of 4 rows\n",
        ": 2 networks of ",
        "training time     ",
        " 2 epochs at ",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    assert!(explained.stderr.is_empty(), "nothing is trained: {explained:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no file is written");

    let both = [
        &["train", "--data", "rows.csv", "--explain", "--out", "model.onnx"],
        &sets[..4],
        &["--set", "training.epochs=1"],
    ];
    let trained = strayd(folder.path(), &both.concat());
    assert!(trained.status.success(), "{trained:?}");
    let text = String::from_utf8_lossy(&trained.stdout).into_owned();
    assert!(text.contains(" 1 epoch at "), "{text}");
    let told = text.split("model file        about ").nth(1).and_then(|rest| rest.split(' ').next());
    let told: f64 = told.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no size in\n{text}"));
    let written = fs::metadata(folder.path().join("model.onnx")).unwrap().len() as f64 / 1024.0;
    assert!((told / written - 1.0).abs() < 0.1, "{told} KiB for {written}");

    let linear = ["train", "--data", "rows.csv", "--dry-run", "--set", "model.kind=pca"];
    let text = String::from_utf8_lossy(&strayd(folder.path(), &linear).stdout).into_owned();
    assert!(text.contains("no epochs: principal components are solved exactly"), "{text}");
    let sequence = ["train", "--data", "rows.csv", "--dry-run", "--set", "model.kind=sequence"];
    let text = succeed(folder.path(), &[&sequence[..], &["--set", "model.sequence.rows=2"]].concat());
    assert!(text.contains("3 columns in windows of 4 rows, of which the last 2 are predicted\n"), "{text}");
    let nowhere = strayd(folder.path(), &["train", "--data", "rows.csv", "--explain"]);
    assert_eq!(nowhere.status.code(), Some(2), "a model needs a place: {nowhere:?}");
}

#[test]
fn a_training_that_is_explained_first_decides_once_and_gives_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rows.csv"), csv(&rows()[..1_200])).unwrap();
    let train = |out: &str, more: &[&str]| {
        let budget = ["--set", "judging.budget.alarms=1 per entity per day"];
        let output =
            strayd(folder.path(), &[&["train", "--data", "rows.csv", "--out", out], &budget[..], more].concat());
        assert!(output.status.success(), "{}", told(&output));
        assert!(told(&output).contains("for a budget of 1 per entity per day"), "{}", told(&output));
        assert_eq!(told(&output).matches("taking pca").count(), 1, "{}", told(&output));
        graph(&folder.path().join(out))
    };
    assert!(train("explained.onnx", &["--explain"]) == train("silent.onnx", &[]), "an explanation changes nothing");
}

#[test]
fn help_tells_of_every_command_as_pinned() {
    let golden = root().join("tests/golden");
    let commands: [&[&str]; 22] = [
        &[],
        &["demo"],
        &["run"],
        &["train"],
        &["score"],
        &["backtest"],
        &["tune"],
        &["model"],
        &["model", "list"],
        &["model", "show"],
        &["model", "verify"],
        &["model", "promote"],
        &["model", "rollback"],
        &["model", "generate"],
        &["gen"],
        &["healthcheck"],
        &["retrain"],
        &["feedback"],
        &["config"],
        &["config", "check"],
        &["config", "print"],
        &["config", "schema"],
    ];
    for command in commands {
        let help = succeed(root(), &[command, &["--help"]].concat());
        let file =
            golden.join(format!("help{}.txt", command.iter().map(|word| format!("-{word}")).collect::<String>()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&golden).unwrap();
            fs::write(&file, &help).unwrap();
        }
        let pinned = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(help, pinned, "{}: UPDATE_GOLDEN=1 writes it anew", file.display());
    }
    assert_eq!(succeed(root(), &["--version"]), format!("strayd {}\n", env!("CARGO_PKG_VERSION")));
}
