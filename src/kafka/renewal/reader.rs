//! A reader of a whole topic whose consumer is made anew when its files change.

use std::time::Duration;

use super::{Look, Watch};
use crate::{
    config::settings::KafkaSettings,
    kafka::{KafkaError, topic::TopicReader},
    pipeline::feedback::{self, VerdictSource},
};

/// The topic of verdicts, read with what the files hold now.
pub struct RenewingReader {
    inner: TopicReader,
    settings: KafkaSettings,
    watch: Watch,
}

impl RenewingReader {
    /// Makes the consumer; a broker that is away is for [`VerdictSource::look`] to tell.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn connect(settings: &KafkaSettings, topic: &str) -> Result<Self, KafkaError> {
        let watch = Watch::new(settings);
        Ok(Self { inner: TopicReader::new(settings, topic)?, settings: settings.clone(), watch })
    }
}

impl VerdictSource for RenewingReader {
    fn look(&mut self, wait: Duration) -> Result<feedback::Look, String> {
        if self.watch.look() == Look::New {
            self.inner.renew(&self.settings).map_err(|error| error.to_string())?;
        }
        self.inner.look(wait)
    }
}
