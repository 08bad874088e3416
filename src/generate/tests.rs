use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

/// Ten machines or pages, a record a minute, from a Monday on.
fn plan(family: Family, kinds: &[Kind]) -> Plan {
    Plan {
        family,
        entities: 10,
        start_us: 1_767_571_200 * SECOND,
        interval: Duration::from_secs(60),
        seed: 7,
        anomaly_every: Duration::from_secs(3 * 3600),
        kinds: kinds.to_vec(),
        quiet_start: 5_000,
        label_field: None,
    }
}

fn labels(plan: Plan, records: usize) -> (Vec<Made>, Vec<Label>) {
    let mut generator = Generator::new(plan);
    let made: Vec<Made> = generator.by_ref().take(records).collect();
    let mut labels: Vec<Label> = generator.ended().collect();
    labels.extend(generator.cut());
    (made, labels)
}

fn covers(label: &Label, made: &Made) -> bool {
    label.entity == made.entity && {
        let time = timestamp::to_rfc3339(made.time_us);
        label.first <= time && time <= label.last
    }
}

/// The values of one entity's feature, in order.
fn series(made: &[Made], entity: &str, feature: &str) -> Vec<f64> {
    let value = |made: &Made| serde_json::from_str::<Value>(&made.payload).unwrap()[feature].as_f64();
    made.iter().filter(|made| made.entity == entity).filter_map(value).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product =
        |x: &[f64], mx: f64, y: &[f64], my: f64| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>();
    product(a, mean_a, b, mean_b) / (product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b)).sqrt()
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_seed_gives_others() {
    for family in [Family::Sensors, Family::Engagement] {
        let (first, second) = (labels(plan(family, &Kind::ALL), 20_000), labels(plan(family, &Kind::ALL), 20_000));
        assert!(first == second);
        let other = labels(Plan { seed: 8, ..plan(family, &Kind::ALL) }, 20_000);
        assert!(first.0 != other.0 && first.1 != other.1);
    }
}

#[test]
fn records_are_normal_but_where_the_labels_say() {
    for family in [Family::Sensors, Family::Engagement] {
        let (normal, none) = labels(plan(family, &[]), 60_000);
        assert_eq!(none, []);
        let (made, labels) = labels(plan(family, &Kind::ALL), 60_000);
        let normal: BTreeMap<(String, i64), &Made> =
            normal.iter().map(|m| ((m.entity.clone(), m.time_us), m)).collect();
        let mut differing = vec![0; labels.len()];
        for record in &made {
            let same = normal.get(&(record.entity.clone(), record.time_us)).is_none_or(|normal| **normal == *record);
            let covering = labels.iter().position(|label| covers(label, record));
            assert!(same || covering.is_some(), "{record:?} is odd and no label says so");
            if let (false, Some(label)) = (same, covering) {
                differing[label] += 1;
            }
        }
        let kinds: std::collections::BTreeSet<Kind> = labels.iter().map(|label| label.kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len(), "every kind comes: {kinds:?}");
        for (label, differing) in labels.iter().zip(differing) {
            assert_eq!(differing == 0, label.kind == Kind::Silence, "{label:?} changed {differing} records");
            let silent = made.iter().filter(|record| covers(label, record)).count() == 0;
            assert_eq!(silent, label.kind == Kind::Silence, "{label:?}");
            assert_eq!(label.features.is_empty(), silent, "{label:?}");
        }
        let first = labels.iter().map(|label| label.first.clone()).min().unwrap();
        assert!(first >= timestamp::to_rfc3339(made[5_000].time_us), "the quiet start holds none: {first}");
    }
}

#[test]
fn each_kind_does_to_its_feature_what_its_name_says() {
    let often = |kinds: &[Kind]| Plan {
        anomaly_every: Duration::from_secs(3_600),
        quiet_start: 2_000,
        ..plan(Family::Sensors, kinds)
    };
    let (normal, _) = labels(often(&[]), 30_000);
    for kind in Kind::ALL {
        let (made, labels) = labels(often(&[kind]), 30_000);
        assert!(labels.len() > 10 && labels.iter().all(|label| label.kind == kind), "{labels:?}");
        for label in labels.iter().filter(|label| kind != Kind::Silence && !label.features.is_empty()) {
            let covered = |all: &[Made]| -> Vec<Made> { all.iter().filter(|m| covers(label, m)).cloned().collect() };
            let (told, meant) = (covered(&made), covered(&normal));
            for feature in Generator::features(Family::Sensors) {
                let (told, meant) = (series(&told, &label.entity, feature), series(&meant, &label.entity, feature));
                if !label.features.contains(feature) {
                    assert_eq!(told, meant, "{label:?} leaves {feature} alone");
                    continue;
                }
                let moved: Vec<f64> = told.iter().zip(&meant).map(|(told, meant)| told - meant).collect();
                match kind {
                    Kind::Dropout => assert!(told.is_empty() && !meant.is_empty(), "{label:?}: {told:?}"),
                    Kind::Stuck => assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{label:?}: {told:?}"),
                    Kind::Spike => assert!((1..=3).contains(&told.len()), "{label:?}: {told:?}"),
                    Kind::LevelShift => assert!(moved.iter().all(|by| by * moved[0] > 0.0), "{label:?}: {moved:?}"),
                    // One that the end of the stream cut short may have gone nowhere yet.
                    Kind::Drift if moved.len() < 30 => {}
                    Kind::Drift => {
                        // Not by its last: a value that would be below 0 stays there.
                        let half = 0.6 * moved.iter().fold(0.0, |most: f64, by| most.max(by.abs()));
                        let middle = moved[moved.len() / 2].abs();
                        assert!(moved[0].abs() < middle && middle < half, "{label:?}: {moved:?}");
                    }
                    Kind::CorrelationBreak => {
                        let whole = series(&normal, &label.entity, feature);
                        let (low, high) = whole.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
                        let room = 0.3 * (high - low);
                        assert!(told.iter().all(|v| (low - room..=high + room).contains(v)), "{label:?}: {told:?}");
                        assert!(moved.iter().any(|by| by.abs() > 0.02 * (high - low)), "{label:?}: {moved:?}");
                    }
                    Kind::Silence => {}
                }
            }
        }
    }
}

#[test]
fn sensors_follow_the_day_and_each_other() {
    // Three days of one machine.
    let (made, _) = labels(Plan { entities: 1, ..plan(Family::Sensors, &[]) }, 3 * 1_440);
    let series = |feature: &str| series(&made, "machine-01", feature);
    let (flow, current, pressure) = (series("flow"), series("current"), series("pressure"));
    assert!(correlation(&flow[1_440..], &flow[..2 * 1_440]) > 0.8, "a day is like the day before");
    assert!(correlation(&flow[720..], &flow[..3 * 1_440 - 720]) < 0.0, "and unlike half a day before");
    for (name, other) in [("current", &current), ("pressure", &pressure)] {
        assert!(correlation(&flow, other) > 0.95, "flow and {name}: {}", correlation(&flow, other));
    }
}

#[test]
fn engagement_follows_day_and_week_in_counts_that_scatter_more_than_poisson() {
    // Two weeks of one page, a record an hour.
    let hourly = Plan { entities: 1, interval: Duration::from_secs(3_600), ..plan(Family::Engagement, &[]) };
    let (made, _) = labels(hourly.clone(), 14 * 24);
    let series = |feature: &str| series(&made, "page-01", feature);
    let views = series("views");
    assert!(views.iter().chain(&series("signups")).all(|count| count.fract() == 0.0 && *count >= 0.0));
    assert!(correlation(&views[168..], &views[..168]) > 0.7, "a week is like the week before");
    let day = |day: usize| views[day * 24..(day + 1) * 24].iter().sum::<f64>();
    assert!(day(5) + day(6) < 0.85 * (day(1) + day(2)), "weekends are quieter");
    assert!(correlation(&views, &series("clicks")) > 0.8);
    // The same hour of all weekdays: variance beyond the mean.
    let noons: Vec<f64> = (0..14).filter(|day| day % 7 < 5).map(|day| views[day * 24 + 12]).collect();
    let mean = noons.iter().sum::<f64>() / noons.len() as f64;
    let variance = noons.iter().map(|views| (views - mean).powi(2)).sum::<f64>() / noons.len() as f64;
    assert!(variance > 3.0 * mean, "mean {mean}, variance {variance}");
}

#[test]
fn normal_drifts_slowly() {
    let daily = Plan { entities: 1, interval: Duration::from_secs(600), ..plan(Family::Sensors, &[]) };
    let (made, _) = labels(daily, 200 * 144);
    let vibration = series(&made, "machine-01", "vibration");
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (before, after) = (mean(&vibration[..10 * 144]), mean(&vibration[190 * 144..]));
    assert!(after > before + 0.1, "{before} to {after} in half a year");
}

#[test]
fn times_go_by_the_interval_and_entities_take_turns_within_it() {
    let (made, _) = labels(plan(Family::Sensors, &[]), 21);
    let times: Vec<i64> = made.iter().map(|record| (record.time_us - made[0].time_us) / SECOND).collect();
    assert_eq!(times, (0..21).map(|turn| 6 * turn).collect::<Vec<i64>>());
    assert_eq!(
        (made[0].entity.as_str(), made[9].entity.as_str(), made[10].entity.as_str()),
        ("machine-01", "machine-10", "machine-01")
    );
    assert!(
        made[0]
            .payload
            .starts_with("{\"timestamp\":\"2026-01-05T00:00:00Z\",\"machine\":\"machine-01\",\"temperature\":")
    );
}

#[test]
fn a_label_stands_in_a_record_only_where_it_was_asked_for() {
    let (made, _) = labels(plan(Family::Sensors, &Kind::ALL), 20_000);
    assert!(made.iter().all(|made| !made.payload.contains("label")));
    let asked = Plan { label_field: Some("is odd".to_owned()), ..plan(Family::Sensors, &Kind::ALL) };
    let (made, labels) = labels(asked, 20_000);
    for record in &made {
        let told = serde_json::from_str::<Value>(&record.payload).unwrap()["is odd"] == 1;
        assert_eq!(told, labels.iter().any(|label| covers(label, record)), "{record:?}");
    }
}
