//! The registry on a real folder: what it keeps, what it refuses, and what a writer leaves that dies between any two steps.

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{Arc, Barrier},
    time::Duration,
};

use super::{
    Registry, State,
    disk::{self, Lock},
    index::{How, Index},
};
use crate::model::{Model, crash, metadata::fixture};

/// A model like no other one: the seed makes its content.
fn model(seed: u64) -> Model {
    let mut metadata = fixture::metadata(3);
    metadata.provenance.seed = seed;
    metadata.provenance.created = format!("2026-01-01T00:{:02}:{:02}Z", seed / 60, seed % 60);
    Model::assemble(Vec::new(), metadata)
}

/// A folder in memory, where there is one: these tests write and sync thousands of times.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn states(registry: &Registry) -> Vec<(u64, State)> {
    registry.list().unwrap().iter().map(|entry| (entry.provenance.seed, entry.state)).collect()
}

fn current_seed(registry: &Registry) -> Option<u64> {
    let current = registry.current().unwrap();
    let seed = current.as_ref().map(|model| model.metadata.provenance.seed);
    assert_eq!(registry.current_version().unwrap(), current.map(|model| model.version));
    seed
}

fn errors(registry: &Registry) -> Vec<String> {
    let report = registry.verify().unwrap();
    let errors = report.findings.into_iter().filter(|finding| finding.severity == super::Severity::Error);
    errors.map(|finding| format!("{}: {}", finding.file, finding.problem)).collect()
}

fn assert_sound(registry: &Registry) {
    assert_eq!(errors(registry), Vec::<String>::new());
}

/// Puts everything of one folder into another one that is empty.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_is_published_is_in_use_and_known_with_its_whole_hash_and_its_provenance() {
    let folder = folder();
    let registry = Registry::new(&folder.path().join("not/there/yet"));
    assert!(registry.current().unwrap().is_none() && registry.list().unwrap().is_empty());
    let (first, second) = (model(1), model(2));
    registry.publish(&first, None).unwrap();
    let path = registry.publish(&second, Some(&first.version)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), second.bytes.to_vec());
    assert_eq!(registry.current().unwrap(), Some(second.clone()));
    assert_eq!(states(&registry), [(2, State::Current), (1, State::Retired)]);
    let entry = registry.find(&second.version[..5]).unwrap();
    assert_eq!((entry.sha256.len(), entry.bytes), (64, second.bytes.len() as u64));
    assert!(entry.sha256.starts_with(&entry.version));
    assert_eq!(entry.parent.as_ref(), Some(&first.version));
    assert_eq!(entry.provenance, second.metadata.provenance);
    assert!(entry.promoted.is_some() && !entry.is_refused());
    assert_sound(&registry);
}

#[test]
fn a_model_that_names_its_parent_needs_nobody_else_to_name_it() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    let mut metadata = fixture::metadata(3);
    metadata.provenance.parent = Some("0123456789ab".to_owned());
    let child = Model::assemble(Vec::new(), metadata);
    registry.publish(&child, None).unwrap();
    assert_eq!(registry.find(&child.version).unwrap().parent.as_deref(), Some("0123456789ab"));
    fs::remove_file(folder.path().join("index.json")).unwrap();
    assert_eq!(registry.find(&child.version).unwrap().parent.as_deref(), Some("0123456789ab"));
    assert_sound(&registry);
}

#[test]
fn a_refused_model_is_kept_with_its_reasons_and_only_force_puts_it_to_use() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    let reasons = ["worse than the model in use".to_owned(), "too many alarms".to_owned()];
    registry.keep_refused(&model(9), None, &reasons).unwrap();
    assert_eq!(current_seed(&registry), None, "a refused model alone is none to use");
    registry.publish(&model(1), None).unwrap();
    assert_eq!(states(&registry), [(1, State::Current), (9, State::Refused)]);
    let error = registry.promote(&model(9).version, false).unwrap_err().to_string();
    assert!(reasons.iter().all(|reason| error.contains(reason)) && error.contains("--force"), "{error}");
    assert_eq!(current_seed(&registry), Some(1));
    registry.promote(&model(9).version, true).unwrap();
    assert_eq!(states(&registry), [(1, State::Retired), (9, State::Current)]);
    assert_eq!(registry.find(&model(9).version).unwrap().reasons, reasons);
    assert!(registry.verify().unwrap().findings.iter().any(|finding| finding.problem.contains("too many alarms")));
    registry.rollback().unwrap();
    assert_eq!(states(&registry), [(1, State::Current), (9, State::Refused)]);

    // Without the index the reasons are lost, but not that it was refused.
    fs::remove_file(folder.path().join("index.json")).unwrap();
    assert!(states(&registry).contains(&(9, State::Refused)));
    // It may be published all the same, and is refused no longer.
    registry.publish(&model(9), None).unwrap();
    assert_eq!(states(&registry), [(9, State::Current), (1, State::Retired)]);
    registry.keep_refused(&model(9), None, &reasons).unwrap();
    assert_eq!(states(&registry)[0], (9, State::Current), "what is in use is not refused afterwards");
    assert_sound(&registry);
}

#[test]
fn what_was_weighed_against_one_model_does_not_push_out_another() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    let [first, second, third] = [1, 2, 3].map(model);
    assert!(registry.publish_after(&first, None).unwrap().is_some());
    assert!(registry.publish_after(&second, None).unwrap().is_none(), "a model is in use by now");
    assert!(registry.publish_after(&second, Some(&first.version)).unwrap().is_some());
    registry.rollback().unwrap();
    assert!(registry.publish_after(&third, Some(&second.version)).unwrap().is_none(), "somebody went back meanwhile");
    assert_eq!(current_seed(&registry), Some(1));
    assert_sound(&registry);
}

#[test]
fn each_rollback_goes_one_model_further_back_and_a_promotion_begins_anew() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    assert!(registry.rollback().unwrap_err().to_string().contains("in use before"));
    (1..=3).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    let change = registry.rollback().unwrap();
    assert_eq!((change.from, change.to), (Some(model(3).version), model(2).version));
    assert_eq!(current_seed(&registry), Some(2));
    registry.rollback().unwrap();
    assert_eq!(current_seed(&registry), Some(1));
    assert!(registry.rollback().is_err());
    registry.promote(&model(3).version, false).unwrap();
    registry.promote(&model(3).version, false).unwrap();
    assert_eq!(registry.rollback().unwrap().to, model(1).version, "promoting what is in use is no promotion");
    let how: Vec<How> = registry.promotions().unwrap().iter().map(|promotion| promotion.how).collect();
    assert_eq!(how[..4], [How::RolledBack, How::Promoted, How::RolledBack, How::RolledBack]);
    assert_sound(&registry);
}

#[test]
fn a_rollback_passes_over_models_that_were_dropped() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    (1..=3).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    fs::remove_file(folder.path().join(format!("{}.onnx", model(2).version))).unwrap();
    assert!(registry.rollback().is_err(), "a file that is gone without a word is an error");
    registry.repair().unwrap();
    assert_eq!(registry.rollback().unwrap().to, model(1).version);
}

#[test]
fn the_oldest_models_are_dropped_but_none_that_is_needed() {
    let folder = folder();
    let registry = Registry::new(folder.path()).keeping(4);
    (1..=6).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    assert_eq!(states(&registry).iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), [6, 5, 4, 3]);
    // However many are refused, what is in use and the one before it stay.
    (10..=20).for_each(|seed| drop(registry.keep_refused(&model(seed), None, &["no".to_owned()]).unwrap()));
    assert_eq!(
        states(&registry),
        [(20, State::Refused), (19, State::Refused), (6, State::Current), (5, State::Retired)]
    );
    assert_eq!(registry.rollback().unwrap().to, model(5).version);
    // The one stored last stays, be it one too many.
    let registry = registry.keeping(2);
    registry.keep_refused(&model(21), None, &[]).unwrap();
    assert_eq!(states(&registry).len(), 2);
    let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.filter(|name| name.to_string_lossy().ends_with(".onnx")).count(), 2, "their files are gone too");
    assert_sound(&registry);
}

#[test]
fn a_file_that_somebody_put_there_is_used_listed_promoted_and_never_dropped() {
    let folder = folder();
    let registry = Registry::new(folder.path()).keeping(2);
    fs::write(folder.path().join("mine.onnx"), &model(7).bytes).unwrap();
    assert_eq!(current_seed(&registry), Some(7), "the only model is the one in use");
    assert_eq!(states(&registry), [(7, State::Current)]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "looking on writes nothing");
    (1..=4).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    assert!(folder.path().join("mine.onnx").exists());
    registry.promote(&model(7).version, false).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("current")).unwrap(), "mine.onnx");
    assert_eq!(current_seed(&registry), Some(7));
    assert_sound(&registry);
}

#[test]
fn a_folder_of_the_first_version_of_this_program_is_taken_over_as_it_is() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    for seed in [1, 2] {
        let name = format!("{}.onnx", model(seed).version);
        fs::write(folder.path().join(&name), &model(seed).bytes).unwrap();
        fs::write(folder.path().join("current"), &name).unwrap();
    }
    assert_eq!(current_seed(&registry), Some(2));
    assert_eq!(states(&registry), [(2, State::Current), (1, State::Candidate)]);
    registry.publish(&model(3), None).unwrap();
    assert_eq!(states(&registry), [(3, State::Current), (2, State::Retired), (1, State::Candidate)]);
    assert_eq!(registry.rollback().unwrap().to, model(2).version);
    assert_sound(&registry);
}

#[test]
fn a_pointer_written_by_hand_counts_and_can_be_rolled_back() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    (1..=3).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    fs::write(folder.path().join("current"), format!("{}.onnx\n", model(1).version)).unwrap();
    assert_eq!(current_seed(&registry), Some(1));
    assert_eq!(registry.promotions().unwrap()[0].how, How::Found);
    assert_eq!(registry.rollback().unwrap().to, model(3).version);
}

#[test]
fn several_models_and_no_pointer_is_an_error_that_a_promotion_ends() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    (1..=2).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    fs::remove_file(folder.path().join("current")).unwrap();
    let error = registry.current().unwrap_err().to_string();
    assert!(error.contains("2 models") && error.contains("strayd model promote"), "{error}");
    assert_eq!(errors(&registry).len(), 1);
    registry.promote(&model(1).version, false).unwrap();
    assert_eq!(current_seed(&registry), Some(1));
    assert_sound(&registry);
}

#[test]
fn a_pointer_that_names_nothing_usable_is_refused_by_name_and_a_promotion_ends_it() {
    for name in ["../elsewhere.onnx", "model.txt", "", "/etc/passwd", "0123456789ab.onnx"] {
        let folder = folder();
        let registry = Registry::new(folder.path());
        registry.publish(&model(1), None).unwrap();
        fs::write(folder.path().join("current"), name).unwrap();
        let error = registry.current().unwrap_err().to_string();
        assert!(error.contains("current") && error.contains(name) && error.contains("promote"), "{error}");
        assert_eq!(errors(&registry), [format!("current: {error}")]);
        registry.promote(&model(1).version, false).unwrap();
        assert_eq!(current_seed(&registry), Some(1));
        assert_sound(&registry);
    }
}

/// A registry of models 1 and 2, of which 2 is in use, after `damage` to its folder; and the names of the models' files.
fn damaged(damage: impl FnOnce(&Path, [&str; 2])) -> (tempfile::TempDir, Registry) {
    let folder = folder();
    let registry = Registry::new(folder.path());
    (1..=2).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    let files = [1, 2].map(|seed| format!("{}.onnx", model(seed).version));
    damage(folder.path(), [&files[0], &files[1]]);
    (folder, registry)
}

/// That the model in use is refused by the name of the file, that this is what `verify` says, that no repair hides it,
/// and that the other model can be put to use.
fn is_refused_by_name((_folder, registry): (tempfile::TempDir, Registry), file: &str) {
    let error = registry.current().unwrap_err().to_string();
    assert!(error.contains(file), "{file} is not named in: {error}");
    let found = errors(&registry);
    assert!(found.iter().any(|found| found.contains(file)), "{found:?}");
    assert!(!registry.repair().unwrap().is_sound(), "a repair makes no file whole");
    assert!(registry.current().is_err());
    registry.promote(&model(1).version, false).unwrap();
    assert_eq!(current_seed(&registry), Some(1));
}

#[test]
fn a_torn_file_is_refused_by_name() {
    let second = format!("{}.onnx", model(2).version);
    for length in [0, 1, 100, model(2).bytes.len() - 1] {
        let torn = damaged(|folder, [_, second]| fs::write(folder.join(second), &model(2).bytes[..length]).unwrap());
        is_refused_by_name(torn, &second);
    }
}

#[test]
fn an_altered_byte_is_refused_by_name_wherever_it_is() {
    let second = format!("{}.onnx", model(2).version);
    let length = model(2).bytes.len();
    for at in [0, length / 3, length - 1] {
        let mut bytes = model(2).bytes.to_vec();
        bytes[at] ^= 1;
        is_refused_by_name(damaged(|folder, [_, second]| fs::write(folder.join(second), &bytes).unwrap()), &second);
    }
}

#[test]
fn a_swapped_file_is_refused_by_name() {
    let second = format!("{}.onnx", model(2).version);
    let swapped = damaged(|folder, [first, second]| {
        fs::copy(folder.join(first), folder.join(second)).unwrap();
    });
    is_refused_by_name(swapped, &second);
}

#[test]
fn a_file_under_a_name_of_its_own_is_held_to_the_hash_in_the_index() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    fs::write(folder.path().join("mine.onnx"), &model(7).bytes).unwrap();
    registry.publish(&model(1), None).unwrap();
    registry.promote(&model(7).version, false).unwrap();
    fs::write(folder.path().join("mine.onnx"), &model(8).bytes).unwrap();
    let error = registry.current().unwrap_err().to_string();
    assert!(error.contains("mine.onnx") && error.contains("SHA-256"), "{error}");
    assert_eq!(errors(&registry).len(), 1);
    assert!(!registry.repair().unwrap().is_sound());
    registry.promote(&model(1).version, false).unwrap();
}

#[test]
fn an_index_with_a_wrong_hash_is_refused_by_name_and_repaired_from_the_file() {
    let (folder, registry) = damaged(|folder, _| {
        let path = folder.join("index.json");
        let mut index = Index::read(folder).unwrap().unwrap();
        index.models[1].sha256.replace_range(60.., "beef");
        fs::write(path, serde_json::to_vec(&index).unwrap()).unwrap();
    });
    let error = registry.current().unwrap_err().to_string();
    assert!(error.contains("index.json") && error.contains("beef") && error.contains("--repair"), "{error}");
    assert_eq!(errors(&registry), [format!("index.json: {error}")]);
    let report = registry.repair().unwrap();
    assert!(report.is_sound() && report.repairs.len() == 1, "{report:?}");
    assert_eq!(current_seed(&registry), Some(2));
    assert_eq!(registry.rollback().unwrap().to, model(1).version, "what was in use before is still known");
    drop(folder);
}

#[test]
fn an_index_that_says_other_than_the_files_is_found_and_repaired() {
    let (_folder, registry) = damaged(|folder, _| {
        let mut index = Index::read(folder).unwrap().unwrap();
        index.models[0].provenance.seed = 77;
        index.models[0].bytes += 1;
        fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    });
    let found = errors(&registry);
    assert!(found.len() == 1 && found[0].contains("bytes, provenance"), "{found:?}");
    assert!(registry.repair().unwrap().is_sound());
    assert_eq!(states(&registry), [(2, State::Current), (1, State::Retired)]);
}

#[test]
fn a_damaged_index_is_refused_by_name_by_all_and_a_repair_keeps_it_beside_the_new_one() {
    let whole = "{\"format\": 1, \"models\": [], \"promotions\": [], \"extra\": 1}";
    for (text, word) in [("", "EOF"), ("{\"format\": 1", "EOF"), ("{\"format\": 9}", "format 9"), (whole, "extra")] {
        let (folder, registry) = damaged(|folder, _| fs::write(folder.join("index.json"), text).unwrap());
        for error in [
            registry.current().unwrap_err(),
            registry.list().unwrap_err(),
            registry.publish(&model(3), None).unwrap_err(),
            registry.promote(&model(1).version, false).unwrap_err(),
            registry.rollback().unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("index.json") && error.contains(word) && error.contains("--repair"), "{error}");
        }
        assert_eq!(registry.current_version().unwrap(), Some(model(2).version), "the pointer alone tells that");
        assert_eq!(errors(&registry).len(), 1);
        let report = registry.repair().unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(fs::read_to_string(folder.path().join("index.json.damaged")).unwrap(), text, "nothing is lost");
        assert_eq!(current_seed(&registry), Some(2));
        assert_eq!(states(&registry).len(), 2);
    }
}

#[test]
fn an_index_that_names_a_file_elsewhere_or_a_model_twice_is_damaged() {
    let altered = |change: fn(&mut Index)| {
        let (_folder, registry) = damaged(|folder, _| {
            let mut index = Index::read(folder).unwrap().unwrap();
            change(&mut index);
            fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        });
        registry.current().unwrap_err().to_string()
    };
    let elsewhere = altered(|index| index.models[0].file = "../../outside.onnx".to_owned());
    assert!(elsewhere.contains("outside"), "{elsewhere}");
    let dropped = altered(|index| index.dropped.push("/outside.onnx".to_owned()));
    assert!(dropped.contains("outside"), "{dropped}");
    assert!(altered(|index| index.models.push(index.models[0].clone())).contains("twice"));
}

#[test]
fn an_index_that_is_gone_is_written_anew_from_the_files() {
    let (folder, registry) = damaged(|folder, _| fs::remove_file(folder.join("index.json")).unwrap());
    assert_eq!(states(&registry), [(2, State::Current), (1, State::Candidate)]);
    assert_sound(&registry);
    registry.publish(&model(3), None).unwrap();
    assert!(folder.path().join("index.json").exists());
    assert_eq!(registry.rollback().unwrap().to, model(2).version);
}

#[test]
fn a_file_that_is_gone_is_found_and_forgotten_only_when_told_to() {
    let (_folder, registry) = damaged(|folder, [first, _]| fs::remove_file(folder.join(first)).unwrap());
    let found = errors(&registry);
    assert!(found.len() == 1 && found[0].contains(&model(1).version) && found[0].contains("not there"), "{found:?}");
    assert!(registry.promote(&model(1).version, false).is_err());
    assert_eq!(current_seed(&registry), Some(2), "the model in use is whole");
    assert!(registry.repair().unwrap().is_sound());
    assert_eq!(states(&registry), [(2, State::Current)]);
}

#[test]
fn a_file_that_is_no_model_is_found_and_left_alone() {
    let (folder, registry) = damaged(|folder, _| fs::write(folder.join("notes.onnx"), "no model").unwrap());
    let found = errors(&registry);
    assert!(found.len() == 1 && found[0].contains("notes.onnx"), "{found:?}");
    registry.publish(&model(3), None).unwrap();
    assert!(folder.path().join("notes.onnx").exists());
}

#[test]
fn the_drafts_of_killed_writers_go_and_those_of_others_stay() {
    let version = model(5).version;
    let ours =
        ["current.7.tmp", "index.json.7.tmp", ".writable.7.tmp", &format!("{version}.refused.onnx.7.tmp"), ".writable"];
    let others = ["mine.onnx.7.tmp", "draft.tmp", "current.bak"];
    let (folder, registry) =
        damaged(|folder, _| ours.iter().chain(&others).for_each(|name| fs::write(folder.join(name), "x").unwrap()));
    assert_sound(&registry);
    let notes = registry.verify().unwrap().findings;
    assert_eq!(notes.iter().filter(|note| note.problem.contains("a killed writer left it")).count(), ours.len());
    registry.promote(&model(1).version, false).unwrap();
    assert!(ours.iter().all(|name| !folder.path().join(name).exists()));
    assert!(others.iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn a_version_is_found_by_a_beginning_that_no_other_one_has() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    // Of 17 versions two begin with the same digit.
    (1..=17).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
    let versions: Vec<String> = registry.list().unwrap().into_iter().map(|entry| entry.version).collect();
    let digit = versions
        .iter()
        .map(|version| &version[..1])
        .find(|digit| versions.iter().filter(|version| version.starts_with(digit)).count() > 1);
    let error = registry.find(digit.unwrap()).unwrap_err().to_string();
    assert!(error.contains("several") && error.contains(','), "{error}");
    assert_eq!(registry.read(&versions[3]).unwrap().version, versions[3]);
    for asked in ["", "xyz", "../index"] {
        assert!(registry.find(asked).unwrap_err().to_string().contains("strayd model list"));
    }
}

#[test]
fn a_model_that_can_not_be_read_back_is_not_stored() {
    let folder = folder();
    let registry = Registry::new(folder.path());
    registry.publish(&model(1), None).unwrap();
    let mut metadata = fixture::metadata(3);
    metadata.provenance.validation_loss = f64::NAN;
    let unsound = Model::assemble(Vec::new(), metadata);
    assert!(registry.publish(&unsound, None).is_err() && registry.keep_refused(&unsound, None, &[]).is_err());
    assert_eq!(states(&registry), [(1, State::Current)]);
}

#[test]
fn a_writer_waits_for_the_lock_of_another_one_and_then_names_it() {
    let folder = folder();
    let registry = Registry::new(folder.path()).waiting(Duration::from_millis(30));
    registry.publish(&model(1), None).unwrap();
    let lock = Lock::to_write(folder.path(), Duration::ZERO).unwrap();
    for error in [
        registry.publish(&model(2), None).unwrap_err(),
        registry.promote(&model(1).version, false).unwrap_err(),
        registry.probe().unwrap_err(),
        registry.verify().unwrap_err(),
    ] {
        assert!(error.to_string().contains(".lock") && error.to_string().contains("another process"), "{error}");
    }
    assert_eq!(current_seed(&registry), Some(1), "to read needs no lock");
    drop(lock);
    registry.publish(&model(2), None).unwrap();
}

#[test]
fn writers_at_once_lose_nothing() {
    let folder = folder();
    let barrier = Arc::new(Barrier::new(4));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (registry, barrier) = (Registry::new(folder.path()), Arc::clone(&barrier));
            scope.spawn(move || {
                barrier.wait();
                (0..5).for_each(|at| drop(registry.publish(&model(1 + writer * 5 + at), None).unwrap()));
            });
        }
    });
    let registry = Registry::new(folder.path());
    assert_eq!(registry.list().unwrap().len(), 20);
    assert_eq!(registry.promotions().unwrap().len(), 20);
    for _ in 0..19 {
        registry.rollback().unwrap();
    }
    assert!(registry.rollback().is_err());
    assert_sound(&registry);
}

/// A change of a registry, to be killed in.
type Change = fn(&Registry);

/// The model that a rollback of a copy of this folder goes to.
fn way_back(path: &Path) -> Option<String> {
    let copied = folder();
    copy(path, copied.path());
    Registry::new(copied.path()).rollback().ok().map(|change| change.to)
}

/// Runs the change on copies of the folder and kills it after 0, 1, 2, ... steps until it comes to its end. After each kill
/// the model in use is whole and is the old or the new one, a rollback goes where it would have gone before or after the
/// change, nothing is wrong, and the next writer gets everything done.
fn survives_a_kill_at_any_step(prepare: Change, change: Change) -> usize {
    let template = folder();
    prepare(&Registry::new(template.path()));
    let whole = folder();
    copy(template.path(), whole.path());
    let state = |path: &Path| (current_seed(&Registry::new(path)), way_back(path));
    let before = state(whole.path());
    change(&Registry::new(whole.path()));
    let after = state(whole.path());
    for steps in 0.. {
        let folder = folder();
        copy(template.path(), folder.path());
        let registry = Registry::new(folder.path());
        let ended = crash::dies_after(steps, AssertUnwindSafe(|| change(&registry)));
        let found = state(folder.path());
        assert!(found == before || found == after, "{found:?} after {steps} steps, not {before:?} nor {after:?}");
        assert_sound(&registry);
        // Whatever was going on can be done again, and what comes next finds nothing in its way.
        change(&registry);
        assert_eq!(state(folder.path()), after, "after {steps} steps and once more");
        registry.publish(&model(50), None).unwrap();
        assert_sound(&registry);
        assert_eq!(current_seed(&registry), Some(50));
        if let Some(after) = after.0 {
            assert_eq!(registry.rollback().unwrap().to, model(after).version, "after {steps} steps");
        }
        let names = disk::names(folder.path()).unwrap();
        assert!(names.iter().all(|name| !disk::is_leftover(name)), "{names:?}");
        if ended {
            return steps;
        }
    }
    unreachable!("a change has an end")
}

#[test]
fn a_kill_between_any_two_steps_leaves_a_model_in_use_that_is_whole() {
    fn nothing(_: &Registry) {}
    fn two(registry: &Registry) {
        registry.publish(&model(1), None).unwrap();
        registry.publish(&model(2), None).unwrap();
    }
    fn one_by_hand(registry: &Registry) {
        fs::write(registry.folder().join("mine.onnx"), &model(7).bytes).unwrap();
    }
    fn publish(registry: &Registry) {
        registry.publish(&model(3), None).unwrap();
    }
    fn publish_and_drop(registry: &Registry) {
        registry.clone().keeping(2).publish(&model(3), None).unwrap();
    }
    fn refuse(registry: &Registry) {
        registry.keep_refused(&model(3), None, &["no".to_owned()]).unwrap();
    }
    fn refused(registry: &Registry) {
        two(registry);
        refuse(registry);
    }
    fn promote(registry: &Registry) {
        registry.promote(&model(1).version, false).unwrap();
    }
    fn probe(registry: &Registry) {
        registry.probe().unwrap();
    }
    let steps: Vec<usize> = [
        (nothing as Change, publish as Change),
        (two, publish),
        (two, publish_and_drop),
        (one_by_hand, publish),
        (one_by_hand, refuse),
        (refused, publish),
        (two, refuse),
        (two, promote),
        (two, probe),
    ]
    .into_iter()
    .map(|(prepare, change)| survives_a_kill_at_any_step(prepare, change))
    .collect();
    assert!(steps.iter().all(|steps| *steps >= 4) && steps[2] > 15, "{steps:?}");
}

#[test]
fn a_repair_that_is_killed_is_done_by_the_next_one() {
    for steps in 0.. {
        let (folder, registry) = damaged(|folder, _| fs::write(folder.join("index.json"), "{").unwrap());
        let ended = crash::dies_after(steps, AssertUnwindSafe(|| drop(registry.repair().unwrap())));
        registry.repair().unwrap();
        assert_eq!(current_seed(&registry), Some(2));
        assert_eq!(fs::read_to_string(folder.path().join("index.json.damaged")).unwrap(), "{");
        if ended {
            break;
        }
    }
}

#[test]
fn a_kill_in_a_rollback_leaves_the_way_back_as_it_was_or_one_shorter() {
    for steps in 0.. {
        let folder = folder();
        let registry = Registry::new(folder.path());
        // In use were 1, 2, 1 again: a rollback goes to a model that stands in the history twice.
        (1..=2).for_each(|seed| drop(registry.publish(&model(seed), None).unwrap()));
        registry.promote(&model(1).version, false).unwrap();
        let ended = crash::dies_after(steps, AssertUnwindSafe(|| drop(registry.rollback().unwrap())));
        assert_sound(&registry);
        let expected: &[u64] = if current_seed(&registry) == Some(1) { &[2] } else { &[1] };
        for seed in expected {
            assert_eq!(registry.rollback().unwrap().to, model(*seed).version, "after {steps} steps");
        }
        if ended {
            assert_eq!(expected, [1]);
            break;
        }
    }
}
