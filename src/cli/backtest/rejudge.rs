//! The same residuals, judged by other settings side by side with the model's own: nothing is trained or run anew.

use crate::{
    detect::judge::{EntityJudgement, Judge},
    model::metadata::Metadata,
    pipeline::observed::Observed,
};

/// Spans of smoothing that are tried; those that come first are the furthest apart.
const SPANS: [u32; 4] = [1, 60, 5, 15];
/// Other spans at most.
const MOST_SPANS: usize = 3;
/// The half-life that is tried where residuals don't follow drift, rows: that of the settings' default.
const HALF_LIFE: f64 = 5000.0;
/// With more entities than this nothing is judged anew: each setting has a memory of each.
const MOST_ENTITIES: usize = 10_000;

/// Judges by several settings.
pub(super) struct Rejudge {
    variants: Vec<Variant>,
    /// There are too many entities.
    gave_up: bool,
}

struct Variant {
    setting: Setting,
    judge: Judge,
    /// By entity; none for one that no row came of yet.
    memories: Vec<Option<EntityJudgement>>,
    /// By row from the first scored one on; not a number where there is none.
    scores: Vec<f64>,
}

/// A setting of judging, as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) value: String,
}

/// What came of it: for each setting a score per row, in the order of the rows.
pub(super) struct Rejudged {
    pub(super) scores: Vec<(Setting, Vec<f64>)>,
    /// Each row's own score before smoothing, which must exceed the limit too; `None` where nothing is smoothed.
    pub(super) own: Option<Vec<f64>>,
}

impl Rejudge {
    /// The settings to try beside those of the model. Without labels nothing can be said of their scores, but for what rows
    /// score before smoothing.
    pub(super) fn new(metadata: &Metadata, labelled: bool) -> Self {
        let smoothed = metadata.scoring.smoothing_span;
        let in_order = labelled && metadata.calibration.interval_seconds.is_some();
        let most = if in_order { MOST_SPANS } else { 1 };
        let mut variants = Vec::new();
        let spans = SPANS.into_iter().filter(|span| *span != smoothed && (in_order || *span == 1)).take(most);
        for span in spans {
            let mut other = metadata.clone();
            other.scoring.smoothing_span = span;
            variants.push(Variant::new("judging.smoothing_span", span.to_string(), &other));
        }
        if in_order && metadata.columns.iter().any(|column| column.residual_variance != 1.0) {
            let mut other = metadata.clone();
            let (half_life, value) = match metadata.scoring.half_life {
                Some(_) => (None, "held_back".to_owned()),
                None => (Some(HALF_LIFE), format!("{{running: {{half_life: {HALF_LIFE:.1}}}}}")),
            };
            other.scoring.half_life = half_life;
            variants.push(Variant::new("judging.residuals", value, &other));
        }
        Self { variants, gave_up: false }
    }

    /// Judges a row of this entity; one without a number counts for what entities remember alone.
    pub(super) fn judge(&mut self, record: &Observed<'_>, entity: usize, row: Option<usize>) {
        if entity >= MOST_ENTITIES {
            self.variants.clear();
            self.gave_up = true;
        }
        for Variant { judge, memories, scores, .. } in &mut self.variants {
            if memories.len() <= entity {
                memories.resize(entity + 1, None);
            }
            let memory = memories[entity].get_or_insert_with(|| judge.enter(record.entity));
            let judged = judge.judge(record.residuals(), record.imputed(), memory);
            let Some(row) = row else { continue };
            if scores.len() <= row {
                scores.resize(row + 1, f64::NAN);
            }
            scores[row] = judged.score;
        }
    }

    /// The scores of the rows that are kept; `None` where there were too many entities.
    pub(super) fn finish(self, kept: &[bool]) -> Option<Rejudged> {
        let kept_of = |mut scores: Vec<f64>| {
            scores.resize(kept.len(), f64::NAN);
            scores.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(score, _)| score).collect()
        };
        let scores: Vec<(Setting, Vec<f64>)> =
            self.variants.into_iter().map(|variant| (variant.setting, kept_of(variant.scores))).collect();
        let own = scores.iter().find(|(setting, _)| setting.key == "judging.smoothing_span" && setting.value == "1");
        let own = own.map(|(_, scores)| scores.clone());
        (!self.gave_up).then_some(Rejudged { scores, own })
    }
}

impl Variant {
    fn new(key: &'static str, value: String, metadata: &Metadata) -> Self {
        // The limit is that of other scores, and plays no part in them.
        let judge = Judge::new(metadata, f64::INFINITY);
        Self { setting: Setting { key, value }, judge, memories: Vec::new(), scores: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::fixture::metadata;

    fn tried(change: impl Fn(&mut Metadata), labelled: bool) -> Vec<String> {
        let mut metadata = metadata(2);
        change(&mut metadata);
        let all = Rejudge::new(&metadata, labelled).variants;
        all.into_iter().map(|variant| format!("{}={}", variant.setting.key, variant.setting.value)).collect()
    }

    #[test]
    fn spans_and_residuals_are_tried_where_rows_have_an_order_and_labels() {
        let usual = |metadata: &mut Metadata| {
            metadata.scoring.smoothing_span = 15;
            metadata.scoring.half_life = Some(5000.0);
            metadata.columns[0].residual_variance = 0.5;
        };
        let span = |span| format!("judging.smoothing_span={span}");
        assert_eq!(tried(usual, true), [span(1), span(60), span(5), "judging.residuals=held_back".to_owned()]);
        assert_eq!(tried(usual, false), [span(1)], "what rows score before smoothing");
        let independent = |metadata: &mut Metadata| metadata.calibration.interval_seconds = None;
        assert_eq!(tried(independent, true), Vec::<String>::new());
        let raw = |metadata: &mut Metadata| metadata.scoring.smoothing_span = 30;
        assert_eq!(tried(raw, true), [span(1), span(60), span(5)], "raw residuals have no variance to divide by");
    }
}
