//! The trainer: autoencoders of every kind, fitted on rows that are already scaled, and models made of them.
//!
//! An autoencoder squeezes a row through a narrow (or sparse, or noisy) code and rebuilds it. It learns to rebuild what
//! it has often seen, so that the error of the rebuilt row tells how unlike the training rows a row is.
//!
//! - [`AutoencoderParams`] says what is fitted and how; only once [checked](linfa::ParamGuard) can it
//!   [fit](AutoencoderValidParams::fit_with_validation).
//! - [`Network`] is the result: dense and convolutional layers, one of which gives the code, and a linear skip beside them.
//! - [`principal_components`] solves the linear case exactly; it is the baseline that every other network must beat.
//! - [`recipe`] makes a whole model of a sample of records: it splits and scales the rows, fits, and describes the model by
//!   rows that were held back. A [`gate`] decides whether the model may take the place of the one in use.
//!
//! Where to look, from the sample to the arithmetic:
//!
//! | what | where |
//! |---|---|
//! | rows for training, kept while records are scored | [`sample`], [`recent`], [`withheld`] |
//! | from sample to model | [`recipe`], `split`, [`scaling`], `quantiles`, `members`, `held_back`, `assemble`, `candidate` |
//! | whether it may be used | [`gate`] |
//! | which settings suit the rows | [`tune`] |
//! | what is fitted | `params`, `check`, `architecture`, [`explain`] |
//! | fitting | `fit` (all members), `fitting` (one of them), `optimiser`, `rows`, `pace` |
//! | a network | `network`, `layer`, `geometry`, `activation`, `forward`, `pca` |
//! | what is minimised | `loss`, `corruption`, `sparsity`, `contraction`, `latent`, and their gradients in `backprop` |
//! | arithmetic | `product`, `panel`, `tile`, `vector`, `lanes` |
//!
//! Nothing here reads a clock or a source of randomness: the same rows, parameters and seed give the same bits.
//!
//! ```
//! use linfa::{Dataset, traits::{Fit, Predict}};
//! use ndarray::Array2;
//! use strayd::train::AutoencoderParams;
//!
//! let rows = Array2::from_shape_fn((256, 4), |(row, column)| ((row * (column + 1)) as f32 * 0.1).sin());
//! let network = AutoencoderParams::new(4, 2).hidden(&[8]).epochs(5).fit(&Dataset::from(rows.clone()))?;
//! let rebuilt = network.predict(&rows);
//! assert_eq!(rebuilt.dim(), (256, 4));
//! # Ok::<(), strayd::train::AutoencoderError>(())
//! ```

mod activation;
mod architecture;
mod assemble;
mod backprop;
mod candidate;
mod check;
mod contraction;
mod corruption;
mod decide;
mod entity_scales;
mod error;
pub mod explain;
mod fit;
mod fitting;
mod forward;
pub mod gate;
mod geometry;
mod held_back;
mod lanes;
mod latent;
mod layer;
mod loss;
mod members;
mod network;
mod optimiser;
mod pace;
mod panel;
mod params;
mod pca;
mod product;
mod quantiles;
pub mod recent;
pub mod recipe;
mod rows;
pub mod sample;
pub mod scaling;
pub mod size;
mod sparsity;
mod split;
mod tile;
pub mod tune;
mod vector;
mod whitening;
pub mod withheld;

pub(crate) use activation::LEAK;
pub use candidate::{Candidate, Yardstick};
pub use error::AutoencoderError;
pub use fit::{EpochReport, FitEnd, Fitted, fit_members};
pub use geometry::{Geometry, Shape, Steps};
pub use layer::{Layer, Map};
pub(crate) use network::LEAST_LOG_VARIANCE;
pub use network::{Latent, Network, NetworkError, Output, Skip, log_variance};
pub use pace::{Pace, TimedEpoch};
pub use params::{AutoencoderParams, AutoencoderValidParams};
pub use pca::principal_components;
pub use rows::{Rows, Sets};
