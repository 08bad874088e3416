//! What stands around the members: scaling before them, residuals and the score after them.

use crate::{model::knots::Knots, train::Network};

use super::{
    DIFFERENCE, ERROR, GraphSpec, LATENT, LATENT_DEVIATION, RECONSTRUCTION, RESIDUAL, SCORE, WINDOW,
    builder::{GraphBuilder, value},
    finite_cap,
    member::{SURPRISE, Surroundings, latent_name, output_name, surprise_name},
};

const SCALED_WINDOW: &str = "scaled_window";
const SCALED_NEWEST: &str = "scaled_newest";
const NETWORK_INPUT: &str = "network_input";
const MASK: &str = "column_mask";
/// The mean of the members' reconstructions, `[batch, D]`.
pub(super) const SCALED_RECONSTRUCTION: &str = "scaled_reconstruction";
/// The same before constant columns are masked, where they are.
const UNMASKED_RECONSTRUCTION: &str = "unmasked_reconstruction";

impl GraphBuilder {
    pub(super) fn whole(&mut self, spec: &GraphSpec<'_>) {
        self.scaling(spec);
        let input = self.network_input(spec);
        let masked = spec.mask().is_some();
        let around = Surroundings {
            input: &input,
            newest: newest(spec),
            reconstruction: if masked { UNMASKED_RECONSTRUCTION } else { SCALED_RECONSTRUCTION },
        };
        for member in 0..spec.networks.len() {
            self.member(spec, member, &around);
        }
        self.combine(spec, &around);
        self.residual(spec);
        self.outputs(spec);
    }

    fn scaling(&mut self, spec: &GraphSpec<'_>) {
        let tiled = || std::iter::repeat_n(spec.columns, spec.window).flatten();
        self.floats("window_center", &[spec.width()], tiled().map(|column| column.center));
        self.floats("window_inverse_scale", &[spec.width()], tiled().map(|column| column.scale.recip()));
        self.node("Sub", &[WINDOW, "window_center"], "centered_window");
        let divided = if spec.bends() { "divided_window" } else { SCALED_WINDOW };
        self.node("Mul", &["centered_window", "window_inverse_scale"], divided);
        if spec.bends() {
            self.along((spec.columns, spec.window), Knots::forward, divided, SCALED_WINDOW);
        }
        if let Some((low, high)) = spec.input_clip {
            self.floats("input_low", &[], [low]);
            self.floats("input_high", &[], [high]);
            self.node("Clip", &[SCALED_WINDOW, "input_low", "input_high"], NETWORK_INPUT);
        }
        if spec.window > 1 {
            let (start, end) = (spec.width() - spec.columns.len(), spec.width());
            self.integer("newest_start", start as i64);
            self.integer("newest_end", end as i64);
            self.integer("column_axis", 1);
            self.node("Slice", &[SCALED_WINDOW, "newest_start", "newest_end", "column_axis"], SCALED_NEWEST);
        }
    }

    /// What the members take: the clipped window, of members that predict without the rows that they give.
    fn network_input(&mut self, spec: &GraphSpec<'_>) -> String {
        let mut input = if spec.input_clip.is_some() { NETWORK_INPUT } else { SCALED_WINDOW }.to_owned();
        let taken = spec.networks[0].input_width();
        if taken < spec.width() {
            let known = "known_rows";
            self.slice(&input, 1, (0, taken), known);
            input = known.to_owned();
        }
        if let Some(mask) = spec.mask() {
            let tiled = mask.iter().cycle().take(taken).copied();
            self.floats("input_mask", &[taken], tiled);
            self.node("Mul", &[&input, "input_mask"], "masked_input");
            input = "masked_input".to_owned();
            self.floats(MASK, &[mask.len()], mask);
        }
        input
    }

    /// The mean of several members' reconstructions and surprises, and their codes side by side.
    fn combine(&mut self, spec: &GraphSpec<'_>, around: &Surroundings<'_>) {
        let members = spec.networks.len();
        if members > 1 {
            self.floats("members", &[], [members as f32]);
            self.mean(members, output_name, ("scaled_reconstruction_sum", around.reconstruction));
            let codes: Vec<String> = (0..members).map(latent_name).collect();
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            self.node("Concat", &codes, LATENT);
            self.attribute("axis", 1);
            if spec.is_gaussian() {
                self.mean(members, surprise_name, ("surprise_sum", SURPRISE));
            }
        }
        if spec.mask().is_some() {
            self.node("Mul", &[UNMASKED_RECONSTRUCTION, MASK], SCALED_RECONSTRUCTION);
        }
    }

    fn mean(&mut self, members: usize, name: impl Fn(usize) -> String, (sum, mean): (&str, &str)) {
        let values: Vec<String> = (0..members).map(name).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        self.node("Sum", &values, sum);
        self.node("Div", &[sum, "members"], mean);
    }

    fn residual(&mut self, spec: &GraphSpec<'_>) {
        self.per_column("center", spec.columns, |column| column.center);
        self.per_column("scale", spec.columns, |column| column.scale);
        self.per_column("residual_low", spec.columns, |column| -finite_cap(column));
        self.per_column("residual_high", spec.columns, finite_cap);
        self.per_column("residual_variance", spec.columns, |column| column.residual_variance);
        self.integer("score_axis", 1);

        let mut divided = SCALED_RECONSTRUCTION;
        if spec.bends() {
            divided = "divided_reconstruction";
            self.along((spec.columns, 1), Knots::back, SCALED_RECONSTRUCTION, divided);
        }
        self.node("Mul", &[divided, "scale"], "centered_reconstruction");
        self.node("Add", &["centered_reconstruction", "center"], RECONSTRUCTION);
        self.node("Sub", &[newest(spec), SCALED_RECONSTRUCTION], DIFFERENCE);
        let mut uncapped = DIFFERENCE;
        if spec.is_gaussian() {
            self.node("Sqrt", &[SURPRISE], "surprise_root");
            self.node("Sign", &[DIFFERENCE], "difference_sign");
            self.node("Mul", &["surprise_root", "difference_sign"], "signed_surprise");
            uncapped = "signed_surprise";
        }
        self.node("Max", &[uncapped, "residual_low"], "difference_not_below");
        let capped = if spec.whitening.is_some() { "capped_residual" } else { RESIDUAL };
        self.node("Min", &["difference_not_below", "residual_high"], capped);
        if let Some(matrix) = spec.whitening {
            self.floats("whitening", &[matrix.nrows(), matrix.ncols()], matrix.iter().copied());
            self.node("MatMul", &[capped, "whitening"], RESIDUAL);
        }
        self.node("Mul", &[RESIDUAL, RESIDUAL], "squared_residual");
        self.node("Div", &["squared_residual", "residual_variance"], ERROR);
        self.node("ReduceMean", &[ERROR, "score_axis"], SCORE);
        self.attribute("keepdims", 0);
    }

    fn outputs(&mut self, spec: &GraphSpec<'_>) {
        let columns = spec.columns.len();
        let latent = spec.networks.iter().map(Network::code_size).sum();
        let residual = match (spec.whitening.is_some(), spec.is_gaussian()) {
            (true, _) => "newest row's residuals freed of their correlations",
            (false, true) => "root of the newest row's surprise with the difference's sign, scaled units",
            (false, false) => "newest row minus its reconstruction, scaled units",
        };
        self.graph.name = "strayd".to_owned();
        self.graph.doc_string = spec.doc.to_owned();
        self.graph.input = vec![value(WINDOW, Some(spec.width()), "raw rows, oldest first, columns' own units")];
        self.graph.output = vec![
            value(SCORE, None, "mean of error over the columns"),
            value(RECONSTRUCTION, Some(columns), "newest row rebuilt, columns' own units"),
            value(ERROR, Some(columns), "squared residual over its variance on held-back rows"),
            value(LATENT, Some(latent), "latent codes of all members"),
            value(RESIDUAL, Some(columns), residual),
        ];
        if spec.has_difference() {
            let doc = "newest row minus its reconstruction, scaled units";
            self.graph.output.push(value(DIFFERENCE, Some(columns), doc));
        }
        if self.graph.node.iter().any(|node| node.name == LATENT_DEVIATION) {
            let doc = "deviations of the latent code, whose means `latent` tells";
            self.graph.output.push(value(LATENT_DEVIATION, Some(latent), doc));
        }
    }
}

/// The newest row in scaled units.
fn newest(spec: &GraphSpec<'_>) -> &'static str {
    if spec.window > 1 { SCALED_NEWEST } else { SCALED_WINDOW }
}
