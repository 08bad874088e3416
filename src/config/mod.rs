//! What may be set, from five layers: defaults of the preset, then what follows from the data (for commands on files),
//! then the file, then the environment, then the command line.
//!
//! [`raw`] is the configuration as written and [`settings`] the one as meant. Between them every value is checked, and
//! all problems are told at once, each with its key, before a port is bound.
//!
//! Environment variables are `STRAYD__` and the key in capitals, with `__` between its levels: `STRAYD__KAFKA__BROKERS`
//! sets `kafka.brokers`, `STRAYD__KAFKA__PROPERTIES__SECURITY__PROTOCOL` the property `security.protocol`. Names with a
//! single `_`, such as the `STRAYD_SERVICE_HOST` that Kubernetes sets for a Service, are left alone. Lists are comma
//! separated; lists, tables and one-of values may also be JSON; `null` unsets what is optional. `--set key=value` reads
//! values alike.

pub mod budget;
mod check;
mod check_convolution;
mod check_format;
mod check_incidents;
mod check_judging;
mod check_kinds;
mod check_network;
mod check_record;
mod check_schedule;
mod check_unused;
mod coerce;
mod error;
mod layers;
mod load;
mod presets;
pub mod raw;
pub mod raw_features;
pub mod raw_format;
pub mod raw_incidents;
pub mod raw_judging;
pub mod raw_model;
pub mod raw_training;
mod schema;
pub(crate) mod secret;
pub mod settings;
mod settings_format;
mod settings_incidents;
mod settings_kafka;
mod settings_runtime;
mod settings_training;
mod shape;
mod table;
pub mod units;

pub use error::{ConfigError, Problem, Problems};
pub use load::{Loaded, Sources};
pub use schema::schema;
pub use settings::Settings;
pub use table::settings_table;
pub use units::{ByteSize, UnitError, WrittenDuration, parse_duration, parse_size};
