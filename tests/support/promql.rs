//! What a PromQL expression names, as far as rules and dashboards use the language: metrics, labels and label values, held
//! against what the program says of its metrics.

use std::collections::BTreeSet;

use strayd::telemetry::{DESCRIPTIONS, Description, MetricKind};

/// Labels that Prometheus and Kubernetes add to every series.
const ADDED: [&str; 3] = ["job", "instance", "pod"];

/// What is wrong with the names in an expression: metrics of strayd that are not exported, labels that they don't have,
/// values that these labels never take.
pub fn complaints(expression: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut labels: BTreeSet<&str> = ADDED.into();
    for (name, matchers) in selectors(expression) {
        match described(&name) {
            Some((description, suffix)) => {
                labels.extend(description.labels.iter().map(|label| label.name));
                labels.extend(suffix.contains("bucket").then_some("le"));
                complaints.extend(matchers.iter().filter_map(|matcher| wrong_matcher(description, matcher)));
            }
            None => complaints.push(format!("no metric is called {name}")),
        }
    }
    for label in grouped_by(expression) {
        if !labels.contains(label.as_str()) {
            complaints.push(format!("no metric in it has the label {label}"));
        }
    }
    complaints
}

/// The description of a series' metric, and what its name has beyond the metric's.
fn described(series: &str) -> Option<(&'static Description, &str)> {
    DESCRIPTIONS.iter().find_map(|description| {
        let suffix = series.strip_prefix(description.name)?;
        let parts: &[&str] = match description.kind {
            MetricKind::Histogram(_) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        parts.contains(&suffix).then_some((description, suffix))
    })
}

/// A label, and the values that a matcher wants of it.
struct Matcher {
    label: String,
    values: Vec<String>,
}

fn wrong_matcher(description: &Description, matcher: &Matcher) -> Option<String> {
    let Matcher { label, values } = matcher;
    if ADDED.contains(&label.as_str()) || label == "le" {
        return None;
    }
    let Some(known) = description.labels.iter().find(|known| known.name == label) else {
        return Some(format!("{} has no label {label}", description.name));
    };
    let known = (known.values)();
    let odd = values.iter().find(|value| !known.is_empty() && !known.contains(&value.as_str()))?;
    Some(format!("{} never has {label}=\"{odd}\"", description.name))
}

/// Every series of strayd that is selected, with its matchers.
fn selectors(expression: &str) -> Vec<(String, Vec<Matcher>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find("strayd_") {
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let inside = rest.strip_prefix('{').and_then(|after| Some(after.split_once('}')?.0));
        found.push((name, inside.map(matchers).unwrap_or_default()));
    }
    found
}

fn matchers(inside: &str) -> Vec<Matcher> {
    let mut found = Vec::new();
    let mut rest = inside;
    while let Some((label, after)) = rest.split_once(['=', '!']) {
        let Some((_, after)) = after.split_once('"') else { break };
        let Some((value, after)) = after.split_once('"') else { break };
        let label = label.trim_matches([',', ' ']).to_owned();
        found.push(Matcher { label, values: value.split('|').map(str::to_owned).collect() });
        rest = after;
    }
    found
}

/// Labels that results are grouped or joined by.
fn grouped_by(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in ["by", "without", "on", "ignoring", "group_left", "group_right"] {
        for (start, _) in expression.match_indices(word) {
            let before = expression[..start].chars().next_back();
            let after = expression[start + word.len()..].trim_start();
            let is_word = before.is_none_or(|c| c.is_whitespace() || c == ')') && after.starts_with('(');
            if let (true, Some((list, _))) = (is_word, after[1.min(after.len())..].split_once(')')) {
                found.extend(list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
            }
        }
    }
    found
}
