//! The search: one setting after the other, each from the best so far, and once more where something changed. What a
//! candidate is worth is measured elsewhere, so that nothing here trains or reads a clock.

use std::collections::BTreeMap;

use serde_json::Value;

use super::space::{Facts, Setting};
use crate::config::settings::Scaling;

/// Rounds through all settings at most; a further one only where the one before changed something.
const ROUNDS: usize = 3;
/// By less than this, candidates are as good as each other.
const TIE: f64 = 0.002;
/// Of those as good as each other, a loss is smaller where it is by this share.
const SMALLER: f64 = 0.01;

/// Settings that differ from the given configuration: key and value.
pub(super) type Changes = BTreeMap<&'static str, Value>;

/// What a candidate is worth.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worth {
    /// Probability that a planted row scores above a normal one, mean over seeds.
    pub(super) area: f64,
    /// Standard deviation of it over seeds.
    pub(super) spread: f64,
    /// Loss on held-back rows, mean over seeds.
    pub(super) held_back_loss: f64,
    /// What that loss is measured in.
    pub(super) scaling: Scaling,
    /// What decides which candidates may follow.
    pub(super) facts: Facts,
}

impl Worth {
    /// What is to be large.
    pub(super) fn objective(&self) -> f64 {
        self.area - self.spread
    }

    /// Whether this candidate takes the place of the best so far.
    fn beats(&self, best: &Self) -> bool {
        let ahead = self.objective() - best.objective();
        let comparable = self.scaling == best.scaling && self.facts.window == best.facts.window;
        ahead > TIE || (ahead.abs() <= TIE && comparable && self.held_back_loss < best.held_back_loss * (1.0 - SMALLER))
    }
}

/// What comes of trying a candidate.
pub(super) enum Outcome {
    /// It was trained and examined.
    Measured(Worth),
    /// It can't be, because of this.
    LeftOut(String),
    /// It means the same as one that was tried before.
    Known,
    /// The time is over, or somebody asked to stop.
    Stopped,
}

/// One candidate and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tried {
    pub(super) changes: Changes,
    pub(super) found: Result<Worth, String>,
}

/// All that was tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) tried: Vec<Tried>,
    /// The best one, an index into `tried`.
    pub(super) best: usize,
    /// Whether all that was to be tried was.
    pub(super) whole: bool,
}

/// Searches from the configuration as given, with at most so many `trials` that are measured. `try_out` is told the number
/// of the candidate among those tried. `None` where the configuration itself was not measured, and `Err` says why it can't be.
pub(super) fn search(
    settings: &[Setting],
    trials: usize,
    try_out: &mut dyn FnMut(usize, &Changes) -> Outcome,
) -> Result<Option<Found>, String> {
    let given = match try_out(0, &Changes::new()) {
        Outcome::Measured(worth) => worth,
        Outcome::LeftOut(why) => return Err(why),
        Outcome::Known | Outcome::Stopped => return Ok(None),
    };
    let first = Tried { changes: Changes::new(), found: Ok(given.clone()) };
    let mut state = State { tried: vec![first], best: (0, given), left: trials.saturating_sub(1) };
    let mut whole = true;
    'rounds: for _ in 0..ROUNDS {
        let before = state.best.0;
        for setting in settings {
            if !state.along(*setting, try_out) {
                whole = false;
                break 'rounds;
            }
        }
        if state.best.0 == before {
            break;
        }
    }
    Ok(Some(Found { tried: state.tried, best: state.best.0, whole }))
}

struct State {
    tried: Vec<Tried>,
    best: (usize, Worth),
    /// Candidates that may still be measured.
    left: usize,
}

impl State {
    /// Tries all values of a setting, beside the best of the others. Gives whether there was time for all.
    fn along(&mut self, setting: Setting, try_out: &mut dyn FnMut(usize, &Changes) -> Outcome) -> bool {
        let from = self.tried[self.best.0].changes.clone();
        for value in setting.values(&self.best.1.facts) {
            let mut changes = from.clone();
            changes.extend(value);
            if self.tried.iter().any(|tried| tried.changes == changes) {
                continue;
            }
            if self.left == 0 {
                return false;
            }
            match try_out(self.tried.len(), &changes) {
                Outcome::Measured(worth) => {
                    self.left -= 1;
                    if worth.beats(&self.best.1) {
                        self.best = (self.tried.len(), worth.clone());
                    }
                    self.tried.push(Tried { changes, found: Ok(worth) });
                }
                Outcome::LeftOut(why) => self.tried.push(Tried { changes, found: Err(why) }),
                Outcome::Known => {}
                Outcome::Stopped => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(area: f64, loss: f64) -> Worth {
        let facts = Facts { window: 4, inputs: 40, columns: 10 };
        Worth { area, spread: 0.0, held_back_loss: loss, scaling: Scaling::Standard, facts }
    }

    fn found(trials: usize, area: &dyn Fn(&Changes) -> f64) -> Found {
        let measured = &mut |_: usize, changes: &Changes| Outcome::Measured(worth(area(changes), 1.0));
        search(Setting::ALL_OF_A_TIMESERIES, trials, measured).unwrap().unwrap()
    }

    fn has(changes: &Changes, key: &str, value: &str) -> bool {
        changes.get(key).is_some_and(|other| other.to_string().trim_matches('"') == value)
    }

    #[test]
    fn the_best_of_each_setting_is_kept_and_a_later_change_sends_the_search_round_once_more() {
        // A window of 8 pays only with a smoothing of 60, which comes after it.
        let area = |changes: &Changes| {
            let smooth = has(changes, "judging.smoothing_span", "60");
            let long = has(changes, "training.window", "8");
            0.5 + 0.1 * f64::from(u8::from(smooth)) + 0.1 * f64::from(u8::from(smooth && long))
        };
        let all = found(1_000, &area);
        let best = &all.tried[all.best].changes;
        assert_eq!(best.len(), 2, "{best:?}");
        assert!(has(best, "judging.smoothing_span", "60") && has(best, "training.window", "8") && all.whole);
        let unique: std::collections::BTreeSet<String> =
            all.tried.iter().map(|tried| format!("{:?}", tried.changes)).collect();
        assert_eq!(unique.len(), all.tried.len(), "nothing is measured twice");
    }

    #[test]
    fn where_nothing_is_better_the_given_configuration_stays_and_there_is_no_second_round() {
        let all = found(1_000, &|changes| if changes.is_empty() { 0.9 } else { 0.9 + TIE / 2.0 });
        assert_eq!(all.best, 0);
        assert!(all.whole && all.tried.len() < 40, "{}", all.tried.len());
    }

    #[test]
    fn no_more_is_measured_than_was_allowed_and_what_is_best_so_far_is_kept() {
        let all = found(3, &|changes| changes.len() as f64 / 100.0);
        assert_eq!((all.tried.len(), all.whole), (3, false));
        assert!(all.best > 0);
    }

    #[test]
    fn what_can_not_be_is_told_and_counts_for_nothing_and_a_stop_keeps_the_best() {
        let mut asked = 0;
        let all = search(Setting::ALL_OF_A_TIMESERIES, 1_000, &mut |_, changes| {
            asked += 1;
            match changes.len() {
                0 => Outcome::Measured(worth(0.5, 1.0)),
                _ if asked > 4 => Outcome::Stopped,
                _ => Outcome::LeftOut("no".to_owned()),
            }
        });
        let all = all.unwrap().unwrap();
        assert_eq!((all.best, all.whole), (0, false));
        assert!(all.tried[1..].iter().all(|tried| tried.found == Err("no".to_owned())) && all.tried.len() == 4);
        let none = search(Setting::ALL_OF_A_TIMESERIES, 9, &mut |_, _| Outcome::LeftOut("never".to_owned()));
        assert_eq!(none, Err("never".to_owned()));
    }

    #[test]
    fn a_spread_is_taken_off_and_losses_break_ties_only_where_they_are_comparable() {
        let best = worth(0.8, 1.0);
        assert!(!Worth { spread: 0.1, ..worth(0.85, 0.1) }.beats(&best));
        assert!(worth(0.8 + TIE / 2.0, 0.9).beats(&best) && worth(0.8 - TIE / 2.0, 0.9).beats(&best));
        assert!(!worth(0.8, 0.999).beats(&best) && !worth(0.79, 0.1).beats(&best));
        assert!(!Worth { scaling: Scaling::RobustMinMax, ..worth(0.8, 0.1) }.beats(&best));
        assert!(!worth(f64::NAN, 0.1).beats(&best) && worth(0.9, f64::NAN).beats(&best));
    }
}
