//! The alarm budget: what is promised on normal rows is what is measured on others, which nothing was fitted on.

use std::{fmt::Write as _, fs};

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{BY_MACHINE, backtest, demo_data, number};

/// Machines of the made-up plant, each with a row every five minutes.
const MACHINES: usize = 12;
const STEPS: usize = 3_000;

/// Alarms raised and alarms promised in the scored half or share of a file.
fn raised_and_promised(folder: &std::path::Path, arguments: &[&str]) -> (f64, f64) {
    let (report, _) = backtest(folder, arguments);
    let days = number(&report["rows"], "judged") * number(&report["span"], "step_seconds") / 86_400.0;
    (number(&report["alarms"], "incidents"), number(&report["alarms"], "promised") * days)
}

fn keeps_its_promise((raised, promised): (f64, f64)) {
    let ratio = raised / promised;
    assert!((0.5..=2.0).contains(&ratio), "{raised} alarms were raised where {promised:.1} were promised");
}

/// Machines whose four values follow two hidden ones, which remember what they were (autoregression), with noise of heavy
/// tails: what is normal has bursts, and never changes.
fn plant() -> String {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut noise = move || {
        let spread = if random.gen_bool(0.02) { 3.0 } else { 1.0 };
        spread * (0..6).map(|_| random.gen_range(-0.7..0.7)).sum::<f64>()
    };
    let mut hidden = [[0.0_f64; 2]; MACHINES];
    let mut text = "timestamp,machine,a,b,c,d\n".to_owned();
    for row in 0..MACHINES * STEPS {
        let (step, machine) = (row / MACHINES, row % MACHINES);
        let state = &mut hidden[machine];
        state.iter_mut().for_each(|value| *value = 0.9 * *value + noise());
        let [first, second] = *state;
        let values = [first, second, first + second, first - 2.0 * second].map(|value| value + 0.5 * noise());
        let _ = writeln!(
            text,
            "{},m{machine},{},{},{},{}",
            1_767_225_600 + step * 300,
            values[0],
            values[1],
            values[2],
            values[3]
        );
    }
    text
}

#[test]
fn a_plant_that_never_changes_raises_the_alarms_that_were_promised() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plant.csv"), plant()).unwrap();
    for budget in ["1", "0.3"] {
        let set = format!("judging.budget.alarms_per_entity_and_day={budget}");
        let arguments = ["--data", "plant.csv", "--set", &set];
        keeps_its_promise(raised_and_promised(folder.path(), &[&arguments[..], &BY_MACHINE].concat()));
    }
    let share = ["--data", "plant.csv", "--set", "judging.budget.quantile=0.01"];
    let (report, _) = backtest(folder.path(), &[&share[..], &BY_MACHINE].concat());
    keeps_its_promise((number(&report["alarms"], "measured"), 0.01));
}

#[test]
fn the_demos_normal_days_raise_the_alarms_that_were_promised() {
    let folder = tempfile::tempdir().unwrap();
    let sums = ["server-train.csv.gz", "mentions-train.csv.gz"].map(|name| {
        let path = demo_data(name);
        raised_and_promised(folder.path(), &["--data", path.to_str().unwrap(), "--train-share", "0.7"])
    });
    keeps_its_promise(sums.iter().fold((0.0, 0.0), |(raised, promised), (r, p)| (raised + r, promised + p)));
}
