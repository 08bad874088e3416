//! Metrics of what is kept over restarts.

use prometheus::{IntCounter, Registry};
use tracing::{info, warn};

use super::{describe, metrics::Metrics, register::counter};

#[derive(Debug)]
pub(super) struct StateMetrics {
    reread: IntCounter,
    cut: IntCounter,
}

impl StateMetrics {
    pub(super) fn new(add: &Registry) -> Self {
        Self { reread: counter(add, &describe::RECORDS_REREAD), cut: counter(add, &describe::WINDOWS_CUT) }
    }
}

impl Metrics {
    /// So many records were read once more, to fill windows.
    pub fn records_reread(&self, records: u64) {
        self.state.reread.inc_by(records);
    }

    /// What was kept of a partition has been read: `entities` snapshots, `unread` more that can't be used, and `cut` entities
    /// whose windows begin before `from`, where reading begins.
    pub fn state_read(&self, (partition, from): (i32, i64), (entities, unread, cut): (usize, usize, usize)) {
        info!(partition, from, entities, unread, "what was kept of the partition is read");
        self.state.cut.inc_by(cut as u64);
        if cut > 0 {
            warn!(
                partition,
                from,
                entities = cut,
                "windows fill anew: their records are gone, or further back than pipeline.max_rewind allows to read again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::tests::value;

    #[test]
    fn what_is_read_again_and_what_can_not_be_is_counted() {
        let metrics = Metrics::new();
        metrics.records_reread(3);
        metrics.records_reread(4);
        metrics.state_read((0, 17), (5, 0, 2));
        assert_eq!(value(&metrics, "strayd_records_reread_total"), 7.0);
        assert_eq!(value(&metrics, "strayd_windows_cut_total"), 2.0);
    }
}
