use super::*;

/// What no page may take over as it stands.
const HOSTILE: &str = "<script>alert(\"x\")</script>'&";

/// Names of the data are hostile, every place that can hold one does, and values are missing here and there.
fn page(rows: usize) -> Page {
    let scores: Vec<f64> = (1..=rows).map(|row| row as f64 / rows as f64).collect();
    let text = || HOSTILE.to_owned();
    Page {
        data: text(),
        figures: vec![(text(), text()), (String::new(), String::new()), ("b".to_owned(), "1".to_owned())],
        warnings: vec![text()],
        suggestions: vec![(text(), text())],
        caution: "careful",
        timed: false,
        labelled: true,
        limit: 10.0,
        entities: (0..DRAWN_ENTITIES).map(|number| entity(number, rows)).collect(),
        table: Some(Table {
            head: vec!["entity".to_owned(), "rows".to_owned()],
            rows: vec![vec![text(), "1".to_owned()]; LISTED_ENTITIES],
            more: 7,
        }),
        incidents: (0..10).map(|number| incident(number, rows)).collect(),
        all_incidents: 12,
        heat: heat(rows),
        p_values: scores.clone(),
        normal_scores: scores.clone(),
        labelled_scores: scores,
    }
}

fn entity(number: usize, rows: usize) -> EntityScores {
    let score = |row: usize| (row as f64, (row % 11 != 3).then(|| 1.0 + (row * 7919 % 101) as f64));
    EntityScores {
        name: format!("{HOSTILE}{number}"),
        scores: (0..rows).map(score).collect(),
        limits: (0..rows).map(|row| (row as f64, Some(10.0 + (row / 100 % 3) as f64))).collect(),
        events: (0..rows / 10).map(|event| ((event * 10) as f64, (event * 10 + 2) as f64)).collect(),
        opened: (0..rows / 10).map(|event| ((event * 10) as f64, event % 2 == 0)).collect(),
    }
}

fn incident(number: usize, rows: usize) -> Incident {
    let point = |row: usize| {
        let low = (row * 31 % 17) as f64;
        let actual = if row % 50 == 7 { (f64::NAN, f64::NAN) } else { (low, low + 1.5) };
        FeaturePoint { at: row as f64, actual, expected: (low * 0.5, low) }
    };
    let feature = |number: usize| FeatureLine {
        name: format!("{HOSTILE}{number}"),
        share: 0.25,
        error: if number == 0 { 7.25 } else { -4.5 },
        onset: number.checked_sub(1).map(|rows| rows as u8),
        points: (0..rows.min(240)).map(point).collect(),
    };
    Incident {
        entity: HOSTILE.to_owned(),
        span: (number as f64, (number + 9) as f64),
        anomalies: 10,
        peak: 50.0,
        limit: 12.5,
        p_value: 1e-7,
        counterfactual: [None, Some((3.5, true)), Some((20.0, false))][number % 3],
        features: (0..4).map(feature).collect(),
    }
}

fn heat(rows: usize) -> Heat {
    let buckets = rows.min(120);
    let part = |bucket: usize, feature: usize| match (bucket + feature) % 5 {
        0 => f32::NAN,
        power => 10f32.powi(power as i32 - 3),
    };
    let line = |feature: usize| {
        (format!("{HOSTILE}{feature}"), (0..buckets).map(|bucket| part(bucket, feature)).collect::<Vec<f32>>())
    };
    Heat {
        buckets: (0..buckets).map(|bucket| (bucket as f64, (bucket + 1) as f64)).collect(),
        features: (0..HEAT_FEATURES).map(line).collect(),
        more: 3,
    }
}

/// Asserts that each element is closed where it should be, and that no text holds what markup is made of.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("it is HTML");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>') || open.last() == Some(&"style"), "a lone > in {}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        assert!(tag.matches('"').count().is_multiple_of(2) && !tag.contains('<'), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a tag has a name"));
        }
        rest = &rest[end + 1..];
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_limit_that_moves_is_drawn_as_it_moves_and_a_peak_is_measured_by_the_limit_of_its_row() {
    let page = page(600).to_html();
    assert!(page.contains("the limit is 10 to 12, the highest score"), "{page:.3000}");
    assert!(page.contains("peak score 50 (4 times the limit)"));
    let limit = page.split("<path class=\"limit\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let heights: std::collections::BTreeSet<&str> =
        limit.split(['M', 'L']).filter_map(|step| step.split(' ').nth(1)).collect();
    assert!(heights.len() >= 3, "{limit}");
}

#[test]
fn what_data_hold_is_text_on_the_page_and_the_page_needs_nothing_else() {
    let html = page(300).to_html();
    assert_well_formed(&html);
    assert!(
        !html.to_lowercase().contains("<script")
            && html.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&#39;&amp;")
    );
    for reference in [" src=", " href=", "@import", "url(http", "//cdn"] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert!(!html.contains("NaN") && !html.contains("inf\"") && html.contains(GENERATOR));
}

#[test]
fn a_page_of_a_million_rows_has_less_than_two_megabytes() {
    let small = page(300).to_html().len();
    let large = page(200_000);
    assert!(large.entities.iter().map(|entity| entity.scores.len()).sum::<usize>() > 1_000_000);
    let large = large.to_html().len();
    assert!(large < 2_000_000 && small < large, "{small}, {large}");
}

#[test]
fn every_picture_has_words_for_those_who_can_not_see_it_and_axes_with_names() {
    let html = page(300).to_html();
    let pictures = html.matches("<figure>").count();
    // Scores of six entities, four features of ten incidents, heat map, calibration, distribution.
    assert_eq!((pictures, html.matches("role=\"img\" aria-label=\"").count()), (49, 49));
    assert!(!html.contains("aria-label=\"\"") && !html.contains("<figcaption></figcaption>"));
    for words in ["row of the files", "value, own unit", "promised share of rows", "25 % of the error", "false alarm"] {
        assert!(html.contains(words), "{words}");
    }
    let mut timed = page(300);
    timed.timed = true;
    assert!(timed.to_html().contains("event time (UTC), 1970-01-01 00:00:00 to 1970-01-01 00:04:59"));
}

#[test]
fn an_incident_tells_how_far_its_features_strayed_since_when_and_whether_they_explain_it() {
    let told = |number: usize| {
        let html = Page { incidents: vec![incident(number, 300)], ..Page::default() }.to_html();
        html.split("<section class=\"incident\">").nth(1).expect("it is there").to_owned()
    };
    let [unknown, explained, unexplained] = [0, 1, 2].map(told);
    assert!(!unknown.contains("as expected its first row"), "{unknown:.600}");
    assert!(explained.contains("its first row would score 3.5, and be no anomaly"), "{explained:.600}");
    assert!(unexplained.contains("its first row would still score 20, so they don't explain it alone"));
    for words in [
        "25 % of the error at the peak, +7.2 standard deviations<",
        "-4.5 standard deviations, strays since the first row<",
        "-4.5 standard deviations, strays since 1 row before the first<",
        "-4.5 standard deviations, strays since 2 rows before the first<",
    ] {
        assert!(unknown.contains(words), "{words} is missing in {unknown}");
    }
}

#[test]
fn missing_values_are_no_zeros_and_break_the_line() {
    let mut page = page(300);
    page.heat.features = vec![("gone".to_owned(), vec![f32::NAN; 120]), ("calm".to_owned(), vec![0.0; 120])];
    let html = page.to_html();
    assert!(
        html.contains("class=\"gone\"")
            && html.contains("gone, row 0: missing")
            && html.contains("calm, row 0: up to 0 of")
    );
    let actual =
        html.split("class=\"actual\" d=\"").nth(1).expect("there is a line").split('"').next().expect("it ends");
    assert_eq!(actual.matches('M').count(), 6, "five gaps in 240 points");
}

#[test]
fn a_page_of_nothing_and_one_of_a_single_row_are_whole() {
    for html in [Page::default().to_html(), page(1).to_html()] {
        assert_well_formed(&html);
        assert!(!html.contains("NaN"), "{html}");
    }
    let nothing = Page::default().to_html();
    assert!(nothing.contains("No row has a score.") && nothing.contains("No incident was opened."));
}
