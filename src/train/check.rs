//! What parameters can't be, and what would be right.

use std::fmt::Display;

use linfa::Float;

use super::{error::AutoencoderError, params::AutoencoderValidParams};
use crate::config::settings::{Activation, Contraction, Loss, NetworkKind, Noise, Sparsity, VariationalScore};

impl<F: Float> AutoencoderValidParams<F> {
    pub(super) fn check_everything(&self) -> Result<(), AutoencoderError> {
        self.check_widths()?;
        self.check_sequence()?;
        self.check_optimiser()?;
        self.check_loss_and_penalties()?;
        self.check_kinds()?;
        self.check_convolution()?;
        self.check_variational()?;
        self.check_skip()?;
        self.check_components()
    }

    fn check_widths(&self) -> Result<(), AutoencoderError> {
        at_least_one("input width", self.row_width)?;
        at_least_one("code size", self.code_size)?;
        for (index, &width) in self.hidden.iter().enumerate() {
            at_least_one(format!("width of hidden layer {}", index + 1), width)?;
        }
        Ok(())
    }

    fn check_optimiser(&self) -> Result<(), AutoencoderError> {
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch size", self.batch_size)?;
        at_least_one("patience", self.patience)?;
        let rate = self.optimiser.learning_rate;
        require(rate > 0.0 && rate <= 1.0, "learning rate", rate, "a number above 0, at most 1, such as 0.001")?;
        let decay = self.optimiser.weight_decay;
        require((0.0..=1.0).contains(&decay), "weight decay", decay, "a number of at least 0 and at most 1")?;
        let clip = self.optimiser.clip_norm.unwrap_or(1.0);
        require(clip > 0.0 && clip.is_finite(), "clip norm", clip, "a finite number above 0, such as 1")?;
        let trim = self.trim;
        require((0.0..=0.5).contains(&trim), "trimmed share", trim, "a share of at least 0 and at most 0.5")?;
        let least = 1.0 / self.batch_size as f64;
        let expected = format!("0, or at least {least:.4}: one row of a batch of {}", self.batch_size);
        require(trim == 0.0 || trim >= least, "trimmed share", trim, &expected)?;
        let share = self.validation_share;
        require(share > 0.0 && share < 1.0, "validation share", share, "a number between 0 and 1, such as 0.2")
    }

    fn check_loss_and_penalties(&self) -> Result<(), AutoencoderError> {
        if let Loss::Huber { delta } = self.loss {
            require(delta > 0.0 && delta.is_finite(), "huber delta", delta, "a finite number above 0, such as 1")?;
        }
        let Noise { gaussian, masking, swap } = self.noise;
        require(gaussian >= 0.0 && gaussian.is_finite(), "gaussian noise", gaussian, "a finite number, at least 0")?;
        require((0.0..1.0).contains(&masking), "masking noise", masking, "a share of at least 0 and below 1")?;
        require((0.0..1.0).contains(&swap), "swap noise", swap, "a share of at least 0 and below 1")?;
        let cure = "a value is taken from another row of the batch: use batches of at least 2";
        exclude(swap > 0.0 && self.batch_size < 2, format!("swap noise {swap}"), "batch size 1".to_owned(), cure)?;
        require(masking + swap <= 1.0, "sum of masking and swap noise", masking + swap, "at most 1")?;
        let Contraction { weight, projections } = self.contraction;
        require(weight >= 0.0 && weight.is_finite(), "contraction weight", weight, "a finite number, at least 0")?;
        if weight > 0.0 {
            at_least_one("number of projections", projections)?;
        }
        let Sparsity { l1, kl, target } = self.sparsity;
        require(l1 >= 0.0 && l1.is_finite(), "l1 penalty", l1, "a finite number, at least 0")?;
        require(kl >= 0.0 && kl.is_finite(), "kl penalty", kl, "a finite number, at least 0")?;
        if kl > 0.0 {
            require(target > 0.0 && target < 1.0, "target activity", target, "between 0 and 1, such as 0.05")?;
            let code = self.code_activation();
            let second = format!("code activation {code:?}").to_lowercase();
            let cure = "the kl penalty needs activities between 0 and 1: use a sigmoid code";
            exclude(code != Activation::Sigmoid, format!("kl penalty {kl}"), second, cure)?;
        }
        Ok(())
    }

    /// Each kind has what it needs, and nothing is set for a kind that isn't there.
    fn check_kinds(&self) -> Result<(), AutoencoderError> {
        let sparse = self.sparsity.l1 > 0.0 || self.sparsity.kl > 0.0;
        let pairs = [
            (
                NetworkKind::Denoising,
                ("noise", self.noise != Noise::default()),
                "set gaussian, masking or swap noise above 0, or use the kind undercomplete",
                "add the kind denoising, or use no noise",
            ),
            (
                NetworkKind::Sparse,
                ("penalty on the code", sparse),
                "set the l1 or the kl penalty above 0, or use the kind undercomplete",
                "add the kind sparse, or use no penalty",
            ),
            (
                NetworkKind::Contractive,
                ("penalty on the jacobian", self.contraction.weight > 0.0),
                "set the contraction weight above 0, or leave the kind out",
                "add the kind contractive, or use no contraction",
            ),
            (
                NetworkKind::Convolutional,
                ("convolutional layer", self.convolution.is_some()),
                "give the layers and the shape of a row, or leave the kind out",
                "add the kind convolutional, or give no convolutional layers",
            ),
            (
                NetworkKind::Variational,
                ("setting of the variational kind", self.variational.is_some()),
                "give the weight of the divergence, or leave the kind out",
                "add the kind variational, or leave its settings out",
            ),
            (
                NetworkKind::Sequence,
                ("predicted value", self.predicted > 0),
                "say how many values at the end of a row are predicted, or leave the kind out",
                "add the kind sequence, or predict nothing",
            ),
        ];
        for (kind, (what, there), missing, superfluous) in pairs {
            let kinds = format!("kind {}", self.kinds);
            exclude(self.kinds.has(kind) && !there, format!("no {what}"), kinds.clone(), missing)?;
            exclude(!self.kinds.has(kind) && there, format!("a {what}"), kinds, superfluous)?;
        }
        let plain = self.kinds.has(NetworkKind::Undercomplete) || self.kinds.has(NetworkKind::Pca);
        let width = format!("code size {} for {} columns", self.code_size, self.input_width());
        let cure = "use a smaller code, or the kind denoising or sparse";
        let wide = plain && self.code_size >= self.input_width();
        exclude(wide, width, format!("kind {}", self.kinds), cure)
    }

    fn check_convolution(&self) -> Result<(), AutoencoderError> {
        let Some((row, layers)) = &self.convolution else { return Ok(()) };
        let size = row.size();
        let expected = "as many values as a row has";
        require(size == self.row_width, "size of a row's shape", format!("{row} = {size}"), expected)?;
        require(!layers.channels.is_empty(), "number of convolutional layers", 0, "at least 1")?;
        for (index, &channels) in layers.channels.iter().enumerate() {
            at_least_one(format!("channels of convolutional layer {}", index + 1), channels)?;
        }
        at_least_one("kernel", layers.kernel)?;
        at_least_one("stride", layers.stride)?;
        at_least_one("dilation", layers.dilation)?;
        let position = row.width * row.channels;
        let whole = self.predicted.is_multiple_of(position);
        let expected = format!("a multiple of the {position} values of a window's row");
        require(whole, "number of predicted values", self.predicted, &expected)?;
        let height = row.height - self.predicted / position;
        let extent = height.max(row.width);
        let reach = (layers.kernel - 1) * layers.dilation + 1;
        let cure = "use a smaller kernel or dilation, or a longer window";
        let first = format!("a kernel of {} at a dilation of {}", layers.kernel, layers.dilation);
        exclude(reach > extent, first, format!("a length of {extent}"), cure)?;
        let mut left = extent;
        for layer in 1..=layers.channels.len() {
            let cure = "use fewer convolutional layers, a smaller stride, or a longer window";
            let first = format!("convolutional layer {layer}");
            exclude(left < 2, first, format!("a single position, which {} is strided down to", extent), cure)?;
            left = left.div_ceil(layers.stride);
        }
        Ok(())
    }

    fn check_variational(&self) -> Result<(), AutoencoderError> {
        let Some(variational) = self.variational else { return Ok(()) };
        let beta = variational.beta;
        require(beta >= 0.0 && beta.is_finite(), "weight of the divergence", beta, "a finite number, at least 0")?;
        at_least_one("number of draws", variational.draws)?;
        for kind in [NetworkKind::Sparse, NetworkKind::Contractive] {
            let cure = "the divergence already shapes the code: leave one of the two out";
            exclude(self.kinds.has(kind), format!("kind {}", kind.name()), "kind variational".to_owned(), cure)?;
        }
        let code = self.code_activation();
        let cure = "a variational code has means of any size: leave its activation out";
        let second = format!("code activation {code:?}").to_lowercase();
        exclude(code != Activation::Identity, "kind variational".to_owned(), second, cure)?;
        let probability = variational.score == VariationalScore::Probability;
        let loss = format!("loss {:?}", self.loss).to_lowercase();
        let cure = "the reconstruction probability has a loss of its own: leave the loss at the mean squared error";
        let first = "score probability".to_owned();
        exclude(probability && self.loss != Loss::MeanSquaredError, first, loss, cure)?;
        // A transposed convolution would give means here and variances there, not both at each position.
        let cure = "score by error, or leave the kind convolutional out";
        let (first, second) = ("score probability".to_owned(), "kind convolutional".to_owned());
        exclude(probability && self.convolution.is_some(), first, second, cure)
    }

    fn check_sequence(&self) -> Result<(), AutoencoderError> {
        let expected = format!("less than the {} values of a row", self.row_width);
        require(self.predicted < self.row_width, "number of predicted values", self.predicted, &expected)
    }

    fn check_skip(&self) -> Result<(), AutoencoderError> {
        let skip = || "a linear skip".to_owned();
        let cure = "a sequence is predicted, not rebuilt: leave the skip out";
        exclude(self.skip && self.predicted > 0, skip(), "kind sequence".to_owned(), cure)?;
        let cure = "use the mean squared error or huber, or no skip";
        let loss = "loss binary_cross_entropy".to_owned();
        exclude(self.skip && self.loss == Loss::BinaryCrossEntropy, skip(), loss, cure)?;
        let probability = self.variational.is_some_and(|v| v.score == VariationalScore::Probability);
        let cure = "score by error, or leave the skip out";
        exclude(self.skip && probability, skip(), "score probability".to_owned(), cure)?;
        let cure = "there are no more components than columns: use a smaller code, or no skip";
        let code = format!("code size {} for {} columns", self.code_size, self.row_width);
        exclude(self.skip && self.code_size > self.row_width, skip(), code, cure)
    }

    fn check_components(&self) -> Result<(), AutoencoderError> {
        if !self.kinds.has(NetworkKind::Pca) {
            return Ok(());
        }
        let kind = || "kind pca".to_owned();
        let cure = "principal components are solved exactly: use pca alone";
        exclude(self.kinds.iter().count() > 1, kind(), format!("kind {}", self.kinds), cure)?;
        let cure = "principal components have no hidden layers: leave them out, or use the kind undercomplete";
        exclude(!self.hidden.is_empty(), format!("hidden layers {:?}", self.hidden), kind(), cure)?;
        let cure = "principal components minimise the mean squared error: use it, or another kind";
        let loss = format!("loss {:?}", self.loss).to_lowercase();
        exclude(self.loss != Loss::MeanSquaredError, loss, kind(), cure)?;
        let cure = "the code of principal components is linear: leave its activation out";
        let code = self.code_activation();
        exclude(code != Activation::Identity, format!("code activation {code:?}").to_lowercase(), kind(), cure)?;
        let cure = "principal components are all there is: leave the skip out";
        exclude(self.skip, "a linear skip".to_owned(), kind(), cure)
    }
}

fn at_least_one(name: impl Into<String>, value: usize) -> Result<(), AutoencoderError> {
    require(value >= 1, name, value, "at least 1")
}

fn require(good: bool, name: impl Into<String>, value: impl Display, expected: &str) -> Result<(), AutoencoderError> {
    if good {
        return Ok(());
    }
    Err(AutoencoderError::Parameter { name: name.into(), value: value.to_string(), expected: expected.to_owned() })
}

fn exclude(bad: bool, first: String, second: String, cure: &'static str) -> Result<(), AutoencoderError> {
    if bad { Err(AutoencoderError::Contradiction { first, second, cure }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use linfa::ParamGuard;

    use super::*;
    use crate::{
        config::settings::{Convolution, Kinds, Optimiser, Variational},
        train::{AutoencoderParams, Shape},
    };

    fn refusal(params: AutoencoderParams<f32>) -> String {
        params.check().unwrap_err().to_string()
    }

    fn params() -> AutoencoderParams<f32> {
        AutoencoderParams::new(8, 3).hidden(&[6])
    }

    fn noisy(noise: Noise) -> AutoencoderParams<f32> {
        params().kinds(NetworkKind::Denoising).noise(noise)
    }

    fn sparse(sparsity: Sparsity) -> AutoencoderParams<f32> {
        params().kinds(NetworkKind::Sparse).sparsity(sparsity)
    }

    const PLAIN: Variational = Variational { beta: 0.1, warm_up: 1, score: VariationalScore::Error, draws: 4 };

    fn variational(variational: Variational) -> AutoencoderParams<f32> {
        params().kinds(NetworkKind::Variational).variational(variational)
    }

    fn convolutional(channels: &[usize], kernel: usize, dilation: usize) -> AutoencoderParams<f32> {
        let window = Shape { height: 4, width: 1, channels: 2 };
        let layers = Convolution { channels: channels.to_vec(), kernel, stride: 2, dilation };
        params().hidden(&[]).kinds(NetworkKind::Convolutional).convolution(window, layers)
    }

    fn both(kinds: &[NetworkKind]) -> Kinds {
        Kinds::new(kinds).unwrap()
    }

    #[test]
    fn what_convolutions_codes_predictions_and_skips_can_not_be_is_told_with_what_would_be_right() {
        use NetworkKind::{Contractive, Convolutional, Sequence, Sparse, Variational as Gaussian};
        let probability = Variational { score: VariationalScore::Probability, ..PLAIN };
        let l1 = Sparsity { l1: 0.1, ..Sparsity::default() };
        let contraction = Contraction { weight: 0.1, projections: 1 };
        let other = Shape { height: 4, width: 1, channels: 3 };
        let layers = || Convolution { channels: vec![3], kernel: 3, stride: 2, dilation: 1 };
        for (params, words) in [
            (convolutional(&[], 3, 1), "number of convolutional layers is 0, expected at least 1"),
            (convolutional(&[3, 0], 3, 1), "channels of convolutional layer 2 is 0, expected at least 1"),
            (convolutional(&[3], 0, 1), "kernel is 0, expected at least 1"),
            (convolutional(&[3], 3, 0), "dilation is 0, expected at least 1"),
            (convolutional(&[3], 5, 1), "a kernel of 5 at a dilation of 1 does not go with a length of 4"),
            (convolutional(&[3], 3, 2), "use a smaller kernel or dilation, or a longer window"),
            (convolutional(&[3, 3, 3], 3, 1), "convolutional layer 3 does not go with a single position"),
            (
                convolutional(&[3], 3, 1).convolution(other, layers()),
                "size of a row's shape is 4 x 3 = 12, expected as many values as a row has",
            ),
            (
                convolutional(&[3], 3, 1).kinds(both(&[Convolutional, Sequence])).predicted(3),
                "a multiple of the 2 values",
            ),
            (variational(Variational { draws: 0, ..PLAIN }), "number of draws is 0, expected at least 1"),
            (variational(PLAIN).kinds(both(&[Gaussian, Sparse])).sparsity(l1), "leave one of the two out"),
            (
                variational(PLAIN).kinds(both(&[Gaussian, Contractive])).contraction(contraction),
                "leave one of the two out",
            ),
            (variational(PLAIN).code_activation(Activation::Tanh), "leave its activation out"),
            (variational(probability).loss(Loss::Huber { delta: 1.0 }), "leave the loss at the mean squared error"),
            (
                convolutional(&[3], 3, 1).kinds(both(&[Convolutional, Gaussian])).variational(probability),
                "score by error, or leave the kind convolutional out",
            ),
            (variational(probability).skip(true), "score by error, or leave the skip out"),
            (params().kinds(Sequence).predicted(8), "predicted values is 8, expected less than the 8 values of a row"),
            (params().kinds(Sequence).predicted(9), "predicted values is 9, expected less than the 8 values of a row"),
            (params().kinds(Sequence).predicted(2).skip(true), "leave the skip out"),
            (params().skip(true).loss(Loss::BinaryCrossEntropy), "use the mean squared error or huber, or no skip"),
            (params().trim(0.004).batch_size(128), "expected 0, or at least 0.0078: one row of a batch of 128"),
            (noisy(Noise { swap: 0.1, ..Noise::default() }).batch_size(1), "use batches of at least 2"),
        ] {
            let told = refusal(params);
            assert!(told.contains(words), "{told:?} instead of {words:?}");
        }
    }

    #[test]
    fn defaults_are_accepted() {
        assert!(params().check().is_ok());
    }

    #[test]
    fn zero_widths_and_counts_are_refused_by_name() {
        assert_eq!(refusal(AutoencoderParams::new(0, 3)), "input width is 0, expected at least 1");
        assert_eq!(refusal(AutoencoderParams::new(8, 0)), "code size is 0, expected at least 1");
        assert_eq!(refusal(params().hidden(&[6, 0])), "width of hidden layer 2 is 0, expected at least 1");
        assert_eq!(refusal(params().epochs(0)), "epochs is 0, expected at least 1");
        assert_eq!(refusal(params().batch_size(0)), "batch size is 0, expected at least 1");
        assert_eq!(refusal(params().patience(0)), "patience is 0, expected at least 1");
    }

    #[test]
    fn nan_is_refused_wherever_a_number_is_asked_for() {
        let nan = f64::NAN;
        let noise = Noise::default();
        let steps = params().check().unwrap().optimiser;
        let kl = Sparsity { l1: 0.0, kl: 1.0, target: 0.1 };
        for params in [
            params().learning_rate(nan),
            params().validation_share(nan),
            params().loss(Loss::Huber { delta: nan }),
            noisy(Noise { gaussian: nan, ..noise }),
            noisy(Noise { masking: nan, ..noise }),
            noisy(Noise { swap: nan, ..noise }),
            sparse(Sparsity { l1: nan, ..kl }),
            sparse(Sparsity { kl: nan, ..kl }),
            sparse(Sparsity { target: nan, ..kl }),
            params().optimiser(Optimiser { weight_decay: nan, ..steps }),
            params().optimiser(Optimiser { clip_norm: Some(nan), ..steps }),
            params().trim(nan),
            params().kinds(NetworkKind::Contractive).contraction(Contraction { weight: nan, projections: 1 }),
            variational(Variational { beta: nan, ..PLAIN }),
        ] {
            assert!(refusal(params).contains("is NaN, expected"));
        }
    }

    #[test]
    fn an_undercomplete_code_must_be_smaller_than_its_input() {
        let wide = AutoencoderParams::<f32>::new(8, 8);
        let expected = "code size 8 for 8 columns does not go with kind undercomplete; use a smaller code, or the kind \
                        denoising or sparse";
        assert_eq!(refusal(wide.clone()), expected);
        assert!(wide.clone().kinds(NetworkKind::Pca).check().is_err());
        let noise = Noise { masking: 0.1, ..Noise::default() };
        assert!(wide.clone().kinds(NetworkKind::Denoising).noise(noise).check().is_ok());
        let sparsity = Sparsity { l1: 0.1, ..Sparsity::default() };
        assert!(wide.kinds(NetworkKind::Sparse).sparsity(sparsity).check().is_ok());
    }

    #[test]
    fn contradictions_are_refused_with_their_cure() {
        let noise = Noise { gaussian: 0.1, ..Noise::default() };
        let l1 = Sparsity { l1: 0.1, ..Sparsity::default() };
        let kl = Sparsity { kl: 0.1, target: 0.1, ..Sparsity::default() };
        let pca = AutoencoderParams::new(8, 3).kinds(NetworkKind::Pca);
        assert!(refusal(params().noise(noise)).contains("add the kind denoising"));
        assert!(refusal(params().sparsity(l1)).contains("add the kind sparse"));
        assert!(refusal(params().kinds(NetworkKind::Denoising)).contains("above 0"));
        assert!(refusal(params().kinds(NetworkKind::Sparse)).contains("above 0"));
        assert!(refusal(sparse(kl).code_activation(Activation::Relu)).contains("use a sigmoid code"));
        assert!(refusal(params().kinds(NetworkKind::Pca)).contains("hidden layers [6]"));
        assert!(refusal(pca.clone().loss(Loss::BinaryCrossEntropy)).contains("mean squared error"));
        assert!(refusal(pca.clone().code_activation(Activation::Tanh)).contains("linear"));
        assert!(pca.check().is_ok());
        let both = Noise { masking: 0.6, swap: 0.6, ..noise };
        assert_eq!(refusal(noisy(both)), "sum of masking and swap noise is 1.2, expected at most 1");
    }

    #[test]
    fn the_code_is_linear_unless_a_kl_penalty_needs_activities() {
        assert_eq!(params().check().unwrap().code_activation(), Activation::Identity);
        let kl = Sparsity { kl: 0.1, target: 0.1, ..Sparsity::default() };
        assert_eq!(sparse(kl).check().unwrap().code_activation(), Activation::Sigmoid);
    }
}
