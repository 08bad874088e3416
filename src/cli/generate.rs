//! `strayd gen`: made-up records with planted anomalies, into Kafka or a file.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Args;

use super::{ConfigArgs, Failure};
use crate::{
    app,
    config::{Settings, settings::TimestampFormat, units},
    generate::{
        Family, Generator, Kind, Plan,
        feed::{self, FeedError, Lines, Outlet, Pace},
    },
    kafka::writer::RecordWriter,
    record::timestamp,
    telemetry::log,
};

/// Arguments of `strayd gen`.
#[derive(Debug, Args)]
pub struct GenArgs {
    /// Where Kafka is, as for the daemon: kafka.brokers, kafka.input_topic, kafka.properties, kafka.secrets
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Brokers, over the configuration
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: Option<String>,
    /// Topic, over the configuration
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Write JSON lines to a file (- is standard output) and not to Kafka
    #[arg(long, value_name = "FILE", conflicts_with_all = ["brokers", "topic"])]
    pub out: Option<PathBuf>,
    /// What the records are about
    #[arg(long, value_enum, default_value_t = Family::Sensors)]
    pub family: Family,
    /// Machines or pages, which take turns
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    pub entities: u32,
    /// Records per second of real time, or `max`
    #[arg(long, default_value = "max", value_parser = parse_rate)]
    pub rate: Rate,
    /// End after so many records; without this and --duration there is no end
    #[arg(long, value_name = "N")]
    pub records: Option<u64>,
    /// End after so much event time, such as 7d
    #[arg(long, value_parser = parse_span)]
    pub duration: Option<Duration>,
    /// Event time of the first record: RFC 3339, or `now`
    #[arg(long, default_value = "2026-01-05T00:00:00Z", value_name = "TIME")]
    pub start: String,
    /// Event time between two records of an entity [default: 1m, engagement 5m]
    #[arg(long, value_parser = parse_span, value_name = "DURATION")]
    pub interval: Option<Duration>,
    /// Same seed, same records
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Mean event time from one planted anomaly to the next, over all entities, or `never`
    #[arg(long, default_value = "6h", value_parser = parse_every, value_name = "DURATION")]
    pub anomaly_every: Every,
    /// Kinds of anomalies to plant
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    pub kinds: Vec<Kind>,
    /// No anomaly in the first N records, so that a cold start learns what is normal
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub quiet_start: u64,
    /// Write what was planted as JSON lines: entity, kind, features, first and last event time
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Add a field of this name to each record: 1 in anomalies, else 0. The daemon would learn it
    #[arg(long, value_name = "NAME")]
    pub label_field: Option<String>,
}

/// Records per second, or `None` for no limit.
#[derive(Debug, Clone, Copy)]
pub struct Rate(Option<f64>);

/// A span, or `None` for never.
#[derive(Debug, Clone, Copy)]
pub struct Every(Option<Duration>);

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate(None));
    }
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(Rate(Some(rate))),
        _ => Err("expected records per second, above 0 and at most 10000000, or `max`".to_owned()),
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let span = units::parse_duration(text).map_err(|error| error.to_string())?;
    // A millisecond and more, so that all entities have their place within; a thousand years and less.
    let bounds = Duration::from_millis(1)..=Duration::from_secs(1_000 * 366 * 86_400);
    if bounds.contains(&span) { Ok(span) } else { Err("expected 1ms to 366000d".to_owned()) }
}

fn parse_every(text: &str) -> Result<Every, String> {
    if text == "never" { Ok(Every(None)) } else { parse_span(text).map(|span| Every(Some(span))) }
}

/// Makes records until they end, or until SIGTERM or SIGINT.
pub fn run(args: &GenArgs) -> Result<(), Failure> {
    let mut sources = args.config.sources();
    let ours = [("kafka.brokers", &args.brokers), ("kafka.input_topic", &args.topic)];
    sources.set.extend(ours.iter().filter_map(|(key, value)| value.as_ref().map(|value| format!("{key}={value}"))));
    let settings = Settings::load(&sources)?.settings;
    log::init(&settings.log)?;
    let plan = plan(args)?;
    let mut outlet = match &args.out {
        Some(file) => Outlet::Lines(Lines::create(file)?),
        None => {
            settings.require_kafka()?;
            Outlet::Kafka(RecordWriter::connect(&settings.kafka)?)
        }
    };
    let labels = args.labels.as_deref().map(Lines::create).transpose()?;
    let span = args.duration.map_or(i64::MAX, |span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
    // Later times can't be written.
    let until_us = plan.start_us.saturating_add(span).min(timestamp::MAX_US);
    let pace = Pace { per_second: args.rate.0, records: args.records, until_us };
    let stop = Arc::new(AtomicBool::new(false));
    app::stop_on_signals(Arc::clone(&stop), feed::FLUSH_WAIT)?;
    match feed::feed(&mut Generator::new(plan), &mut outlet, labels, pace, &stop) {
        Ok(records) => {
            tracing::info!(records, "all written");
            Ok(())
        }
        // Whoever read standard output has seen enough.
        Err(FeedError::Write { cause, .. }) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn plan(args: &GenArgs) -> Result<Plan, Failure> {
    let start_us = match args.start.as_str() {
        "now" => jiff::Timestamp::now().as_microsecond(),
        text => timestamp::from_text(text, TimestampFormat::Rfc3339)
            .map_err(|error| Failure::config(&format_args!("--start {text}: {error}, expected RFC 3339 or `now`")))?,
    };
    let usual = match args.family {
        Family::Sensors => Duration::from_secs(60),
        Family::Engagement => Duration::from_secs(300),
    };
    Ok(Plan {
        family: args.family,
        entities: args.entities as usize,
        start_us,
        interval: args.interval.unwrap_or(usual),
        seed: args.seed,
        anomaly_every: args.anomaly_every.0.unwrap_or(Duration::MAX),
        kinds: args.anomaly_every.0.map(|_| args.kinds.clone()).unwrap_or_default(),
        quiet_start: args.quiet_start,
        label_field: args.label_field.clone(),
    })
}
