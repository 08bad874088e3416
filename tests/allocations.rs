//! Fitting allocates before its first batch and then no more, so that a training beside scoring costs no memory traffic
//! that grows with the rows.

#[path = "support/counting.rs"]
mod counting;

use std::ops::ControlFlow;

use linfa::ParamGuard;
use ndarray::Array2;
use strayd::{
    config::settings::{
        Contraction, Convolution, Kinds, NetworkKind, Noise, Optimiser, OptimiserRule, RateSchedule, Sparsity,
        Variational, VariationalScore,
    },
    train::{AutoencoderParams, Shape},
};

/// Allocations of two epochs over so many rows.
fn allocations(params: &AutoencoderParams<f32>, rows: usize) -> usize {
    let matrix = Array2::from_shape_fn((rows, 24), |(row, column)| ((row * 7 + column * 3) as f32 * 0.1).sin());
    let valid = params.clone().epochs(2).batch_size(32).check().expect("the parameters are sound");
    let before = counting::allocations();
    let validation = matrix.slice(ndarray::s![..32, ..]);
    valid.fit_with_validation(matrix.view(), validation, &mut |_| ControlFlow::Continue(())).expect("it can be fitted");
    counting::allocations() - before
}

#[test]
fn ten_times_the_batches_make_no_allocation_more() {
    let of = |kinds: &[NetworkKind]| {
        AutoencoderParams::<f32>::new(24, 4).hidden(&[16]).kinds(Kinds::new(kinds).expect("there are kinds"))
    };
    let window = Shape { height: 6, width: 1, channels: 4 };
    let convolution = Convolution { channels: vec![8, 8], kernel: 3, stride: 2, dilation: 1 };
    let variational = Variational { beta: 0.1, warm_up: 1, score: VariationalScore::Probability, draws: 4 };
    let noise = Noise { gaussian: 0.1, masking: 0.1, swap: 0.1 };
    let sparsity = Sparsity { l1: 0.1, ..Sparsity::default() };
    let kl = Sparsity { kl: 0.1, target: 0.1, ..Sparsity::default() };
    let clipped = Optimiser {
        rule: OptimiserRule::AdamW,
        learning_rate: 1e-3,
        schedule: RateSchedule::OneCycle,
        weight_decay: 0.01,
        clip_norm: Some(0.1),
    };
    let contraction = Contraction { weight: 0.1, projections: 1 };
    let everything =
        [NetworkKind::Denoising, NetworkKind::Sparse, NetworkKind::Contractive, NetworkKind::Convolutional];
    let every = [
        of(&[NetworkKind::Undercomplete]).trim(0.1),
        of(&[NetworkKind::Sparse]).sparsity(kl).skip(true).optimiser(clipped),
        of(&everything).noise(noise).sparsity(sparsity).contraction(contraction).convolution(window, convolution),
        of(&[NetworkKind::Variational]).variational(variational),
        of(&[NetworkKind::Sequence, NetworkKind::Denoising]).noise(noise).predicted(4),
    ];
    for params in every {
        // The first run pays for what a thread keeps.
        allocations(&params, 320);
        let (few, many) = (allocations(&params, 320), allocations(&params, 3200));
        assert!(many <= few, "{few} allocations for 20 batches, {many} for 200: {params:?}");
    }
}
