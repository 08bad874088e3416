//! Certificates, keys and passwords that change while the daemon runs. librdkafka reads them when a client is made, so new ones
//! need new clients: what is under way is finished first, so that no record is lost, scored twice or without its window.

mod reader;
mod sink;
mod source;
mod watch;

pub(super) use self::watch::{Look, Watch};
pub use self::{reader::RenewingReader, sink::RenewingSink, source::RenewingSource};
