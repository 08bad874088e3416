//! One schema from a registry that speaks Confluent's API, with all that it refers to.

use std::{collections::HashSet, path::Path};

use serde::{Deserialize, de::DeserializeOwned};

use super::{Definition, SchemaRegistrySettings};
use crate::http::{
    admin::read_token,
    client::{self, Access, Answer, ClientError},
};

/// A schema that refers to more others than this is not believed.
const MOST_REFERENCES: usize = 256;

/// What schemas are sent as.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Why there is no schema.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The registry says that there is none.
    #[error("{0}")]
    Unknown(String),
    /// The registry can't be asked, or says nothing of use; it may later.
    #[error("{0}")]
    Away(String),
}

/// A schema that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// How the other one calls it: the path of an import, the full name of a type.
    pub name: String,
    /// The schema in its own language.
    pub text: String,
}

/// What a registry says of a schema.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    schema: String,
    /// Registries leave it out where it is Avro.
    schema_type: Option<String>,
    references: Option<Vec<ToldReference>>,
}

#[derive(Debug, Clone, Deserialize)]
struct ToldReference {
    name: String,
    subject: String,
    version: i64,
}

/// Fetches the schema with this id.
pub(super) fn fetch(settings: &SchemaRegistrySettings, id: u32) -> Result<Definition, FetchError> {
    let registry = Registry { url: &settings.url, access: access(settings)?, settings };
    let told: Told = registry.get(&format!("/schemas/ids/{id}"))?;
    let mut references = Vec::new();
    registry.follow(told.references.unwrap_or_default(), &mut HashSet::new(), &mut references)?;
    Ok(Definition { kind: told.schema_type.unwrap_or_else(|| "AVRO".to_owned()), text: told.schema, references })
}

/// Finds the id of an Avro schema under a subject, and registers it there if the subject has it not.
pub(super) fn register(settings: &SchemaRegistrySettings, subject: &str, schema: &str) -> Result<u32, FetchError> {
    #[derive(Deserialize)]
    struct Registered {
        id: u32,
    }
    let registry = Registry { url: &settings.url, access: access(settings)?, settings };
    let body = serde_json::json!({"schema": schema, "schemaType": "AVRO"}).to_string();
    let path = format!("/subjects/{}", percent_encoded(subject));
    match registry.post::<Registered>(&path, &body) {
        Err(FetchError::Unknown(_)) => registry.post(&format!("{path}/versions"), &body),
        found => found,
    }
    .map(|registered: Registered| registered.id)
}

/// What proves who asks. Files are read anew each time, so that what is rotated needs no restart.
fn access(settings: &SchemaRegistrySettings) -> Result<Access, FetchError> {
    let secret = |file: &Path| read_token(file).map_err(|error| FetchError::Away(error.to_string()));
    let authorization = match (&settings.user, &settings.password_file, &settings.token_file) {
        (Some(user), Some(password), _) => {
            let pair = format!("{user}:{}", secret(password)?);
            Some(format!("Basic {}", openssl::base64::encode_block(pair.as_bytes())))
        }
        (_, _, Some(token)) => Some(format!("Bearer {}", secret(token)?)),
        _ => None,
    };
    Ok(Access {
        authorization,
        accept: Some("application/vnd.schemaregistry.v1+json, application/json"),
        ca_file: settings.ca_file.clone(),
    })
}

struct Registry<'s> {
    url: &'s str,
    access: Access,
    settings: &'s SchemaRegistrySettings,
}

impl Registry<'_> {
    /// Fetches these references and theirs, each once, and puts each behind those that it refers to itself.
    fn follow(
        &self,
        wanted: Vec<ToldReference>,
        seen: &mut HashSet<String>,
        found: &mut Vec<Reference>,
    ) -> Result<(), FetchError> {
        for reference in wanted {
            if !seen.insert(reference.name.clone()) {
                continue;
            }
            if seen.len() > MOST_REFERENCES {
                return Err(FetchError::Unknown(format!("it refers to more than {MOST_REFERENCES} others")));
            }
            let subject = percent_encoded(&reference.subject);
            let told: Told = self.get(&format!("/subjects/{subject}/versions/{}", reference.version))?;
            self.follow(told.references.unwrap_or_default(), seen, found)?;
            found.push(Reference { name: reference.name, text: told.schema });
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, FetchError> {
        Self::read(path, client::get_with(&format!("{}{path}", self.url), &self.access, self.settings.timeout))
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &str) -> Result<T, FetchError> {
        let (url, body) = (format!("{}{path}", self.url), (CONTENT_TYPE, body));
        Self::read(path, client::post_with(&url, body, &self.access, self.settings.timeout))
    }

    fn read<T: DeserializeOwned>(path: &str, answer: Result<Answer, ClientError>) -> Result<T, FetchError> {
        let answer = answer.map_err(|error| FetchError::Away(error.to_string()))?;
        match answer.status {
            200 => serde_json::from_str(&answer.body)
                .map_err(|error| FetchError::Away(format!("{path} answers no schema: {error}"))),
            404 => Err(FetchError::Unknown(format!("{path}: {}", told_by(&answer)))),
            _ => Err(FetchError::Away(format!("{path}: {}", told_by(&answer)))),
        }
    }
}

/// Status and message of an answer that is no schema, cut so that a page doesn't fill the log.
fn told_by(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_str::<Message>(&answer.body) {
        Ok(Message { message }) => format!("{} ({})", answer.line, message.chars().take(200).collect::<String>()),
        Err(_) => answer.line.clone(),
    }
}

/// A subject as one segment of a path (RFC 3986, 2.3).
fn percent_encoded(subject: &str) -> String {
    let mut encoded = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
