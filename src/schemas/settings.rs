//! Where a schema registry is, and who asks.

use std::{path::PathBuf, time::Duration};

/// `record.schema_registry.*`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaRegistrySettings {
    /// `url`: without a slash at its end.
    pub url: String,
    /// `user`: who asks, with the password of `password_file`.
    pub user: Option<String>,
    /// `password_file`
    pub password_file: Option<PathBuf>,
    /// `token_file`: holds a bearer token, instead of a user.
    pub token_file: Option<PathBuf>,
    /// `ca_file`: who signs the registry's certificate; `None` trusts whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// `timeout`: how long one answer may take.
    pub timeout: Duration,
}
