//! Scores and limit over time.

use super::{
    EntityScores, Page,
    axis::{Axis, Scale},
    plot::{About, BOTTOM, Column, LEFT, MARK, Plot, RIGHT, TOP, columns, told},
    words::{figure, grouped, moment, shortened},
};

const WIDTH: f64 = 1040.0;
/// Height of the picture of the only entity, and of one of several.
const HEIGHTS: (f64, f64) = (320.0, 200.0);
/// Scores that reach over more than so many times the usual one have a logarithmic axis.
const WIDE: f64 = 30.0;
/// Of a logarithmic axis no more is drawn than so much of the highest score.
const DEPTH: f64 = 1e-5;

/// A place in words.
pub(super) fn place(at: f64, timed: bool) -> String {
    if timed { moment(at) } else { format!("row {}", grouped(at.max(0.0) as u64)) }
}

/// What the axis along the data shows.
pub(super) fn along((low, high): (f64, f64), timed: bool) -> String {
    match timed {
        true => format!("event time (UTC), {} to {}", moment(low), moment(high)),
        false => "row of the files".to_owned(),
    }
}

/// The range of numbers.
pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// How places along the data are laid out.
pub(super) fn scale_along(timed: bool) -> Scale {
    if timed { Scale::Time } else { Scale::Count }
}

/// An axis for scores that shows the lowest and the highest limit too.
fn score_axis(scores: &[(f64, Option<f64>)], limits: (f64, f64), pixels: (f64, f64)) -> Axis {
    let mut sorted: Vec<f64> =
        scores.iter().filter_map(|(_, score)| *score).filter(|score| score.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let highest = sorted.last().copied().unwrap_or(limits.1).max(limits.1);
    let of = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    if of(0.5) > 0.0 && highest / of(0.5) > WIDE {
        let lowest = of(0.001).max(highest * DEPTH).min(limits.0 * 0.5);
        return Axis::new(Scale::Log, (lowest, highest * 1.3), pixels);
    }
    Axis::new(Scale::Linear, (sorted.first().copied().unwrap_or(0.0).min(0.0), highest * 1.08), pixels)
}

/// The picture of one entity.
pub(super) fn picture(page: &Page, entity: &EntityScores) -> String {
    let height = if page.entities.len() > 1 { HEIGHTS.1 } else { HEIGHTS.0 };
    let span = range(entity.scores.iter().map(|(at, _)| *at));
    let x = Axis::new(scale_along(page.timed), span, (LEFT, WIDTH - RIGHT));
    let limits = range(entity.limits.iter().filter_map(|(_, limit)| *limit));
    let (lowest, most) = if limits.0.is_finite() { limits } else { (page.limit, page.limit) };
    let y = score_axis(&entity.scores, (lowest, most), (height - BOTTOM, TOP + 6.0));
    let whose = if entity.name.is_empty() { String::new() } else { format!(" of {}", shortened(&entity.name, 60)) };
    let title = format!("Score and limit{whose}");
    let words = match most > lowest {
        true => format!("{} to {}", figure(lowest), figure(most)),
        false => figure(most),
    };
    let highest = range(entity.scores.iter().filter_map(|(_, score)| *score)).1;
    let mut keys = vec![("score", "score"), ("limit", "limit")];
    match page.labelled {
        true => keys.extend([("labelled", "labelled 1"), ("found", "incident in an event"), ("false", "false alarm")]),
        false => keys.push(("found", "incident opened")),
    }
    let about = About {
        title: &title,
        alt: format!(
            "{title} along the data: the limit is {words}, the highest score {}, incidents opened {}, labelled stretches {}",
            figure(highest),
            entity.opened.len(),
            entity.events.len()
        ),
        x_label: along(span, page.timed),
        y_label: "score",
        keys: &keys,
    };
    let mut plot = Plot::new(&about, (WIDTH, height), (x, y));
    events(&mut plot, entity, page.timed);
    let limits = turns(columns(&plot.x, entity.limits.iter().copied()));
    let columns = columns(&plot.x, entity.scores.iter().copied());
    plot.columns("score", &columns);
    plot.columns("limit", &limits);
    plot.tell(&columns, |column| told(&place(column.at, page.timed), "highest score", column.highest));
    marks(&mut plot, entity, page.timed);
    plot.finish()
}

/// The columns at which a line turns, begins or ends: between them it goes straight on.
fn turns(columns: Vec<Column>) -> Vec<Column> {
    let alike = |one: usize, other: usize| {
        let pair = columns.get(one).zip(columns.get(other));
        pair.is_some_and(|(one, other)| (one.lowest, one.highest) == (other.lowest, other.highest) && !other.after_gap)
    };
    let turns = |at: usize| at == 0 || !alike(at - 1, at) || !alike(at, at + 1);
    (0..columns.len()).filter(|at| turns(*at)).map(|at| columns[at]).collect()
}

/// Labelled stretches; those that share a pixel are one.
fn events(plot: &mut Plot, entity: &EntityScores, timed: bool) {
    let mut last: Option<(f64, f64)> = None;
    for &(from, to) in &entity.events {
        match &mut last {
            Some(before) if plot.x.place(from) - plot.x.place(before.1) < 1.0 => before.1 = before.1.max(to),
            _ => {
                last.iter().for_each(|before| band(plot, *before, timed));
                last = Some((from, to));
            }
        }
    }
    last.iter().for_each(|before| band(plot, *before, timed));
}

fn band(plot: &mut Plot, (from, to): (f64, f64), timed: bool) {
    plot.band("labelled", (from, to), &format!("labelled 1: {} to {}", place(from, timed), place(to, timed)));
}

/// Where incidents opened; of those of one kind that would lie half over each other the first.
fn marks(plot: &mut Plot, entity: &EntityScores, timed: bool) {
    let mut drawn = [f64::NEG_INFINITY; 2];
    for &(at, is_false) in &entity.opened {
        let (class, words) = if is_false { ("false", "false alarm") } else { ("found", "incident") };
        let (pixel, last) = (plot.x.place(at), &mut drawn[usize::from(is_false)]);
        if (pixel - *last).abs() >= MARK / 2.0 {
            *last = pixel;
            plot.mark(class, at, &format!("{words} from {}", place(at, timed)));
        }
    }
}
