//! The page of a backtest: one HTML file that needs nothing else, no network and no script. Pure: data in, text out.
//!
//! - `page`: the parts in their order, and the tables.
//! - `scores`: scores and limit over time, of each entity.
//! - `incidents`: what came and what was expected in the worst incidents.
//! - `heat`: which feature strayed when.
//! - `distribution`: promised against measured p-values, and how scores of labelled rows lie to those of others.
//!
//! All text of the data is escaped, pictures hold as many points as can be seen whatever the number of rows, colours are told
//! apart without seeing red and green, and each picture has words for those who can't see it. The page is well-formed XML
//! too, so that a parser proves that nothing is left open.

mod axis;
mod distribution;
mod heat;
mod incidents;
mod page;
mod plot;
mod scores;
mod words;

/// By this a page of ours is known.
pub const GENERATOR: &str = "<meta name=\"generator\" content=\"strayd backtest\"/>";
/// Entities of which the scores are drawn.
pub const DRAWN_ENTITIES: usize = 6;
/// Features of the heat map.
pub const HEAT_FEATURES: usize = 40;
/// Entities in the table.
pub const LISTED_ENTITIES: usize = 200;

/// What the page tells. Places along the data are seconds since the epoch where rows have times in order, else numbers of
/// rows in the files.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// What was scored.
    pub data: String,
    /// Names and figures; an empty name parts two groups.
    pub figures: Vec<(String, String)>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
    /// Better settings, and why, in words.
    pub suggestions: Vec<(String, String)>,
    /// What to know of all suggestions.
    pub caution: &'static str,
    /// Whether places are times.
    pub timed: bool,
    /// Whether there are labels.
    pub labelled: bool,
    /// The calibrated limit; an entity's own may be higher for a while.
    pub limit: f64,
    /// Scores of the entities that are drawn.
    pub entities: Vec<EntityScores>,
    /// All entities: the head of the table, a line each, and how many more there are.
    pub table: Option<Table>,
    /// The worst incidents, the highest peak first.
    pub incidents: Vec<Incident>,
    /// Incidents in all.
    pub all_incidents: usize,
    /// Which feature strayed when.
    pub heat: Heat,
    /// P-values of judged normal rows, ascending.
    pub p_values: Vec<f64>,
    /// Scores of the judged rows that are not labelled, ascending.
    pub normal_scores: Vec<f64>,
    /// Scores of the judged rows that are labelled, ascending.
    pub labelled_scores: Vec<f64>,
}

/// Scores of one entity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntityScores {
    /// Its name; empty where rows have no entity.
    pub name: String,
    /// Place and score of each row; `None` where it has none.
    pub scores: Vec<(f64, Option<f64>)>,
    /// Place of each row and the limit that its score was compared with; `None` where it has none.
    pub limits: Vec<(f64, Option<f64>)>,
    /// First and last place of each run of labelled rows.
    pub events: Vec<(f64, f64)>,
    /// Where incidents opened, and whether they are false alarms.
    pub opened: Vec<(f64, bool)>,
}

/// A table of text, the first column to the left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<String>>,
    /// Rows that are not shown.
    pub more: usize,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Incident {
    /// Whose.
    pub entity: String,
    /// First and last anomaly.
    pub span: (f64, f64),
    /// Anomalous rows.
    pub anomalies: u64,
    /// Highest score.
    pub peak: f64,
    /// The limit at that row.
    pub limit: f64,
    /// Chance that a normal row scores as high.
    pub p_value: f64,
    /// What its first row would have scored with its top features as expected, and whether it would have been no anomaly.
    pub counterfactual: Option<(f64, bool)>,
    /// The features with the largest shares of the error at the peak, the largest first.
    pub features: Vec<FeatureLine>,
}

/// What came and what was expected of one feature.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeatureLine {
    /// Its name.
    pub name: String,
    /// Share of the error at the peak, 0..=1.
    pub share: f64,
    /// Standardised error at the peak, standard deviations.
    pub error: f64,
    /// Rows before the first one of the incident in which it began to stray; `None` where it didn't by then.
    pub onset: Option<u8>,
    /// In order.
    pub points: Vec<FeaturePoint>,
}

/// One or several rows of a feature, in its own unit. What was missing is not a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeaturePoint {
    /// Place of the first row.
    pub at: f64,
    /// Lowest and highest value that came.
    pub actual: (f64, f64),
    /// Lowest and highest value that was expected.
    pub expected: (f64, f64),
}

/// Errors per feature over the data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heat {
    /// First and last place of each bucket, in order.
    pub buckets: Vec<(f64, f64)>,
    /// Names of the features, the largest total error first, and per bucket their highest part of a row's score; not a number
    /// where every value was missing.
    pub features: Vec<(String, Vec<f32>)>,
    /// Features that are not shown.
    pub more: usize,
}

impl Page {
    /// The whole file.
    pub fn to_html(&self) -> String {
        page::html(self)
    }
}

#[cfg(test)]
mod tests;
