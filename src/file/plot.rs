//! Scores as a picture: how far each row was from the limit, and which ones were anomalous.

use std::{fs::File, io, path::Path};

use plotters::{
    prelude::{
        BLACK, ChartBuilder, Circle, Color, DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea, IntoLogRange,
        LineSeries, PathElement, RGBColor, SVGBackend, WHITE,
    },
    style::ShapeStyle,
};

use super::{FileError, partial::Partial};

/// Size of the picture in pixels.
const SIZE: (u32, u32) = (1200, 360);
/// Most points along the picture: of the rows that share one, the largest score is drawn.
const POINTS: usize = 1000;
/// Smallest share of the limit that is drawn; scores below it lie on the axis.
const LEAST: f64 = 1e-3;
const SCORES: RGBColor = RGBColor(40, 100, 170);
const ANOMALOUS: RGBColor = RGBColor(200, 40, 40);

/// Collects the scores of a run in the order in which they come, and draws them when it is over.
/// The file appears under its name only then.
#[derive(Debug)]
pub struct ScorePlot {
    partial: Partial,
    file: File,
    title: String,
    limit: f64,
    /// Score and whether it was anomalous; no number for rows without a score.
    scores: Vec<(f64, bool)>,
}

impl ScorePlot {
    /// Begins a picture of scores with this limit. Its place is taken at once, so that nobody waits for all scores to hear
    /// that there is none.
    ///
    /// # Errors
    /// The name doesn't end in `.svg`, or the file's folder can't be written to.
    pub fn create(path: impl AsRef<Path>, title: String, limit: f64) -> Result<Self, FileError> {
        let path = path.as_ref();
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
            return Err(FileError::NotSvg { path: path.to_owned() });
        }
        let (partial, file) = Partial::create(path)?;
        Ok(Self { partial, file, title, limit, scores: Vec::new() })
    }

    /// The score of the next row, and whether it was anomalous; `None` for a row without one.
    pub fn push(&mut self, score: Option<(f64, bool)>) {
        self.scores.push(score.unwrap_or((f64::NAN, false)));
    }

    /// Writes the picture.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn finish(mut self) -> Result<(), FileError> {
        let mut text = String::new();
        let drawn = self.draw(SVGBackend::with_string(&mut text, SIZE));
        let drawn = drawn.map_err(|error| io::Error::other(error.to_string()));
        drawn.map_err(|cause| FileError::Write { path: self.partial.path().to_owned(), cause })?;
        self.partial.write(&self.file, text.as_bytes())
    }

    /// Row, largest share of the limit and whether any was anomalous, per point of the picture.
    fn points(&self) -> Vec<(f64, f64, bool)> {
        let rows = self.scores.len().div_ceil(POINTS).max(1);
        let point = |(at, rows_of): (usize, &[(f64, bool)])| {
            let largest = rows_of.iter().map(|(score, _)| *score).filter(|score| score.is_finite()).reduce(f64::max)?;
            let anomalous = rows_of.iter().any(|(_, anomalous)| *anomalous);
            Some(((at * rows) as f64, (largest / self.limit).clamp(LEAST, 1.0 / LEAST), anomalous))
        };
        self.scores.chunks(rows).enumerate().filter_map(point).collect()
    }

    fn draw<B: DrawingBackend>(&self, backend: B) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        let points = self.points();
        let highest = points.iter().map(|(_, share, _)| *share).fold(10.0, f64::max);
        let rows = self.scores.len().max(1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(35)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..rows, (LEAST..highest * 1.5).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_desc("row")
            .y_desc("score / limit")
            .x_label_formatter(&|row| format!("{row:.0}"))
            .draw()?;
        let line = points.iter().map(|(row, share, _)| (*row, *share));
        chart.draw_series(LineSeries::new(line, SCORES.stroke_width(1)))?;
        let limit = PathElement::new(vec![(0.0, 1.0), (rows, 1.0)], ShapeStyle::from(&BLACK).stroke_width(1));
        chart.draw_series(std::iter::once(limit))?;
        let anomalous = points.iter().filter(|(_, _, anomalous)| *anomalous);
        chart.draw_series(anomalous.map(|(row, share, _)| Circle::new((*row, *share), 2, ANOMALOUS.filled())))?;
        area.present()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_every_anomalous_stretch_and_the_limit_however_many_rows_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.svg");
        let mut plot = ScorePlot::create(&path, "a model".to_owned(), 2.0).unwrap();
        for row in 0..50_000 {
            let anomalous = row == 777 || (40_000..40_100).contains(&row);
            plot.push((row % 1000 != 5).then_some((if anomalous { 9.0 } else { 0.5 }, anomalous)));
        }
        let points = plot.points();
        assert_eq!((points.len(), points[15]), (1000, (750.0, 4.5, true)));
        assert_eq!(points.iter().filter(|(_, _, anomalous)| *anomalous).count(), 3);
        assert!(!path.exists(), "there is no half of a picture");
        plot.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("<svg") && text.contains("a model") && text.matches("<circle").count() == 3);
    }

    #[test]
    fn a_run_without_rows_or_scores_is_drawn_too_and_one_that_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let begin = || ScorePlot::create(folder.path().join("empty.svg"), String::new(), 1.0).unwrap();
        drop(begin());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut plot = begin();
        plot.push(None);
        plot.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_picture_that_can_not_be_made_is_told_before_there_are_scores() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder.svg")).unwrap();
        for (name, words) in
            [("no/such/a.svg", "No such file"), ("folder.svg", "directory"), ("a.png", "ends in .svg"), ("svg", ".svg")]
        {
            let told = ScorePlot::create(folder.path().join(name), String::new(), 1.0).unwrap_err().to_string();
            assert!(told.contains(name) && told.contains(words), "{told}");
        }
    }
}
