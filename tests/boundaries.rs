//! The rules of the source tree that neither the compiler nor clippy knows: which module may name which crate, how long
//! a file may be, which words may not stay, and that scripts parse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that a source file may have before its tests.
const MAX_LINES: usize = 399;

/// Each foreign crate with the one folder that may name it: its types must not cross our own seams.
const HOMES: [(&str, &str); 4] = [
    ("rdkafka", "src/kafka/"),
    ("rdkafka_sys", "src/kafka/"),
    ("ort", "src/detect/"),
    ("prometheus", "src/telemetry/"),
];

/// Words that mark unfinished work, put together here so that this file does not hold them.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimple", "mented!"), concat!("to", "do!")];

/// Hosts of package and image registries, as pieces for the same reason. Clients know their registry, and whoever works
/// behind a mirror configures it there.
const REGISTRY_HOSTS: [(&str, &str); 13] = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("crates", "io"),
    ("repo1.maven", "org"),
    ("repo.maven.apache", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("deb.debian", "org"),
    ("packages.confluent", "io"),
    ("docker", "io"),
    ("ghcr", "io"),
    ("quay", "io"),
    ("registry.k8s", "io"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project, relative to its root: what git tracks or would track, or, where this is no clone, all
/// files but what was built or downloaded.
fn project_files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty());
    let Some(listed) = listed else {
        let mut files = Vec::new();
        walk(root(), &mut files);
        return files;
    };
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    // A file that was deleted but not yet in a commit is still listed.
    names.split_terminator('\0').map(PathBuf::from).filter(|path| root().join(path).is_file()).collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if ![".git", ".local", "target", "__pycache__"].contains(&name.as_str()) {
                walk(&path, files);
            }
        } else {
            files.push(path.strip_prefix(root()).expect("below the root").to_path_buf());
        }
    }
}

/// The files' paths and texts; what is not text is read with its bad bytes replaced.
fn texts(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = project_files()
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| wanted(path))
        .map(|path| {
            let bytes = fs::read(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            (path, String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect();
    texts.sort();
    texts
}

fn rust_sources() -> Vec<(String, String)> {
    let sources = texts(|path| path.starts_with("src/") && path.ends_with(".rs"));
    assert!(!sources.is_empty(), "no source files below {}", root().display());
    sources
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Whether this line of code (not of a comment) names the crate: as the first part of a path, or imported whole.
fn names_crate(line: &str, krate: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    code.match_indices(krate).any(|(start, _)| {
        let (before, after) = (&code[..start], &code[start + krate.len()..]);
        let part_of_a_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let inside_a_path = before.strip_suffix("::").is_some_and(|head| head.ends_with(|c: char| c.is_alphanumeric()));
        let imported = ["use ", "extern crate "].iter().any(|keyword| before.ends_with(keyword))
            && (after.starts_with(';') || after.starts_with(" as "));
        !part_of_a_word && !inside_a_path && (after.starts_with("::") || imported)
    })
}

/// How many lines stand before the file's tests.
fn lines_before_tests(text: &str) -> usize {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count()
}

/// Whether the text holds the word with no letter right before or after it.
fn holds_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        !text[..start].ends_with(letter) && !text[start + word.len()..].starts_with(letter)
    })
}

#[test]
fn a_foreign_crate_is_named_only_in_its_home() {
    let mut complaints = Vec::new();
    for (path, text) in rust_sources() {
        for (number, line) in text.lines().enumerate() {
            for (krate, home) in HOMES {
                if !path.starts_with(home) && names_crate(line, krate) {
                    complaints.push(format!("{path}:{}: `{krate}` may be named only under {home}", number + 1));
                }
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn a_source_file_stays_short_before_its_tests() {
    let complaints: Vec<String> = rust_sources()
        .iter()
        .filter(|(path, _)| !path.ends_with("/tests.rs"))
        .map(|(path, text)| (path, lines_before_tests(text)))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines before its tests, at most {MAX_LINES} are allowed"))
        .collect();
    assert_none(&complaints);
}

#[test]
fn no_word_marks_unfinished_work() {
    let folders = ["src/", "tests/", "benches/", "scripts/", ".ci/", "config/", "Makefile"];
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| folders.iter().any(|folder| path.starts_with(folder))) {
        for (number, line) in text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| holds_word(line, word)) {
                complaints.push(format!("{path}:{}: `{word}`", number + 1));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn no_file_names_a_registry_host() {
    let hosts: Vec<String> = REGISTRY_HOSTS.iter().map(|(name, domain)| format!("{name}.{domain}")).collect();
    // Cargo itself writes the registry's name into its lock file.
    let wanted = |path: &str| !path.ends_with("Cargo.lock") && !path.contains("LICENSE");
    let mut complaints = Vec::new();
    for (path, text) in texts(wanted) {
        for (number, line) in text.lines().enumerate() {
            for host in hosts.iter().filter(|host| holds_word(line, host)) {
                complaints.push(format!("{path}:{}: names the host {host}", number + 1));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_shell_script_parses() {
    let is_shell = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        first.starts_with("#!") && (first.ends_with("sh") || first.contains("sh "))
    };
    let scripts: Vec<String> =
        texts(|_| true).into_iter().filter(|(_, text)| is_shell(text)).map(|(path, _)| path).collect();
    assert!(scripts.contains(&".ci/run".to_owned()), "the scripts were not found, only {scripts:?}");
    let mut complaints = Vec::new();
    for script in scripts {
        let output = Command::new("bash").arg("-n").arg(&script).current_dir(root()).output().expect("bash runs");
        if !output.status.success() {
            complaints.push(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert_none(&complaints);
}

/// The checks above would pass for ever if these finders found nothing.
mod finders {
    use super::{holds_word, lines_before_tests, names_crate};

    #[test]
    fn a_crate_is_found_however_it_is_named() {
        for line in [
            "use ort::session::Session;",
            "use ort;",
            "    pub use ort as runtime;",
            "extern crate ort;",
            "use {std::io, ort::Value};",
            "let session = ::ort::init();",
            "fn score(value: &ort::Value) {}",
        ] {
            assert!(names_crate(line, "ort"), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_crate_is_not_taken_for_it() {
        for line in [
            "// as `ort::Value` does",
            "use crate::detect::ort::Worker;",
            "use std::sort::by;",
            "let ort = 1;",
            "let level = \"ort=warn\";",
        ] {
            assert!(!names_crate(line, "ort"), "{line}");
        }
    }

    #[test]
    fn tests_are_not_counted_as_lines() {
        assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
        assert_eq!(lines_before_tests("a\nb\n"), 2);
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert!(holds_word("at https://files.example.org/x", "example.org"));
        assert!(!holds_word("counterexample.org", "example.org"));
    }
}
