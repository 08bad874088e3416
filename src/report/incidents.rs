//! The worst incidents: what came and what was expected of the features to blame.

use super::{
    FeatureLine, Incident, Page,
    axis::{Axis, Scale},
    plot::{About, BOTTOM, Column, LEFT, Plot, RIGHT, TOP},
    scores::{along, place, range, scale_along},
    words::{escape, figure, grouped, shortened},
};

const SIZE: (f64, f64) = (520.0, 190.0);

/// One incident with a picture per feature.
pub(super) fn section(page: &Page, number: usize, incident: &Incident) -> String {
    let entity = if incident.entity.is_empty() { String::new() } else { format!(": {}", escape(&incident.entity)) };
    let (from, to) = incident.span;
    let until = if from == to { String::new() } else { format!(" to {}", place(to, page.timed)) };
    let rows = if incident.anomalies == 1 { "row" } else { "rows" };
    let mut out = format!(
        "<section class=\"incident\"><h3>Incident {number}{entity}</h3><p>{}{until}: {} anomalous {rows}, peak score {} ({} times \
         the limit), p-value {}{}</p><div class=\"pair\">",
        place(from, page.timed),
        grouped(incident.anomalies),
        figure(incident.peak),
        figure(incident.peak / incident.limit),
        figure(incident.p_value),
        counterfactual(incident)
    );
    for feature in &incident.features {
        out += &picture(page, incident, feature);
    }
    out + "</div></section>"
}

/// What the first row would have been with its top features as expected.
fn counterfactual(incident: &Incident) -> String {
    match incident.counterfactual {
        None => String::new(),
        Some((score, true)) => {
            format!(
                "; with its top features as expected its first row would score {}, and be no anomaly",
                figure(score)
            )
        }
        Some((score, false)) => format!(
            "; with its top features as expected its first row would still score {}, so they don't explain it alone",
            figure(score)
        ),
    }
}

/// Since when a feature strays, by the first row of the incident.
fn since(onset: Option<u8>) -> String {
    match onset {
        None => String::new(),
        Some(0) => ", strays since the first row".to_owned(),
        Some(1) => ", strays since 1 row before the first".to_owned(),
        Some(254) => ", strays since at least 254 rows before the first".to_owned(),
        Some(rows) => format!(", strays since {rows} rows before the first"),
    }
}

fn picture(page: &Page, incident: &Incident, feature: &FeatureLine) -> String {
    let points = &feature.points;
    let span = range(points.iter().map(|point| point.at));
    let values = points.iter().flat_map(|point| [point.actual.0, point.actual.1, point.expected.0, point.expected.1]);
    let (low, high) = range(values);
    let room = (high - low) * 0.06;
    let x = Axis::new(scale_along(page.timed), span, (LEFT, SIZE.0 - RIGHT));
    let y = Axis::new(Scale::Linear, (low - room, high + room), (SIZE.1 - BOTTOM, TOP));
    let percent = if feature.share < 0.01 { "less than 1".to_owned() } else { format!("{:.0}", feature.share * 100.0) };
    let share = format!("{percent} % of the error at the peak");
    let (error, since) = (feature.error, since(feature.onset));
    let title = format!("{}: {share}, {error:+.1} standard deviations{since}", shortened(&feature.name, 40));
    let about = About {
        title: &title,
        alt: format!(
            "{} around the incident from {}: actual against expected values, between {} and {}; {share}, {error:+.1} standard deviations{since}",
            feature.name,
            place(incident.span.0, page.timed),
            figure(low),
            figure(high)
        ),
        x_label: along(span, page.timed).replace("event time (UTC), ", "UTC, "),
        y_label: "value, own unit",
        keys: &[("actual", "actual"), ("expected", "expected"), ("span", "incident")],
    };
    let mut plot = Plot::new(&about, SIZE, (x, y));
    plot.band("span", incident.span, "the incident");
    let columns = |of: fn(&super::FeaturePoint) -> (f64, f64)| -> Vec<Column> {
        let mut after_gap = true;
        let column = |point: &super::FeaturePoint| {
            let (lowest, highest) = of(point);
            let is_there = lowest.is_finite() && highest.is_finite();
            let before = std::mem::replace(&mut after_gap, !is_there);
            is_there.then(|| Column { place: plot.x.place(point.at), at: point.at, lowest, highest, after_gap: before })
        };
        points.iter().filter_map(column).collect()
    };
    let (actual, expected) = (columns(|point| point.actual), columns(|point| point.expected));
    plot.columns("expected", &expected);
    plot.columns("actual", &actual);
    plot.tell(&actual, |column| {
        let expected = points.iter().find(|point| point.at == column.at).map_or(f64::NAN, |point| point.expected.1);
        let at = place(column.at, page.timed);
        format!("{at}: {}, expected {}", figure(column.highest), figure(expected))
    });
    plot.finish()
}
