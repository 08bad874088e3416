//! Log lines, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, ParseError},
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::settings::{LogFormat, LogSettings};

/// Libraries whose information is noise to an operator (one ONNX Runtime session writes some 90 lines).
const QUIET: &str = "ort=warn,librdkafka=warn,rdkafka=warn,hyper=warn,hyper_util=warn";

/// Why log lines can't be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A part of the filter is neither a level nor `module=level`.
    #[error("`{0}` is no level")]
    NoLevel(String),
    /// The filter can't be read.
    #[error("`{filter}` is no filter: {cause}")]
    Malformed {
        /// The filter as written.
        filter: String,
        /// What the parser says.
        #[source]
        cause: ParseError,
    },
    /// The process writes log lines already.
    #[error("log lines are set up already: {0}")]
    SetTwice(#[from] TryInitError),
}

/// Reads a filter: a level, or a comma-separated list of levels and `module=level`. Noisy libraries are held at `warn`
/// unless the filter names them.
///
/// # Errors
/// A part without `=` that is no level (a slip such as `infos` would otherwise name a module), or a bad directive.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    let parts: Vec<_> = filter.split(',').map(str::trim).collect();
    for part in &parts {
        let names_module = part.contains('=') || part.contains('[');
        // The parser takes nothing at all for `error`.
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if !names_module && !is_level {
            return Err(LogError::NoLevel((*part).to_owned()));
        }
    }
    let filter = parts.join(",");
    let read =
        |text: &str| EnvFilter::try_new(text).map_err(|cause| LogError::Malformed { filter: text.to_owned(), cause });
    let asked = read(&filter)?;
    // Under a filter that is stricter than `warn`, holding libraries at `warn` would make them louder.
    let stricter = asked.max_level_hint().is_some_and(|level| level < LevelFilter::WARN);
    if stricter { Ok(asked) } else { read(&format!("{QUIET},{filter}")) }
}

/// Starts writing log lines for the whole process.
///
/// # Errors
/// A bad filter, or a second call.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(&settings.level)?)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Human => lines.finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_per_module_are_filters() {
        for good in ["info", "off", "WARN", "info,strayd::kafka=debug", "warn, ort=trace", "strayd=info"] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_slip_in_a_level_is_refused_instead_of_naming_a_module() {
        for bad in ["infos", "", "info,,debug", "info,strayd=loud"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn libraries_stay_quiet_unless_named() {
        let text = |filter: &str| parse_filter(filter).unwrap().to_string();
        assert!(text("info").contains("ort=warn"));
        assert!(text("info,ort=debug").contains("ort=debug"));
        assert!(!text("info,ort=debug").contains("ort=warn"));
        assert!(!text("error").contains("warn"));
    }
}
