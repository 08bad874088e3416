//! `model.*` as written: where models are kept, and what a model of strayd's own is made of.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Unexpected, Visitor},
};

use super::{
    settings::{Activation, NetworkKind, VariationalScore},
    units::WrittenDuration,
};

/// `model.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    /// Directory of models. Its file `current` names the one in use; new models are stored there.
    pub registry: PathBuf,
    /// Models kept in the registry; beyond it the oldest go, but never the one in use nor the last ones that were in use before it.
    #[schemars(range(min = 2, max = 10_000))]
    pub keep: usize,
    /// A model file to use instead of the registry's.
    pub file: Option<PathBuf>,
    /// Time between two looks for another model in the registry.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub poll_interval: WrittenDuration,
    /// How to feed a model that another tool made.
    pub foreign: Option<RawForeign>,
    /// Kind of autoencoder, or a list of kinds that hold at once. If left out, denoising; but pca on standard scaling
    /// where a time series gives fewer than 1,000 windows to fit and nothing written (hidden layers, another loss, a skip, a
    /// code as wide as the input) excludes it.
    #[schemars(extend(
        "x-expected" = "pca, or one or several of undercomplete, denoising, sparse, contractive, convolutional, variational, sequence"
    ))]
    pub kind: Option<RawKinds>,
    /// Number of the encoder's hidden layers, whose widths fall by the same factor from the input (or what the convolutions
    /// make of it) to the code; the decoder mirrors them. Not together with `hidden`.
    #[schemars(range(min = 0, max = 16))]
    pub layers: Option<usize>,
    /// Widths of the encoder's hidden layers (nodes per layer), from input to code; the decoder mirrors them. If left out,
    /// derived from the width of the input.
    #[schemars(inner(range(min = 1, max = 65536)), length(max = 16))]
    pub hidden: Option<Vec<usize>>,
    /// Width of the code (principal components for pca). If left out, derived from the width of the input; so it is with the
    /// preset tabular too where model.kind is pca, undercomplete or convolutional alone, or model.skip is pca.
    #[schemars(range(min = 1, max = 65536))]
    pub code_size: Option<usize>,
    /// Activation of the hidden layers. The code is linear, but for a sigmoid where training.sparsity.kl is above 0.
    pub activation: Activation,
    /// Networks with different seeds whose reconstructions are averaged; pca has one.
    #[schemars(range(min = 1, max = 64))]
    pub members: usize,
    /// What runs beside the network and is added to what it gives: nothing, or principal components, which the network then
    /// only corrects. If left out, pca for a time series whose model.kind is left out too, else nothing.
    pub skip: Option<RawSkip>,
    /// Layers of the convolutional kind, before the hidden ones; the decoder mirrors them.
    pub convolution: RawConvolution,
    /// The variational kind.
    pub variational: RawVariational,
    /// The sequence kind.
    pub sequence: RawSequence,
}

/// `model.foreign.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawForeign {
    /// Subtracted from each column before a model from another tool, in the column's unit, one number per column; goes
    /// with `scale`. Without both, they are fitted to the rows of the cold start.
    #[schemars(extend("x-expected" = "a list of finite numbers, one per column"))]
    pub center: Option<Vec<f32>>,
    /// Divisor of each column after the subtraction, one number per column.
    #[schemars(extend("x-expected" = "a list of finite numbers above 0, one per column"))]
    pub scale: Option<Vec<f32>>,
}

/// `model.kind`: at least one.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum RawKinds {
    /// One kind.
    One(NetworkKind),
    /// Kinds that hold at once.
    Several(Vec<NetworkKind>),
}

impl RawKinds {
    /// The kinds as they were written.
    pub fn as_slice(&self) -> &[NetworkKind] {
        match self {
            Self::One(kind) => std::slice::from_ref(kind),
            Self::Several(kinds) => kinds,
        }
    }
}

/// `model.skip`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawSkip {
    /// Nothing.
    None,
    /// Principal components.
    Pca,
}

/// `model.convolution.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConvolution {
    /// Channels of each layer, from input to code.
    #[schemars(inner(range(min = 1, max = 1024)), length(min = 1, max = 8))]
    pub channels: Vec<usize>,
    /// Rows of the window (or cells of the grid, on each side) that one output looks at.
    #[schemars(range(min = 1, max = 64))]
    pub kernel: usize,
    /// Step from one output to the next, in rows (or cells); each layer makes the window so many times shorter.
    #[schemars(range(min = 1, max = 64))]
    pub stride: usize,
    /// Distance between the rows (or cells) that one output looks at.
    #[schemars(range(min = 1, max = 64))]
    pub dilation: usize,
}

/// `model.variational.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawVariational {
    /// Weight of the Kullback-Leibler divergence of the code from the standard normal distribution, per output value.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub beta: f64,
    /// Epochs in which that weight rises from 0.
    #[schemars(range(min = 0, max = 100_000))]
    pub warm_up: usize,
    /// What a score stands on: error (of the reconstruction from the code's mean) or probability (of the record, given codes
    /// drawn for it).
    pub score: VariationalScore,
    /// Codes drawn per record, for `score: probability`.
    #[schemars(range(min = 1, max = 256))]
    pub draws: usize,
}

/// `model.sequence.*`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSequence {
    /// Newest rows of the window, which are predicted from those before them.
    #[schemars(range(min = 1, max = 1023))]
    pub rows: usize,
}

impl<'de> Deserialize<'de> for RawKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawKinds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a kind of autoencoder or a list of kinds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawKinds, E> {
                kind(text, &self).map(RawKinds::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<RawKinds, A::Error> {
                let mut kinds = Vec::new();
                while let Some(text) = entries.next_element::<String>()? {
                    kinds.push(kind(&text, &self)?);
                }
                if kinds.is_empty() {
                    return Err(de::Error::invalid_value(Unexpected::Other("an empty list"), &self));
                }
                Ok(RawKinds::Several(kinds))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// By its name, so that a wrong one is told of the setting as a whole: no stand-in for one entry clashes with no other.
fn kind<E: de::Error>(text: &str, expected: &dyn de::Expected) -> Result<NetworkKind, E> {
    let read = NetworkKind::deserialize(de::value::StrDeserializer::<E>::new(text));
    read.map_err(|_| E::invalid_value(Unexpected::Str(text), expected))
}
