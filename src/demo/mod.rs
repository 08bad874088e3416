//! The demo: shipped data goes through the very same pipeline as live records, and the outcome is measured against
//! labels.

pub mod data;
pub mod display;
pub mod evaluate;
