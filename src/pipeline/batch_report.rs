//! What a batch did.

/// What a batch did, for the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct BatchReport {
    /// Rows scored.
    pub rows: usize,
    /// Seconds in the model.
    pub score_seconds: f64,
    /// Seconds in the judge.
    pub judge_seconds: f64,
    /// Alarms: incidents that began, of groups or of entities that stand alone.
    pub incidents_opened: u64,
    /// Values that were imputed.
    pub imputed_values: u64,
    /// Records that came behind a newer one of their entity and were taken.
    pub out_of_order: u64,
    /// Entities that made room for others, or were idle for too long.
    pub evicted: u64,
    /// Score of the last row.
    pub last_score: Option<f64>,
}
