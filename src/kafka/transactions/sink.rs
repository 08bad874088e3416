//! The pipeline's side of the outputs: they are held until their transaction is committed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Transactions;
use crate::{
    config::settings::KafkaSettings,
    kafka::parcel::{Addresses, Sender},
    pipeline::{Delivery, Output, Sink, SinkError},
    record::Position,
};

/// The output topics, written to in transactions with the offsets of the records.
pub struct TransactionalSink {
    transactions: Arc<Transactions>,
    addresses: Addresses,
}

impl TransactionalSink {
    /// For the transactions of the source that reads the records.
    pub fn new(transactions: Arc<Transactions>, settings: &KafkaSettings) -> Self {
        Self { transactions, addresses: Addresses::new(settings) }
    }
}

impl Sink for TransactionalSink {
    fn send(&mut self, position: Position, output: Output) -> Result<(), SinkError> {
        let sender = Sender { position, kind: output.kind() };
        let parcel = self.addresses.parcel(position, output);
        self.transactions.shared.change(|state| match parcel {
            Ok(Some(parcel)) => state.held.push(parcel),
            // Nobody makes events where there is no topic for them; one would have nothing to wait for.
            unsent => state.ended.push(sender.delivery(unsent.map(drop))),
        });
        Ok(())
    }

    fn deliveries(&mut self, wait: Duration, visit: &mut dyn FnMut(Delivery)) -> Result<(), SinkError> {
        let until = Instant::now() + wait;
        let mut state = self.transactions.shared.wait(until, |state| !state.ended.is_empty() || state.fatal.is_some());
        let ended = std::mem::take(&mut state.ended);
        let fatal = state.fatal.clone();
        drop(state);
        ended.into_iter().for_each(visit);
        fatal.map_or(Ok(()), |why| Err(SinkError::Fatal(why)))
    }

    fn health(&self) -> Result<(), String> {
        let state = self.transactions.shared.lock();
        state.fatal.clone().or_else(|| state.fault.clone()).map_or(Ok(()), Err)
    }

    fn delivers_with_offsets(&self) -> bool {
        true
    }

    fn forget(&mut self, partitions: &[i32]) {
        self.transactions.forget(partitions);
    }
}
