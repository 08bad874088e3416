//! Dealing a sample's windows out: what the network is fitted on, what stops it, and what it is judged by.

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

    /// Early stopping watches the older half of what is held back. Residual statistics and limit stand on both halves:
    /// to have chosen one of some dozens of epochs by the older one favours it little, and half as many rows would say
    /// less of the rare scores that set a limit. Gives how many are held back.
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
        rows.append(&self.rows[index * self.window..(index + 1) * self.window], windows);
    }

    /// Writes one window as the network sees it, `window * columns` values: scaled and clipped; constant columns, which it
    /// is cut from, hold 0.
    pub(super) fn scaled<'a>(
        &'a self,
        rows: &'a SampleRows,
        (columns, clip): (&'a [Column], Option<(f32, f32)>),
        of: &'a [usize],
    ) -> impl Fn(usize, &mut [f32]) + Sync + 'a {
        let (low, high) = clip.unwrap_or((f32::MIN, f32::MAX));
        move |at, values| {
            let window = &self.rows[of[at] * self.window..(of[at] + 1) * self.window];
            for (row, values) in window.iter().zip(values.chunks_exact_mut(columns.len())) {
                for ((value, column), scaled) in rows.row(*row).iter().zip(columns).zip(values) {
                    let varies = column.residual_cap.is_infinite();
                    *scaled = if varies { column.scaled(*value).clamp(low, high) } else { 0.0 };
                }
            }
        }
    }
}

/// The rows of all full windows, oldest first, and the entity of each window. No window reaches from one run into the next.
pub(super) fn windows(rows: &SampleRows, window: usize) -> (Vec<usize>, Vec<usize>) {
    let mut last: Vec<Vec<usize>> = vec![Vec::new(); rows.entities.iter().max().map_or(0, |max| *max as usize + 1)];
    let mut windows = Vec::with_capacity(rows.len() * window);
    let mut owners = Vec::with_capacity(rows.len());
    for (row, entity) in rows.entities.iter().enumerate() {
        let recent = &mut last[*entity as usize];
        if recent.last().is_some_and(|before| rows.runs[*before] != rows.runs[row]) {
            recent.clear();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Settings,
        model::{knots::Knots, metadata::fixture::metadata},
        train::sample::fixture::rows,
    };

    /// `count` rows of one column that holds the row's number.
    fn numbered(count: usize, entities: u32) -> SampleRows {
        rows(&(0..count).map(|row| vec![row as f32]).collect::<Vec<_>>(), entities)
    }

    fn split(rows: &SampleRows, preset: Preset, window: usize) -> Split {
        let mut training = Settings::defaults(preset).training;
        (training.window, training.held_back) = (window, 0.25);
        Split::new(rows, preset, &training).unwrap()
    }

    #[test]
    fn of_each_entity_the_newest_windows_are_held_back_and_the_older_half_of_them_stops_fitting() {
        let rows = numbered(400, 2);
        let split = split(&rows, Preset::Timeseries, 3);
        // 198 windows per entity, of which 50 are held back.
        assert_eq!((split.fitted.len(), split.held_back.len(), split.validation.len()), (296, 100, 50));
        for entity in 0..2 {
            let of = |part: &[usize]| -> Vec<usize> {
                part.iter().map(|index| split.newest(*index)).filter(|row| rows.entities[*row] == entity).collect()
            };
            let (fitted, held_back, validation) = (of(&split.fitted), of(&split.held_back), of(&split.validation));
            assert!(fitted.iter().max() < held_back.iter().min());
            assert_eq!(validation, held_back[..25]);
        }
    }

    #[test]
    fn a_window_holds_rows_of_one_entity_oldest_first() {
        let rows = numbered(300, 3);
        let split = split(&rows, Preset::Timeseries, 2);
        let mut window = Vec::new();
        split.append_window(&rows, 0, &mut window);
        assert_eq!(window, [0.0, 3.0]);
        assert_eq!(split.newest(0), 3);
    }

    #[test]
    fn no_window_reaches_from_one_run_into_the_next() {
        let mut rows = numbered(300, 2);
        // Runs of 10 rows: rows 0, 2, 4, .. 18 of entity 0 are the first one.
        rows.runs = (0..300).map(|row| row / 20).collect();
        let split = split(&rows, Preset::Timeseries, 4);
        let all = split.fitted.iter().chain(&split.held_back);
        for index in all.clone() {
            let window = &split.rows[index * 4..(index + 1) * 4];
            assert!(window.windows(2).all(|pair| pair[1] == pair[0] + 2), "{window:?}");
            assert!(window.iter().all(|row| row / 20 == window[0] / 20), "{window:?}");
        }
        assert_eq!(all.count(), 30 * 7);
    }

    #[test]
    fn of_independent_rows_every_nth_is_held_back_so_that_a_sorted_file_does_no_harm() {
        let split = split(&numbered(400, 1), Preset::Tabular, 1);
        assert_eq!((split.fitted.len(), split.held_back.len()), (300, 100));
        assert!(split.held_back.windows(2).all(|pair| pair[1] - pair[0] == 4));
        assert!(split.fitted.iter().all(|index| !split.held_back.contains(index)));
    }

    #[test]
    fn entities_too_short_to_be_split_each_are_split_as_one() {
        let split = split(&numbered(100, 50), Preset::Timeseries, 1);
        assert!(split.held_back.len() >= MIN_ROWS && split.fitted.len() + split.held_back.len() == 100);
    }

    #[test]
    fn too_few_windows_are_refused_with_their_number() {
        let training = Settings::defaults(Preset::Timeseries).training;
        let refused = Split::new(&numbered(52, 1), Preset::Timeseries, &training).err().unwrap().to_string();
        assert!(refused.contains("49 usable windows") && refused.contains("at least 50"), "{refused}");
    }

    #[test]
    fn windows_are_scaled_and_clipped_and_hold_zero_where_a_column_was_constant() {
        let rows = rows(&(0..60).map(|row| vec![row as f32, 7.0 + row as f32]).collect::<Vec<_>>(), 1);
        let split = split(&rows, Preset::Timeseries, 1);
        let mut columns = metadata(2).columns;
        (columns[0].center, columns[0].scale) = (10.0, 5.0);
        (columns[1].center, columns[1].scale, columns[1].residual_cap) = (7.0, 1e-6, 1.0);
        let scaled = split.scaled(&rows, (&columns, Some((-1.0, 2.0))), &[0, 12, 40]);
        let mut windows = [[9.0; 2]; 3];
        windows.iter_mut().enumerate().for_each(|(at, window)| scaled(at, window));
        assert_eq!(windows, [[-1.0, 0.0], [0.4, 0.0], [2.0, 0.0]]);
        drop(scaled);
        columns[0].knots = Knots::new(vec![(-2.0, -0.5), (0.0, 0.0), (1.0, 2.0)]).ok();
        let scaled = split.scaled(&rows, (&columns, None), &[0, 12, 40]);
        windows.iter_mut().enumerate().for_each(|(at, window)| scaled(at, window));
        assert_eq!(windows, [[-0.5, 0.0], [0.8, 0.0], [12.0, 0.0]]);
    }
}
