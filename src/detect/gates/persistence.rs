//! One anomaly is none: an alarm needs n anomalies among the last m judged rows of its entity.

use serde::{Deserialize, Serialize};

/// Rows that can be remembered of an entity.
pub const MOST_ROWS: u32 = 64;

/// So many anomalies among so many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    anomalies: u32,
    rows: u32,
}

/// Why two numbers are no persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PersistenceError {
    /// No rows, or more than can be remembered.
    #[error("{0} rows can't be looked at, expected 1 to {MOST_ROWS}")]
    Rows(u32),
    /// No anomalies, or more than there are rows.
    #[error("{anomalies} of {rows} rows can't be anomalous, expected at least 1 and at most {rows}")]
    Anomalies {
        /// Anomalies asked for.
        anomalies: u32,
        /// Rows that they are to be among.
        rows: u32,
    },
}

impl Persistence {
    /// Every anomaly counts by itself.
    pub const ONE: Self = Self { anomalies: 1, rows: 1 };

    /// `anomalies` among the last `rows` rows.
    ///
    /// # Errors
    /// Rows outside 1..=64; anomalies outside 1..=rows.
    pub fn new(anomalies: u32, rows: u32) -> Result<Self, PersistenceError> {
        if !(1..=MOST_ROWS).contains(&rows) {
            return Err(PersistenceError::Rows(rows));
        }
        if !(1..=rows).contains(&anomalies) {
            return Err(PersistenceError::Anomalies { anomalies, rows });
        }
        Ok(Self { anomalies, rows })
    }
}

/// The last rows of an entity, the newest in the lowest bit: set where the row was anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recent(u64);

impl Recent {
    /// Takes the next row: whether enough of the last ones, it among them, were anomalous.
    pub fn push(&mut self, asked: Persistence, anomalous: bool) -> bool {
        self.0 = self.0 << 1 | u64::from(anomalous);
        let among = self.0 & (u64::MAX >> (MOST_ROWS - asked.rows));
        among.count_ones() >= asked.anomalies
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_that_can_not_hold_are_refused() {
        assert_eq!(Persistence::new(1, 1), Ok(Persistence::ONE));
        assert!(Persistence::new(64, 64).is_ok());
        for rows in [0, 65] {
            assert_eq!(Persistence::new(1, rows), Err(PersistenceError::Rows(rows)));
        }
        for anomalies in [0, 4] {
            let told = Persistence::new(anomalies, 3).unwrap_err().to_string();
            assert_eq!(told, format!("{anomalies} of 3 rows can't be anomalous, expected at least 1 and at most 3"));
        }
    }

    proptest! {
        #[test]
        fn a_row_persists_where_enough_of_the_last_rows_are_anomalous(
            flags in prop::collection::vec(any::<bool>(), 1..200),
            (anomalies, rows) in (1_u32..=64).prop_flat_map(|rows| (1..=rows, Just(rows))),
        ) {
            let asked = Persistence::new(anomalies, rows).unwrap();
            let mut recent = Recent::default();
            for (at, flag) in flags.iter().enumerate() {
                let first = (at + 1).saturating_sub(rows as usize);
                let among = flags[first..=at].iter().filter(|flag| **flag).count();
                prop_assert_eq!(recent.push(asked, *flag), among >= anomalies as usize);
            }
        }
    }
}
