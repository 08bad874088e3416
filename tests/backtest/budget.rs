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

/// How much noisier than the others a machine of a fleet is.
const NOISY: f64 = 2.0;

/// Machines whose four values follow two hidden ones, which remember what they were (autoregression), with noise of heavy
/// tails: what is normal has bursts, and never changes. `noise_of` says how noisy each machine is beside the others.
fn plant(noise_of: impl Fn(usize) -> f64) -> String {
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
        let own = 0.5 * noise_of(machine);
        let values = [first, second, first + second, first - 2.0 * second].map(|value| value + own * noise());
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
    fs::write(folder.path().join("plant.csv"), plant(|_| 1.0)).unwrap();
    // Of all entities together, or of each.
    for budget in ["12 per day", "2 per entity per week"] {
        let set = format!("judging.budget.alarms={budget}");
        let arguments = ["--data", "plant.csv", "--set", &set];
        keeps_its_promise(raised_and_promised(folder.path(), &[&arguments[..], &BY_MACHINE].concat()));
    }
    let share = ["--data", "plant.csv", "--set", "judging.budget.quantile=0.01"];
    let (report, _) = backtest(folder.path(), &[&share[..], &BY_MACHINE].concat());
    keeps_its_promise((number(&report["alarms"], "measured"), 0.01));
}

#[test]
fn machines_that_are_noisier_or_calmer_than_others_keep_the_promise_each() {
    let folder = tempfile::tempdir().unwrap();
    // Two noisy ones, two calm ones.
    let noise_of = |machine: usize| [NOISY, 1.0, 1.0 / NOISY, 1.0, 1.0, 1.0][machine % 6];
    fs::write(folder.path().join("fleet.csv"), plant(noise_of)).unwrap();
    let arguments = ["--data", "fleet.csv", "--set", "judging.budget.alarms=1 per entity per day"];
    let (report, _) = backtest(folder.path(), &[&arguments[..], &BY_MACHINE].concat());
    let entities = report["per_entity"].as_array().unwrap();
    let raised_by = |noise: f64| {
        let alike = (0..MACHINES).filter(|machine| noise_of(*machine) == noise);
        let incidents = alike.map(|machine| {
            let one = entities.iter().find(|one| one["entity"] == format!("m{machine}").as_str()).unwrap();
            (number(one, "incidents"), number(one, "rows") * 300.0 / 86_400.0)
        });
        incidents.fold((0.0, 0.0), |(raised, days), (incidents, of_one)| (raised + incidents, days + of_one))
    };
    for noise in [NOISY, 1.0, 1.0 / NOISY] {
        let (raised, days) = raised_by(noise);
        assert!(raised <= 2.0 * days, "{raised} alarms of machines with noise {noise} in {days:.1} days");
    }
    assert!(raised_by(1.0 / NOISY).0 > 0.0, "a limit that holds for all hides what calm ones do");
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
