//! Better settings, where this backtest can measure that they are better: another budget, another smoothing, other
//! residuals. Nothing is trained anew for it. What is measured is the best of several by the very labels that chose it, so
//! only a gain beyond chance is told (`evaluate::limits` says what that is), and never without a caution.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    rejudge::{Rejudged, Setting},
    report::{AlarmReport, Unit},
    sum::{Scored, Track},
};
use crate::{
    config::settings::{AlarmBudget, Recalibration},
    demo::display::counted,
    detect::limit::Limit,
    evaluate::{
        EvaluateError, Evaluation, Labelled,
        events::{self, Counts},
        limits::{self, LEAST_EVENTS, Verdicts, is_clear_gain, is_clear_ranking_gain, is_clearly_more},
        ranking,
    },
    model::metadata::Metadata,
};

/// What to know of suggestions that labels chose.
pub(super) const CAUTION: &str =
    "Chosen by the very labels that they are measured with, so expect less of them: confirm them on other data.";
/// Powers of ten between which budgets of 1, 2 and 5 times each are tried: alarms per entity and day, and share of rows.
const ALARM_POWERS: std::ops::RangeInclusive<i32> = -3..=2;
const SHARE_POWERS: std::ops::RangeInclusive<i32> = -5..=-2;

/// A setting that is clearly better here.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Suggestion {
    /// Its key in the configuration.
    pub setting: String,
    /// Its value, as `--set` takes it; null where none is good enough and something else is to be done.
    pub value: Option<String>,
    /// Why, in words.
    pub why: String,
    /// What was measured with the settings in use.
    pub before: Outcome,
    /// What was measured with the suggested one; null where there is none.
    pub after: Option<Outcome>,
}

/// What was measured with a setting. What plays no part in the suggestion is null.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct Outcome {
    /// Events with an anomalous row inside.
    pub events_found: Option<usize>,
    /// Incidents without an anomalous row in an event.
    pub false_alarms: Option<usize>,
    /// The same per entity and day of rows labelled 0.
    pub false_alarms_per_entity_and_day: Option<f64>,
    /// Harmonic mean of event precision and event recall, 0..=1.
    pub event_f1: Option<f64>,
    /// Average precision, 0..=1.
    pub aucpr: Option<f64>,
    /// Alarms raised, in the unit of the budget.
    pub measured: Option<f64>,
}

/// What suggestions are made from.
pub(super) struct Basis<'a> {
    pub(super) budget: AlarmBudget,
    /// Whether overrides give some entities a budget of their own.
    pub(super) has_own_budgets: bool,
    pub(super) steps: Recalibration,
    pub(super) metadata: &'a Metadata,
    pub(super) scored: &'a Scored,
    pub(super) tracks: &'a [Track],
    pub(super) alarms: &'a AlarmReport,
    /// `None` without labels.
    pub(super) evaluation: Option<&'a Evaluation>,
}

/// All that is clearly better; nothing where it was not asked for.
///
/// # Errors
/// Rows that don't belong together.
pub(super) fn suggest(basis: &Basis<'_>) -> Result<Vec<Suggestion>, EvaluateError> {
    let Some(rejudged) = &basis.scored.rejudged else { return Ok(Vec::new()) };
    // Another budget's limit alone says nothing of alarms that gates and overrides have a say in too.
    let by_limit_alone = !basis.has_own_budgets && basis.alarms.suppressed.by_gates() == 0;
    let Some(evaluation) = basis.evaluation else {
        let suggestion = by_limit_alone.then(|| basis.alarm_rate(rejudged)).flatten();
        return Ok(suggestion.into_iter().collect());
    };
    let suggestion = if by_limit_alone { basis.budget(evaluation, rejudged)? } else { None };
    let mut all: Vec<Suggestion> = suggestion.into_iter().collect();
    if evaluation.events.labelled > LEAST_EVENTS {
        all.extend(basis.judging(rejudged)?);
    }
    Ok(all)
}

impl Basis<'_> {
    /// The scores that are compared with the limit: a row's smoothed one and its own must both exceed it.
    fn compared(&self, rejudged: &Rejudged) -> Vec<Vec<Option<f64>>> {
        let own = |row: usize| rejudged.own.as_ref().map_or(f64::INFINITY, |own| own[row]);
        let of_track = |track: &Track| {
            let scores = track.rows.iter().zip(&track.scores);
            scores.map(|(row, score)| score.map(|score| score.min(own(*row)))).collect()
        };
        self.tracks.iter().map(of_track).collect()
    }

    fn verdicts(&self, scores: &[Vec<Option<f64>>], budget: AlarmBudget) -> Option<Vec<Verdicts>> {
        let calibration = &self.metadata.calibration;
        let budget = budget.of_one_among(self.tracks.len() as f64);
        let limit = Limit::for_budget(budget, calibration, self.steps).ok()?;
        let quiet = self.metadata.scoring.incident_quiet_rows;
        Some(scores.iter().map(|scores| Verdicts::at(limit, scores, quiet)).collect())
    }

    /// The budget with the best F1 of events.
    fn budget(&self, evaluation: &Evaluation, rejudged: &Rejudged) -> Result<Option<Suggestion>, EvaluateError> {
        let events = &evaluation.events;
        let before = Counts { labelled: events.labelled, found: events.found, false_alarms: events.false_alarms };
        let scores = self.compared(rejudged);
        let labelled: Vec<Labelled<'_>> = self.tracks.iter().map(Track::labelled).collect();
        let mut best: Option<(AlarmBudget, Counts)> = None;
        for budget in budgets(self.budget) {
            let Some(verdicts) = self.verdicts(&scores, budget) else { continue };
            let others: Vec<_> =
                labelled.iter().zip(&verdicts).map(|(one, verdicts)| limits::with(one, verdicts)).collect();
            let counts = events::counts(&others)?;
            // Of budgets as good the smallest, which comes first.
            if best.as_ref().is_none_or(|(_, best)| counts.f1() > best.f1()) {
                best = Some((budget, counts));
            }
        }
        let Some((budget, after)) = best.filter(|(_, after)| is_clear_gain(&before, after)) else { return Ok(None) };
        let days = events::normal_days(&labelled).filter(|days| *days > 0.0);
        let why = format!("finds {}, instead of {}", words(&after, days), words(&before, days));
        let setting = setting(budget);
        Ok(Some(Suggestion {
            setting: setting.key.to_owned(),
            value: Some(setting.value),
            why,
            before: outcome(&before, days),
            after: Some(outcome(&after, days)),
        }))
    }

    /// Of each setting of judging the value that ranks labelled rows best.
    fn judging(&self, rejudged: &Rejudged) -> Result<Vec<Suggestion>, EvaluateError> {
        let labels = self.scored.labels.as_deref().unwrap_or_default();
        let known: Vec<usize> = (0..labels.len()).filter(|row| labels[*row].is_some()).collect();
        let truth: Vec<bool> = known.iter().map(|row| labels[*row] == Some(true)).collect();
        let parts = |score: &dyn Fn(usize) -> Option<f64>| -> Result<Option<[f64; 3]>, EvaluateError> {
            let scores: Vec<Option<f64>> = known.iter().map(|row| score(*row)).collect();
            let middle = limits::middle(&truth);
            let aucpr = |rows: std::ops::Range<usize>| Ok(ranking::rank(&scores[rows.clone()], &truth[rows])?.aucpr);
            let all = [aucpr(0..truth.len())?, aucpr(0..middle)?, aucpr(middle..truth.len())?];
            Ok(if let [Some(all), Some(first), Some(second)] = all { Some([all, first, second]) } else { None })
        };
        let Some(before) = parts(&|row| self.scored.rows[row].end.score())? else { return Ok(Vec::new()) };
        let mut best: Vec<(&Setting, f64)> = Vec::new();
        for (setting, scores) in &rejudged.scores {
            let after = parts(&|row| Some(scores[row]).filter(|score| score.is_finite()))?;
            let Some(after) = after.filter(|after| is_clear_ranking_gain(before, *after)) else { continue };
            match best.iter_mut().find(|(known, _)| known.key == setting.key) {
                Some(known) if after[0] > known.1 => *known = (setting, after[0]),
                Some(_) => {}
                None => best.push((setting, after[0])),
            }
        }
        let of_rank = |aucpr| Outcome { aucpr: Some(aucpr), ..Outcome::default() };
        Ok(best
            .into_iter()
            .map(|(setting, aucpr)| Suggestion {
                setting: setting.key.to_owned(),
                value: Some(setting.value.clone()),
                why: format!(
                    "AUCPR {aucpr:.3} instead of {:.3} on the same model's residuals; training with it finds the limit that \
                     belongs to it",
                    before[0]
                ),
                before: of_rank(before[0]),
                after: Some(of_rank(aucpr)),
            })
            .collect())
    }

    /// Without labels: what keeps the promise, where far more was raised than was promised.
    fn alarm_rate(&self, rejudged: &Rejudged) -> Option<Suggestion> {
        let measured = self.alarms.measured?;
        let (per_day, raised) = match self.alarms.unit {
            Unit::PerEntityAndDay => (true, self.alarms.incidents),
            Unit::ShareOfRows => (false, self.alarms.anomalies),
        };
        let rows = raised as f64 / measured;
        let expected = self.alarms.promised * rows;
        if !is_clearly_more(raised as f64, expected) {
            return None;
        }
        let scores = self.compared(rejudged);
        let raised_by = |verdicts: &[Verdicts]| -> usize {
            let count = |one: &Verdicts| match per_day {
                true => one.opened.len(),
                false => one.anomalies.iter().filter(|anomaly| **anomaly).count(),
            };
            verdicts.iter().map(count).sum()
        };
        let kept = budgets(self.budget).into_iter().rev().filter(|budget| size(*budget) < size(self.budget)).find_map(
            |budget| {
                let raised = raised_by(&self.verdicts(&scores, budget)?);
                (raised as f64 <= expected).then(|| (setting(budget), raised as f64 / rows))
            },
        );
        let share = |rate: f64| {
            if per_day {
                format!("{rate:.2} alarms per entity and day")
            } else {
                format!("{:.2} % of rows", rate * 100.0)
            }
        };
        let told = format!(
            "at most {} were promised of normal rows and {} were raised: these rows hold anomalies, or more is normal in \
             them than in the rows trained on; ",
            share(self.alarms.promised),
            share(measured)
        );
        let advice = match kept {
            Some(_) => "train on more or later rows, or with this budget no more than was promised is raised here",
            None => "no smaller budget changes that: train on more or later rows",
        };
        let of_rate = |measured| Outcome { measured: Some(measured), ..Outcome::default() };
        Some(Suggestion {
            setting: setting(self.budget).key.to_owned(),
            value: kept.as_ref().map(|(setting, _)| setting.value.clone()),
            why: told + advice,
            before: of_rate(measured),
            after: kept.map(|(_, rate)| of_rate(rate)),
        })
    }
}

impl Suggestion {
    /// As it is written on the command line; only the key where there is no value.
    pub(super) fn assignment(&self) -> String {
        match &self.value {
            // A shell would take it apart at a blank.
            Some(value) if value.contains(' ') => format!("'{}={value}'", self.setting),
            Some(value) => format!("{}={value}", self.setting),
            None => self.setting.clone(),
        }
    }
}

/// Round budgets of the same kind, the smallest first.
fn budgets(budget: AlarmBudget) -> Vec<AlarmBudget> {
    let (powers, of): (_, fn(f64) -> AlarmBudget) = match budget {
        AlarmBudget::PerDay(_) => (ALARM_POWERS, AlarmBudget::PerDay),
        AlarmBudget::PerEntityAndDay(_) => (ALARM_POWERS, AlarmBudget::PerEntityAndDay),
        AlarmBudget::Quantile(_) => (SHARE_POWERS, AlarmBudget::Quantile),
    };
    // Read as text, so that it is the nearest number to what is written.
    let number = |digit: &str, power: i32| format!("{digit}e{power}").parse::<f64>().ok();
    powers.flat_map(|power| ["1", "2", "5"].map(|digit| number(digit, power))).flatten().map(of).collect()
}

fn size(budget: AlarmBudget) -> f64 {
    match budget {
        AlarmBudget::PerDay(size) | AlarmBudget::PerEntityAndDay(size) | AlarmBudget::Quantile(size) => size,
    }
}

fn setting(budget: AlarmBudget) -> Setting {
    match budget {
        AlarmBudget::Quantile(share) => Setting { key: "judging.budget.quantile", value: share.to_string() },
        rate => Setting { key: "judging.budget.alarms", value: rate.to_string() },
    }
}

fn words(counts: &Counts, days: Option<f64>) -> String {
    let rate =
        days.map_or_else(String::new, |days| format!(" ({:.2} per entity and day)", counts.false_alarms as f64 / days));
    format!(
        "{} of {} with {}{rate}",
        counts.found,
        counted(counts.labelled, "event"),
        counted(counts.false_alarms, "false alarm")
    )
}

fn outcome(counts: &Counts, days: Option<f64>) -> Outcome {
    Outcome {
        events_found: Some(counts.found),
        false_alarms: Some(counts.false_alarms),
        false_alarms_per_entity_and_day: days.map(|days| counts.false_alarms as f64 / days),
        event_f1: counts.f1(),
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_round_and_of_the_kind_in_use() {
        let alarms: Vec<String> =
            budgets(AlarmBudget::PerEntityAndDay(3.0)).iter().map(|budget| setting(*budget).value).collect();
        assert_eq!(alarms[..4], ["0.001", "0.002", "0.005", "0.01"].map(|rate| format!("{rate} per entity per day")));
        assert_eq!((alarms.len(), alarms.last().unwrap().as_str()), (18, "500 per entity per day"));
        assert_eq!(setting(budgets(AlarmBudget::PerDay(3.0))[0]).value, "0.001 per day");
        let shares = budgets(AlarmBudget::Quantile(0.01));
        assert_eq!(setting(shares[0]), Setting { key: "judging.budget.quantile", value: "0.00001".to_owned() });
        assert_eq!(shares.last(), Some(&AlarmBudget::Quantile(0.05)));
    }

    #[test]
    fn a_suggestion_says_what_was_counted() {
        let counts = Counts { labelled: 6, found: 5, false_alarms: 1 };
        assert_eq!(words(&counts, Some(4.0)), "5 of 6 events with 1 false alarm (0.25 per entity and day)");
        assert_eq!(words(&counts, None), "5 of 6 events with 1 false alarm");
        let told = outcome(&counts, Some(4.0));
        assert_eq!((told.event_f1, told.aucpr), (Some(10.0 / 12.0), None));
    }
}
