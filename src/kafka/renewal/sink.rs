//! A sink whose producer is made anew when its files change.

use std::time::{Duration, Instant};

use super::{Look, Watch};
use crate::{
    config::settings::KafkaSettings,
    kafka::{KafkaError, sink::KafkaSink},
    pipeline::{Delivery, Output, Sink, SinkError},
    record::Position,
};

/// How long the old producer's word counts while the new one connects.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Time before another producer is tried where one was forbidden to write at all, and after which it counts as allowed.
const TRY_AGAIN: Duration = Duration::from_secs(10);
const ALLOWED_AFTER: Duration = Duration::from_secs(5);

/// The output topics, written to with what the files hold now.
pub struct RenewingSink {
    inner: KafkaSink,
    settings: KafkaSettings,
    watch: Watch,
    /// Whether the files hold something else than what the producer was made of.
    is_due: bool,
    /// Until when the new producer is believed to connect.
    connecting: Option<Instant>,
    /// Why the last producer was forbidden to write at all, and since when this one tries.
    forbidden: Option<(String, Instant)>,
}

impl RenewingSink {
    /// Makes the producer; a broker that is away is waited for.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let watch = Watch::new(settings);
        let inner = KafkaSink::connect(settings)?;
        Ok(Self { inner, settings: settings.clone(), watch, is_due: false, connecting: None, forbidden: None })
    }

    fn renew(&mut self) {
        // What is wrong with the files is told by the source, which watches the same ones.
        self.is_due |= self.watch.look() == Look::New;
        let is_down = !self.inner.is_connected();
        // The source pauses, so that what is on its way comes to its end. Where nothing can, it is sent anew.
        if !self.is_due || !(self.inner.is_idle() || is_down) {
            return;
        }
        self.is_due = false;
        if self.replace() {
            self.connecting = (!is_down).then(|| Instant::now() + CONNECT_WAIT);
        }
    }

    /// Puts a new producer in the old one's place, if one can be made.
    fn replace(&mut self) -> bool {
        match KafkaSink::connect(&self.settings) {
            Ok(new) => {
                let old = std::mem::replace(&mut self.inner, new);
                self.inner.take_over(old);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "no producer can be made of the files as they are now");
                false
            }
        }
    }

    /// A producer that was forbidden to write at all never works again, but rights may be given at any time.
    fn wait_for_rights(&mut self, why: String) {
        let mut since = self.forbidden.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        if since.elapsed() >= TRY_AGAIN && self.replace() {
            since = Instant::now();
        }
        self.forbidden = Some((why, since));
    }
}

impl Sink for RenewingSink {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        self.inner.send(position, output)
    }

    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        if let Some(why) = self.inner.forbidden() {
            self.wait_for_rights(why);
            std::thread::sleep(wait);
            return Ok(());
        }
        self.inner.deliveries(wait, visit)?;
        self.renew();
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        if let Some((why, since)) = &self.forbidden
            && (self.inner.forbidden().is_some() || since.elapsed() < ALLOWED_AFTER)
        {
            return Err(why.clone());
        }
        let is_connecting = self.connecting.is_some_and(|until| Instant::now() < until);
        if is_connecting && !self.inner.is_connected() { Ok(()) } else { self.inner.health() }
    }
}
