//! Fields to row + mask.
use serde::{Deserialize, Serialize};

use super::path::FieldPath;

/// How a field is turned into columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeatureKind {
    /// A number.
    Numeric {
        /// Applied to the number first.
        #[serde(default)]
        transform: Transform,
    },
    /// true / false (or 1 / 0): one column.
    Boolean,
    /// One column per known category; an unknown category is all zeros. An empty vocabulary is learned at training.
    Categorical {
        /// Known categories in column order.
        vocabulary: Vec<String>,
    },
    /// A counter that only grows: its increase per second since the entity's last row. A fall is a restart from zero.
    Counter,
    /// Hour of the event time's day (UTC) as sine and cosine: two columns. Needs no field.
    HourOfDay,
    /// Weekday of the event time (UTC) as sine and cosine: two columns. Needs no field.
    DayOfWeek,
}

/// A transform of a numeric field before scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// As it is.
    #[default]
    None,
    /// sign(x) * log(1 + |x|): for counts and sizes.
    Log1p,
}

/// One feature as configured and as frozen in the model (with its vocabulary filled).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureSetting {
    /// Name in events; the path's text by default.
    pub name: String,
    /// Where it stands in the record; unused by cyclic time.
    pub path: FieldPath,
    /// What becomes of it.
    #[serde(flatten)]
    pub kind: FeatureKind,
}
