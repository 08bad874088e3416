//! Dealing a sample's windows out: what the network is fitted on, what stops it, and what it is judged by.

use ndarray::Array2;

use super::{recipe::TrainError, sample::SampleRows};
use crate::{
    config::settings::{Preset, TrainingSettings},
    detect::calibrate::MIN_ROWS,
    model::metadata::Column,
};

/// Fewest windows that can be split into fitted and held-back ones.
const MIN_WINDOWS: usize = 50;

/// Where the windows of a sample stand, and which part each belongs to.
pub(super) struct Split {
    /// Rows (indices into the sample) of each window, oldest first, `window` per entry.
    rows: Vec<usize>,
    window: usize,
    pub(super) fitted: Vec<usize>,
    pub(super) validation: Vec<usize>,
    pub(super) held_back: Vec<usize>,
}

impl Split {
    /// Finds the windows and deals them out: of each entity of a time series the newest ones are held back, of
    /// independent rows every n-th, because a file of them may be sorted.
    pub(super) fn new(rows: &SampleRows, preset: Preset, training: &TrainingSettings) -> Result<Self, TrainError> {
        let (windows, owners) = windows(rows, training.window);
        let count = owners.len();
        if count < MIN_WINDOWS {
            let unusable = rows.unusable_note();
            return Err(TrainError::TooFewRows { windows: count, least: MIN_WINDOWS, unusable });
        }
        let mut split =
            Self { rows: windows, window: training.window, fitted: vec![], validation: vec![], held_back: vec![] };
        // A small sample holds back more than it was told to: with fewer rows there is no limit.
        let share = training.held_back.max(MIN_ROWS as f64 / count as f64);
        match preset {
            // Entities too short to be split each are split as one.
            Preset::Timeseries if split.by_time(&owners, share) < MIN_ROWS => {
                split.by_time(&vec![0; count], share);
            }
            Preset::Timeseries => {}
            Preset::Tabular => {
                let quota = |rows: usize| (rows as f64 * share).round() as usize;
                (split.held_back, split.fitted) = (0..count).partition(|index| quota(index + 1) > quota(*index));
                split.validation = split.held_back.clone();
            }
        }
        Ok(split)
    }

    /// Early stopping watches the older half of what is held back, so that the newer half was seen by nothing. Gives
    /// how many are held back.
    fn by_time(&mut self, owners: &[usize], share: f64) -> usize {
        for part in [&mut self.fitted, &mut self.validation, &mut self.held_back] {
            part.clear();
        }
        let entities = owners.iter().max().map_or(0, |max| max + 1);
        let mut counts = vec![0_usize; entities];
        owners.iter().for_each(|owner| counts[*owner] += 1);
        let mut seen = vec![0_usize; entities];
        for (index, owner) in owners.iter().enumerate() {
            let held_back = (counts[*owner] as f64 * share).round() as usize;
            let first_held = counts[*owner] - held_back;
            let at = seen[*owner];
            seen[*owner] += 1;
            if at < first_held {
                self.fitted.push(index);
                continue;
            }
            self.held_back.push(index);
            if at < first_held + held_back.div_ceil(2) {
                self.validation.push(index);
            }
        }
        self.held_back.len()
    }

    /// The sample's row that a window ends with.
    pub(super) fn newest(&self, index: usize) -> usize {
        self.rows[(index + 1) * self.window - 1]
    }

    pub(super) fn append_window(&self, rows: &SampleRows, index: usize, windows: &mut Vec<f32>) {
        for row in &self.rows[index * self.window..(index + 1) * self.window] {
            windows.extend_from_slice(rows.row(*row));
        }
    }

    /// The windows as the network sees them: scaled and clipped.
    pub(super) fn matrix(
        &self,
        rows: &SampleRows,
        columns: &[Column],
        clip: Option<(f32, f32)>,
        of: &[usize],
    ) -> Array2<f32> {
        let width = columns.len();
        let mut values = Vec::with_capacity(of.len() * self.window * width);
        of.iter().for_each(|index| self.append_window(rows, *index, &mut values));
        let (low, high) = clip.unwrap_or((f32::MIN, f32::MAX));
        for (at, value) in values.iter_mut().enumerate() {
            let column = &columns[at % width];
            *value = ((*value - column.center) / column.scale).clamp(low, high);
        }
        Array2::from_shape_vec((of.len(), self.window * width), values)
            .expect("as many values as rows times columns were written")
    }
}

/// The rows of all full windows, oldest first, and the entity of each window.
fn windows(rows: &SampleRows, window: usize) -> (Vec<usize>, Vec<usize>) {
    let mut last: Vec<Vec<usize>> = vec![Vec::new(); rows.entities.iter().max().map_or(0, |max| *max as usize + 1)];
    let mut windows = Vec::with_capacity(rows.len() * window);
    let mut owners = Vec::with_capacity(rows.len());
    for (row, entity) in rows.entities.iter().enumerate() {
        let recent = &mut last[*entity as usize];
        if recent.len() == window {
            recent.remove(0);
        }
        recent.push(row);
        if recent.len() == window {
            windows.extend_from_slice(recent);
            owners.push(*entity as usize);
        }
    }
    (windows, owners)
}
