//! Judging: what is found of each row of a batch, in the order in which they came, and who is told.

use std::sync::Arc;

use super::Scoring;
use crate::{
    detect::{ScoreError, counterfactual::Counterfactual, incident::IncidentChange},
    pipeline::{
        End, Observer, Unscored,
        batch_report::BatchReport,
        observed::Observed,
        ruling::{Bench, Ruling},
    },
    record::RecordError,
    train::recent::{Offered, Standing},
};

impl Scoring {
    /// Judges a row of the batch that was scored, and gives the end of its record.
    ///
    /// # Errors
    /// The model failed.
    pub(super) fn judge(
        &mut self,
        index: usize,
        observer: &mut dyn Observer,
        report: &mut BatchReport,
    ) -> Result<End, ScoreError> {
        let pending = &self.batch.pending[index];
        let (position, time_us) = (pending.position, pending.time_us);
        let entity = self.entities.name(pending.entity).map(Arc::clone).unwrap_or_default();
        let Some((ruling, incident)) = self.rule(index, &entity) else {
            let why = RecordError::NonFiniteScore;
            let (time_us, why_not) = (Some(time_us), why.reason().as_str());
            observer.unscored(&Unscored { position, entity: &entity, time_us, why: why_not });
            return Ok(End::DeadLetter(why));
        };
        report.last_score = Some(ruling.judged.score);
        self.scores_to_limits.extend(ruling.score_to_limit());
        let mut counterfactual = None;
        if incident == IncidentChange::Opened {
            counterfactual = self.counterfactual(index, &ruling.judged)?;
        }
        let (end, alarm) = self.conclude((index, &entity), (ruling, incident, counterfactual), observer);
        report.incidents_opened += u64::from(alarm);
        Ok(end)
    }

    /// Judges a row, and says what it does to its entity's incident; `None` where its score is no number.
    fn rule(&mut self, index: usize, entity: &str) -> Option<(Ruling, IncidentChange)> {
        let context = &self.model.context;
        let pending = &self.batch.pending[index];
        let row = self.scored.row(&self.batch, self.row.len(), index);
        let state =
            self.entities.get_mut(pending.entity).expect("`room` keeps entities of the open batch from giving way");
        let keeps_sample = self.sample.is_some();
        let (policies, population, feedback) = (&mut self.policies, &mut self.population, &self.feedback);
        let mut bench = Bench { context, policies, population, feedback, keeps_sample };
        let ruling = bench.judge(&row, (entity, pending.time_us), state)?;
        let quiet = context.model.metadata.scoring.incident_quiet_rows;
        let incident = ruling.advance(state, quiet, self.incidents.is_expected(pending.entity));
        if incident == IncidentChange::Opened {
            let rule = &context.rules[self.policies.get(state.policy).rule];
            state.judgement.step_limit(&rule.limit, 1.0);
        }
        Some((ruling, incident))
    }

    /// Tells what was found of a row: to its incident, the sample, the observer, and whoever reads its event. Gives the end of
    /// its record, and whether it raised an alarm.
    fn conclude(
        &mut self,
        (index, entity): (usize, &Arc<str>),
        (ruling, incident, counterfactual): (Ruling, IncidentChange, Option<Counterfactual>),
        observer: &mut dyn Observer,
    ) -> (End, bool) {
        let pending = &self.batch.pending[index];
        let state = self.entities.get(pending.entity).expect("its row was judged just now");
        let mut observed = Observed {
            position: pending.position,
            entity,
            time_us: pending.time_us,
            judged: ruling.judged,
            suppressed: ruling.suppressed,
            incident,
            alarm: None,
            counterfactual,
            context: &self.model.context,
            row: self.scored.row(&self.batch, self.row.len(), index),
            memory: &state.judgement,
        };
        observed.alarm = self.incidents.judged(pending.entity, entity, &observed);
        if let Some(sample) = &mut self.sample {
            let standing = match ruling.standing(state) {
                // What gates hold back says nothing of the level that was accepted.
                Standing::Anomalous | Standing::InIncident if self.incidents.is_accepted(pending.entity) => {
                    Standing::Normal
                }
                standing => standing,
            };
            let (raw, time_us, imputed) = (self.batch.lend(index), pending.time_us, observed.row.imputed);
            sample.offer(&Offered { raw, slot: pending.entity, entity, time_us, standing, imputed });
        }
        observer.judged(&observed);
        (ruling.end(&observed), observed.alarm.is_some())
    }
}
