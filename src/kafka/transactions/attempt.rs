//! The thread of transactions: one attempt after the other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Statistics,
    client::OAuthToken,
    error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext},
};

use super::{Failure, Job, Shared};
use crate::{
    config::settings::KafkaSettings,
    kafka::{
        KafkaError, commit, link::Link, output_topics::OutputTopics, parcel::is_too_large, settings, token::TokenFile,
    },
};

/// How long one call of librdkafka may take before the thread looks whether the program stops.
const STEP: Duration = Duration::from_secs(1);
/// The same, while delivery reports are waited for.
const REPORT_STEP: Duration = Duration::from_millis(5);
/// How long the thread waits for a job before it looks after the producer.
const IDLE_STEP: Duration = Duration::from_millis(100);

/// librdkafka's callbacks; they run on the thread of transactions.
struct Context {
    link: Link,
    /// Messages that the broker refused, by their place in the job.
    refused: Mutex<BTreeMap<usize, ClientError>>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.link.token()
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.link.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.statistics(&statistics);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        match result {
            Ok(_) => self.link.works(),
            Err((error, _)) => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(place, error.clone());
            }
        }
    }
}

/// The thread's own side.
pub(super) struct Worker {
    producer: BaseProducer<Context>,
    topics: OutputTopics,
    input_topic: String,
    shared: Arc<Shared>,
}

impl Worker {
    pub(super) fn new(settings: &KafkaSettings, shared: Arc<Shared>) -> Result<Self, KafkaError> {
        let link = Link::new(&settings.brokers).showing(TokenFile::of(settings));
        let context = Context { link, refused: Mutex::default() };
        Ok(Self {
            producer: settings::transactional_producer(settings)?.create_with_context(context)?,
            topics: OutputTopics::new(settings),
            input_topic: settings.input_topic.clone(),
            shared,
        })
    }

    /// Makes transactions until the other end is gone.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        match self.retried(|producer| producer.init_transactions(STEP)) {
            Ok(()) => self.shared.change(|state| state.fault = None),
            Err(failure) => return self.refuse(&failure, jobs),
        }
        loop {
            match jobs.recv_timeout(IDLE_STEP) {
                Ok(mut job) => {
                    let result = self.attempt(&mut job);
                    self.shared.change(|state| state.end(job, result));
                }
                Err(RecvTimeoutError::Timeout) => self.look_around(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Without a transactional producer no job will do.
    fn refuse(&self, failure: &Failure, jobs: &Receiver<Job>) {
        let why = match failure {
            Failure::Again(why) | Failure::Fatal(why) => why.clone(),
            Failure::Stopping => return,
        };
        self.shared.change(|state| state.fatal = Some(why.clone()));
        for job in jobs {
            self.shared.change(|state| state.end(job, Err(Failure::Fatal(why.clone()))));
        }
    }

    /// Between two jobs: is the broker there, and are the topics?
    fn look_around(&mut self) {
        self.producer.poll(Duration::ZERO);
        let state = self.producer.context().link.state();
        if state.is_ok() {
            self.topics.look(self.producer.client());
        }
        let fatal = self.producer.client().fatal_error().map(|(_, why)| why);
        let faults = self.topics.faults();
        self.shared.change(|shared| {
            shared.fatal = shared.fatal.take().or(fatal);
            // What the last transaction found wrong stays until one succeeds.
            if shared.resume.is_none() {
                shared.fault = state.err().or_else(|| (!faults.is_empty()).then(|| faults.join("; ")));
            }
        });
    }

    /// One transaction. What the broker refused for good is left out of the job, so that the next attempt may succeed.
    fn attempt(&self, job: &mut Job) -> Result<(), Failure> {
        self.producer.begin_transaction().map_err(|error| self.failure(&error))?;
        let committed = self
            .send(job)
            .and_then(|()| self.send_offsets(job))
            .and_then(|()| self.retried(|producer| producer.commit_transaction(STEP)));
        match committed {
            Err(Failure::Again(why)) => {
                self.retried(|producer| producer.abort_transaction(STEP))?;
                Err(Failure::Again(why))
            }
            other => other,
        }
    }

    /// Sends all outputs and waits for the broker to have them.
    fn send(&self, job: &mut Job) -> Result<(), Failure> {
        for (place, parcel) in job.parcels.iter().enumerate() {
            while let Err((error, _)) = self.producer.send(parcel.record(place)) {
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => self.producer.poll(REPORT_STEP),
                    Some(RDKafkaErrorCode::Fatal) => return Err(self.failure(&error)),
                    // The client itself refuses it, before anything went over the wire.
                    _ => {
                        self.refused().insert(place, error);
                        break;
                    }
                }
                self.go_on()?;
            }
        }
        // librdkafka's own way of flushing takes a tenth of a second at least.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(REPORT_STEP);
            self.go_on()?;
        }
        let refused = std::mem::take(&mut *self.refused());
        if refused.is_empty() { Ok(()) } else { Err(self.mend(job, &refused)) }
    }

    /// Leaves out what the broker will never take, cuts dead letters that are too large for it, and says what it was.
    fn mend(&self, job: &mut Job, refused: &BTreeMap<usize, ClientError>) -> Failure {
        let mut hopeless = Vec::new();
        let mut place = 0..;
        job.parcels.retain_mut(|parcel| {
            let Some(error) = place.next().and_then(|place| refused.get(&place)) else { return true };
            if parcel.is_hopeless(error) {
                hopeless.push(parcel.sender.delivery(Err(error.to_string())));
                return false;
            }
            if is_too_large(error) {
                parcel.cut();
            }
            true
        });
        self.shared.change(|state| state.ended.extend(hopeless));
        let first = refused.values().next().map_or_else(String::new, ToString::to_string);
        Failure::Again(format!("{} outputs were refused, the first of them: {first}", refused.len()))
    }

    fn send_offsets(&self, job: &Job) -> Result<(), Failure> {
        let list = commit::list(&self.input_topic, &job.offsets).map_err(|error| self.failure(&error))?;
        self.retried(|producer| producer.send_offsets_to_transaction(&list, &job.group, STEP))
    }

    /// Calls until it is something else than a fault that passes, such as a broker that gave no answer in time.
    fn retried(&self, call: impl Fn(&BaseProducer<Context>) -> KafkaResult<()>) -> Result<(), Failure> {
        loop {
            match call(&self.producer) {
                Ok(()) => return Ok(()),
                Err(error) if is_passing(&error) => {
                    self.producer.poll(Duration::ZERO);
                    let why = self.producer.context().link.state().err().unwrap_or_else(|| error.to_string());
                    self.shared.change(|state| state.fault = Some(why));
                    self.go_on()?;
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }

    /// What an error means for the transaction.
    fn failure(&self, error: &ClientError) -> Failure {
        let fatal = self.producer.client().fatal_error();
        let said = match error {
            ClientError::Transaction(error) => error.string(),
            other => other.to_string(),
        };
        match (fatal, error) {
            (Some((RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch, _)), _) => {
                Failure::Fatal(format!(
                    "another process writes with the same kafka.transactional_id, which must be this one's alone ({said})"
                ))
            }
            (Some((_, why)), _) => Failure::Fatal(why),
            (None, ClientError::Transaction(error)) if error.is_fatal() => Failure::Fatal(said),
            _ => Failure::Again(said),
        }
    }

    fn go_on(&self) -> Result<(), Failure> {
        if self.shared.stopping.load(Ordering::Relaxed) { Err(Failure::Stopping) } else { Ok(()) }
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, ClientError>> {
        self.producer.context().refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_passing(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(error) if error.is_retriable() && !error.txn_requires_abort())
}
