//! What must hold before anything is computed with a model file's metadata: the file may be torn or made by hand.

use serde::Deserialize;

use super::metadata::{Column, FORMAT, FORMAT_WITH_KNOTS, Metadata, format_of};
use crate::{
    detect::calibrate::{ENTITY_SCALES, SHAPE_BOUNDS, Tail},
    record::features::{check_grids, columns_of},
};

/// Most values per window: 1,024 rows of 65,536 columns.
const MAX_WIDTH: usize = 1 << 26;
/// Most rows per window, as the configuration has it.
const MAX_WINDOW: usize = 1024;

/// Most errors that a judged score may be made of, where it isn't all of them, as the configuration has it.
pub const MOST_TOP: usize = 64;
/// Scores beyond this are nonsense, and nothing that is computed from smaller ones overflows.
const MAX_SCORE: f64 = 1e100;

/// The document, where nothing is wrong with it.
///
/// # Errors
/// What is wrong, and what would be right.
pub(super) fn read(document: &str) -> Result<Metadata, String> {
    #[derive(Deserialize)]
    struct Shape {
        format: u32,
    }
    // Of a newer shape the first unknown field would be all that is told.
    let Shape { format } = serde_json::from_str(document).map_err(|error| error.to_string())?;
    check_format(format)?;
    let document = serde_json::from_str(document).map_err(|error| error.to_string())?;
    metadata(&document)?;
    Ok(document)
}

fn check_format(format: u32) -> Result<(), String> {
    match format {
        FORMAT | FORMAT_WITH_KNOTS => Ok(()),
        _ => Err(format!("format {format} is unknown to this program, expected {FORMAT} or {FORMAT_WITH_KNOTS}")),
    }
}

fn metadata(metadata: &Metadata) -> Result<(), String> {
    check_format(metadata.format)?;
    let (format, expected) = (metadata.format, format_of(&metadata.columns));
    if format != expected {
        return Err(format!("it says format {format} and holds columns of format {expected}"));
    }
    // Before anything is made of its features: a grid without bounds has columns without end.
    check_grids(&metadata.features).map_err(|error| error.to_string())?;
    let width = width(metadata)?;
    metadata.columns.iter().try_for_each(|column| check_column(column, metadata.features.len()))?;
    let named = metadata.columns.iter().map(|column| (&column.name, column.feature));
    if !columns_of(&metadata.features).iter().map(|(name, feature)| (name, *feature)).eq(named) {
        return Err("its columns are not those that its features make".to_owned());
    }
    scoring(metadata)?;
    golden(metadata, width)?;
    calibration(metadata)
}

/// Values per window.
fn width(metadata: &Metadata) -> Result<usize, String> {
    let (columns, window) = (metadata.columns.len(), metadata.window);
    if columns == 0 {
        return Err("it has no columns, expected at least one".to_owned());
    }
    if !(1..=MAX_WINDOW).contains(&window) {
        return Err(format!("the window has {window} rows, expected 1 to {MAX_WINDOW}"));
    }
    let width = columns.checked_mul(window).filter(|width| *width <= MAX_WIDTH);
    width.ok_or_else(|| format!("{columns} columns in windows of {window} rows, expected at most {MAX_WIDTH} values"))
}

fn check_column(column: &Column, features: usize) -> Result<(), String> {
    let positive = |value: f32| value > 0.0 && value.is_finite();
    let numbers = [
        ("center", column.center, column.center.is_finite(), "a finite number"),
        ("impute", column.impute, column.impute.is_finite(), "a finite number"),
        ("scale", column.scale, positive(column.scale), "a finite number above 0"),
        ("residual_cap", column.residual_cap, column.residual_cap > 0.0, "a number above 0, or null"),
        ("residual_mean", column.residual_mean, column.residual_mean.is_finite(), "a finite number"),
        ("residual_variance", column.residual_variance, positive(column.residual_variance), "a finite number above 0"),
    ];
    let name = &column.name;
    if let Some((what, value, _, expected)) = numbers.into_iter().find(|(_, _, good, _)| !good) {
        return Err(format!("{what} of column `{name}` is {value}, expected {expected}"));
    }
    if column.feature >= features {
        return Err(format!("column `{name}` belongs to feature {}, expected less than {features}", column.feature));
    }
    Ok(())
}

fn scoring(metadata: &Metadata) -> Result<(), String> {
    let scoring = &metadata.scoring;
    if scoring.smoothing_span == 0 {
        return Err("smoothing_span is 0, expected at least 1".to_owned());
    }
    if let Some(rows) = scoring.half_life.filter(|rows| !(*rows > 0.0 && rows.is_finite())) {
        return Err(format!("half_life is {rows}, expected a finite number above 0, or null"));
    }
    if scoring.top.is_some_and(|top| !(1..=MOST_TOP).contains(&(top as usize))) {
        return Err(format!("top is {}, expected 1 to {MOST_TOP}, or null", scoring.top.unwrap_or_default()));
    }
    let (start, knee) = (scoring.smoothing_start, scoring.score_knee);
    if !(0.0..=MAX_SCORE).contains(&start) {
        return Err(format!("smoothing_start is {start}, expected a number from 0 to {MAX_SCORE:e}"));
    }
    if !(knee > 0.0 && knee <= MAX_SCORE) {
        return Err(format!("score_knee is {knee}, expected a number above 0, at most {MAX_SCORE:e}"));
    }
    Ok(())
}

fn golden(metadata: &Metadata, width: usize) -> Result<(), String> {
    if metadata.golden.is_empty() {
        return Err(
            "it has no golden rows, expected at least one: nothing would prove that graph and runtime agree".to_owned()
        );
    }
    for (index, golden) in metadata.golden.iter().enumerate() {
        let values = golden.window.len();
        if values != width {
            return Err(format!("golden row {index} has {values} values, expected {width}"));
        }
        if !(golden.score >= 0.0 && golden.score.is_finite()) {
            return Err(format!("golden row {index} scores {}, expected a finite number, at least 0", golden.score));
        }
        if let Some(value) = golden.window.iter().find(|value| !value.is_finite()) {
            return Err(format!("golden row {index} holds {value}, expected finite numbers"));
        }
    }
    Ok(())
}

fn calibration(metadata: &Metadata) -> Result<(), String> {
    let calibration = &metadata.calibration;
    let body = &calibration.body;
    let ascends = body.windows(2).all(|pair| pair[0] <= pair[1]);
    let sound = body.iter().all(|point| (0.0..=MAX_SCORE).contains(point));
    if !(body.len() >= 2 && ascends && sound) {
        return Err(format!("the calibration's body isn't two or more numbers from 0 to {MAX_SCORE:e} that ascend"));
    }
    if calibration.rows == 0 {
        return Err("the calibration stands on 0 rows, expected at least 1".to_owned());
    }
    if let Some(seconds) = calibration.interval_seconds.filter(|seconds| !(*seconds > 0.0 && seconds.is_finite())) {
        return Err(format!("interval_seconds is {seconds}, expected a finite number above 0, or null"));
    }
    let (low, high) = ENTITY_SCALES;
    if let Some((entity, scale)) = calibration.entity_scales.iter().find(|(_, scale)| !(low..=high).contains(*scale)) {
        return Err(format!("the scale of entity `{entity}` is {scale}, expected a number from {low} to {high}"));
    }
    tail("row_tail", &calibration.row_tail)?;
    tail("peak_tail", &calibration.peak_tail)
}

fn tail(name: &str, tail: &Tail) -> Result<(), String> {
    let (low, high) = SHAPE_BOUNDS;
    let numbers = [
        (
            "threshold",
            tail.threshold,
            (0.0..=MAX_SCORE).contains(&tail.threshold),
            format!("a number from 0 to {MAX_SCORE:e}"),
        ),
        ("rate", tail.rate, tail.rate > 0.0 && tail.rate <= 1.0, "a number above 0, at most 1".to_owned()),
        ("shape", tail.shape, (low..=high).contains(&tail.shape), format!("a number from {low} to {high}")),
        (
            "scale",
            tail.scale,
            tail.scale > 0.0 && tail.scale <= MAX_SCORE,
            format!("a number above 0, at most {MAX_SCORE:e}"),
        ),
    ];
    match numbers.into_iter().find(|(_, _, good, _)| !good) {
        Some((what, value, _, expected)) => Err(format!("{what} of {name} is {value}, expected {expected}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        knots::Knots,
        metadata::{GoldenRow, fixture},
    };
    use super::*;

    fn refusal(change: impl FnOnce(&mut Metadata)) -> String {
        let mut changed = fixture::metadata(3);
        change(&mut changed);
        metadata(&changed).unwrap_err()
    }

    #[test]
    fn sound_metadata_is_accepted() {
        assert_eq!(metadata(&fixture::metadata(3)), Ok(()));
    }

    #[test]
    fn documents_of_both_formats_are_read_and_of_a_newer_one_its_number_is_told_before_its_fields() {
        let straight = fixture::metadata(3);
        let text = serde_json::to_string(&straight).unwrap();
        assert!(text.starts_with("{\"format\":1,") && !text.contains("knots"), "{text}");
        assert_eq!(read(&text), Ok(straight.clone()));
        let mut bent = straight;
        bent.columns[2].knots = Knots::new(vec![(0.0, 0.0), (1.0, 2.0)]).ok();
        bent.format = format_of(&bent.columns);
        let text = serde_json::to_string(&bent).unwrap();
        assert!(text.starts_with("{\"format\":2,") && text.contains("\"knots\":[[0.0,0.0],[1.0,2.0]]"), "{text}");
        assert_eq!(read(&text), Ok(bent));
        let newer = text.replace("\"format\":2", "\"format\":3").replace("\"knots\"", "\"curve\"");
        assert_eq!(read(&newer).unwrap_err(), "format 3 is unknown to this program, expected 1 or 2");
        let fallen = text.replace("[1.0,2.0]", "[1.0,0.0]");
        assert!(read(&fallen).unwrap_err().contains("after knot (0.0, 0.0) comes (1.0, 0.0)"));
    }

    #[test]
    fn widths_that_can_not_be_are_refused_by_number() {
        assert!(refusal(|m| m.columns.clear()).contains("no columns"));
        assert!(refusal(|m| m.window = 0).contains("0 rows"));
        let overflow = refusal(|m| m.window = usize::MAX / 2);
        assert!(overflow.contains("expected 1 to 1024"), "{overflow}");
        assert!(refusal(|m| m.format = 7).contains("format 7 is unknown to this program, expected 1 or 2"));
        assert!(refusal(|m| m.format = 2).contains("says format 2 and holds columns of format 1"));
        let knots = || Knots::new(vec![(0.0, 0.0), (1.0, 2.0)]).ok();
        assert!(refusal(|m| m.columns[1].knots = knots()).contains("says format 1 and holds columns of format 2"));
        assert!(refusal(|m| m.columns[2].feature = 3).contains("feature 3"));
        assert!(refusal(|m| drop(m.columns.pop())).contains("features"));
        assert!(refusal(|m| m.columns.swap(0, 1)).contains("features"));
    }

    #[test]
    fn numbers_of_columns_and_scoring_out_of_range_are_refused_by_name() {
        for (refused, name) in [
            (refusal(|m| m.columns[1].scale = 0.0), "scale of column `c1` is 0"),
            (refusal(|m| m.columns[1].impute = f32::INFINITY), "impute of column `c1` is inf"),
            (refusal(|m| m.columns[1].residual_cap = -1.0), "residual_cap of column `c1` is -1"),
            (refusal(|m| m.columns[1].residual_mean = f32::NAN), "residual_mean of column `c1` is NaN"),
            (refusal(|m| m.columns[1].residual_variance = 0.0), "residual_variance of column `c1` is 0"),
            (refusal(|m| m.scoring.smoothing_span = 0), "smoothing_span is 0"),
            (refusal(|m| m.scoring.top = Some(0)), "top is 0"),
            (refusal(|m| m.scoring.top = Some(65)), "top is 65"),
            (refusal(|m| m.scoring.half_life = Some(-3.0)), "half_life is -3"),
            (refusal(|m| m.scoring.smoothing_start = f64::INFINITY), "smoothing_start is inf"),
            (refusal(|m| m.scoring.score_knee = 0.0), "score_knee is 0"),
        ] {
            assert!(refused.starts_with(name) && refused.contains("expected"), "{refused}");
        }
    }

    #[test]
    fn golden_rows_must_be_there_and_finite() {
        assert!(refusal(|m| m.golden.clear()).contains("no golden rows"));
        let golden = |window: Vec<f32>, score| move |m: &mut Metadata| m.golden.push(GoldenRow { window, score });
        assert!(refusal(golden(vec![0.0; 2], 1.0)).contains("golden row 1 has 2 values, expected 3"));
        assert!(refusal(golden(vec![0.0; 3], f32::INFINITY)).contains("golden row 1 scores inf"));
        assert!(refusal(golden(vec![0.0, f32::NAN, 0.0], 1.0)).contains("golden row 1 holds NaN"));
    }

    #[test]
    fn a_calibration_that_gives_no_sound_limit_is_refused() {
        for (refused, word) in [
            (refusal(|m| m.calibration.body = vec![1.0]), "two or more"),
            (refusal(|m| m.calibration.body = vec![2.0, 1.0]), "ascend"),
            (refusal(|m| m.calibration.body = vec![1.0, f64::INFINITY]), "ascend"),
            (refusal(|m| m.calibration.rows = 0), "0 rows"),
            (refusal(|m| m.calibration.interval_seconds = Some(0.0)), "interval_seconds is 0"),
            (
                refusal(|m| m.calibration.entity_scales = [("pump".to_owned(), f32::NAN)].into()),
                "scale of entity `pump` is NaN",
            ),
            (refusal(|m| m.calibration.row_tail.scale = 0.0), "scale of row_tail is 0"),
            (refusal(|m| m.calibration.peak_tail.threshold = f64::NAN), "threshold of peak_tail is NaN"),
            (refusal(|m| m.calibration.peak_tail.rate = 1.5), "rate of peak_tail is 1.5"),
            (refusal(|m| m.calibration.peak_tail.rate = 0.0), "rate of peak_tail is 0"),
            (refusal(|m| m.calibration.row_tail.shape = 9.0), "shape of row_tail is 9"),
        ] {
            assert!(refused.contains(word), "{refused}");
        }
    }
}
