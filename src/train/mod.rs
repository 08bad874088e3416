//! The trainer: autoencoders in plain `ndarray`, fitted on rows that are already scaled.
//!
//! An autoencoder squeezes a row through a narrow (or sparse, or noisy) code and rebuilds it. It learns to rebuild what
//! it has often seen, so that the error of the rebuilt row tells how unlike the training rows a row is.
//!
//! - [`AutoencoderParams`] says what is fitted and how; only once [checked](linfa::ParamGuard) can it
//!   [fit](AutoencoderValidParams::fit_with_validation).
//! - [`Network`] is the result: dense layers, of which one is the code.
//! - [`principal_components`] solves the linear case exactly; it is the baseline that every other network must beat.
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
mod error;
pub mod explain;
mod fit;
mod fitting;
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
mod params;
mod pca;
mod product;
pub mod recent;
pub mod recipe;
mod rows;
pub mod sample;
pub mod scaling;
mod sparsity;
mod split;
mod tile;
mod vector;
pub mod withheld;

pub(crate) use activation::LEAK;
pub use candidate::Candidate;
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
