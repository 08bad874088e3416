//! How bad an anomaly is: bounds on the probability that a normal row scores as high.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad an incident or an anomaly is. Ordered: the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Above the limit, but as normal rows are now and then.
    Info,
    /// Rarer than `judging.severity.warning`.
    Warning,
    /// Rarer than `judging.severity.critical`.
    Critical,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word in events, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// `judging.severity.*`: p-values below which an anomaly is a warning, and critical.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeverityBounds {
    warning: f64,
    critical: f64,
}

impl SeverityBounds {
    /// Bounds with 0 < `critical` < `warning` < 1; `None` for any other.
    pub fn new(warning: f64, critical: f64) -> Option<Self> {
        (critical > 0.0 && critical < warning && warning < 1.0).then_some(Self { warning, critical })
    }

    /// The severity of what a normal row does with this probability, 0..=1.
    pub fn of(&self, p_value: f64) -> Severity {
        if p_value < self.critical {
            Severity::Critical
        } else if p_value < self.warning {
            Severity::Warning
        } else {
            Severity::Info
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_begins_below_its_bound() {
        let bounds = SeverityBounds::new(1e-4, 1e-6).unwrap();
        let told = [1.0, 1e-4, 0.99e-4, 1e-6, 0.99e-6, 0.0].map(|p_value| bounds.of(p_value));
        use Severity::{Critical, Info, Warning};
        assert_eq!(told, [Info, Info, Warning, Warning, Critical, Critical]);
        assert!(Critical > Warning && Warning > Info);
    }

    #[test]
    fn bounds_in_the_wrong_order_or_that_are_no_probabilities_make_none() {
        for (warning, critical) in
            [(1e-6, 1e-4), (1e-4, 1e-4), (1.0, 1e-4), (1e-4, 0.0), (f64::NAN, 1e-6), (0.1, f64::NAN)]
        {
            assert_eq!(SeverityBounds::new(warning, critical), None, "{warning} {critical}");
        }
    }
}
