//! What is fitted and how: unchecked, then checked.

use std::fmt::{Debug, Display};

use linfa::{Float, ParamGuard};

use crate::config::settings::{Activation, Loss, NetworkKind, Noise, Sparsity};

use super::error::AutoencoderError;

/// Checked parameters of an autoencoder; only they can fit.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderValidParams<F> {
    pub(super) input_width: usize,
    pub(super) code_size: usize,
    pub(super) hidden: Vec<usize>,
    pub(super) kind: NetworkKind,
    pub(super) activation: Activation,
    code_activation: Option<Activation>,
    pub(super) loss: Loss,
    pub(super) noise: Noise,
    pub(super) sparsity: Sparsity,
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) learning_rate: f64,
    pub(super) patience: usize,
    pub(super) validation_share: f64,
    pub(super) seed: u64,
    float: std::marker::PhantomData<F>,
}

/// Parameters of an autoencoder before they are checked.
///
/// | parameter | default |
/// |---|---|
/// | [`kind`](Self::kind) | undercomplete |
/// | [`hidden`](Self::hidden) | none |
/// | [`activation`](Self::activation) | rectifier |
/// | [`code_activation`](Self::code_activation) | identity; sigmoid with a KL penalty |
/// | [`loss`](Self::loss) | mean squared error |
/// | [`noise`](Self::noise), [`sparsity`](Self::sparsity) | none |
/// | [`epochs`](Self::epochs), [`patience`](Self::patience) | 100, 10 |
/// | [`batch_size`](Self::batch_size), [`learning_rate`](Self::learning_rate) | 128, 0.001 |
/// | [`validation_share`](Self::validation_share) | 0.2 |
/// | [`seed`](Self::seed) | 0 |
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderParams<F>(AutoencoderValidParams<F>);

impl<F: Float> AutoencoderParams<F> {
    /// Parameters with their defaults for rows of `input_width` columns and a latent code of `code_size` values.
    pub fn new(input_width: usize, code_size: usize) -> Self {
        Self(AutoencoderValidParams {
            input_width,
            code_size,
            hidden: Vec::new(),
            kind: NetworkKind::Undercomplete,
            activation: Activation::Relu,
            code_activation: None,
            loss: Loss::MeanSquaredError,
            noise: Noise::default(),
            sparsity: Sparsity::default(),
            epochs: 100,
            batch_size: 128,
            learning_rate: 1e-3,
            patience: 10,
            validation_share: 0.2,
            seed: 0,
            float: std::marker::PhantomData,
        })
    }

    /// The kind of autoencoder. `Pca` is solved exactly and uses of the other parameters only `code_size`,
    /// `validation_share` and (for the report) the loss, which must be the mean squared error.
    pub fn kind(mut self, kind: NetworkKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Widths of the encoder's hidden layers from input to code; the decoder mirrors them.
    pub fn hidden(mut self, widths: &[usize]) -> Self {
        self.0.hidden = widths.to_vec();
        self
    }

    /// Activation of the hidden layers.
    pub fn activation(mut self, activation: Activation) -> Self {
        self.0.activation = activation;
        self
    }

    /// Activation of the code layer.
    pub fn code_activation(mut self, activation: Activation) -> Self {
        self.0.code_activation = Some(activation);
        self
    }

    /// What is minimised. The output layer is linear, but for the binary cross-entropy, where it is a sigmoid.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.0.loss = loss;
        self
    }

    /// Corruption of the input; the denoising kind needs it, the sparse kind may have it.
    pub fn noise(mut self, noise: Noise) -> Self {
        self.0.noise = noise;
        self
    }

    /// Penalties on the code; the sparse kind needs one, the denoising kind may have them.
    pub fn sparsity(mut self, sparsity: Sparsity) -> Self {
        self.0.sparsity = sparsity;
        self
    }

    /// Upper bound of passes over the training rows, >= 1.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.0.epochs = epochs;
        self
    }

    /// Rows per step, >= 1; the last batch of an epoch may have fewer.
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.0.batch_size = rows;
        self
    }

    /// Adam's step size, > 0 and at most 1.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.0.learning_rate = rate;
        self
    }

    /// Epochs without improvement on the validation rows before fitting stops, >= 1.
    pub fn patience(mut self, epochs: usize) -> Self {
        self.0.patience = epochs;
        self
    }

    /// Share of the newest (last) rows that [`Fit`](linfa::traits::Fit) keeps for validation, between 0 and 1.
    pub fn validation_share(mut self, share: f64) -> Self {
        self.0.validation_share = share;
        self
    }

    /// Seed of the initial weights, the order of rows and the noise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl<F: Float> ParamGuard for AutoencoderParams<F> {
    type Checked = AutoencoderValidParams<F>;
    type Error = AutoencoderError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        self.0.check_widths()?;
        self.0.check_optimiser()?;
        self.0.check_loss_and_penalties()?;
        self.0.check_kind()?;
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<F: Float> AutoencoderValidParams<F> {
    /// The activation of the code layer: the given one, else a sigmoid where a KL penalty needs activities between 0 and
    /// 1, else none.
    pub fn code_activation(&self) -> Activation {
        let default = if self.sparsity.kl > 0.0 { Activation::Sigmoid } else { Activation::Identity };
        self.code_activation.unwrap_or(default)
    }

    /// Width of a row.
    pub fn input_width(&self) -> usize {
        self.input_width
    }

    /// Width of the latent code.
    pub fn code_size(&self) -> usize {
        self.code_size
    }

    /// The kind of autoencoder.
    pub fn kind(&self) -> NetworkKind {
        self.kind
    }

    fn check_widths(&self) -> Result<(), AutoencoderError> {
        at_least_one("input width", self.input_width)?;
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
        let rate = self.learning_rate;
        require(rate > 0.0 && rate <= 1.0, "learning rate", rate, "a number above 0, at most 1, such as 0.001")?;
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
        require(masking + swap <= 1.0, "sum of masking and swap noise", masking + swap, "at most 1")?;
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

    fn check_kind(&self) -> Result<(), AutoencoderError> {
        let kind = format!("kind {:?}", self.kind).to_lowercase();
        let (noisy, sparse) = (self.noise != Noise::default(), self.sparsity.l1 > 0.0 || self.sparsity.kl > 0.0);
        let plain = matches!(self.kind, NetworkKind::Undercomplete | NetworkKind::Pca);
        let width = format!("code size {} for {} columns", self.code_size, self.input_width);
        let cure = "use a smaller code, or the kind denoising or sparse";
        exclude(plain && self.code_size >= self.input_width, width, kind.clone(), cure)?;
        let cure = "use the kind denoising, or no noise";
        exclude(plain && noisy, "noise".to_owned(), kind.clone(), cure)?;
        let cure = "use the kind sparse, or no penalty";
        exclude(plain && sparse, "a sparsity penalty".to_owned(), kind.clone(), cure)?;
        let cure = "set gaussian, masking or swap noise above 0, or use the kind undercomplete";
        let denoising = self.kind == NetworkKind::Denoising;
        exclude(denoising && !noisy, "no noise".to_owned(), kind.clone(), cure)?;
        let cure = "set the l1 or the kl penalty above 0, or use the kind undercomplete";
        exclude(self.kind == NetworkKind::Sparse && !sparse, "no penalty".to_owned(), kind.clone(), cure)?;
        if self.kind == NetworkKind::Pca {
            let cure = "principal components have no hidden layers: leave them out, or use the kind undercomplete";
            exclude(!self.hidden.is_empty(), format!("hidden layers {:?}", self.hidden), kind.clone(), cure)?;
            let cure = "principal components minimise the mean squared error: use it, or another kind";
            let loss = format!("loss {:?}", self.loss).to_lowercase();
            exclude(self.loss != Loss::MeanSquaredError, loss, kind.clone(), cure)?;
            let cure = "the code of principal components is linear: leave its activation out";
            let code = self.code_activation();
            exclude(code != Activation::Identity, format!("code activation {code:?}").to_lowercase(), kind, cure)?;
        }
        Ok(())
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
    use super::*;

    fn refusal(params: AutoencoderParams<f32>) -> String {
        params.check().unwrap_err().to_string()
    }

    fn params() -> AutoencoderParams<f32> {
        AutoencoderParams::new(8, 3).hidden(&[6])
    }

    fn noisy(noise: Noise) -> AutoencoderParams<f32> {
        params().kind(NetworkKind::Denoising).noise(noise)
    }

    fn sparse(sparsity: Sparsity) -> AutoencoderParams<f32> {
        params().kind(NetworkKind::Sparse).sparsity(sparsity)
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
        assert!(wide.clone().kind(NetworkKind::Pca).check().is_err());
        let noise = Noise { masking: 0.1, ..Noise::default() };
        assert!(wide.clone().kind(NetworkKind::Denoising).noise(noise).check().is_ok());
        let sparsity = Sparsity { l1: 0.1, ..Sparsity::default() };
        assert!(wide.kind(NetworkKind::Sparse).sparsity(sparsity).check().is_ok());
    }

    #[test]
    fn contradictions_are_refused_with_their_cure() {
        let noise = Noise { gaussian: 0.1, ..Noise::default() };
        let l1 = Sparsity { l1: 0.1, ..Sparsity::default() };
        let kl = Sparsity { kl: 0.1, target: 0.1, ..Sparsity::default() };
        let pca = AutoencoderParams::new(8, 3).kind(NetworkKind::Pca);
        assert!(refusal(params().noise(noise)).contains("use the kind denoising"));
        assert!(refusal(params().sparsity(l1)).contains("use the kind sparse"));
        assert!(refusal(params().kind(NetworkKind::Denoising)).contains("above 0"));
        assert!(refusal(params().kind(NetworkKind::Sparse)).contains("above 0"));
        assert!(refusal(sparse(kl).code_activation(Activation::Relu)).contains("use a sigmoid code"));
        assert!(refusal(params().kind(NetworkKind::Pca)).contains("hidden layers [6]"));
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
