//! The registry as processes see it: `strayd model` as a user types it, writers that are killed, that meet, and that find
//! no room. The models are real ones, made by the trainer.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;
use strayd::{
    config::{Settings, Sources},
    model::{
        Model,
        registry::{Registry, Severity},
    },
    record::Position,
    testing::CentreScorers,
    train::{recipe::Recipe, sample::SampleRecord},
};
use support::{
    models::recipe,
    tools::{end, root},
};

/// Names what a child of this program does, and where; see [`a_child_of_this_program`].
const ROLE: &str = "STRAYD_TEST_CHILD";
/// Kills of a writer, and seed of their moments.
const KILLS: u64 = 60;
/// Changes that a writer may make before it is killed during the next one.
const CHANGES: u32 = 4;

/// A model of 300 rows of two waves; each seed makes another one.
fn model(seed: u64, parent: Option<&str>) -> Model {
    let set = ["training.window=2", "model.kind=pca", "record.entity=nothing", &format!("training.seed={seed}")];
    let sources = Sources { set: set.map(str::to_owned).to_vec(), ..Sources::default() };
    let loaded = Settings::load(&sources).expect("the settings are sound");
    let record = |row: usize| SampleRecord {
        position: Position { partition: (row % 2) as i32, offset: 1_000 + row as i64 },
        timestamp_ms: Some(1_767_225_600_000 + row as i64 * 1_000),
        key: None,
        payload: format!("{{\"x\":{:.5},\"y\":{:.5}}}", (row as f64 * 0.1).sin(), (row as f64 * 0.1).cos())
            .into_bytes()
            .into(),
        run: 0,
        headers: None,
    };
    let recipe = Recipe {
        source: "sensors".to_owned(),
        config_sha256: loaded.training_sha256,
        created: format!("2026-01-01T00:00:{:02}Z", seed % 60),
        parent: parent.map(str::to_owned),
        ..recipe(CentreScorers, loaded.settings)
    };
    let sample: Vec<SampleRecord> = (0..300).map(record).collect();
    recipe.train(&sample, &mut |_| ControlFlow::Continue(())).expect("a model can be made")
}

/// A folder with a registry `models` in it: three models, each the child of the one before, the last one in use, and a
/// refused one. Their versions, in this order, too.
fn stocked() -> (tempfile::TempDir, [String; 4]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let registry = Registry::new(&folder.path().join("models"));
    let first = model(1, None);
    let second = model(2, Some(&first.version));
    let third = model(3, Some(&second.version));
    let refused = model(4, Some(&third.version));
    for model in [&first, &second, &third] {
        registry.publish(model, None).expect("a model can be published");
    }
    let reasons = ["worse than the model in use: 0.5 > 0.1".to_owned(), "not better than pca".to_owned()];
    registry.keep_refused(&refused, None, &reasons).expect("a model can be kept");
    (folder, [first, second, third, refused].map(|model| model.version))
}

fn strayd(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strayd"))
        .arg("model")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = strayd(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).expect("the program writes UTF-8")
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let text = succeed(folder, &[arguments, &["--json"]].concat());
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    serde_json::from_str(&text).expect("the answer is JSON")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn errors(registry: &Registry) -> Vec<String> {
    let findings = registry.verify().expect("the registry can be looked at").findings;
    findings.into_iter().filter(|found| found.severity == Severity::Error).map(|found| found.problem).collect()
}

#[test]
fn list_shows_a_table_with_the_model_in_use_marked_and_why_others_were_refused() {
    let (folder, [first, second, third, refused]) = stocked();
    let table = succeed(folder.path(), &["list", "--registry", "models"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    for (line, words) in [
        (0, vec!["VERSION", "STATE", "STORED", "KIND", "ROWS", "LOSS", "PARENT", "SOURCE", "REFUSED BECAUSE"]),
        (
            1,
            vec![&refused, "refused", "pca", &third, "sensors", "worse than the model in use", "; not better than pca"],
        ),
        (2, vec!["*", &third, "current", "pca", &second, "sensors"]),
        (3, vec![&second, "retired", &first]),
        (4, vec![&first, "retired", " - "]),
    ] {
        words.iter().for_each(|word| assert!(lines[line].contains(word), "`{word}` is missing in: {}", lines[line]));
    }
    // What stands below each other begins or ends in the same place.
    let begins = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("no `{word}` in {line}"));
    let column = begins(lines[0], "STATE");
    let states = ["refused", "current", "retired", "retired"];
    assert!(lines[1..].iter().zip(states).all(|(line, state)| line[column..].starts_with(state)), "{table}");
    let column = begins(lines[0], "SOURCE");
    assert!(lines[1..].iter().all(|line| line[column..].starts_with("sensors")), "{table}");
    assert!(lines.iter().all(|line| line.trim_end() == *line), "{table}");
}

#[test]
fn list_as_json_tells_hash_parent_provenance_and_history_of_every_model() {
    let (folder, [first, second, third, refused]) = stocked();
    let answer = json(folder.path(), &["list", "--registry", "models"]);
    assert_eq!((&answer["registry"], &answer["current"]), (&Value::from("models"), &Value::from(third.clone())));
    let models = answer["models"].as_array().expect("a list");
    let versions: Vec<&str> = models.iter().map(|model| model["version"].as_str().expect("a text")).collect();
    assert_eq!(versions, [&refused, &third, &second, &first]);
    for model in models {
        let file = folder.path().join("models").join(model["file"].as_str().expect("a text"));
        let output = Command::new("sha256sum").arg(&file).output().expect("sha256sum runs");
        let hash = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(hash.split(' ').next(), model["sha256"].as_str(), "another program finds the same hash");
        assert_eq!(model["bytes"], fs::metadata(&file).expect("the file is there").len());
    }
    let third = &models[1];
    assert_eq!(third["program"], format!("strayd {}", env!("CARGO_PKG_VERSION")));
    let keys = ["version", "state", "file", "sha256", "bytes", "kind", "program", "parent", "created", "stored"];
    let more = ["promoted", "reasons", "provenance"];
    keys.iter().chain(&more).for_each(|key| assert!(third.get(key).is_some(), "{key}"));
    let from = &third["provenance"];
    assert_eq!(
        (&from["source"], &from["seed"], from["config_sha256"].as_str().map(str::len)),
        (&Value::from("sensors"), &Value::from(3), Some(64))
    );
    let offsets = serde_json::json!([
        {"partition": 0, "first": 1_000, "last": 1_298},
        {"partition": 1, "first": 1_001, "last": 1_299},
    ]);
    assert_eq!(from["offsets"], offsets);
    assert_eq!(models[0]["reasons"].as_array().map(Vec::len), Some(2));
    let history: Vec<&Value> = answer["promotions"].as_array().expect("a list").iter().map(|p| &p["version"]).collect();
    assert_eq!(history, [&third["version"], &models[2]["version"], &models[3]["version"]]);
}

#[test]
fn show_tells_all_of_one_model_by_the_beginning_of_its_version() {
    let (folder, [_, second, third, _]) = stocked();
    let text = succeed(folder.path(), &["show", &third[..8], "--registry", "models"]);
    for (key, value) in [
        ("version", third.as_str()),
        ("state", "current"),
        ("parent", &second),
        ("network", "pca 4-"),
        ("columns", "2: x, y"),
        ("source", "sensors"),
        ("offsets", "partition 1: 1001 to 1299"),
        ("event time", "2026-01-01T00:00:00Z to 2026-01-01T00:04:59Z"),
        ("seed", "3"),
    ] {
        let found = text.lines().any(|line| line.starts_with(&format!("{key} ")) && line.contains(value));
        assert!(found, "no line `{key}` with `{value}` in:\n{text}");
    }
    let answer = json(folder.path(), &["show", &third, "--registry", "models"]);
    assert_eq!(answer["model"]["columns"], serde_json::json!(["x", "y"]));
    assert_eq!(answer["version"], third);
}

#[test]
fn show_tells_of_a_file_that_lies_in_no_registry() {
    let (folder, [_, second, third, _]) = stocked();
    let path = json(folder.path(), &["show", &third, "--registry", "models"])["file"].as_str().unwrap().to_owned();
    std::fs::rename(folder.path().join("models").join(path), folder.path().join("alone.onnx")).unwrap();
    let text = succeed(folder.path(), &["show", "alone.onnx"]);
    for (key, value) in
        [("version", third.as_str()), ("file", "alone.onnx"), ("parent", &second), ("network", "pca 4-"), ("seed", "3")]
    {
        let found = text.lines().any(|line| line.starts_with(&format!("{key} ")) && line.contains(value));
        assert!(found, "no line `{key}` with `{value}` in:\n{text}");
    }
    assert!(!text.lines().any(|line| line.starts_with("state ") || line.starts_with("stored ")), "{text}");
    let answer = json(folder.path(), &["show", "alone.onnx"]);
    assert_eq!((&answer["version"], &answer["state"]), (&serde_json::json!(third), &serde_json::Value::Null));
}

#[test]
fn rollback_and_promote_say_what_was_in_use_and_what_is_now() {
    let (folder, [first, second, third, refused]) = stocked();
    let text = succeed(folder.path(), &["rollback", "--registry", "models"]);
    assert!(text.contains(&format!("model {second} is in use now; before, {third} was")), "{text}");
    assert!(text.contains("model.poll_interval"), "{text}");
    assert_eq!(json(folder.path(), &["rollback", "--registry", "models"])["to"], first);
    let output = strayd(folder.path(), &["rollback", "--registry", "models"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("in use before"), "{}", told(&output));

    let output = strayd(folder.path(), &["promote", &refused, "--registry", "models"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("not better than pca") && told(&output).contains("--force"), "{}", told(&output));
    assert_eq!(json(folder.path(), &["list", "--registry", "models"])["current"], first, "nothing was changed");
    let answer = json(folder.path(), &["promote", &refused, "--force", "--registry", "models"]);
    assert_eq!((&answer["from"], &answer["to"]), (&Value::from(first.clone()), &Value::from(refused.clone())));
    let text = succeed(folder.path(), &["promote", &refused, "--force", "--registry", "models"]);
    assert!(text.contains("in use already"), "{text}");
    assert_eq!(json(folder.path(), &["rollback", "--registry", "models"])["to"], first);
    assert_eq!(json(folder.path(), &["verify", "--registry", "models"])["sound"], true);
}

#[test]
fn verify_ends_with_1_and_names_what_is_torn_altered_swapped_or_gone() {
    for (what, damage) in [
        ("torn", (|file, _| fs::write(file, &fs::read(file)?[..100])) as fn(&Path, &Path) -> std::io::Result<()>),
        ("altered", |file, _| {
            let mut bytes = fs::read(file)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(file, bytes)
        }),
        ("swapped", |file, other| fs::copy(other, file).map(drop)),
        ("gone", |file, _| fs::remove_file(file)),
    ] {
        let (folder, [_, second, third, _]) = stocked();
        let at = |version: &str| folder.path().join(format!("models/{version}.onnx"));
        succeed(folder.path(), &["verify", "--registry", "models"]);
        damage(&at(&third), &at(&second)).expect("the file can be damaged");
        for arguments in [&["verify", "--registry", "models"][..], &["verify", "--json", "--registry", "models"]] {
            let output = strayd(folder.path(), arguments);
            assert_eq!(output.status.code(), Some(1), "{what}");
            assert!(told(&output).contains(&format!("{third}.onnx")), "{what}: {}", told(&output));
            assert!(
                !told(&output).contains(&format!("{second}.onnx")),
                "{what}: the others are whole: {}",
                told(&output)
            );
        }
        let output = strayd(folder.path(), &["show", &third, "--registry", "models"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(told(&output).contains("sha256") && told(&output).contains("strayd: "), "{what}: {}", told(&output));
        // The way out needs nothing of the damaged file.
        succeed(folder.path(), &["rollback", "--registry", "models"]);
        let output = strayd(folder.path(), &["promote", &third, "--registry", "models"]);
        assert!(!output.status.success() && told(&output).contains(&format!("{third}.onnx")), "{}", told(&output));
        assert_eq!(json(folder.path(), &["list", "--registry", "models"])["current"], second);
    }
}

#[test]
fn a_damaged_index_is_named_and_repaired_with_nothing_lost() {
    let (folder, [_, _, third, refused]) = stocked();
    let index = folder.path().join("models/index.json");
    let text = fs::read_to_string(&index).expect("the index can be read");
    fs::write(&index, &text[..text.len() / 2]).expect("the index can be torn");
    for arguments in [&["list"][..], &["verify"], &["promote", &third], &["rollback"]] {
        let output = strayd(folder.path(), &[arguments, &["--registry", "models"]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let told = told(&output);
        assert!(told.contains("index.json") && told.contains("strayd model verify --repair"), "{told}");
    }
    let text = succeed(folder.path(), &["verify", "--repair", "--registry", "models"]);
    assert!(text.contains("repaired: index.json") && text.contains("ok: 4 models"), "{text}");
    assert!(folder.path().join("models/index.json.damaged").exists());
    let answer = json(folder.path(), &["list", "--registry", "models"]);
    assert_eq!((&answer["current"], answer["models"].as_array().map(Vec::len)), (&Value::from(third), Some(4)));
    let states = answer["models"].as_array().expect("a list").iter().map(|model| (&model["version"], &model["state"]));
    assert!(states.into_iter().any(|(version, state)| *version == refused && state == "refused"), "{answer}");
}

#[test]
fn the_registry_is_the_configurations_unless_it_is_named() {
    let (folder, [_, _, third, _]) = stocked();
    fs::write(folder.path().join("strayd.yaml"), "model: {registry: models}\n").expect("the file can be written");
    assert_eq!(json(folder.path(), &["list", "--config", "strayd.yaml"])["current"], third);
    assert_eq!(json(folder.path(), &["list", "--set", "model.registry=models"])["current"], third);
    // The default is the daemon's.
    assert_eq!(json(folder.path(), &["list"])["registry"], "./models");
    for (arguments, code, word) in [
        (&["list", "--registry", "modles"][..], 1, "modles"),
        (&["list", "--registry", "strayd.yaml"], 1, "strayd.yaml"),
        (&["list", "--set", "model.regstry=models"], 64, "model.registry"),
        (&["list", "--registry", "models", "--config", "strayd.yaml"], 2, "cannot be used with"),
        (&["show", "zzz", "--registry", "models"], 1, "strayd model list"),
    ] {
        let output = strayd(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(word), "{arguments:?}: {}", told(&output));
    }
    fs::create_dir(folder.path().join("empty")).expect("a folder can be made");
    assert!(succeed(folder.path(), &["list", "--registry", "empty"]).contains("no models in empty"));
    assert!(succeed(folder.path(), &["verify", "--registry", "empty"]).contains("ok: 0 models"));
}

/// This program again, to do this in this folder until it is killed or done. Through a shell with these words before.
fn child(role: &str, folder: &Path, before: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{before} exec \"$@\""), "sh"])
        .arg(std::env::current_exe().expect("this program has a file"))
        .args(["--exact", "a_child_of_this_program", "--nocapture"])
        .env(ROLE, role)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started")
}

/// No test of its own: what the processes do that other tests start. Without being told what to do it does nothing.
#[test]
fn a_child_of_this_program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let made = |number: u64| Model::read(&PathBuf::from(format!("made/{number}.onnx"))).expect("the model is there");
    let registry = Registry::new(Path::new("models")).keeping(4);
    if role == "publish" {
        let published = registry.publish(&made(0), None).map_err(|error| error.to_string());
        println!("told: {published:?}");
        return;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(role.parse().expect("a seed"));
    let versions: Vec<String> = (0..12).map(|number| made(number).version).collect();
    for done in 0_u32.. {
        println!("told: {done}");
        let number = random.gen_range(0..12);
        // That a version isn't there (it was dropped), or was refused, or nothing was in use before, is part of the game.
        match random.gen_range(0..10) {
            0..=3 => drop(registry.publish(&made(number), None).expect("a model can be published")),
            4..=5 => drop(registry.keep_refused(&made(number), None, &["no".to_owned()]).expect("it can be kept")),
            6..=7 => drop(registry.promote(&versions[number as usize], false)),
            8 => drop(registry.rollback()),
            _ => drop(registry.prune(3).expect("models can be dropped")),
        }
    }
}

/// What the child says after each `told: `.
fn hears(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let lines = BufReader::new(stdout).lines().map(|line| line.expect("the child writes text"));
    // The harness writes its own words on the same line.
    lines.filter_map(|line| line.split_once("told: ").map(|(_, told)| told.to_owned()))
}

/// A folder with twelve models under `made/` for children to store.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::create_dir(folder.path().join("made")).expect("a folder can be made");
    for number in 0..12 {
        let path = folder.path().join(format!("made/{number}.onnx"));
        model(100 + number, None).write(&path).expect("a model can be written");
    }
    folder
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_model_in_use_and_nothing_wrong() {
    let folder = workshop();
    let registry = Registry::new(&folder.path().join("models"));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let (mut in_the_middle, mut in_use, mut changes) = (0, std::collections::BTreeSet::new(), 0);
    for kill in 0..KILLS {
        let mut writer = child(&kill.to_string(), folder.path(), "");
        let mut done = hears(&mut writer);
        // After some changes, at a moment of the next one: changes differ in length, so it may be the one after that.
        let (mut before, mut length) = (Instant::now(), Duration::from_millis(2));
        for change in 0..=random.gen_range(0..CHANGES) {
            assert_eq!(done.next(), Some(change.to_string()), "kill {kill}: the writer works until it is killed");
            if change > 0 {
                length = before.elapsed();
                changes += 1;
            }
            before = Instant::now();
        }
        std::thread::sleep(length.mul_f64(random.gen_range(0.0..1.2)));
        end(&mut writer);
        let current = registry.current().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        let version = registry.current_version().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        assert_eq!(current.as_ref().map(|model| &model.version), version.as_ref(), "kill {kill}");
        assert_eq!(errors(&registry), Vec::<String>::new(), "kill {kill}");
        assert!(current.is_some() || in_use.is_empty(), "kill {kill}: a model was in use, and now none is");
        in_use.extend(version);
        in_the_middle += usize::from(!registry.verify().expect("it can be looked at").findings.is_empty());
    }
    // Else the kills would prove nothing.
    assert!(in_use.len() >= 4, "writers put only {in_use:?} to use in {changes} changes");
    assert!(in_the_middle >= 5, "only {in_the_middle} of {KILLS} kills met a writer between two steps");
    eprintln!(
        "{KILLS} kills, {changes} changes done: {in_the_middle} between two steps, {} models in use",
        in_use.len()
    );
    registry.rollback().expect("the history survived, too");
}

#[test]
fn processes_that_promote_at_once_take_turns_and_lose_no_promotion() {
    let (folder, [first, second, third, _]) = stocked();
    let before = json(folder.path(), &["list", "--registry", "models"])["promotions"].as_array().map(Vec::len);
    let start = |version: &String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strayd"));
        command.args(["model", "promote", version, "--registry", "models", "--json"]).current_dir(folder.path());
        command.stdout(Stdio::piped()).spawn().expect("the program starts")
    };
    let writers: Vec<Child> = [&first, &second, &third].into_iter().cycle().take(18).map(start).collect();
    let changes: Vec<Value> = writers
        .into_iter()
        .map(|writer| {
            let output = writer.wait_with_output().expect("the program ends");
            assert!(output.status.success(), "{}", told(&output));
            serde_json::from_slice(&output.stdout).expect("the answer is JSON")
        })
        .collect();
    let changed = changes.iter().filter(|change| change["from"] != change["to"]).count();
    let answer = json(folder.path(), &["list", "--registry", "models"]);
    let history: Vec<&Value> = answer["promotions"].as_array().expect("a list").iter().map(|p| &p["version"]).collect();
    assert_eq!(Some(history.len()), before.map(|before| before + changed), "each change is in the history, once");
    assert!(history.windows(2).all(|pair| pair[0] != pair[1]), "{history:?}");
    assert_eq!(*history[0], answer["current"]);
    assert_eq!(json(folder.path(), &["verify", "--registry", "models"])["findings"], serde_json::json!([]));
}

#[test]
fn a_writer_without_room_says_what_it_could_not_write_and_leaves_all_as_it_was() {
    let (folder, [_, second, third, _]) = stocked();
    fs::create_dir(folder.path().join("made")).expect("a folder can be made");
    model(50, None).write(&folder.path().join("made/0.onnx")).expect("a model can be written");
    let listing = || {
        let entries = fs::read_dir(folder.path().join("models")).expect("the registry can be read");
        let file = |entry: fs::DirEntry| (entry.file_name(), fs::read(entry.path()).expect("the file can be read"));
        entries.map(|entry| file(entry.expect("an entry"))).collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = listing();
    // No file may grow: what a full disk does, and it binds root, too.
    let full = "trap '' XFSZ; ulimit -f 0;";
    let mut publisher = child("publish", folder.path(), full);
    let error = hears(&mut publisher).next().expect("the child says how it went");
    end(&mut publisher);
    assert!(error.starts_with("Err") && error.contains(".onnx") && error.contains("File too large"), "{error}");
    assert!(before == listing(), "{error}");

    let promote = format!("{full} exec \"$0\" model promote {second} --registry models");
    let output = Command::new("sh")
        .args(["-c", &promote, env!("CARGO_BIN_EXE_strayd")])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    let words = told(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("models/index.json") && words.contains("File too large"), "{words}");
    assert!(before == listing(), "{words}");
    assert_eq!(json(folder.path(), &["list", "--registry", "models"])["current"], third);
}

#[test]
fn the_documentation_names_every_key_of_the_answers() {
    let (folder, [_, _, third, _]) = stocked();
    let documentation = fs::read_to_string(root().join("docs/registry.md")).expect("the documentation is there");
    let mut keys = Vec::new();
    for arguments in [&["list"][..], &["show", &third], &["verify"], &["promote", &third]] {
        collect_keys(&json(folder.path(), &[arguments, &["--registry", "models"]].concat()), &mut keys);
    }
    for key in keys {
        assert!(documentation.contains(&format!("`{key}`")), "docs/registry.md doesn't tell of `{key}`");
    }
}

fn collect_keys(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            keys.extend(table.keys().cloned());
            table.values().for_each(|value| collect_keys(value, keys));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}
