//! One picture: a frame with axes, and what is drawn into it. Styles hang on classes, so that the page's style sheet knows
//! light, dark and print.

use std::fmt::Write as _;

use super::{
    axis::Axis,
    words::{escape, figure},
};

/// Room for names of values, left, right, above and below the frame, pixels.
pub(super) const LEFT: f64 = 64.0;
pub(super) const RIGHT: f64 = 12.0;
pub(super) const TOP: f64 = 12.0;
pub(super) const BOTTOM: f64 = 42.0;
/// Width of a mark at the top, pixels.
pub(super) const MARK: f64 = 8.0;
/// Width of a place in which a pointer is told what it points at, pixels.
const TOLD: f64 = 8.0;

/// What a picture is and shows.
pub(super) struct About<'a> {
    /// Heading.
    pub(super) title: &'a str,
    /// For those who can't see it.
    pub(super) alt: String,
    /// What the axes show, with their units.
    pub(super) x_label: String,
    pub(super) y_label: &'a str,
    /// Classes and words of what is drawn.
    pub(super) keys: &'a [(&'a str, &'a str)],
}

/// A picture in the making.
pub(super) struct Plot {
    out: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// Places of a line in one column of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column {
    /// The pixel.
    pub(super) place: f64,
    /// First value on the axis in it.
    pub(super) at: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
    /// Whether something is missing between the last column and this one.
    pub(super) after_gap: bool,
}

impl Plot {
    /// Begins a picture with its axes.
    pub(super) fn new(about: &About<'_>, size: (f64, f64), (x, y): (Axis, Axis)) -> Self {
        let mut plot = Self { out: String::new(), x, y };
        let out = &mut plot.out;
        let _ = write!(out, "<figure><figcaption>{}", escape(about.title));
        if !about.keys.is_empty() {
            *out += "<div class=\"keys\">";
            for (class, words) in about.keys {
                let _ = write!(out, "<span>{}{}</span>", key(class), escape(words));
            }
            *out += "</div>";
        }
        *out += "</figcaption>";
        let _ = write!(out, "{}", svg(&about.alt, size));
        plot.axes(about, size);
        plot
    }

    fn axes(&mut self, about: &About<'_>, size: (f64, f64)) {
        let ((left, right), (bottom, top)) = (self.x.ends(), self.y.ends());
        let y_ticks = ((bottom - top) / 36.0).max(2.0) as usize;
        for (value, name) in self.y.ticks(y_ticks) {
            let place = self.y.place(value);
            let _ = write!(
                self.out,
                "<path class=\"grid\" d=\"M{left:.0} {place:.1}H{right:.0}\"/><text class=\"end\" x=\"{:.0}\" \
                 y=\"{:.1}\">{name}</text>",
                left - 6.0,
                place + 4.0
            );
        }
        for (value, name) in self.x.ticks(((right - left) / 80.0).max(2.0) as usize) {
            let place = self.x.place(value);
            let _ = write!(
                self.out,
                "<path class=\"axis\" d=\"M{place:.1} {bottom:.0}v5\"/><text class=\"mid\" x=\"{place:.1}\" \
                 y=\"{:.0}\">{name}</text>",
                bottom + 18.0
            );
        }
        let _ = write!(self.out, "<path class=\"axis\" d=\"M{left:.0} {bottom:.0}H{right:.0}\"/>");
        let _ = write!(
            self.out,
            "<text class=\"mid\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            f64::midpoint(left, right),
            size.1 - 5.0,
            escape(&about.x_label)
        );
        let middle = f64::midpoint(top, bottom);
        let _ = write!(
            self.out,
            "<text class=\"mid\" transform=\"translate(12 {middle:.0}) rotate(-90)\">{}</text>",
            escape(about.y_label)
        );
    }

    /// A line through values; it is broken where a value is not a number.
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut is_down = false;
        for (at, value) in points {
            if !at.is_finite() || !value.is_finite() {
                is_down = false;
                continue;
            }
            let (step, at, value) = (if is_down { 'L' } else { 'M' }, self.x.place(at), self.y.place(value));
            let _ = write!(path, "{step}{at:.1} {value:.1}");
            is_down = true;
        }
        self.path(class, &path);
    }

    /// A line from column to column, which shows the lowest and the highest value of each.
    pub(super) fn columns(&mut self, class: &str, columns: &[Column]) {
        let mut path = String::new();
        for (index, column) in columns.iter().enumerate() {
            let step = if index == 0 || column.after_gap { 'M' } else { 'L' };
            let (low, high) = (self.y.place(column.lowest), self.y.place(column.highest));
            let _ = write!(path, "{step}{:.1} {low:.1}", column.place);
            if (low - high).abs() >= 0.05 {
                let _ = write!(path, "V{high:.1}");
            } else if step == 'M' {
                // A value by itself is a point, not nothing.
                path += "h.1";
            }
        }
        self.path(class, &path);
    }

    fn path(&mut self, class: &str, path: &str) {
        if !path.is_empty() {
            let _ = write!(self.out, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }

    /// A closed area between two lines.
    pub(super) fn between(&mut self, class: &str, lower: &[(f64, f64)], upper: &[(f64, f64)]) {
        let mut path = String::new();
        for (index, (at, value)) in lower.iter().chain(upper.iter().rev()).enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.x.place(*at), self.y.place(*value));
        }
        self.path(class, &format!("{path}Z"));
    }

    /// Shades the whole height between two values, at least a pixel wide.
    pub(super) fn band(&mut self, class: &str, (from, to): (f64, f64), title: &str) {
        let (bottom, top) = self.y.ends();
        let (left, right) = (self.x.place(from), self.x.place(to));
        self.rectangle(class, (left, top, (right - left).max(1.0), bottom - top), title);
    }

    /// A rectangle in pixels: left, top, width, height.
    pub(super) fn rectangle(&mut self, class: &str, (left, top, width, height): (f64, f64, f64, f64), title: &str) {
        let _ = write!(
            self.out,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
             <title>{}</title></rect>",
            escape(title)
        );
    }

    /// A triangle at the top that points down at a value.
    pub(super) fn mark(&mut self, class: &str, at: f64, title: &str) {
        let (place, top) = (self.x.place(at), self.y.ends().1);
        let _ = write!(
            self.out,
            "<path class=\"{class}\" d=\"M{:.1} {:.1}h8l-4 7z\"><title>{}</title></path>",
            place - 4.0,
            top - 8.0,
            escape(title)
        );
    }

    /// Strips over the picture that tell a pointer the highest value beneath it.
    pub(super) fn tell(&mut self, columns: &[Column], name: impl Fn(&Column) -> String) {
        let ((left, right), (bottom, top)) = (self.x.ends(), self.y.ends());
        let width = (right - left) / ((right - left) / TOLD).ceil();
        let strip = |column: &Column| ((column.place - left) / width) as usize;
        for beneath in columns.chunk_by(|one, next| strip(one) == strip(next)) {
            let highest = beneath.iter().fold(beneath[0], |a, b| if b.highest > a.highest { *b } else { a });
            let from = left + strip(&highest) as f64 * width;
            self.rectangle("over", (from, top, width, bottom - top), &name(&highest));
        }
    }

    /// The whole picture.
    pub(super) fn finish(self) -> String {
        self.out + "</svg></figure>"
    }
}

/// The start of a drawing of so many pixels, or wider and higher in the same proportion.
pub(super) fn svg(alt: &str, (width, height): (f64, f64)) -> String {
    format!("<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width:.0} {height:.0}\">", escape(alt))
}

/// A drawing's sample in a legend.
fn key(class: &str) -> String {
    match class {
        "found" | "false" => {
            let mark = format!("<path class=\"{class}\" d=\"M2 3h8l-4 7z\"/>");
            format!(
                "<svg style=\"display:inline;width:12px;margin-right:.35em\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">{mark}</svg>"
            )
        }
        _ => format!("<i class=\"key-{class}\"></i>"),
    }
}

/// Puts values into columns of a pixel, so that a picture is no larger than what can be seen in it. `None` breaks the line;
/// so does a stretch without any value that is far wider than usual.
pub(super) fn columns(axis: &Axis, values: impl IntoIterator<Item = (f64, Option<f64>)>) -> Vec<Column> {
    let first = axis.ends().0;
    // By pixel, so that values in no order make no more columns than others.
    let mut all: Vec<Option<Column>> = vec![None; axis.length() as usize + 2];
    let mut after_gap = true;
    for (at, value) in values {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            after_gap = true;
            continue;
        };
        let place = axis.place(at).round();
        match &mut all[(place - first.floor()).max(0.0) as usize] {
            Some(column) => {
                (column.lowest, column.highest) = (column.lowest.min(value), column.highest.max(value));
            }
            empty => *empty = Some(Column { place, at, lowest: value, highest: value, after_gap }),
        }
        after_gap = false;
    }
    let mut columns: Vec<Column> = all.into_iter().flatten().collect();
    let mut widths: Vec<f64> = columns.windows(2).map(|pair| (pair[1].place - pair[0].place).abs()).collect();
    widths.sort_unstable_by(f64::total_cmp);
    let usual = widths.get(widths.len() / 2).copied().unwrap_or(1.0);
    for at in 1..columns.len() {
        columns[at].after_gap |= (columns[at].place - columns[at - 1].place).abs() > 6.0 * usual.max(1.0);
    }
    columns
}

/// A value with its place in words.
pub(super) fn told(at: &str, what: &str, value: f64) -> String {
    format!("{at}: {what} {}", figure(value))
}

#[cfg(test)]
mod tests {
    use super::{super::axis::Scale, *};

    fn axis() -> Axis {
        Axis::new(Scale::Count, (0.0, 1e6), (0.0, 500.0))
    }

    #[test]
    fn a_million_values_become_a_column_per_pixel_that_keeps_every_peak() {
        let values = (0..1_000_000).map(|row| (f64::from(row), Some(if row == 777_777 { 9.0 } else { 1.0 })));
        let found = columns(&axis(), values);
        assert_eq!(found.len(), 501);
        assert_eq!(found.iter().filter(|column| column.highest == 9.0 && column.lowest == 1.0).count(), 1);
        assert_eq!(found.iter().filter(|column| column.after_gap).count(), 1, "the first one");
    }

    #[test]
    fn a_line_is_broken_where_something_is_missing() {
        let values = [(0.0, Some(1.0)), (2e3, Some(1.0)), (4e3, None), (6e3, Some(f64::NAN)), (8e3, Some(1.0))];
        let rest = (5..20).map(|row| (2e3 * f64::from(row), Some(1.0))).chain([(9e5, Some(1.0))]);
        let found = columns(&axis(), values.into_iter().chain(rest));
        let gaps: Vec<f64> = found.iter().filter(|column| column.after_gap).map(|column| column.place).collect();
        assert_eq!(gaps, [0.0, 4.0, 450.0]);
    }
}
