//! Layers as ONNX operators.
//!
//! The trainer keeps grids channels last; ONNX wants them before height and width. Convolutions in a row stay as ONNX has
//! them, and a dense layer before or after them takes or gives that order by the order of its weights.

use std::ops::Range;

use ndarray::{Array2, Axis};

use crate::{
    config::settings::Activation,
    train::{Geometry, LEAK, Layer, Map, Shape},
};

use super::builder::GraphBuilder;

/// A value in the making.
pub(super) struct Value {
    pub(super) name: String,
    pub(super) layout: Layout,
}

/// How a row of a value lies.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Layout {
    /// `[batch, values]` in the trainer's order.
    Flat,
    /// ONNX's order.
    Grid(Grid),
}

/// Positions of several channels each, `[batch, channels, height, width]`, or without the width where it is 1 and no kernel
/// goes along it: ONNX Runtime is faster so.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Grid {
    shape: Shape,
    /// 1 or 2.
    sides: usize,
}

impl Grid {
    /// What a layer takes; `None` of a dense one.
    pub(super) fn taken_by(layer: &Layer<f32>) -> Option<Self> {
        let (geometry, shape) = match layer.map() {
            Map::Dense => return None,
            Map::Convolution(geometry) => (geometry, geometry.fine),
            Map::Transposed(geometry) => (geometry, geometry.coarse),
        };
        Some(Self { shape, sides: sides(geometry) })
    }

    fn dims(self) -> Vec<i64> {
        let Shape { height, width, channels } = self.shape;
        [&[-1], &[channels, height, width].map(|size| size as i64)[..=self.sides]].concat()
    }

    /// For each value of ONNX's order its place in the trainer's.
    fn channels_first(self) -> Vec<usize> {
        let Shape { channels, .. } = self.shape;
        let places = |channel: usize| (0..self.shape.positions()).map(move |position| position * channels + channel);
        (0..channels).flat_map(places).collect()
    }

    /// Whether both orders are one.
    fn is_flat(self) -> bool {
        self.shape.channels == 1 || self.shape.positions() == 1
    }
}

impl Value {
    pub(super) fn flat(name: &str) -> Self {
        Self { name: name.to_owned(), layout: Layout::Flat }
    }
}

/// A part of a layer's outputs and what it is to be called.
pub(super) struct Piece<'a> {
    pub(super) outputs: Range<usize>,
    pub(super) name: &'a str,
}

impl GraphBuilder {
    /// A layer's outputs as they come. Before a convolution that takes `next`, a dense layer gives ONNX's order.
    pub(super) fn layer(&mut self, layer: &Layer<f32>, name: &str, input: &Value, next: Option<Grid>) -> Value {
        let Map::Dense = layer.map() else { return self.convolution(layer, name, input) };
        let Some(grid) = next else {
            self.dense(layer, (name, name), input, &(0..layer.outputs()).collect::<Vec<_>>());
            return Value::flat(name);
        };
        let flat = format!("{name}/values");
        self.dense(layer, (name, &flat), input, &grid.channels_first());
        self.reshape(&flat, &grid.dims(), name);
        Value { name: name.to_owned(), layout: Layout::Grid(grid) }
    }

    /// Parts of a layer's outputs, each flat and under its own name.
    pub(super) fn pieces(&mut self, layer: &Layer<f32>, name: &str, input: &Value, pieces: &[Piece<'_>]) {
        if *layer.map() == Map::Dense {
            for (index, piece) in pieces.iter().enumerate() {
                let weights = if index == 0 { name } else { piece.name };
                self.dense(layer, (weights, piece.name), input, &piece.outputs.clone().collect::<Vec<_>>());
            }
            return;
        }
        let whole = self.convolution(layer, name, input);
        for piece in pieces {
            self.flatten(&whole, piece);
        }
    }

    /// A dense layer's chosen outputs `[batch, chosen]`.
    fn dense(&mut self, layer: &Layer<f32>, (name, output): (&str, &str), input: &Value, chosen: &[usize]) {
        let mut weight = layer.weight().select(Axis(1), chosen);
        let mut given = input.name.clone();
        if let Layout::Grid(grid) = input.layout {
            weight = weight.select(Axis(0), &grid.channels_first());
            given = format!("{name}/input");
            self.node("Flatten", &[&input.name], &given);
        }
        let bias = layer.bias().select(Axis(0), chosen);
        let (weight_name, bias_name) = (format!("{name}/weight"), format!("{name}/bias"));
        self.floats(&weight_name, weight.shape(), weight.iter().copied());
        self.floats(&bias_name, bias.shape(), bias.iter().copied());
        self.activated("Gemm", &[&given, &weight_name, &bias_name], (layer.activation(), name), output);
    }

    /// A convolution or its transpose under the layer's name.
    fn convolution(&mut self, layer: &Layer<f32>, name: &str, input: &Value) -> Value {
        let (operator, geometry, from, to) = match layer.map() {
            Map::Dense => unreachable!("dense layers are told apart before"),
            Map::Convolution(geometry) => ("Conv", geometry, geometry.fine, geometry.coarse),
            Map::Transposed(geometry) => ("ConvTranspose", geometry, geometry.coarse, geometry.fine),
        };
        let sides = sides(geometry);
        let given = self.grid(input, Grid { shape: from, sides }, name);
        let (weight_name, bias_name) = (format!("{name}/weight"), format!("{name}/bias"));
        let weight = kernel(layer.weight(), geometry, operator == "Conv");
        let kernel_shape = &geometry.steps.kernel[..sides];
        self.floats(
            &weight_name,
            &[&[geometry.coarse.channels, geometry.fine.channels], kernel_shape].concat(),
            weight,
        );
        self.floats(&bias_name, &[layer.bias().len()], layer.bias().iter().copied());
        let activation = (layer.activation(), name);
        let at = self.graph.node.len();
        self.activated(operator, &[&given, &weight_name, &bias_name], activation, name);
        // The operator's attributes belong to its own node, which an activation's nodes follow.
        let activations = self.graph.node.split_off(at + 1);
        self.steps(geometry, sides, operator == "ConvTranspose");
        self.graph.node.extend(activations);
        Value { name: name.to_owned(), layout: Layout::Grid(Grid { shape: to, sides }) }
    }

    /// Attributes of a convolution over so many sides.
    fn steps(&mut self, geometry: &Geometry, sides: usize, transposed: bool) {
        let padding = geometry.padding();
        let ends = |end: usize| padding.iter().take(sides).map(move |side| side[end]);
        self.list_attribute("kernel_shape", &geometry.steps.kernel[..sides]);
        self.list_attribute("strides", &geometry.steps.stride[..sides]);
        self.list_attribute("dilations", &geometry.steps.dilation[..sides]);
        self.list_attribute("pads", &ends(0).chain(ends(1)).collect::<Vec<_>>());
        if transposed {
            self.list_attribute("output_padding", &geometry.unseen()[..sides]);
        }
    }

    /// The name of `input` as this grid.
    fn grid(&mut self, input: &Value, wanted: Grid, name: &str) -> String {
        let grid = format!("{name}/grid");
        let flat = match input.layout {
            Layout::Grid(given) if given == wanted => return input.name.clone(),
            Layout::Grid(given) if given.shape != wanted.shape => {
                let flat = format!("{name}/rows");
                self.flatten(input, &Piece { outputs: 0..given.shape.size(), name: &flat });
                flat
            }
            Layout::Flat if !wanted.is_flat() => input.name.clone(),
            Layout::Grid(_) | Layout::Flat => {
                self.reshape(&input.name, &wanted.dims(), &grid);
                return grid;
            }
        };
        let mut channels_last = wanted.dims();
        channels_last[1..].rotate_left(1);
        let places = format!("{name}/channels_last");
        self.reshape(&flat, &channels_last, &places);
        self.node("Transpose", &[&places], &grid);
        self.list_attribute("perm", if wanted.sides == 1 { &[0, 2, 1] } else { &[0, 3, 1, 2] });
        grid
    }

    /// Consecutive values of each row in the trainer's order, `[batch, values]`.
    pub(super) fn flatten(&mut self, value: &Value, piece: &Piece<'_>) {
        let Range { start, end } = piece.outputs;
        let Layout::Grid(Grid { shape, sides }) = value.layout else {
            return self.slice(&value.name, 1, (start, end), piece.name);
        };
        let mut name = value.name.clone();
        // First cut to the lines that are wanted: those of a window's newest row need no transposition.
        let line = shape.width * shape.channels;
        let (first, last) = (start / line, end.div_ceil(line));
        let cut = Shape { height: last - first, ..shape };
        if cut.height < shape.height {
            let lines = format!("{}/lines", piece.name);
            self.slice(&name, 2, (first, last), &lines);
            name = lines;
        }
        if !(Grid { shape: cut, sides }).is_flat() {
            let channels_last = format!("{}/channels_last", piece.name);
            self.node("Transpose", &[&name], &channels_last);
            self.list_attribute("perm", if sides == 1 { &[0, 2, 1] } else { &[0, 2, 3, 1] });
            name = channels_last;
        }
        let from = start - first * line;
        if end - start == cut.size() {
            return self.reshape(&name, &[-1, cut.size() as i64], piece.name);
        }
        let whole = format!("{}/values", piece.name);
        self.reshape(&name, &[-1, cut.size() as i64], &whole);
        self.slice(&whole, 1, (from, from + (end - start)), piece.name);
    }

    /// A linear operator with its activation; the sums between them are named after the layer.
    fn activated(&mut self, operator: &str, inputs: &[&str], (activation, layer): (Activation, &str), output: &str) {
        if activation == Activation::Identity {
            return self.node(operator, inputs, output);
        }
        let sums = format!("{layer}/sums");
        self.node(operator, inputs, &sums);
        let part = |what: &str| format!("{layer}/{what}");
        match activation {
            Activation::Identity => {}
            Activation::Relu => self.node("Relu", &[&sums], output),
            Activation::Tanh => self.node("Tanh", &[&sums], output),
            Activation::Sigmoid => self.node("Sigmoid", &[&sums], output),
            Activation::LeakyRelu => {
                self.node("LeakyRelu", &[&sums], output);
                self.float_attribute("alpha", LEAK as f32);
            }
            Activation::Silu => {
                self.node("Sigmoid", &[&sums], &part("sigmoid"));
                self.node("Mul", &[&sums, &part("sigmoid")], output);
            }
            // ONNX Runtime computes its operator Elu in another way at a batch's end than before, which shows in the
            // last bits; of these operators no value depends on its place.
            Activation::Elu => {
                self.with_number("Min", &sums, ("zero", 0.0), &part("below"));
                self.with_number("Max", &sums, ("zero", 0.0), &part("above"));
                self.node("Exp", &[&part("below")], &part("exponential"));
                self.with_number("Sub", &part("exponential"), ("one", 1.0), &part("curve"));
                self.node("Add", &[&part("above"), &part("curve")], output);
            }
            // ONNX knows the operator Gelu from version 20 on only.
            Activation::Gelu => {
                let root = ("root_of_two", std::f32::consts::SQRT_2);
                self.with_number("Div", &sums, root, &part("deviations"));
                self.node("Erf", &[&part("deviations")], &part("erf"));
                self.with_number("Add", &part("erf"), ("one", 1.0), &part("twice_the_share"));
                self.node("Mul", &[&sums, &part("twice_the_share")], &part("twice"));
                self.with_number("Mul", &part("twice"), ("half", 0.5), output);
            }
        }
    }

    /// `ln(1 + exp(input))`, of `exp` and exact operators alone: ONNX Runtime's own logarithm differs in the last bits with a
    /// value's place in the batch. With `u = exp(-|input|)` it is `max(input, 0) + 2 artanh(u / (u + 2))`, and the series
    /// of artanh, here up to the 11th power, is off by less than 1e-7.
    pub(super) fn softplus(&mut self, input: &str, output: &str) {
        let part = |what: &str| format!("{output}/{what}");
        self.node("Abs", &[input], &part("size"));
        self.node("Neg", &[&part("size")], &part("exponent"));
        self.node("Exp", &[&part("exponent")], &part("u"));
        self.with_number("Add", &part("u"), ("two", 2.0), &part("u_plus_two"));
        self.node("Div", &[&part("u"), &part("u_plus_two")], &part("s"));
        self.node("Mul", &[&part("s"), &part("s")], &part("square"));
        let mut sum = part("square_11");
        self.with_number("Mul", &part("square"), ("one_11th", 1.0 / 11.0), &sum);
        for (power, number) in [(9, "one_9th"), (7, "one_7th"), (5, "one_5th"), (3, "one_3rd")] {
            let (added, times) = (part(&format!("sum_{power}")), part(&format!("square_{power}")));
            self.with_number("Add", &sum, (number, 1.0 / power as f32), &added);
            self.node("Mul", &[&added, &part("square")], &times);
            sum = times;
        }
        self.with_number("Add", &sum, ("one", 1.0), &part("series"));
        self.node("Mul", &[&part("series"), &part("s")], &part("artanh"));
        self.with_number("Mul", &part("artanh"), ("two", 2.0), &part("logarithm"));
        self.with_number("Max", input, ("zero", 0.0), &part("above"));
        self.node("Add", &[&part("above"), &part("logarithm")], output);
    }
}

fn sides(geometry: &Geometry) -> usize {
    if geometry.fine.width == 1 && geometry.steps.kernel[1] == 1 { 1 } else { 2 }
}

/// A kernel `[out, in, height, width]`, where a convolution gives the coarse channels and its transpose takes them: both
/// have them first.
fn kernel(weight: &Array2<f32>, geometry: &Geometry, convolution: bool) -> Vec<f32> {
    let (fine, taps) = (geometry.fine.channels, geometry.taps());
    let at = |coarse: usize, channel: usize, tap: usize| {
        let patch = tap * fine + channel;
        if convolution { weight[[patch, coarse]] } else { weight[[coarse, patch]] }
    };
    let kernels = (0..geometry.coarse.channels).flat_map(|coarse| (0..fine).map(move |channel| (coarse, channel)));
    kernels.flat_map(|(coarse, channel)| (0..taps).map(move |tap| at(coarse, channel, tap))).collect()
}
