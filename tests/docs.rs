//! The documents against the product: generated tables, links, targets, settings and commands that they name.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::tools::root;

/// The documents for people, relative to the root.
fn documents() -> Vec<String> {
    let mut documents: Vec<String> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).into();
    let docs = fs::read_dir(root().join("docs")).expect("there are docs");
    documents.extend(docs.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy())));
    let runbooks = fs::read_dir(root().join("docs/runbooks")).expect("there are runbooks");
    documents.extend(
        runbooks.map(|entry| format!("docs/runbooks/{}", entry.expect("an entry").file_name().to_string_lossy())),
    );
    documents.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "md"));
    documents
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// What stands between `<!-- name:begin -->` and `<!-- name:end -->`.
fn section(text: &str, name: &str) -> String {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let after = text.split_once(&begin).unwrap_or_else(|| panic!("the README has no section {name}")).1;
    after.split_once(&end).unwrap_or_else(|| panic!("the section {name} has no end")).0.to_owned()
}

/// Compares a section of the README with what the code says, or writes it with `UPDATE_DOCS=1`.
fn is_up_to_date(name: &str, table: &str) {
    let readme = read("README.md");
    let (old, new) = (section(&readme, name), format!("{}\n", table.trim_end()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
        let updated = readme.replace(&format!("{begin}{old}{end}"), &format!("{begin}{new}{end}"));
        fs::write(root().join("README.md"), updated).expect("the README can be written");
        return;
    }
    assert_eq!(old, new, "the README's table of {name} is old: UPDATE_DOCS=1 cargo test --test docs writes it anew");
}

#[test]
fn the_tables_of_settings_and_metrics_are_those_of_the_code() {
    // One test for both: they rewrite the same file.
    is_up_to_date("settings", &strayd::config::settings_table());
    is_up_to_date("metrics", &strayd::telemetry::metrics_table());
}

#[test]
fn the_demo_is_shown_as_it_runs() {
    let shown = section(&read("README.md"), "demo");
    for word in ["embedded", "incident", "precision", "AUROC", "records/s"] {
        assert!(shown.contains(word), "the README's demo shows no `{word}`:\n{shown}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document).parent().expect("a document is in a folder").to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The word after each `before`, as far as it consists of letters, digits and what else stands in names.
fn words_after(text: &str, before: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
    text.split(before).skip(1).map(name).filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_target_and_command_that_a_document_names_exists() {
    let makefile = read("Makefile");
    let help = Command::new(env!("CARGO_BIN_EXE_strayd")).arg("--help").output().expect("the program starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for document in documents() {
        let text = read(&document);
        for target in ["`make ", "\nmake "].iter().flat_map(|before| words_after(&text, before)) {
            assert!(makefile.contains(&format!("\n{target}: ")), "{document}: `make {target}` is no target");
        }
        for command in ["`strayd ", "release/strayd "].iter().flat_map(|before| words_after(&text, before)) {
            let known = command.starts_with('-') || help.contains(&format!("\n  {command} "));
            assert!(known, "{document}: `strayd {command}` is no command");
        }
    }
}

#[test]
fn every_setting_that_a_document_names_exists() {
    let table = strayd::config::settings_table();
    let sections = ["kafka", "record", "model", "training", "judging", "pipeline", "http", "log", "runtime"];
    for document in documents() {
        for quoted in read(&document).split('`').skip(1).step_by(2) {
            let Some((head, _)) = quoted.split_once('.') else { continue };
            let is_key = quoted.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
            if is_key && sections.contains(&head) {
                // A key of the table, or a group of such keys.
                let there = table.contains(&format!("`{quoted}`")) || table.contains(&format!("`{quoted}."));
                assert!(there, "{document}: `{quoted}` is no setting");
            }
        }
    }
}
