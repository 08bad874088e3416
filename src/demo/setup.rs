//! The demo's configuration file and the words around the show.

use std::{fmt::Write, net::SocketAddr, path::Path};

use super::{Options, data::DemoData};
use crate::{
    cli::Failure,
    config::{Loaded, Sources, settings::Settings},
    kafka::embedded::EmbeddedBroker,
    model::registry::Registry,
};

/// How the file begins, by which the next demo knows it for its own.
const FIRST_LINE: &str = "# Written by `strayd demo`";
/// What stands behind a line that has to change.
const MARK: &str = "# <-";

/// Writes the configuration that `strayd run` would use for these data, and clears what an earlier demo left.
pub(super) fn write_config(options: &Options, rows: usize, brokers: &str) -> Result<std::path::PathBuf, Failure> {
    let models = options.folder.join("models");
    let io = |error: std::io::Error| {
        Failure::other(&std::io::Error::new(error.kind(), format!("{}: {error}", options.folder.display())))
    };
    let file = options.folder.join("strayd.yaml");
    refuse_foreign(options, &file, &models)?;
    // A model of an earlier demo would make this one score what it is meant to train on.
    match std::fs::remove_dir_all(&models) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => std::fs::create_dir_all(&options.folder).map_err(io)?,
    }
    std::fs::write(&file, yaml(options, rows, brokers)).map_err(io)?;
    Ok(file)
}

/// Configuration and models that no demo wrote belong to somebody.
fn refuse_foreign(options: &Options, file: &Path, models: &Path) -> Result<(), Failure> {
    let is_ours = std::fs::read_to_string(file).is_ok_and(|text| text.starts_with(FIRST_LINE));
    let found = [file, models].into_iter().find(|path| path.symlink_metadata().is_ok());
    match found {
        Some(found) if !is_ours => Err(Failure::config(&format!(
            "--dir {}: {} was not written by a demo, which would replace it; expected a folder of the demo's own",
            options.folder.display(),
            found.display()
        ))),
        _ => Ok(()),
    }
}

fn yaml(options: &Options, rows: usize, brokers: &str) -> String {
    let mut text = format!(
        "{FIRST_LINE}, and by the next one again. For a real broker: copy it and change what is marked.\n\
         preset: timeseries\n\
         kafka:\n  brokers: {brokers} {MARK} yours\n  input_topic: strayd.demo.{name} {MARK} yours\n  \
         group: strayd-demo\n  properties: {MARK} drop these: they are for the embedded broker\n",
        name = options.data.name(),
    );
    for (key, value) in EmbeddedBroker::properties() {
        // Writing to a String can't fail.
        let _ = writeln!(text, "    {key}: \"{value}\"");
    }
    let models = options.folder.join("models");
    let _ = write!(
        text,
        "record:\n  entity: key\n  timestamp: {{field: timestamp}}\n\
         training:\n  rows: {rows}\n\
         model:\n  registry: {models} {MARK} a folder of its own: the demo's model lies here\n\
         http:\n  listen: 127.0.0.1:0 {MARK} 0.0.0.0:9464: port 0 is any free one\n\
         log:\n  level: warn {MARK} info\n",
        models = serde_json::Value::from(models.display().to_string()),
    );
    text
}

/// Loads the file as `strayd run` would.
pub(super) fn load(file: &Path) -> Result<Loaded, Failure> {
    Ok(Settings::load(&Sources { file: Some(file.to_path_buf()), ..Sources::default() })?)
}

/// The topics that have to exist.
pub(super) fn topics(settings: &Settings) -> impl Iterator<Item = &str> {
    [settings.kafka.input_topic.as_str()].into_iter().chain(settings.kafka.output_topics())
}

/// The model that the demo made.
pub(super) fn model_file(settings: &Settings) -> String {
    let model = Registry::new(&settings.model.registry).current().ok().flatten();
    model
        .map(|model| settings.model.registry.join(format!("{}.onnx", model.version)).display().to_string())
        .unwrap_or_default()
}

/// What is said before the show.
pub(super) fn opening(options: &Options, loaded: &Loaded, brokers: &str, http: Option<SocketAddr>) -> String {
    let kafka = &loaded.settings.kafka;
    let mut text = format!(
        "data      {}\nbroker    {brokers} (embedded; join with: kcat -b {brokers} -t {} -C)\n",
        options.data.title(),
        kafka.anomaly_topic,
    );
    if let Some(address) = http {
        let _ = writeln!(text, "metrics   http://{address}/metrics (also /readyz, /status)");
    }
    let _ =
        writeln!(text, "sample    {} records, then every record is scored as it comes", loaded.settings.training.rows);
    text
}

/// What is said after the summary.
pub(super) fn closing(options: &Options, file: &Path) -> String {
    let again = match options.data {
        DemoData::Server => "make demo ARGS=\"--data mentions\" shows user engagement",
        DemoData::Mentions => "make demo shows a server's metrics",
    };
    let stay = if options.keep_running { "\nEverything stays up until Ctrl-C." } else { "" };
    format!(
        "The same against a real broker: copy {file}; in the copy set kafka.brokers and kafka.input_topic,\n\
         drop kafka.properties, and change model.registry (the demo's model lies there), http.listen (any free port)\n\
         and log.level (warnings only), all marked with `<-`. Then\n  \
         strayd run --config COPY\n{again}.{stay}",
        file = file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path) -> Options {
        Options { data: DemoData::Server, json: false, keep_running: false, folder: folder.to_owned() }
    }

    #[test]
    fn the_lines_to_change_are_marked_and_named_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let file = write_config(&options, 10_080, "127.0.0.1:9").unwrap();
        load(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let marked: Vec<&str> = text.lines().filter(|line| line.contains(MARK)).collect();
        let keys: Vec<&str> = marked.iter().map(|line| line.trim().split(':').next().unwrap()).collect();
        assert_eq!(keys, ["brokers", "input_topic", "properties", "registry", "listen", "level"]);
        let told = closing(&options, &file);
        keys.iter().for_each(|key| assert!(told.contains(&format!(".{key}")), "{key} is missing in {told}"));
    }

    #[test]
    fn what_no_demo_wrote_is_never_replaced() {
        for name in ["strayd.yaml", "models"] {
            let folder = tempfile::tempdir().unwrap();
            let options = options(folder.path());
            write_config(&options, 10_080, "127.0.0.1:9").unwrap();
            write_config(&options, 10_080, "127.0.0.1:9").unwrap();
            std::fs::remove_file(folder.path().join("strayd.yaml")).unwrap();
            let theirs = folder.path().join(name);
            if name == "models" {
                std::fs::create_dir(&theirs).unwrap();
            } else {
                std::fs::write(&theirs, "preset: tabular\n").unwrap();
            }
            let error = write_config(&options, 10_080, "127.0.0.1:9").unwrap_err();
            assert_eq!(error.exit_code(), 64);
            assert!(error.to_string().contains(&format!("{} was not written by a demo", theirs.display())), "{error}");
            assert!(theirs.exists());
        }
    }
}
