//! Rows out of a variational model: codes drawn from the standard normal distribution, and what its decoder makes of them
//! (Kingma and Welling 2014, "Auto-encoding variational Bayes").

use ort::{session::Session, value::TensorRef};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{LoadError, explain, onnx::width, runtime::Runtime};
use crate::model::{
    Model,
    graph::{self, GraphError},
};

/// Why no rows can be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The model is of another kind.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Its decoder can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The decoder gives no rows of the model's columns.
    #[error("the model's decoder failed: {0}")]
    Run(String),
}

/// Makes rows, always the same ones with the same seed.
pub struct RowGenerator {
    session: Session,
    random: Xoshiro256PlusPlus,
    code_size: usize,
    names: Vec<String>,
    inverse: Vec<fn(f64) -> f64>,
}

impl Runtime {
    /// What makes rows like those that `model` was fitted on.
    ///
    /// # Errors
    /// The model isn't one variational network, or its decoder can't be loaded.
    pub fn row_generator(&self, model: &Model, seed: u64) -> Result<RowGenerator, GenerateError> {
        let decoder = graph::decoder(&model.bytes)?;
        let session = self.on_device(|device| self.session(&decoder, self.asked(device)?))?;
        let code = session.inputs().iter().find(|input| input.name() == graph::LATENT);
        let code_size = code.map(|code| width(code.name(), code.dtype())).transpose()?.flatten();
        Ok(RowGenerator {
            session,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            code_size: code_size.ok_or_else(|| GenerateError::Run("it takes no code of a known size".to_owned()))?,
            names: model.metadata.columns.iter().map(|column| column.name.clone()).collect(),
            inverse: explain::inverse(&model.metadata),
        })
    }
}

impl RowGenerator {
    /// Names of a row's values, as in events.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The next rows, `rows` times as many values as there are names, in the fields' own units. Of a window it is the newest
    /// row.
    ///
    /// # Errors
    /// ONNX Runtime failed, or gave values for other columns.
    pub fn generate(&mut self, rows: usize) -> Result<Vec<f64>, GenerateError> {
        let failed = |error: ort::Error| GenerateError::Run(error.to_string());
        let codes: Vec<f32> = (0..rows * self.code_size).map(|_| StandardNormal.sample(&mut self.random)).collect();
        let codes = TensorRef::from_array_view(([rows, self.code_size], &codes[..])).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![graph::LATENT => codes]).map_err(failed)?;
        let (_, values) = outputs[graph::RECONSTRUCTION].try_extract_tensor::<f32>().map_err(failed)?;
        let columns = self.inverse.len();
        if values.len() != rows * columns {
            let told = format!("it gave {} values for {rows} rows of {columns} columns", values.len());
            return Err(GenerateError::Run(told));
        }
        Ok(values.iter().zip(self.inverse.iter().cycle()).map(|(value, inverse)| inverse(f64::from(*value))).collect())
    }
}
