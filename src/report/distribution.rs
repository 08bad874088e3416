//! How p-values and scores are distributed.

use super::{
    Page,
    axis::{Axis, Scale},
    plot::{About, BOTTOM, LEFT, Plot, RIGHT, TOP},
    words::{figure, grouped},
};

const SIZE: (f64, f64) = (520.0, 380.0);
/// Steps of p-values per factor of ten.
const STEPS: i32 = 8;
/// Points of a distribution.
const POINTS: usize = 300;
/// Of scores no more is drawn than so much of the highest one.
const DEPTH: f64 = 1e-4;

/// Promised against measured: the share of normal rows with a p-value of at most x, which should be x. `None` without a
/// judged normal row.
pub(super) fn calibration(page: &Page) -> Option<String> {
    let all = &page.p_values;
    let rows = all.len() as f64;
    let least = all.first()?.min(1.0 / rows).max(1e-12);
    let decades = (-least.log10()).ceil().clamp(1.0, 12.0) as i32;
    let lowest = 10f64.powi(-decades);
    let promised: Vec<f64> =
        (0..=decades * STEPS).map(|step| lowest * 10f64.powf(f64::from(step) / f64::from(STEPS))).collect();
    let share = |at: f64| all.partition_point(|p| *p <= at * (1.0 + 1e-9)) as f64 / rows;
    // A share of less than a row can't be measured.
    let floor = (0.5 / rows).min(lowest);
    let axis = |pixels: (f64, f64)| Axis::new(Scale::Log, (floor.max(lowest * 0.1), 1.0), pixels);
    let x = Axis::new(Scale::Log, (lowest, 1.0), (LEFT, SIZE.0 - RIGHT));
    let of = if page.labelled { " labelled 0" } else { "" };
    let at = |at: f64| figure(share(at));
    let about = About {
        title: "Calibration: promised against measured",
        alt: format!(
            "Calibration on {} rows{of}: of rows with a p-value of at most 0.1 there should be 0.1, measured {}; of at most \
             0.01, measured {}",
            grouped(all.len() as u64),
            at(0.1),
            at(0.01)
        ),
        x_label: "promised share of rows (p-value at most this)".to_owned(),
        y_label: if page.labelled { "measured share of rows labelled 0" } else { "measured share of rows" },
        keys: &[("score", "measured"), ("twice", "within a factor of two")],
    };
    let mut plot = Plot::new(&about, SIZE, (x, axis((SIZE.1 - BOTTOM, TOP))));
    let lower: Vec<(f64, f64)> = promised.iter().map(|p| (*p, p / 2.0)).collect();
    let upper: Vec<(f64, f64)> = promised.iter().map(|p| (*p, (p * 2.0).min(1.0))).collect();
    plot.between("twice", &lower, &upper);
    plot.line("ideal", [(lowest, lowest), (1.0, 1.0)]);
    plot.line(
        "score",
        promised.iter().map(|p| (*p, share(*p))).map(|(p, found)| (p, if found > 0.0 { found } else { f64::NAN })),
    );
    let told: Vec<super::plot::Column> = promised
        .iter()
        .map(|p| super::plot::Column {
            place: plot.x.place(*p),
            at: *p,
            lowest: 0.0,
            highest: share(*p),
            after_gap: false,
        })
        .collect();
    plot.tell(&told, |column| format!("promised {}, measured {}", figure(column.at), figure(column.highest)));
    Some(plot.finish())
}

/// Which share of rows scores at most so much, of labelled rows and of others. `None` without a score.
pub(super) fn scores(page: &Page) -> Option<String> {
    let (normal, labelled) = (&page.normal_scores, &page.labelled_scores);
    let highest = normal.last().into_iter().chain(labelled.last()).copied().fold(page.limit, f64::max);
    let lowest = normal.first().into_iter().chain(labelled.first()).copied().reduce(f64::min)?;
    let log = highest > 0.0;
    let scale = if log { Scale::Log } else { Scale::Linear };
    let lowest = if log { lowest.max(highest * DEPTH) } else { lowest };
    let x = Axis::new(scale, (lowest, highest), (LEFT, SIZE.0 - RIGHT));
    let y = Axis::new(Scale::Linear, (0.0, 1.0), (SIZE.1 - BOTTOM, TOP));
    let below = |all: &[f64]| all.partition_point(|score| *score <= page.limit) as f64 / all.len().max(1) as f64;
    let labels = page.labelled && !labelled.is_empty();
    let words = if labels { format!(", of rows labelled 1 {}", figure(below(labelled))) } else { String::new() };
    let names = if page.labelled { "labelled 0" } else { "all rows" };
    let mut keys = vec![("score", names)];
    if labels {
        keys.push(("other", "labelled 1"));
    }
    let about = About {
        title: "Distribution of scores",
        alt: format!(
            "Shares of rows by score: at or below the limit of {} lie {}{words}",
            figure(page.limit),
            figure(below(normal))
        ),
        x_label: "score (the upright line is the limit)".to_owned(),
        y_label: "share of rows that score at most this",
        keys: &keys,
    };
    let mut plot = Plot::new(&about, SIZE, (x, y));
    plot.line("score", steps(normal));
    plot.line("other", steps(labelled));
    plot.line("limit", [(page.limit, 0.0), (page.limit, 1.0)]);
    Some(plot.finish())
}

/// The distribution of ascending values at up to so many of them.
fn steps(sorted: &[f64]) -> Vec<(f64, f64)> {
    let every = sorted.len().div_ceil(POINTS).max(1);
    let last = sorted.len().checked_sub(1);
    let at = (0..sorted.len()).step_by(every).chain(last);
    at.map(|at| (sorted[at], (at + 1) as f64 / sorted.len() as f64)).collect()
}
