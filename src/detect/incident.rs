//! Anomalies of an entity that are close to each other are one incident, and one alarm.

/// What is known of the incident that an entity is in, if it is in one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct IncidentState {
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Open {
    incident: Incident,
    quiet: u32,
    /// The column to blame for the first anomaly; [`NO_COLUMN`] where it is not known.
    top_column: u32,
}

const NO_COLUMN: u32 = u32::MAX;

/// One incident so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// Event time of the first anomaly, microseconds since the epoch.
    pub start_us: i64,
    /// Event time of the last anomaly so far.
    pub last_us: i64,
    /// Anomalous rows so far.
    pub anomalies: u64,
    /// Highest score so far.
    pub peak: f64,
}

/// What one row did to its entity's incident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IncidentChange {
    /// Nothing began or ended.
    None,
    /// This row's anomaly opened an incident.
    Opened(Incident),
    /// The incident has been quiet long enough and is over.
    Resolved(Incident),
}

impl IncidentState {
    /// Takes the verdict of the entity's next row. An incident is over after `quiet_rows` rows without anomaly.
    pub fn advance(&mut self, anomalous: bool, score: f64, time_us: i64, quiet_rows: u32) -> IncidentChange {
        match (&mut self.open, anomalous) {
            (None, false) => IncidentChange::None,
            (None, true) => {
                let incident = Incident { start_us: time_us, last_us: time_us, anomalies: 1, peak: score };
                self.open = Some(Open { incident, quiet: 0, top_column: NO_COLUMN });
                IncidentChange::Opened(incident)
            }
            (Some(open), true) => {
                open.quiet = 0;
                open.incident.last_us = time_us;
                open.incident.anomalies += 1;
                open.incident.peak = open.incident.peak.max(score);
                IncidentChange::None
            }
            (Some(open), false) if open.quiet < quiet_rows => {
                open.quiet += 1;
                IncidentChange::None
            }
            (Some(open), false) => {
                let incident = open.incident;
                self.open = None;
                IncidentChange::Resolved(incident)
            }
        }
    }

    /// The incident that the entity is in.
    pub fn open(&self) -> Option<Incident> {
        self.open.map(|open| open.incident)
    }

    /// Remembers the column to blame for the incident that has just opened.
    pub fn blame(&mut self, column: Option<usize>) {
        if let Some(open) = &mut self.open {
            open.top_column = column.and_then(|column| u32::try_from(column).ok()).unwrap_or(NO_COLUMN);
        }
    }

    /// The column to blame for the incident that the entity is in.
    pub fn top_column(&self) -> Option<usize> {
        self.open.map(|open| open.top_column).filter(|column| *column != NO_COLUMN).map(|column| column as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anomalies_close_to_each_other_are_one_incident() {
        let mut state = IncidentState::default();
        let verdicts = [true, false, false, true, false, false, false, true];
        let changes: Vec<IncidentChange> =
            verdicts.iter().enumerate().map(|(t, v)| state.advance(*v, t as f64, t as i64, 2)).collect();
        assert!(matches!(changes[0], IncidentChange::Opened(_)));
        assert_eq!(changes[3], IncidentChange::None);
        assert_eq!(changes[6], IncidentChange::Resolved(Incident { start_us: 0, last_us: 3, anomalies: 2, peak: 3.0 }));
        assert!(matches!(changes[7], IncidentChange::Opened(_)));
        assert_eq!(changes.iter().filter(|c| matches!(c, IncidentChange::Opened(_))).count(), 2);
    }

    #[test]
    fn an_incident_remembers_who_is_to_blame_until_it_is_over() {
        let mut state = IncidentState::default();
        state.blame(Some(3));
        assert_eq!(state.top_column(), None, "there is no incident to be blamed for");
        state.advance(true, 1.0, 0, 0);
        assert_eq!(state.top_column(), None);
        state.blame(Some(3));
        state.advance(true, 2.0, 1, 0);
        assert_eq!(state.top_column(), Some(3));
        state.advance(false, 0.0, 2, 0);
        assert_eq!(state.top_column(), None);
        state.advance(true, 1.0, 3, 0);
        assert_eq!(state.top_column(), None, "the next incident has a blame of its own");
    }

    #[test]
    fn without_quiet_rows_each_run_of_anomalies_is_an_incident() {
        let mut state = IncidentState::default();
        let opened = [true, true, false, true]
            .iter()
            .filter(|v| matches!(state.advance(**v, 1.0, 0, 0), IncidentChange::Opened(_)))
            .count();
        assert_eq!(opened, 2);
    }
}
