//! Scores as a picture: how far each row was from the limit, and which ones were anomalous.

use std::path::{Path, PathBuf};

use plotters::{
    prelude::{
        BLACK, ChartBuilder, Circle, Color, DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea, IntoLogRange,
        LineSeries, PathElement, RGBColor, SVGBackend, WHITE,
    },
    style::ShapeStyle,
};

use super::FileError;

/// Size of the picture in pixels.
const SIZE: (u32, u32) = (1200, 360);
/// Most points along the picture: of the rows that share one, the largest score is drawn.
const POINTS: usize = 1000;
/// Smallest share of the limit that is drawn; scores below it lie on the axis.
const LEAST: f64 = 1e-3;
const SCORES: RGBColor = RGBColor(40, 100, 170);
const ANOMALOUS: RGBColor = RGBColor(200, 40, 40);

/// Collects the scores of a run in the order in which they come, and draws them when it is over.
#[derive(Debug)]
pub struct ScorePlot {
    path: PathBuf,
    title: String,
    limit: f64,
    /// Score and whether it was anomalous; no number for rows without a score.
    scores: Vec<(f64, bool)>,
}

impl ScorePlot {
    /// A picture to be written to `path`, an `.svg`, of scores with this limit.
    pub fn new(path: impl AsRef<Path>, title: String, limit: f64) -> Self {
        Self { path: path.as_ref().to_owned(), title, limit, scores: Vec::new() }
    }

    /// The score of the next row, and whether it was anomalous; `None` for a row without one.
    pub fn push(&mut self, score: Option<(f64, bool)>) {
        self.scores.push(score.unwrap_or((f64::NAN, false)));
    }

    /// Writes the picture.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn finish(self) -> Result<(), FileError> {
        let mut text = String::new();
        let told = |cause: String| FileError::Write { path: self.path.clone(), cause: std::io::Error::other(cause) };
        self.draw(SVGBackend::with_string(&mut text, SIZE)).map_err(|error| told(error.to_string()))?;
        std::fs::write(&self.path, text).map_err(|cause| FileError::Write { path: self.path.clone(), cause })
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
        let mut plot = ScorePlot::new(&path, "a model".to_owned(), 2.0);
        for row in 0..50_000 {
            let anomalous = row == 777 || (40_000..40_100).contains(&row);
            plot.push((row % 1000 != 5).then_some((if anomalous { 9.0 } else { 0.5 }, anomalous)));
        }
        let points = plot.points();
        assert_eq!((points.len(), points[15]), (1000, (750.0, 4.5, true)));
        assert_eq!(points.iter().filter(|(_, _, anomalous)| *anomalous).count(), 3);
        plot.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("<svg") && text.contains("a model") && text.matches("<circle").count() == 3);
    }

    #[test]
    fn a_run_without_rows_or_scores_is_drawn_too_and_a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut plot = ScorePlot::new(folder.path().join("empty.svg"), String::new(), 1.0);
        plot.push(None);
        plot.finish().unwrap();
        let lost = ScorePlot::new(folder.path().join("no/such/folder.svg"), String::new(), 1.0).finish();
        assert!(lost.unwrap_err().to_string().contains("folder.svg"));
    }
}
