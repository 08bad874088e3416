//! Whether the topics that are written to exist. A missing one shall be known before the first anomaly needs it.

use std::time::{Duration, Instant};

use rdkafka::{ClientContext, client::Client, error::RDKafkaErrorCode};

use super::fault;
use crate::config::settings::KafkaSettings;

/// Time between two looks for topics that were not seen yet, and how long one look may take.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_WAIT: Duration = Duration::from_millis(500);

/// The topics that are written to, as far as they were seen.
pub(super) struct OutputTopics {
    /// Those not seen yet.
    unseen: Vec<String>,
    looked: Option<Instant>,
    /// What the last look found wrong, one entry per topic.
    faults: Vec<String>,
}

impl OutputTopics {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self { unseen: settings.output_topics().map(str::to_owned).collect(), looked: None, faults: Vec::new() }
    }

    /// Asks a broker that answers for each topic, now and then until it was seen once.
    pub(super) fn look<C: ClientContext>(&mut self, client: &Client<C>) {
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if self.unseen.is_empty() || !due {
            return;
        }
        self.looked = Some(Instant::now());
        self.faults.clear();
        let faults = &mut self.faults;
        self.unseen.retain(|topic| {
            // A broker that gives no answer is no reason to call the topic missing.
            let Ok(metadata) = client.fetch_metadata(Some(topic), LOOK_WAIT) else { return true };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            match found.and_then(|found| found.error()) {
                None => false,
                Some(error) => {
                    let error = RDKafkaErrorCode::from(error);
                    faults.push(fault::of_output(topic, Some(error), &error));
                    true
                }
            }
        });
    }

    /// What the last look found wrong, one entry per topic.
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }
}
