//! What a row that opens an incident would have scored with its top features as expected.
//!
//! Only such rows are asked about, and none before it is known to be one. When many entities begin to stray at once,
//! the rest of their batch is likely to hold more of them: what will be asked of them is scored together with the first, so
//! that a batch costs one more run of the model and not one per incident.

use super::Scoring;
use crate::{
    detect::{
        ScoreError,
        counterfactual::{Asker, Counterfactual},
        judge::{EntityJudgement, Judged},
    },
    pipeline::scored::Scored,
};

/// Answers for rows of the open batch.
#[derive(Debug, Default)]
pub(super) struct WhatIf {
    /// Windows of one run.
    windows: Vec<f32>,
    /// What it gave.
    scored: Scored,
    /// Indices of the rows in the batch that it was about, ascending.
    rows: Vec<usize>,
    /// Places of the entities whose rows were looked at.
    seen: std::collections::HashSet<u32>,
}

impl WhatIf {
    /// Answers that are there belong to another batch from now on.
    pub(super) fn forget(&mut self) {
        self.rows.clear();
    }
}

impl Scoring {
    /// What the row at this index, which was judged just now and opened an incident, would have scored. `None` where that
    /// is no number.
    ///
    /// # Errors
    /// The model failed.
    pub(super) fn counterfactual(
        &mut self,
        index: usize,
        judged: &Judged,
    ) -> Result<Option<Counterfactual>, ScoreError> {
        let asked = match self.what_if.rows.binary_search(&index) {
            Ok(asked) => asked,
            Err(_) => {
                self.ask(index)?;
                0
            }
        };
        let width = self.row.len();
        let row = self.scored.row(&self.batch, width, index);
        let residuals = self.what_if.scored.residuals(width, asked);
        let memory = self.memory(self.batch.pending[index].entity);
        Ok(self.asker().answer(residuals, &row, memory, judged))
    }

    /// Scores what is asked of the row at this index, and of those behind it that will open incidents as well, as far as
    /// that can be told yet.
    fn ask(&mut self, index: usize) -> Result<(), ScoreError> {
        let mut what_if = std::mem::take(&mut self.what_if);
        what_if.windows.clear();
        what_if.rows.clear();
        what_if.seen.clear();
        for at in index..self.batch.len() {
            let place = self.batch.pending[at].entity;
            // Of an entity's later rows nothing can be told before the first one is judged.
            if !what_if.seen.insert(place) {
                continue;
            }
            if at == index {
                self.question(at, self.memory(place), &mut what_if.windows);
            } else if let Some(memory) = self.memory_if_opened(at) {
                self.question(at, &memory, &mut what_if.windows);
            } else {
                continue;
            }
            what_if.rows.push(at);
        }
        let asked = what_if.scored.score(&mut *self.model.scorer, &what_if.windows, what_if.rows.len());
        self.what_if = what_if;
        asked
    }

    fn question(&self, index: usize, memory: &EntityJudgement, windows: &mut Vec<f32>) {
        let row = self.scored.row(&self.batch, self.row.len(), index);
        self.asker().question(self.batch.window(index), &row, memory, windows);
    }

    /// What its entity's memory would be after this row, if that is going to open an incident unless a gate holds it back.
    fn memory_if_opened(&self, index: usize) -> Option<EntityJudgement> {
        let state = self.entities.get(self.batch.pending[index].entity)?;
        if state.incident.open().is_some() {
            return None;
        }
        let row = self.scored.row(&self.batch, self.row.len(), index);
        let context = &self.model.context;
        let rule = &context.rules[self.policies.get(state.policy).rule];
        let mut memory = state.judgement.clone();
        let judged = context.judge.judge_by(&rule.limit, row.residuals, row.imputed, &mut memory);
        judged.anomalous.then_some(memory)
    }

    fn memory(&self, place: u32) -> &EntityJudgement {
        let state = self.entities.get(place).expect("`room` keeps entities of the open batch from giving way");
        &state.judgement
    }

    fn asker(&self) -> Asker<'_> {
        let context = &self.model.context;
        Asker { explainer: &context.explainer, judge: &context.judge, top_features: context.top_features }
    }
}
