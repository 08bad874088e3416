//! One member of a model: its network's nodes.

use crate::train::{LEAST_LOG_VARIANCE, Latent, Network, Output, Skip};

use super::{
    GraphSpec, LATENT, LATENT_DEVIATION,
    builder::GraphBuilder,
    layers::{Grid, Piece, Value},
};

/// What is known of the graph around its members.
pub(super) struct Surroundings<'a> {
    /// The members' input, `[batch, input_width]`.
    pub(super) input: &'a str,
    /// The newest row in scaled units, `[batch, D]`.
    pub(super) newest: &'a str,
    /// What the mean of all reconstructions is called.
    pub(super) reconstruction: &'a str,
}

/// The mean of the members' [surprises](Network::deviance), `[batch, D]`.
pub(super) const SURPRISE: &str = "surprise";
/// The codes that a decoder takes instead of the latent code, `[draws * batch, K]`, of a model of one member.
pub(super) const DRAWN_CODES: &str = "member_0/drawn_codes";
/// What it makes of them, `[draws * batch, D]`.
pub(super) const DRAWN_MEANS: &str = "member_0/drawn_means";

/// A member's values by their names.
struct Names {
    member: usize,
    /// Its value is the graph's own.
    alone: bool,
}

impl Names {
    fn of(&self, what: &str) -> String {
        format!("member_{}/{what}", self.member)
    }

    fn layer(&self, index: usize) -> String {
        self.of(&format!("layer_{index}"))
    }

    fn latent(&self) -> String {
        if self.alone { LATENT.to_owned() } else { latent_name(self.member) }
    }

    fn deviation(&self) -> String {
        if self.alone { LATENT_DEVIATION.to_owned() } else { self.of("latent_deviation") }
    }

    fn output(&self, around: &Surroundings<'_>) -> String {
        if self.alone { around.reconstruction.to_owned() } else { output_name(self.member) }
    }

    fn surprise(&self) -> String {
        if self.alone { SURPRISE.to_owned() } else { surprise_name(self.member) }
    }
}

pub(super) fn latent_name(member: usize) -> String {
    format!("member_{member}/latent")
}

pub(super) fn output_name(member: usize) -> String {
    format!("member_{member}/output")
}

pub(super) fn surprise_name(member: usize) -> String {
    format!("member_{member}/surprise")
}

impl GraphBuilder {
    pub(super) fn member(&mut self, spec: &GraphSpec<'_>, member: usize, around: &Surroundings<'_>) {
        let network = &spec.networks[member];
        let names = Names { member, alone: spec.networks.len() == 1 };
        self.code(network, &names, around);
        // Of the last layer only what rebuilds the newest row.
        let width = network.output_width();
        let newest = width - spec.columns.len()..width;
        match network.output() {
            Output::Values => {
                let output = names.output(around);
                let own = if network.skip().is_some() { names.of("correction") } else { output.clone() };
                let pieces = [Piece { outputs: newest.clone(), name: &own }];
                self.decoder(network, &names, &names.latent(), &pieces);
                if let Some(skip) = network.skip() {
                    self.skip(skip, &names, around, &pieces[0]);
                    self.node("Add", &[&own, &names.of("skip")], &output);
                }
            }
            Output::Gaussian(draws) => {
                let (means, variances) = (names.of("drawn_means"), names.of("raw_log_variances"));
                let raw = newest.start + width..newest.end + width;
                self.draw(&names, draws.dim(), draws.iter().copied());
                let pieces = [Piece { outputs: newest, name: &means }, Piece { outputs: raw, name: &variances }];
                self.decoder(network, &names, &names.of("drawn_codes"), &pieces);
                self.surprise((draws.nrows(), spec.columns.len()), &names, around);
            }
        }
    }

    /// The encoder, to the latent code and, of a Gaussian code, its deviation.
    fn code(&mut self, network: &Network<f32>, names: &Names, around: &Surroundings<'_>) {
        let (layers, code) = (network.layers(), network.code_layer());
        let mut value = Value::flat(around.input);
        for (index, layer) in layers[..code].iter().enumerate() {
            value = self.layer(layer, &names.layer(index), &value, Grid::taken_by(&layers[index + 1]));
        }
        let (name, size) = (names.layer(code), network.code_size());
        let (latent, logarithm) = (names.latent(), names.of("latent_log_variance"));
        let means = Piece { outputs: 0..size, name: &latent };
        match network.latent() {
            Latent::Plain => self.pieces(&layers[code], &name, &value, &[means]),
            Latent::Gaussian => {
                let variances = Piece { outputs: size..2 * size, name: &logarithm };
                self.pieces(&layers[code], &name, &value, &[means, variances]);
                let half = names.of("latent_log_deviation");
                self.with_number("Mul", &logarithm, ("half", 0.5), &half);
                self.node("Exp", &[&half], &names.deviation());
            }
        }
    }

    /// The decoder, to pieces of its outputs.
    fn decoder(&mut self, network: &Network<f32>, names: &Names, codes: &str, pieces: &[Piece<'_>]) {
        let (layers, last) = (network.layers(), network.layers().len() - 1);
        let mut value = Value::flat(codes);
        for index in network.code_layer() + 1..last {
            value = self.layer(&layers[index], &names.layer(index), &value, Grid::taken_by(&layers[index + 1]));
        }
        self.pieces(&layers[last], &names.layer(last), &value, pieces);
    }

    /// The linear way around the network.
    fn skip(&mut self, skip: &Skip<f32>, names: &Names, around: &Surroundings<'_>, newest: &Piece<'_>) {
        let code = self.layer(&skip.encoder, &names.of("skip_encoder"), &Value::flat(around.input), None);
        let rebuilt = names.of("skip");
        let piece = Piece { outputs: newest.outputs.clone(), name: &rebuilt };
        self.pieces(&skip.decoder, &names.of("skip_decoder"), &code, &[piece]);
    }

    /// All draws from the code's distribution, one batch after the other.
    fn draw(&mut self, names: &Names, (draws, size): (usize, usize), values: impl IntoIterator<Item = f32>) {
        let (constant, offsets, codes) = (names.of("draws"), names.of("offsets"), names.of("codes"));
        self.floats(&constant, &[draws, 1, size], values);
        self.node("Mul", &[&names.deviation(), &constant], &offsets);
        self.node("Add", &[&offsets, &names.latent()], &codes);
        self.reshape(&codes, &[-1, size as i64], &names.of("drawn_codes"));
    }

    /// Per draw `((newest - mean) / deviation)^2 + (ln(variance) - LEAST)`, both times the least variance, and the means
    /// over the draws. Sums go over values of equal places, so that their order doesn't hang on the batch's size.
    fn surprise(&mut self, (draws, columns): (usize, usize), names: &Names, around: &Surroundings<'_>) {
        let part = |what: &str| names.of(&format!("surprise/{what}"));
        let per_draw = [draws as i64, -1, columns as i64];
        self.reshape(&names.of("drawn_means"), &per_draw, &part("means"));
        self.with_number("Sub", &names.of("raw_log_variances"), ("least", LEAST_LOG_VARIANCE as f32), &part("raw"));
        self.reshape(&part("raw"), &per_draw, &part("raw_per_draw"));
        self.softplus(&part("raw_per_draw"), &part("excess"));
        self.with_number("Mul", &part("excess"), ("minus_half", -0.5), &part("log_precision"));
        self.node("Exp", &[&part("log_precision")], &part("precision"));
        self.node("Sub", &[around.newest, &part("means")], &part("distance"));
        self.node("Mul", &[&part("distance"), &part("precision")], &part("deviations"));
        self.node("Mul", &[&part("deviations"), &part("deviations")], &part("squares"));
        self.with_number("Mul", &part("excess"), ("least_variance", LEAST_LOG_VARIANCE.exp() as f32), &part("width"));
        self.node("Add", &[&part("squares"), &part("width")], &part("terms"));
        self.mean_over_draws(&part("terms"), draws, &names.surprise());
        self.mean_over_draws(&part("means"), draws, &names.output(around));
    }

    /// From `[draws, batch, D]` to `[batch, D]`.
    fn mean_over_draws(&mut self, values: &str, draws: usize, output: &str) {
        let part = |what: &str| format!("{output}/{what}");
        let each: Vec<String> = (0..draws).map(|draw| part(&format!("draw_{draw}"))).collect();
        self.node_of_several("Split", &[values], &each);
        self.attribute("axis", 0);
        self.attribute("num_outputs", draws as i64);
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        self.node("Sum", &each, &part("sum"));
        let share = part("share");
        self.floats(&share, &[], [1.0 / draws as f32]);
        self.node("Mul", &[&part("sum"), &share], &part("mean"));
        let axis = part("axis");
        self.integer(&axis, 0);
        self.node("Squeeze", &[&part("mean"), &axis], output);
    }
}
