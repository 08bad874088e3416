//! Sums a backtest up: from rows as they ended to the figures of the report.

use super::{
    BacktestArgs,
    rejudge::Rejudged,
    report::{AlarmReport, EntityReport, LabelReport, ModelReport, Report, Rows, Span, SuppressedRows, Unit},
    suggest::{Basis, suggest},
    training::Trained,
    watch::{End, Ended},
};
use crate::{
    config::{Loaded, settings::EntityBudget},
    detect::{
        calibrate::{CalibrationError, SECONDS_PER_DAY},
        gates::Suppression,
    },
    evaluate::{
        EvaluateError, Labelled, Series, evaluate,
        events::{self, Alarms},
    },
    model::Model,
    record::timestamp,
};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// No limit for the budget.
    #[error(transparent)]
    Limit(#[from] CalibrationError),
    /// Scores and labels don't fit.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// The rows as they ended, and their labels.
pub(super) struct Scored {
    pub(super) data: String,
    pub(super) rows: Vec<Ended>,
    /// Incidents of groups.
    pub(super) groups: usize,
    /// Names of the entities by their number.
    pub(super) entities: Vec<String>,
    pub(super) labels: Option<Vec<Option<bool>>>,
    /// What other settings of judging give; `None` where nothing is to be suggested.
    pub(super) rejudged: Option<Rejudged>,
}

/// One entity's rows.
#[derive(Default)]
pub(super) struct Track {
    /// Places of its rows among all that were scored.
    pub(super) rows: Vec<usize>,
    pub(super) scores: Vec<Option<f64>>,
    pub(super) anomalies: Vec<bool>,
    pub(super) opened: Vec<usize>,
    times_us: Vec<Option<i64>>,
    pub(super) labels: Vec<bool>,
    is_usable: bool,
}

impl Report {
    /// Sums up.
    ///
    /// # Errors
    /// Labels that are not those of the rows; a budget that the model has no limit for.
    pub(super) fn new(
        args: &BacktestArgs,
        loaded: &Loaded,
        (trained, scored): (&Trained, &Scored),
    ) -> Result<Self, ReportError> {
        let tracks = scored.tracks()?;
        let series: Vec<Series<'_>> = tracks.iter().map(Track::series).collect();
        let alarms = events::alarms(&series)?;
        let labelled: Vec<Labelled<'_>> = tracks.iter().map(Track::labelled).collect();
        let evaluation = scored.labels.as_ref().map(|_| evaluate(&labelled)).transpose()?;
        let rows = rows(scored, &tracks);
        let span = span(&scored.rows, &alarms);
        let budget = loaded.settings.judging.budget;
        let of_one = budget.of_one_among(tracks.len() as f64);
        let (unit, promised) = match of_one {
            EntityBudget::PerDay(alarms) => (Unit::PerEntityAndDay, alarms),
            EntityBudget::Quantile(share) => (Unit::ShareOfRows, share),
        };
        let measured = match (unit, &evaluation) {
            (Unit::PerEntityAndDay, None) => alarms.per_entity_and_day,
            (Unit::PerEntityAndDay, Some(found)) => found.events.false_alarms_per_day,
            (Unit::ShareOfRows, _) => share_of_normal(&tracks),
        };
        let limit = trained.model.metadata.calibration.limit(of_one)?;
        let Alarms { anomalies, incidents, per_day, .. } = alarms;
        let (explained, explained_share) = explained(&scored.rows);
        let alarms = AlarmReport {
            limit,
            unit,
            promised,
            measured,
            anomalies,
            suppressed: suppressed(&scored.rows),
            incidents,
            per_day,
            group_incidents: (!loaded.settings.judging.incidents.groups.is_empty()).then_some(scored.groups),
            explained,
            explained_share,
        };
        let (metadata, evaluation) = (&trained.model.metadata, evaluation.as_ref());
        let steps = loaded.settings.judging.recalibration;
        let has_own_budgets = loaded.settings.judging.overrides.iter().any(|own| own.budget.is_some());
        let basis =
            Basis { budget, has_own_budgets, steps, metadata, scored, tracks: &tracks, alarms: &alarms, evaluation };
        let suggestions = suggest(&basis)?;
        Ok(Self {
            data: scored.data.clone(),
            model: ModelReport::of(&trained.model, trained.left_out),
            warnings: warnings(&trained.model, &rows, &scored.rows),
            per_entity: per_entity(scored, &tracks)?,
            rows,
            span,
            alarms,
            suggestions,
            labels: args.labels.as_ref().zip(evaluation).map(|(column, found)| {
                let unknown = scored.labels.iter().flatten().filter(|label| label.is_none()).count();
                LabelReport::of(column, unknown, found)
            }),
        })
    }
}

impl Scored {
    /// The rows of each entity. A row of unknown label has no part in them, as it has no score either.
    pub(super) fn tracks(&self) -> Result<Vec<Track>, EvaluateError> {
        let (found, rows) = (self.rows.len(), self.labels.as_ref().map_or(self.rows.len(), Vec::len));
        if found != rows {
            return Err(EvaluateError::Length { what: "verdicts", found, rows });
        }
        let mut tracks: Vec<Track> = self.entities.iter().map(|_| Track::default()).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let label = self.labels.as_ref().map_or(Some(false), |labels| labels[at]);
            if let Some(label) = label {
                tracks[row.entity].push(at, row, label);
            }
        }
        Ok(tracks)
    }
}

impl Track {
    fn push(&mut self, at: usize, row: &Ended, label: bool) {
        let (anomalous, opened) = match row.end {
            End::Judged { anomalous, opened, .. } => (anomalous, opened),
            End::WarmingUp | End::Unusable => (false, false),
        };
        self.rows.push(at);
        self.opened.extend(opened.then_some(self.scores.len()));
        self.scores.push(row.end.score());
        self.anomalies.push(anomalous);
        self.times_us.push(row.time_us);
        self.labels.push(label);
        self.is_usable |= row.end != End::Unusable;
    }

    fn series(&self) -> Series<'_> {
        let Self { scores, anomalies, opened, times_us, .. } = self;
        Series { scores, anomalies, opened, times_us }
    }

    pub(super) fn labelled(&self) -> Labelled<'_> {
        Labelled { series: self.series(), labels: &self.labels }
    }
}

fn rows(scored: &Scored, tracks: &[Track]) -> Rows {
    let ended = |is: fn(&End) -> bool| scored.rows.iter().filter(|row| is(&row.end)).count();
    let mut last: Vec<Option<i64>> = vec![None; scored.entities.len()];
    let mut back_in_time = 0;
    for (row, time) in scored.rows.iter().filter_map(|row| Some((row, row.time_us?))) {
        back_in_time += usize::from(last[row.entity].replace(time).is_some_and(|last| time < last));
    }
    Rows {
        total: scored.rows.len(),
        judged: ended(|end| matches!(end, End::Judged { .. })),
        warming_up: ended(|end| *end == End::WarmingUp),
        unusable: ended(|end| *end == End::Unusable),
        back_in_time,
        entities: tracks.iter().filter(|track| track.is_usable).count(),
    }
}

fn suppressed(rows: &[Ended]) -> SuppressedRows {
    let mut counts = [0; Suppression::ALL.len()];
    for row in rows {
        if let End::Judged { suppressed: Some(reason), .. } = row.end {
            counts[reason as usize] += 1;
        }
    }
    SuppressedRows::of(|reason| counts[reason as usize])
}

/// Incidents that their top features explain, and their share of all of which that is known.
fn explained(rows: &[Ended]) -> (usize, Option<f64>) {
    let told = rows.iter().filter_map(|row| match row.end {
        End::Judged { is_explained, .. } => is_explained,
        End::WarmingUp | End::Unusable => None,
    });
    let (explained, known) = told.fold((0, 0), |(explained, known), is| (explained + usize::from(is), known + 1));
    (explained, (known > 0).then(|| explained as f64 / known as f64))
}

/// The figures of each entity by itself.
fn per_entity(scored: &Scored, tracks: &[Track]) -> Result<Vec<EntityReport>, EvaluateError> {
    let usable = scored.entities.iter().zip(tracks).filter(|(_, track)| track.is_usable);
    let figures = usable.map(|(name, track)| {
        let found = scored.labels.as_ref().map(|_| evaluate(&[track.labelled()])).transpose()?;
        Ok(EntityReport::of(name, &track.series(), found.as_ref()))
    });
    figures.collect()
}

fn span(rows: &[Ended], alarms: &Alarms) -> Option<Span> {
    let times = || rows.iter().filter_map(|row| row.time_us);
    let (first, last) = times().min().zip(times().max())?;
    let days =
        alarms.per_day.and(alarms.step_seconds).map(|step| ((last - first) as f64 / 1e6 + step) / SECONDS_PER_DAY);
    Some(Span {
        first: timestamp::to_rfc3339(first),
        last: timestamp::to_rfc3339(last),
        days,
        step_seconds: alarms.step_seconds,
    })
}

/// Share of the judged rows that are not labelled which are anomalous.
fn share_of_normal(tracks: &[Track]) -> Option<f64> {
    let (mut anomalies, mut normal) = (0_usize, 0_usize);
    for track in tracks {
        for ((score, label), anomalous) in track.scores.iter().zip(&track.labels).zip(&track.anomalies) {
            if score.is_some() && !label {
                anomalies += usize::from(*anomalous);
                normal += 1;
            }
        }
    }
    (normal > 0).then(|| anomalies as f64 / normal as f64)
}

/// What makes the figures doubtful, in words.
fn warnings(model: &Model, rows: &Rows, ended: &[Ended]) -> Vec<String> {
    let mut warnings = Vec::new();
    if rows.judged == 0 {
        warnings.push(format!(
            "none of {} rows has a score: {} could not be used, and {} did not fill a window of {}",
            rows.total, rows.unusable, rows.warming_up, model.metadata.window
        ));
    }
    if rows.back_in_time > 0 {
        let (have, them) = if rows.back_in_time == 1 { ("row has", "it") } else { ("rows have", "them") };
        warnings.push(format!(
            "{} {have} an event time before the row before {them} of the same entity; all rows were scored in the order of \
             the file, as they would be from a topic: sort the file by time if that is not meant",
            rows.back_in_time
        ));
    }
    let trained_until = model.metadata.provenance.span.as_ref().and_then(|(_, last)| time_of(last));
    let earliest = ended.iter().filter_map(|row| row.time_us).min();
    if let (Some(until), Some(earliest)) = (trained_until, earliest)
        && earliest < until
    {
        let (earliest, until) = (timestamp::to_rfc3339(earliest), timestamp::to_rfc3339(until));
        warnings.push(format!(
            "the scored rows begin at {earliest}, before the end of the training rows at {until}: the model may have \
             learned what it is tested on; sort the file by time, or score other rows"
        ));
    }
    warnings
}

fn time_of(rfc3339: &str) -> Option<i64> {
    Some(timestamp::milliseconds_of_rfc3339(rfc3339)? * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::fixture::metadata;

    const MINUTE: i64 = 60_000_000;

    fn judged(entity: usize, minute: i64, verdict: (f64, bool)) -> Ended {
        let (score, anomalous) = verdict;
        Ended {
            row: 0,
            entity,
            time_us: Some(minute * MINUTE),
            end: End::Judged {
                score,
                limit: 5.0,
                anomalous,
                opened: anomalous,
                is_explained: anomalous.then_some(score > 2.5),
                suppressed: None,
            },
        }
    }

    fn scored(rows: Vec<Ended>, labels: Option<Vec<Option<bool>>>) -> Scored {
        Scored {
            data: "a.csv".to_owned(),
            rows,
            groups: 0,
            entities: vec!["a".to_owned(), "b".to_owned()],
            labels,
            rejudged: None,
        }
    }

    #[test]
    fn rows_of_each_entity_are_kept_together_and_those_of_unknown_label_are_left_out() {
        let rows = vec![
            judged(0, 0, (1.0, false)),
            judged(1, 0, (2.0, true)),
            Ended { row: 0, entity: 0, time_us: None, end: End::Unusable },
            judged(0, 1, (3.0, true)),
        ];
        let labels = vec![Some(false), Some(true), None, Some(true)];
        let scored = scored(rows, Some(labels));
        let tracks = scored.tracks().unwrap();
        assert_eq!(tracks[0].scores, [Some(1.0), Some(3.0)]);
        assert_eq!((&tracks[0].labels[..], &tracks[0].opened[..]), (&[false, true][..], &[1][..]));
        assert_eq!((&tracks[1].scores[..], &tracks[1].opened[..]), (&[Some(2.0)][..], &[0][..]));
        let told = super::rows(&scored, &tracks);
        assert_eq!((told.total, told.judged, told.unusable, told.entities), (4, 3, 1, 2));
        assert_eq!(share_of_normal(&tracks), Some(0.0));
        let alone = per_entity(&scored, &tracks).unwrap();
        assert_eq!((alone[0].entity.as_str(), alone[0].rows, alone[0].auroc), ("a", 2, Some(1.0)));
        assert_eq!((alone[1].events_found, alone[1].false_alarms, alone[1].auroc), (Some(1), Some(0), None));
    }

    #[test]
    fn rows_that_were_held_back_are_counted_by_their_reason() {
        let held = |reason| Ended {
            row: 0,
            entity: 0,
            time_us: None,
            end: End::Judged {
                score: 9.0,
                limit: 5.0,
                anomalous: false,
                opened: false,
                is_explained: None,
                suppressed: Some(reason),
            },
        };
        let rows = [
            judged(0, 0, (9.0, true)),
            held(Suppression::Direction),
            held(Suppression::ColdStart),
            held(Suppression::Direction),
        ];
        assert_eq!(suppressed(&rows), SuppressedRows { cold_start: 1, direction: 2, ..SuppressedRows::default() });
    }

    #[test]
    fn incidents_that_are_explained_are_counted_beside_those_of_which_it_is_known() {
        let unknown = Ended { row: 0, entity: 0, time_us: None, end: End::WarmingUp };
        let rows = [(9.0, true), (2.0, true), (8.0, false), (3.0, true), (4.0, true)].map(|end| judged(0, 0, end));
        assert_eq!(explained(&rows), (3, Some(0.75)));
        assert_eq!(explained(&[unknown]), (0, None), "without an incident there is no share");
    }

    #[test]
    fn labels_of_other_rows_are_refused() {
        let scored = scored(vec![judged(0, 0, (1.0, false))], Some(vec![Some(true); 2]));
        let told = scored.tracks().err().unwrap().to_string();
        assert_eq!(told, "1 verdicts for 2 rows, expected one per row");
    }

    #[test]
    fn going_back_in_time_is_counted_per_entity_and_told() {
        let rows = vec![
            judged(0, 5, (1.0, false)),
            judged(1, 4, (1.0, false)),
            judged(0, 3, (1.0, false)),
            judged(1, 6, (1.0, false)),
        ];
        let scored = scored(rows, None);
        let tracks = scored.tracks().unwrap();
        let told = super::rows(&scored, &tracks);
        assert_eq!(told.back_in_time, 1);
        let model = Model { bytes: Vec::new().into(), metadata: metadata(1), version: String::new() };
        let warnings = warnings(&model, &told, &scored.rows);
        assert!(warnings[0].starts_with("1 row has an event time before the row before it"), "{warnings:?}");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn rows_from_before_the_end_of_the_training_and_rows_that_all_have_no_score_are_told() {
        let mut model = Model { bytes: Vec::new().into(), metadata: metadata(1), version: String::new() };
        model.metadata.provenance.span = Some(("1970-01-01T00:00:00Z".to_owned(), "1970-01-01T00:05:00Z".to_owned()));
        let told = |rows: Vec<Ended>| {
            let scored = scored(rows, None);
            let counts = super::rows(&scored, &scored.tracks().unwrap());
            warnings(&model, &counts, &scored.rows)
        };
        assert_eq!(told(vec![judged(0, 6, (1.0, false))]), Vec::<String>::new());
        let overlap = told(vec![judged(0, 3, (1.0, false))]);
        assert!(overlap[0].contains("1970-01-01T00:03:00Z, before the end of the training rows at 1970-01-01T00:05"));
        let nothing = told(vec![Ended { row: 0, entity: 0, time_us: None, end: End::WarmingUp }]);
        assert!(nothing[0].starts_with("none of 1 rows has a score: 0 could not be used, and 1"), "{nothing:?}");
    }
}
