//! Settings of ONNX Runtime and of the device that it runs models on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `runtime.*`
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    /// `runtime.library`: the ONNX Runtime shared library; `None` searches for it.
    pub library: Option<PathBuf>,
    /// `runtime.device`: what models run on.
    pub device: DeviceChoice,
    /// `runtime.device_id`: which GPU, as CUDA counts them.
    pub device_id: u32,
    /// `runtime.device_memory`: bytes of GPU memory that the arena of a model may take; `None` sets no limit.
    pub device_memory: Option<u64>,
}

/// What models run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, and nothing else in its place.
    Cuda,
    /// An NVIDIA GPU if one can be had when the program starts, else the CPU.
    Auto,
}
