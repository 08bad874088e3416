//! `strayd run`: the daemon.

use std::sync::{Arc, atomic::AtomicBool};

use clap::Args;

use super::{ConfigArgs, Failure};
use crate::{
    app::{self, App, Ends},
    config::settings::{DeliveryGuarantee, KafkaSettings, Role},
    kafka::{
        certificates,
        renewal::{RenewingReader, RenewingSink, RenewingSource},
        source::KafkaSource,
        state::KafkaState,
        transactions::{TransactionalSink, Transactions},
    },
    pipeline::{Discard, NoObserver, Sink, Source},
    telemetry::log,
};

/// Arguments of `strayd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What this process does, over the configuration's `role`: all, scorer or trainer
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut config = args.config.clone();
    config.set.extend(args.role.iter().map(|role| format!("role={role}")));
    let loaded = config.load_for_run()?;
    log::init(&loaded.settings.log)?;
    let stop = Arc::new(AtomicBool::new(false));
    app::stop_on_signals(Arc::clone(&stop), loaded.settings.pipeline.shutdown_deadline)?;
    let app = App::build(&loaded)?;
    let Some(mut plan) = app.plan(&stop)? else {
        tracing::info!("stopped before there was a model, goodbye");
        return Ok(());
    };
    // Before the group is joined: partitions belong to those who can score.
    if !app.wait_for_device(&plan.start, &stop) {
        return Ok(());
    }
    let kafka = loaded.settings.kafka_of_role();
    app.metrics().certificates(&certificates::expiries(&kafka));
    let publishes = loaded.settings.role != Role::Trainer;
    if publishes && !app.wait_for_schemas(&kafka, &stop) {
        return Ok(());
    }
    let (mut source, mut sink) = ends(&kafka, loaded.settings.role)?;
    if let Some(topic) = &kafka.feedback_topic {
        plan.feedback = Some(Box::new(RenewingReader::connect(&kafka, topic)?));
    }
    if let Some(topic) = &kafka.state_topic {
        plan.state = Some(Box::new(KafkaState::connect(&kafka, topic)?));
    }
    let ends = Ends { source: &mut *source, sink: &mut *sink, observer: &mut NoObserver, progress: &mut |_| {} };
    let summary = app.run(plan, ends, &stop)?;
    tracing::info!(
        records = summary.records,
        anomalies = summary.anomalies,
        dead_letters = summary.dead_letters,
        "drained, goodbye"
    );
    Ok(())
}

/// Where records come from and outputs go.
type BothEnds = (Box<dyn Source>, Box<dyn Sink>);

/// Both ends in Kafka. A trainer publishes nothing, and so needs neither output topics nor transactions.
fn ends(kafka: &KafkaSettings, role: Role) -> Result<BothEnds, Failure> {
    Ok(match (role, kafka.delivery) {
        (Role::Trainer, _) => (Box::new(RenewingSource::connect(kafka)?), Box::new(Discard::default())),
        (_, DeliveryGuarantee::AtLeastOnce) => {
            (Box::new(RenewingSource::connect(kafka)?), Box::new(RenewingSink::connect(kafka)?))
        }
        (_, DeliveryGuarantee::ExactlyOnce) => {
            let transactions = Transactions::start(kafka)?;
            let source = KafkaSource::committing_with(kafka, Some(Arc::clone(&transactions)))?;
            (Box::new(source), Box::new(TransactionalSink::new(transactions, kafka)))
        }
    })
}
