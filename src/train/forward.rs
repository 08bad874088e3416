//! What a network makes of rows: codes, reconstructions and, of Gaussian outputs, deviances. Fitting has a forward pass of its
//! own, which keeps what differentiation needs.

use linfa::{Float, traits::PredictInplace};
use ndarray::{Array2, ArrayBase, ArrayView1, ArrayView2, Axis, Data, Ix2, s};

use super::{
    activation::activate,
    layer::Layer,
    network::{LEAST_LOG_VARIANCE, Latent, Network, Output, contiguous, contiguous_mut, log_variance},
};

impl<F: Float> Network<F> {
    /// The latent codes `[rows, code_size]` of rows `[rows, input_width]`; of a Gaussian code the means.
    ///
    /// # Panics
    /// The rows have another width than the network.
    pub fn encode(&self, rows: ArrayView2<'_, F>) -> Array2<F> {
        self.codes(rows).0
    }

    /// The latent codes as [`encode`](Self::encode) gives them and, of a Gaussian code, their deviations, `[rows, code_size]`
    /// both.
    ///
    /// # Panics
    /// The rows have another width than the network.
    pub fn codes(&self, rows: ArrayView2<'_, F>) -> (Array2<F>, Option<Array2<F>>) {
        let heads = propagate(&self.layers[..=self.code], rows);
        match self.latent {
            Latent::Plain => (heads, None),
            Latent::Gaussian => {
                let (means, log_variances) = heads.view().split_at(Axis(1), self.code_size());
                let deviations = log_variances.mapv(|value| (value * F::cast(0.5)).exp());
                (means.as_standard_layout().into_owned(), Some(deviations))
            }
        }
    }

    /// What the decoder makes of latent codes `[rows, code_size]`: `[rows, output_width]`, without a linear skip.
    ///
    /// # Panics
    /// The codes have another width than the network's code.
    pub fn decode(&self, codes: ArrayView2<'_, F>) -> Array2<F> {
        let output = propagate(&self.layers[self.code + 1..], codes);
        match self.output {
            Output::Values => output,
            Output::Gaussian(_) => output.slice(s![.., ..self.output_width()]).as_standard_layout().into_owned(),
        }
    }

    /// The reconstructions `[rows, output_width]` of rows `[rows, input_width]`, from the means of a Gaussian code.
    ///
    /// # Panics
    /// The rows have another width than the network.
    pub fn reconstruct(&self, rows: ArrayView2<'_, F>) -> Array2<F> {
        let mut output = self.decode(self.encode(rows).view());
        if let Some(skip) = &self.skip {
            output += &propagate(std::slice::from_ref(&skip.decoder), skip.encoder.forward(rows).view());
        }
        output
    }

    /// Of a network with a Gaussian output: the mean reconstruction and the mean deviance of `targets`, both
    /// `[rows, output_width]`, over the network's draws of the code. The deviance is `(target - mean)^2 / variance +
    /// ln(variance)`, twice the negative logarithm of the reconstruction probability (An and Cho 2015, "Variational
    /// autoencoder based anomaly detection using reconstruction probability") but for a constant, and less its least value,
    /// so that it is never negative. `None` for other networks.
    ///
    /// # Panics
    /// Rows or targets have another width than the network.
    pub fn deviance(&self, rows: ArrayView2<'_, F>, targets: ArrayView2<'_, F>) -> Option<(Array2<F>, Array2<F>)> {
        let Output::Gaussian(draws) = &self.output else { return None };
        let (means, Some(deviations)) = self.codes(rows) else { return None };
        let width = self.output_width();
        let mut rebuilt = Array2::zeros((rows.nrows(), width));
        let mut deviance = Array2::zeros((rows.nrows(), width));
        for draw in draws.rows() {
            let codes = &means + &(&deviations * &draw);
            let output = propagate(&self.layers[self.code + 1..], codes.view());
            for ((row, output), target) in output.rows().into_iter().enumerate().zip(targets.rows()) {
                add_deviance(output, target, (&mut rebuilt, &mut deviance), row);
            }
        }
        let share = F::one() / F::cast(draws.nrows());
        Some((rebuilt * share, deviance * share))
    }
}

fn add_deviance<F: Float>(
    output: ArrayView1<'_, F>,
    target: ArrayView1<'_, F>,
    (rebuilt, deviance): (&mut Array2<F>, &mut Array2<F>),
    row: usize,
) {
    let width = target.len();
    for (at, &target) in target.iter().enumerate() {
        let (mean, logarithm) = (output[at], log_variance(output[width + at]));
        rebuilt[[row, at]] += mean;
        let squared = (target - mean) * (target - mean) * (-logarithm).exp();
        deviance[[row, at]] += squared + (logarithm - F::cast(LEAST_LOG_VARIANCE));
    }
}

impl<F: Float, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array2<F>> for Network<F> {
    fn predict_inplace(&self, rows: &ArrayBase<D, Ix2>, reconstruction: &mut Array2<F>) {
        let shape = (rows.nrows(), self.output_width());
        assert_eq!(shape, reconstruction.dim(), "the reconstruction must have the shape of what the network gives");
        reconstruction.assign(&self.reconstruct(rows.view()));
    }

    fn default_target(&self, rows: &ArrayBase<D, Ix2>) -> Array2<F> {
        Array2::zeros((rows.nrows(), self.output_width()))
    }
}

impl<F: Float> Layer<F> {
    fn forward(&self, input: ArrayView2<'_, F>) -> Array2<F> {
        let input = input.as_standard_layout();
        let mut scratch = vec![F::zero(); self.scratch_per_row() * input.nrows()];
        let mut output = Array2::zeros((input.nrows(), self.outputs()));
        self.apply(input.view(), output.view_mut(), &mut scratch);
        let values = contiguous_mut(output.as_slice_mut());
        self.add_bias(values);
        activate(self.activation(), values);
        output
    }

    /// Adds the bias to sums `[rows, outputs]`, row-major.
    pub(super) fn add_bias(&self, sums: &mut [F]) {
        let bias = contiguous(self.bias.as_slice());
        for position in sums.chunks_exact_mut(bias.len()) {
            position.iter_mut().zip(bias).for_each(|(value, &bias)| *value += bias);
        }
    }
}

fn propagate<F: Float>(layers: &[Layer<F>], input: ArrayView2<'_, F>) -> Array2<F> {
    let mut output = layers[0].forward(input);
    for layer in &layers[1..] {
        output = layer.forward(output.view());
    }
    output
}

#[cfg(test)]
mod tests {
    use linfa::traits::Predict;
    use ndarray::{arr1, arr2};

    use super::*;
    use crate::config::settings::Activation;

    #[test]
    fn predict_is_the_forward_pass_worked_out_by_hand() {
        let encoder = Layer::dense(arr2(&[[1.0, -1.0], [2.0, 1.0]]), arr1(&[0.5, 0.0]), Activation::Relu).unwrap();
        let decoder =
            Layer::dense(arr2(&[[1.0, 0.0], [3.0, 1.0]]).reversed_axes(), arr1(&[0.0, 1.0]), Activation::Identity);
        let network = Network::new(vec![encoder, decoder.unwrap()], 0).unwrap();
        let rows = arr2(&[[1.0, 2.0], [3.0, -1.0]]);
        assert_eq!(network.encode(rows.view()), arr2(&[[5.5, 1.0], [1.5, 0.0]]));
        assert_eq!(network.predict(&rows), arr2(&[[5.5, 18.5], [1.5, 5.5]]));
        assert_eq!(network.architecture(), "2-2-2");
        assert_eq!(network.parameter_count(), 12);
    }
}
