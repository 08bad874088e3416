//! Metrics of what people say of alarms.

use prometheus::{Gauge, IntCounter, Registry};
use tracing::{info, warn};

use super::{
    describe,
    metrics::{Metrics, is_worth_a_line},
    register::{counter, counters, gauges},
};
use crate::{
    feedback::{Told, Verdict},
    record::Position,
};

#[derive(Debug)]
pub(super) struct FeedbackMetrics {
    said: Vec<IntCounter>,
    invalid: IntCounter,
    in_force: Vec<Gauge>,
}

impl FeedbackMetrics {
    pub(super) fn new(add: &Registry) -> Self {
        Self {
            said: counters(add, &describe::FEEDBACK),
            invalid: counter(add, &describe::FEEDBACK_INVALID),
            in_force: gauges(add, &describe::FEEDBACK_IN_FORCE, 0.0),
        }
    }
}

impl Metrics {
    /// Somebody said something of an alarm.
    pub fn feedback(&self, told: &Told) {
        match told {
            Told::Verdict(feedback) => {
                self.feedback.said[feedback.verdict as usize].inc();
                let (id, verdict) = (feedback.subject.id(), feedback.verdict.as_str());
                let (entity, by, note) = (&feedback.entity, &feedback.by, &feedback.note);
                info!(id, verdict, ?entity, ?by, ?note, "feedback");
            }
            Told::TakenBack(id) => info!(id, "feedback was taken back"),
        }
    }

    /// A message of the feedback topic is no verdict. Every one is counted; of a flood few make a line.
    pub fn feedback_invalid(&self, position: Position, cause: &str) {
        self.feedback.invalid.inc();
        let Position { partition, offset } = position;
        if is_worth_a_line(self.feedback.invalid.get()) {
            warn!(partition, offset, "a message on the feedback topic is left out: {cause}");
        }
    }

    /// So many verdicts hold, in the order of [`Verdict::ALL`].
    pub fn feedback_in_force(&self, verdicts: [usize; Verdict::ALL.len()]) {
        self.feedback.in_force.iter().zip(verdicts).for_each(|(gauge, count)| gauge.set(count as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feedback::{Feedback, Subject},
        telemetry::metrics::tests::value,
    };

    #[test]
    fn verdicts_count_by_what_they_say_and_those_that_hold_apart() {
        let metrics = Metrics::new();
        let subject = Subject::incident("sensors-0-5").unwrap();
        metrics.feedback(&Told::Verdict(Box::new(Feedback::new(subject, Verdict::False))));
        metrics.feedback(&Told::TakenBack("sensors-0-5".to_owned()));
        metrics.feedback_invalid(Position { partition: 0, offset: 7 }, "no JSON");
        metrics.feedback_in_force([3, 0, 1]);
        let told = |verdict: &str| value(&metrics, &format!("strayd_feedback_total{{verdict=\"{verdict}\"}}"));
        assert_eq!(["true", "false", "expected_change"].map(told), [0.0, 1.0, 0.0]);
        let held = |verdict: &str| value(&metrics, &format!("strayd_feedback_verdicts{{verdict=\"{verdict}\"}}"));
        assert_eq!(["true", "false", "expected_change"].map(held), [3.0, 0.0, 1.0]);
        assert_eq!(value(&metrics, "strayd_feedback_invalid_total"), 1.0);
    }
}
