//! What the demo says at its end, for machines.

use serde::Serialize;

/// The outcome of a demo, as one line of JSON for machines. Keys are fixed; what is not defined is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Records read.
    pub records_in: u64,
    /// Anomalies published.
    pub anomalies_out: u64,
    /// Records that could not be scored.
    pub dead_letters: u64,
    /// Runs of labelled rows.
    pub events_labelled: usize,
    /// Those with an anomaly inside.
    pub events_found: usize,
    /// Share of anomalies that are labelled.
    pub precision: Option<f64>,
    /// Share of labelled rows that are anomalies.
    pub recall: Option<f64>,
    /// Area under the receiver operating characteristic.
    pub auroc: Option<f64>,
    /// Average precision.
    pub aucpr: Option<f64>,
    /// Alarms per entity and day that the budget allows on normal data.
    pub alarm_rate_promised: Option<f64>,
    /// False alarms per day of rows that are not labelled.
    pub alarm_rate_measured: Option<f64>,
    /// Records read per second.
    pub records_per_second: Option<f64>,
    /// Seconds from the first record to the end of the last one.
    pub seconds: f64,
    /// Incidents opened.
    pub incidents: u64,
    /// The model file.
    pub model: String,
    /// The broker that the records came from.
    pub broker: String,
    /// The configuration file that repeats this outside of the demo.
    pub config_file: Option<String>,
}

impl Summary {
    /// One line of JSON without line end; numbers that are not finite are null.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("a structure of numbers and text can always be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_line_with_fixed_keys_and_null_for_what_is_no_number() {
        let summary = Summary {
            records_in: 10_080,
            anomalies_out: 12,
            dead_letters: 0,
            events_labelled: 6,
            events_found: 5,
            precision: Some(0.5),
            recall: None,
            auroc: Some(f64::NAN),
            aucpr: Some(0.75),
            alarm_rate_promised: Some(1.0),
            alarm_rate_measured: Some(0.25),
            records_per_second: Some(f64::INFINITY),
            seconds: 1.5,
            incidents: 7,
            model: "m.onnx".to_owned(),
            broker: "embedded".to_owned(),
            config_file: Some("a\nb".to_owned()),
        };
        assert_eq!(
            summary.to_json_line(),
            concat!(
                r#"{"records_in":10080,"anomalies_out":12,"dead_letters":0,"events_labelled":6,"events_found":5,"#,
                r#""precision":0.5,"recall":null,"auroc":null,"aucpr":0.75,"alarm_rate_promised":1.0,"#,
                r#""alarm_rate_measured":0.25,"records_per_second":null,"seconds":1.5,"incidents":7,"model":"m.onnx","#,
                r#""broker":"embedded","config_file":"a\nb"}"#
            )
        );
    }
}
