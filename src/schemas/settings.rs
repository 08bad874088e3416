//! Where a schema registry is, and who asks.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use openssl::x509::X509;

use crate::config::secret;

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

/// One thing that is wrong with what proves who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryProblem {
    /// The whole key, such as `record.schema_registry.password_file`.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub expected: &'static str,
}

impl SchemaRegistrySettings {
    /// Every file that can't be read, or holds nothing of use. The registry is not asked.
    pub fn check_secrets(&self) -> Vec<RegistryProblem> {
        let secret = |key, file: &Option<PathBuf>| {
            let problem = secret::unreadable(file.as_deref()?)?;
            Some(RegistryProblem { key, problem, expected: "a file with the secret" })
        };
        let authorities = || {
            let problem = no_authorities(self.ca_file.as_deref()?)?;
            let expected = "a file with certificates (PEM)";
            Some(RegistryProblem { key: "record.schema_registry.ca_file", problem, expected })
        };
        [
            secret("record.schema_registry.password_file", &self.password_file),
            secret("record.schema_registry.token_file", &self.token_file),
            authorities(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn no_authorities(file: &Path) -> Option<String> {
    let found = std::fs::read(file).map_err(|cause| format!("{} can't be read: {cause}", file.display()));
    let found = found.and_then(|text| match X509::stack_from_pem(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        _ => Err(format!("{} holds no certificate that can be read", file.display())),
    });
    found.err()
}
