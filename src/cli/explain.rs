//! `strayd train --explain`: what would be trained, and about how long that takes on this machine.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    Failure,
    model::table::{Align, render},
    output,
};
use crate::{
    demo::display::{bound, counted, grouped},
    record::grid::Shape,
    train::{
        explain::{LayerLine, Plan},
        recipe::TrainError,
    },
};

/// How long the speed is measured at least, once the first epoch of the trial has warmed up.
const TRIAL: Duration = Duration::from_millis(500);

/// Prints the explanation.
pub(super) fn print(plan: &Plan) -> Result<(), Failure> {
    output::print(&explanation(plan, &speed(plan)))
}

/// What was measured: rows and how many of them a second.
type Speed = Result<(usize, f64), String>;

/// Runs batches of the data for about a second; `Err` says why there is no speed.
fn speed(plan: &Plan) -> Speed {
    if plan.epochs().is_none() {
        return Err("nothing is fitted in epochs".to_owned());
    }
    let began = Instant::now();
    let (mut first, mut rows, mut took) = (None, 0, Duration::ZERO);
    let tried = plan.try_out(&mut |report| {
        let now = began.elapsed();
        match first {
            // The first epoch holds what is done once too; it counts only where another one would take too long.
            None => {
                (first, rows, took) = (Some(now), report.rows, now);
                if now < 2 * TRIAL { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            Some(first) => {
                let so_far = if took == first { 0 } else { rows };
                (rows, took) = (so_far + report.rows, now - first);
                if took < TRIAL { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
        }
    });
    tried.map_err(|error: TrainError| error.to_string())?;
    Ok((rows, rows as f64 / took.as_secs_f64().max(f64::EPSILON)))
}

fn explanation(plan: &Plan, speed: &Speed) -> String {
    let layers = plan.layers();
    let (members, parameters) = (plan.members(), layers.iter().map(|layer| layer.parameters).sum::<usize>());
    let mut lines = vec![
        ("kind", plan.kinds().unwrap_or_else(|| "a graph of another tool, which is adopted and not fitted".to_owned())),
        ("input", input(plan)),
        ("rows to fit", grouped(plan.fitted_rows() as u64)),
        ("rows to validate", grouped(plan.validation_rows() as u64)),
        ("rows held back", format!("{} in all", grouped(plan.held_back_rows() as u64))),
    ];
    let total = grouped((parameters * members) as u64);
    match members {
        0 => {}
        1 => lines.push(("parameters", total)),
        _ => lines.push(("parameters", format!("{total}: {members} networks of {}", grouped(parameters as u64)))),
    }
    lines.push(("model file", format!("about {}", size(plan.file_bytes))));
    lines.push(("training time", time(plan, speed)));
    let lines: Vec<_> = lines.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
    let table = if layers.is_empty() { String::new() } else { format!("{}\n", table(&layers)) };
    format!("{table}{}", render(&[("", Align::Left), ("", Align::Left)], &lines))
}

/// What the network is given for one score, and how much of it a sequence network must predict.
fn input(plan: &Plan) -> String {
    let given = match plan.grid() {
        Some([height, width]) => format!("a grid of {}", Shape { height, width }),
        None => format!("{} in windows of {}", counted(plan.columns(), "column"), counted(plan.window(), "row")),
    };
    match plan.predicted_rows() {
        0 => given,
        1 => format!("{given}, of which the last one is predicted"),
        rows => format!("{given}, of which the last {rows} are predicted"),
    }
}

fn table(layers: &[LayerLine]) -> String {
    let row = |layer: &LayerLine| {
        let texts = [layer.part, layer.kind, layer.output.as_str(), layer.activation.name()].map(str::to_owned);
        texts.into_iter().chain([grouped(layer.parameters as u64)]).collect::<Vec<_>>()
    };
    let columns = [
        ("PART", Align::Left),
        ("LAYER", Align::Left),
        ("OUTPUT", Align::Left),
        ("ACTIVATION", Align::Left),
        ("PARAMETERS", Align::Right),
    ];
    render(&columns, &layers.iter().map(row).collect::<Vec<_>>())
}

fn time(plan: &Plan, speed: &Speed) -> String {
    let Some(epochs) = plan.epochs() else {
        let why = if plan.members() > 0 { "principal components are solved exactly" } else { "nothing is fitted" };
        return format!("no epochs: {why}");
    };
    match speed {
        Ok((rows, speed)) => format!(
            "{}: {} at {} rows/s (measured on {}); it ends earlier where the validation loss gets no better",
            bound("at most about", plan.seconds(*speed).unwrap_or(f64::NAN)),
            counted(epochs, "epoch"),
            grouped(speed.round() as u64),
            counted(*rows, "row")
        ),
        Err(why) => format!("at most {}; the speed can't be measured: {why}", counted(epochs, "epoch")),
    }
}

/// Bytes as people write them.
fn size(bytes: usize) -> String {
    match bytes as f64 / 1024.0 {
        kib if kib < 1024.0 => format!("{:.0} KiB", kib.ceil()),
        kib => format!("{:.1} MiB", kib / 1024.0),
    }
}
