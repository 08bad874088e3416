//! `strayd config`: check a configuration, print it with all defaults, or print its JSON schema.

use std::io::{self, Write};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlEmitter};

use crate::config::{ConfigError, Settings, Sources, schema as config_schema};

/// Exit code of output that could not be written: `EX_IOERR` of sysexits.h.
const EXIT_IO: u8 = 74;

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Say `ok`, or every problem.
    Check,
    /// Print the merged configuration as YAML, secrets hidden.
    Print,
    /// Print the JSON schema.
    Schema,
}

/// Runs the command and returns the exit code: 0, 64 for a wrong configuration, 74 if `out` can't be written.
pub fn run(command: ConfigCommand, sources: &Sources, out: &mut dyn Write) -> u8 {
    let result = match command {
        ConfigCommand::Check => check(sources, out),
        ConfigCommand::Print => print(sources, out),
        ConfigCommand::Schema => schema(out),
    };
    result.unwrap_or(EXIT_IO)
}

/// Writes `ok: FILE`, or one problem a line.
///
/// # Errors
/// `out` can't be written.
pub fn check(sources: &Sources, out: &mut dyn Write) -> io::Result<u8> {
    let loaded = match Settings::load_with_clients(sources) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error, out),
    };
    let name = sources.file.as_ref().map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    writeln!(out, "ok: {name}")?;
    if let Err(missing) = loaded.settings.require_kafka() {
        for line in missing.to_string().lines() {
            writeln!(out, "note: `strayd run` would stop: {line}")?;
        }
    }
    Ok(0)
}

/// Writes the merged configuration.
///
/// # Errors
/// `out` can't be written.
pub fn print(sources: &Sources, out: &mut dyn Write) -> io::Result<u8> {
    match Settings::load(sources) {
        Ok(loaded) => write_yaml(&loaded.merged, out),
        Err(error) => refuse(&error, out),
    }
}

fn write_yaml(value: &Value, out: &mut dyn Write) -> io::Result<u8> {
    out.write_all(yaml_text(value)?.as_bytes())?;
    Ok(0)
}

/// A configuration as YAML, with a line break at its end.
///
/// # Errors
/// What the emitter says.
pub(super) fn yaml_text(value: &Value) -> io::Result<String> {
    let mut text = String::new();
    YamlEmitter::new(&mut text).dump(&yaml(value)).map_err(io::Error::other)?;
    Ok(format!("{}\n", text.trim_start_matches("---\n")))
}

fn yaml(value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(yes) => Yaml::Boolean(*yes),
        Value::Number(number) => number.as_i64().map_or_else(|| Yaml::Real(number.to_string()), Yaml::Integer),
        Value::String(text) => Yaml::String(text.clone()),
        Value::Array(list) => Yaml::Array(list.iter().map(yaml).collect()),
        Value::Object(table) => {
            Yaml::Hash(table.iter().map(|(key, value)| (Yaml::String(key.clone()), yaml(value))).collect())
        }
    }
}

/// Writes the JSON schema of the configuration file.
///
/// # Errors
/// `out` can't be written.
pub fn schema(out: &mut dyn Write) -> io::Result<u8> {
    write_json(&config_schema(), out)
}

fn write_json(value: &Value, out: &mut dyn Write) -> io::Result<u8> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(0)
}

fn refuse(error: &ConfigError, out: &mut dyn Write) -> io::Result<u8> {
    writeln!(out, "{error}")?;
    Ok(ConfigError::EXIT_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(command: ConfigCommand, set: &[&str]) -> (u8, String) {
        let sources = Sources { set: set.iter().map(|&pair| pair.to_owned()).collect(), ..Sources::default() };
        let mut out = Vec::new();
        let code = run(command, &sources, &mut out);
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn check_says_ok_and_what_run_would_miss() {
        let (code, text) = run_with(ConfigCommand::Check, &[]);
        assert_eq!(code, 0);
        assert!(text.starts_with("ok: defaults\n"), "{text}");
        assert!(text.contains("kafka.brokers: is not set"), "{text}");
        let (_, text) = run_with(ConfigCommand::Check, &["kafka.brokers=a:1", "kafka.input_topic=t"]);
        assert_eq!(text, "ok: defaults\n");
    }

    #[test]
    fn check_prints_every_problem_and_returns_64() {
        let (code, text) = run_with(ConfigCommand::Check, &["training.held_back=1.5", "training.epochs=0"]);
        assert_eq!(code, 64);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn what_is_printed_is_yaml_that_loads_to_the_same_settings() {
        let set = [
            "training.epochs=7",
            "training.learning_rate=1e-7",
            "training.seed=9223372036854775807",
            "kafka.group=007",
            "kafka.brokers=a:1,b:2",
            "kafka.properties.client.rack=yes: #1",
            "record.features=[\"pressure\\\\.bar\",{\"path\":\"c\",\"kind\":\"categorical\",\"vocabulary\":[\"~\",\" 1e3\\n\",\"\"]}]",
        ];
        let (code, text) = run_with(ConfigCommand::Print, &set);
        assert_eq!(code, 0);
        assert!(text.contains("\ntraining:\n") && text.contains("\n  epochs: 7\n"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("printed.yaml");
        std::fs::write(&file, &text).unwrap();
        let again = Settings::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        let first = Sources { set: set.map(str::to_owned).to_vec(), ..Sources::default() };
        assert_eq!(format!("{:?}", again.settings), format!("{:?}", Settings::load(&first).unwrap().settings));
    }

    #[test]
    fn the_schema_is_json() {
        let (code, text) = run_with(ConfigCommand::Schema, &[]);
        assert_eq!(code, 0);
        assert!(serde_json::from_str::<Value>(&text).unwrap()["properties"]["kafka"].is_object());
    }

    #[test]
    fn output_that_can_not_be_written_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(run(ConfigCommand::Schema, &Sources::default(), &mut Full), EXIT_IO);
    }
}
