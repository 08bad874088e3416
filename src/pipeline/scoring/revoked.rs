//! Partitions that are no longer ours: whoever has them now goes on with their records and entities.

use super::Scoring;

impl Scoring {
    /// Takes the rows of these partitions out of the open batch, as if they had not come.
    pub fn drop_pending(&mut self, partitions: &[i32]) {
        let width = self.row.len();
        self.batch.drop_partitions(partitions, (width, width * self.model.window()));
    }

    /// Forgets the entities whose records come from these partitions. The open batch must be empty.
    pub fn forget(&mut self, partitions: &[i32]) {
        assert!(self.batch.is_empty(), "an entity of the open batch can't be forgotten");
        self.sample.iter_mut().for_each(|sample| sample.forget(partitions));
        let (population, policies) = (&mut self.population, &self.policies);
        self.entities.retain(|_, state| {
            let stays = !partitions.contains(&state.partition);
            if !stays {
                population.left(state.gates.cold_start.state(), policies.get(state.policy).rule);
            }
            stays
        });
        self.incidents.forget(partitions, &self.entities);
    }
}
