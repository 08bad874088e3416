//! Which feature strayed when.

use std::fmt::Write as _;

use super::{
    Page,
    axis::Axis,
    plot::svg,
    scores::{along, place, range, scale_along},
    words::{escape, figure, shortened},
};

const WIDTH: f64 = 1040.0;
/// Room for names.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 12.0;
/// Height of a feature.
const CELL: f64 = 16.0;
/// Above and below the features: the legend, the axis.
const TOP: f64 = 8.0;
const BOTTOM: f64 = 42.0;
/// A feature's part in the score, as a share of the limit, from which each colour but the first begins: factors of about
/// three. At 1 the feature alone makes an anomaly.
const BOUNDS: [f64; 8] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// The picture and its legend.
pub(super) fn picture(page: &Page) -> String {
    let heat = &page.heat;
    let bottom = TOP + heat.features.len() as f64 * CELL;
    let size = (WIDTH, bottom + BOTTOM);
    let span = range(heat.buckets.iter().flat_map(|(from, to)| [*from, *to]));
    let x = Axis::new(scale_along(page.timed), span, (LEFT, WIDTH - RIGHT));
    let alt = format!(
        "Heat map of the part that each of {} features has in the score, as a share of the limit, along the data; the \
         features with the largest total: {}",
        heat.features.len(),
        heat.features.iter().take(5).map(|(name, _)| shortened(name, 40)).collect::<Vec<_>>().join(", ")
    );
    let mut out = String::from("<figure><figcaption>Error per feature");
    out += &legend();
    out += "</figcaption>";
    out += &svg(&alt, size);
    out += "<defs><pattern id=\"missing\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" \
            height=\"6\"/><path d=\"M0 6L6 0\"/></pattern></defs>";
    for (row, (name, parts)) in heat.features.iter().enumerate() {
        feature(&mut out, page, (&x, TOP + row as f64 * CELL), (name, parts));
    }
    for (value, name) in x.ticks(9) {
        let place = x.place(value);
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{place:.1} {bottom:.0}v5\"/><text class=\"mid\" x=\"{place:.1}\" \
             y=\"{:.0}\">{name}</text>",
            bottom + 18.0
        );
    }
    let _ = write!(
        out,
        "<text class=\"mid\" x=\"{:.0}\" y=\"{:.0}\">{}</text></svg></figure>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        size.1 - 5.0,
        escape(&along(span, page.timed))
    );
    out
}

/// A feature's name and its cells; neighbours of one colour are one.
fn feature(out: &mut String, page: &Page, (x, top): (&Axis, f64), (name, parts): (&str, &[f32])) {
    let _ = write!(
        out,
        "<text class=\"name end\" x=\"{:.0}\" y=\"{:.1}\">{}<title>{}</title></text>",
        LEFT - 8.0,
        top + CELL - 4.0,
        escape(&shortened(name, 26)),
        escape(name)
    );
    let cells: Vec<(&(f64, f64), f32)> = page.heat.buckets.iter().zip(parts.iter().copied()).collect();
    for same in
        cells.chunk_by(|one, next| class(one.1, page.limit) == class(next.1, page.limit) && meet(one.0, next.0, x))
    {
        let (from, to) = (same[0].0.0, same[same.len() - 1].0.1);
        let highest = same.iter().map(|(_, part)| f64::from(*part)).fold(f64::NAN, f64::max);
        let what = if highest.is_nan() {
            "missing".to_owned()
        } else {
            format!("up to {} of the limit", figure(highest / page.limit))
        };
        let (left, right) = (x.place(from), x.place(to));
        let _ = write!(
            out,
            "<rect class=\"{}\" x=\"{left:.1}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"{:.0}\"><title>{}, {}: \
             {what}</title></rect>",
            class(same[0].1, page.limit),
            (right - left).max(0.5),
            CELL - 1.0,
            escape(&shortened(name, 26)),
            place(from, page.timed)
        );
    }
}

/// Whether there is no gap to be seen between two buckets.
fn meet(one: &(f64, f64), next: &(f64, f64), x: &Axis) -> bool {
    x.place(next.0) - x.place(one.1) < 1.0
}

/// The colour of a part of the score.
fn class(part: f32, limit: f64) -> &'static str {
    const CLASSES: [&str; 9] = ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"];
    if part.is_nan() {
        return "gone";
    }
    CLASSES[BOUNDS.iter().filter(|bound| f64::from(part) / limit >= **bound).count()]
}

fn legend() -> String {
    let mut out = String::from(
        "<div class=\"keys\"><span>highest part in a row's score, as a share of the limit (at 1 the feature alone is an \
         anomaly):</span>",
    );
    for (at, bound) in [0.0].into_iter().chain(BOUNDS).enumerate() {
        let from = if at == 0 { "less".to_owned() } else { format!("from {}", figure(bound)) };
        let _ = write!(out, "<span><i style=\"background:var(--h{at})\"></i>{from}</span>");
    }
    out + "<span><i style=\"background:repeating-linear-gradient(135deg,var(--missing) 0 2px,transparent 2px 5px)\"></i>\
           missing</span></div>"
}
