//! Networks of every kind and shape, a little fitted, and what a model file of them holds beside.

use std::ops::ControlFlow;

use linfa::ParamGuard;
use ndarray::{Array2, ArrayView2, Axis};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;
use strayd::{
    config::settings::{
        Activation, Convolution, Kinds, Loss, NetworkKind, Noise, Sparsity, Variational, VariationalScore,
    },
    model::{graph::GraphSpec, knots::Knots, metadata::Column},
    train::{AutoencoderParams, Network, Shape},
};

/// One model to be written.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub networks: Vec<Network<f32>>,
    pub columns: Vec<Column>,
    pub window: usize,
    pub input_clip: Option<(f32, f32)>,
    pub whitening: Option<Array2<f32>>,
}

impl Case {
    pub fn spec(&self) -> GraphSpec<'_> {
        GraphSpec {
            networks: &self.networks,
            columns: &self.columns,
            window: self.window,
            input_clip: self.input_clip,
            whitening: self.whitening.as_ref(),
            doc: "a test",
            metadata: &[],
        }
    }

    /// Windows in the columns' own units, some values of them far off.
    pub fn windows(&self, rows: usize, random: &mut Xoshiro256PlusPlus) -> Array2<f32> {
        let width = self.columns.len() * self.window;
        let mut windows = scaled_rows(rows, width, random);
        for value in windows.iter_mut().step_by(37) {
            *value *= 20.0;
        }
        for ((_, index), value) in windows.indexed_iter_mut() {
            let column = &self.columns[index % self.columns.len()];
            *value = *value * column.scale + column.center;
        }
        windows
    }
}

/// Scales of some of the columns that vary bend, by pieces of other numbers and slopes.
pub fn bend(columns: &mut [Column], random: &mut Xoshiro256PlusPlus) {
    for column in columns.iter_mut().filter(|column| column.residual_cap.is_infinite()) {
        if random.gen_bool(0.3) {
            continue;
        }
        let mut knot = (random.gen_range(-0.3..0.1), random.gen_range(-0.3..0.1));
        let mut knots = vec![knot];
        for _ in 0..random.gen_range(1..34) {
            let run = 10_f32.powf(random.gen_range(-3.0..-0.5));
            knot = (knot.0 + run, knot.1 + run * 2_f32.powf(random.gen_range(-1.0..2.0)));
            knots.push(knot);
        }
        column.knots = Some(Knots::new(knots).expect("they rise"));
    }
}

/// Columns with centres and scales of very different sizes; the last one is constant where that is asked for, so that its
/// residual is capped.
pub fn columns(count: usize, constant: bool, random: &mut Xoshiro256PlusPlus) -> Vec<Column> {
    (0..count)
        .map(|index| Column {
            name: format!("column-{index}"),
            feature: index,
            impute: 0.0,
            center: random.gen_range(-5.0..5.0),
            scale: 10_f32.powi(random.gen_range(-2..3)) * random.gen_range(0.5..2.0),
            knots: None,
            residual_cap: if constant && index + 1 == count { 1.0 } else { f32::INFINITY },
            residual_mean: random.gen_range(-0.1..0.1),
            residual_variance: random.gen_range(0.5..2.0),
        })
        .collect()
}

/// Rows in scaled units that hang together, so that a network has something to learn.
pub fn scaled_rows(rows: usize, width: usize, random: &mut Xoshiro256PlusPlus) -> Array2<f32> {
    let phases: Vec<f32> = (0..rows).map(|_| random.gen_range(0.0..6.0)).collect();
    Array2::from_shape_fn((rows, width), |(row, column)| {
        (0.5 + 0.4 * (phases[row] + column as f32).sin() + random.gen_range(-0.05..0.05)).clamp(0.0, 1.0)
    })
}

pub fn fitted(params: AutoencoderParams<f32>, rows: ArrayView2<'_, f32>) -> Network<f32> {
    let checked = params.check().expect("the parameters are sound");
    let (fitted, validation) = rows.split_at(Axis(0), rows.nrows() * 4 / 5);
    let mut go_on = |_: &_| ControlFlow::Continue(());
    checked.fit_with_validation(fitted, validation, &mut go_on).expect("the network can be fitted").network
}

/// Kinds of networks, and all else that changes what is exported, drawn at random.
pub struct Plan {
    pub kinds: Vec<NetworkKind>,
    pub probability: bool,
    pub skip: bool,
    pub loss: Loss,
    /// Height and width of a row that is a grid.
    pub grid: Option<(usize, usize)>,
    pub window: usize,
    pub columns: usize,
    pub predicted: usize,
    pub members: u64,
    pub constant: bool,
    pub bent: bool,
}

impl Plan {
    pub fn random(random: &mut Xoshiro256PlusPlus) -> Self {
        let mut kinds = vec![*[NetworkKind::Denoising, NetworkKind::Sparse].choose(random).expect("there are two")];
        let grid = random.gen_bool(0.2).then(|| (random.gen_range(1..6), random.gen_range(2..6)));
        if grid.is_some() || random.gen_bool(0.5) {
            kinds.push(NetworkKind::Convolutional);
        }
        let variational = random.gen_bool(0.5);
        let probability = variational && random.gen_bool(0.6);
        if variational {
            kinds.retain(|kind| *kind != NetworkKind::Sparse);
            kinds.push(NetworkKind::Variational);
        }
        let window = if grid.is_some() { 1 } else { random.gen_range(1..9) };
        let columns = grid.map_or_else(|| random.gen_range(1..6), |(height, width)| height * width);
        let skip = !probability && random.gen_bool(0.2);
        let predicted = if window > 2 && !skip && random.gen_bool(0.4) { random.gen_range(1..window - 1) } else { 0 };
        if predicted > 0 {
            kinds.push(NetworkKind::Sequence);
        }
        if window - predicted < 2 && grid.is_none() {
            kinds.retain(|kind| *kind != NetworkKind::Convolutional);
        }
        let probability = probability && !kinds.contains(&NetworkKind::Convolutional);
        let losses = [Loss::MeanSquaredError, Loss::Huber { delta: 0.1 }, Loss::BinaryCrossEntropy];
        let fitting = match (probability, skip) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        let loss = losses[random.gen_range(0..fitting)];
        let (members, constant) = (random.gen_range(1..4), random.gen_bool(0.5));
        let bent = random.gen_bool(0.5);
        Self { kinds, probability, skip, loss, grid, window, columns, predicted, members, constant, bent }
    }

    fn has(&self, kind: NetworkKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn params(&self, random: &mut Xoshiro256PlusPlus) -> AutoencoderParams<f32> {
        let width = self.window * self.columns;
        let code = random.gen_range(1..=4).min(if self.skip { width } else { 4 });
        let hidden: Vec<usize> = (0..random.gen_range(0..3)).map(|_| random.gen_range(1..12)).collect();
        let score = if self.probability { VariationalScore::Probability } else { VariationalScore::Error };
        let mut params = AutoencoderParams::new(width, code)
            .hidden(&hidden)
            .activation(*Activation::ALL.choose(random).expect("there are eight"))
            .loss(self.loss)
            .skip(self.skip)
            .predicted(self.predicted * self.columns)
            .learning_rate(0.02)
            .epochs(3)
            .batch_size(16);
        if self.kinds.is_empty() {
            return params.kinds(NetworkKind::Undercomplete);
        }
        params = params.kinds(Kinds::new(&self.kinds).expect("there is a kind"));
        if self.has(NetworkKind::Denoising) {
            params = params.noise(Noise { gaussian: 0.1, masking: 0.1, swap: 0.0 });
        }
        if self.has(NetworkKind::Sparse) {
            params = params.sparsity(Sparsity { l1: 0.01, ..Sparsity::default() });
        }
        if self.has(NetworkKind::Variational) {
            let draws = random.gen_range(1..7);
            params = params.variational(Variational { beta: 0.01, warm_up: 0, score, draws });
        }
        if self.has(NetworkKind::Convolutional) {
            let (height, width) = self.grid.unwrap_or((self.window, 1));
            let row = Shape { height, width, channels: if self.grid.is_some() { 1 } else { self.columns } };
            let channels = (0..random.gen_range(1..4)).map(|_| random.gen_range(1..10)).collect();
            let [kernel, stride, dilation] = [5, 4, 3].map(|below| random.gen_range(1..below));
            params = params.convolution(row, Convolution { channels, kernel, stride, dilation });
        }
        params
    }

    /// A model of such networks.
    pub fn case(&self, random: &mut Xoshiro256PlusPlus) -> Case {
        let rows = scaled_rows(40, self.window * self.columns, random);
        // Not every draw is sound: layers may stride a window down to nothing.
        let sound = |random: &mut Xoshiro256PlusPlus| {
            let mut draws = (0..200).map(|_| self.params(random));
            draws.find(|params| params.check_ref().is_ok()).expect("one of 200 draws is sound")
        };
        let networks = (0..self.members).map(|seed| fitted(sound(random).seed(seed), rows.view())).collect();
        let cross_entropy = self.loss == Loss::BinaryCrossEntropy;
        let near_one = |random: &mut Xoshiro256PlusPlus, columns| {
            Array2::eye(columns) + Array2::from_shape_simple_fn((columns, columns), || random.gen_range(-0.3..0.3))
        };
        let mut columns = columns(self.columns, self.constant, random);
        if self.bent {
            bend(&mut columns, random);
        }
        Case {
            name: format!("{:?}", self.kinds),
            networks,
            columns,
            window: self.window,
            input_clip: if cross_entropy { Some((0.0, 1.0)) } else { random.gen_bool(0.8).then_some((-1.0, 2.0)) },
            whitening: random.gen_bool(0.3).then(|| near_one(random, self.columns)),
        }
    }
}

/// A model of any kind.
pub fn random_case(seed: u64) -> (Case, Xoshiro256PlusPlus) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let case = Plan::random(&mut random).case(&mut random);
    (case, random)
}

/// Networks that were fitted so long on rows that never change that they are as sure of them as they can be.
pub fn sure_case() -> Case {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    let rows = Array2::from_shape_fn((40, 4), |(_, column)| 0.2 * column as f32);
    let variational = Variational { beta: 0.0, warm_up: 0, score: VariationalScore::Probability, draws: 4 };
    let params = AutoencoderParams::new(4, 2).kinds(NetworkKind::Variational).variational(variational);
    let params = params.activation(Activation::Tanh).learning_rate(0.02).epochs(400).patience(400);
    Case {
        name: "sure".to_owned(),
        networks: vec![fitted(params, rows.view())],
        columns: columns(4, false, &mut random),
        window: 1,
        input_clip: Some((-1.0, 2.0)),
        whitening: None,
    }
}
