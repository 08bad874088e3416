//! How often an entity reports, learned from the gaps between its records.

use serde::{Deserialize, Serialize};

/// Gaps after which a rhythm is known.
const KNOWN_AFTER: u32 = 20;
/// Weight of the newest gap in the usual one; before that many gaps came, all weigh the same.
const WEIGHT: f32 = 1.0 / 32.0;
/// A gap counts for at most this many usual ones, so that one outage hardly moves what is usual.
const CLIP: f32 = 3.0;
/// A gap may be so many times the longest of late, whatever is usual: who reports irregularly does so again.
const SPREAD: f32 = 3.0;
/// Seconds in which the longest gap fades to a third: long enough to remember a weekend until the next.
const MEMORY: f32 = 14.0 * 86_400.0;

/// When an entity counts as silent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SilenceRule {
    /// Usual gaps without a record, >= 1.
    pub after_intervals: f32,
    /// And at least so many seconds, > 0.
    pub least: f32,
}

/// What is usual and what has been the longest. 12 bytes, as every entity has one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rhythm {
    /// The usual gap, seconds: a mean of gaps that were clipped.
    usual: f32,
    /// The longest gap of late, seconds.
    longest: f32,
    /// Gaps so far.
    gaps: u32,
}

impl Rhythm {
    /// Takes in a gap of so many seconds, >= 0. One that was told as silence counts no more than what it exceeded: it is
    /// learned from only if it comes again and again.
    pub fn learn(&mut self, gap: f32, rule: &SilenceRule) {
        let gap = self.allowance(rule).map_or(gap, |allowed| gap.min(allowed));
        // Below this, a gap could be any share of what is usual and nothing would follow from it.
        let floor = rule.least / rule.after_intervals;
        let clipped = if self.gaps == 0 { gap } else { gap.min(CLIP * self.usual.max(floor)) };
        let weight = WEIGHT.max(1.0 / (self.gaps as f32 + 1.0));
        self.usual += weight * (clipped - self.usual);
        self.longest = gap.max(self.longest * (1.0 - gap / MEMORY).max(0.0));
        self.gaps = self.gaps.saturating_add(1);
    }

    /// The usual gap in seconds; `None` until enough were seen.
    pub fn usual(&self) -> Option<f32> {
        (self.gaps >= KNOWN_AFTER).then_some(self.usual)
    }

    /// Seconds that the entity may be without a record; `None` until its rhythm is known.
    pub fn allowance(&self, rule: &SilenceRule) -> Option<f32> {
        let usual = self.usual()?;
        Some(rule.least.max(rule.after_intervals * usual).max(SPREAD * self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: SilenceRule = SilenceRule { after_intervals: 10.0, least: 300.0 };

    fn learned(gaps: impl IntoIterator<Item = f32>) -> Rhythm {
        let mut rhythm = Rhythm::default();
        gaps.into_iter().for_each(|gap| rhythm.learn(gap, &RULE));
        rhythm
    }

    #[test]
    fn nothing_is_allowed_or_forbidden_before_twenty_gaps() {
        assert_eq!(learned([60.0; 19]).allowance(&RULE), None);
        assert_eq!(learned([60.0; 20]).allowance(&RULE), Some(600.0));
        assert_eq!(learned([0.01; 200]).allowance(&RULE), Some(300.0), "never less than the least");
        assert!(size_of::<Rhythm>() <= 12);
    }

    #[test]
    fn one_outage_hardly_moves_what_is_usual() {
        let outage = (0..200).map(|gap| if gap == 150 { 36_000.0 } else { 60.0 });
        let usual = learned(outage).usual().unwrap();
        assert!((60.0..64.0).contains(&usual), "{usual}");
    }

    #[test]
    fn a_pause_that_comes_every_day_is_told_a_few_times_and_then_no_more() {
        // Every minute by day, nothing for ten hours at night.
        let mut rhythm = Rhythm::default();
        let mut told = Vec::new();
        for day in 0..60 {
            for _ in 0..840 {
                rhythm.learn(60.0, &RULE);
            }
            if rhythm.allowance(&RULE).is_some_and(|allowed| allowed < 36_000.0) {
                told.push(day);
            }
            rhythm.learn(36_000.0, &RULE);
        }
        assert_eq!(told, [0, 1, 2, 3]);
    }

    #[test]
    fn a_rhythm_that_quickens_or_slows_down_is_followed() {
        let quicker = learned([3600.0; 50].into_iter().chain([60.0; 300]));
        assert!(quicker.usual().unwrap() < 70.0, "{quicker:?}");
        let slower = learned([60.0; 50].into_iter().chain([600.0; 300]));
        assert!(slower.usual().unwrap() > 590.0, "{slower:?}");
    }
}
