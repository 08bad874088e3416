//! Schemas of what is written: registered before anything is, and known by their ids since.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    SchemaRegistrySettings,
    fetch::{FetchError, register},
};

/// The ids of the schemas of what is written, by their subjects. Clones share them.
#[derive(Clone)]
pub struct OutputSchemas {
    registry: SchemaRegistrySettings,
    ids: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl OutputSchemas {
    /// Schemas of this registry, of which none is registered yet.
    pub fn new(registry: SchemaRegistrySettings) -> Self {
        Self { registry, ids: Arc::default() }
    }

    /// Registers an Avro schema under a subject, which may have it already: then its user need not have the right to write.
    ///
    /// # Errors
    /// The registry gives no answer, or says no; it may later.
    pub fn register(&self, subject: &str, schema: &str) -> Result<(), String> {
        if self.id(subject).is_some() {
            return Ok(());
        }
        let id = register(&self.registry, subject, schema).map_err(|error| match error {
            FetchError::Unknown(why) | FetchError::Away(why) => format!("{}: {why}", self.registry.url),
        })?;
        tracing::info!(subject, id, "the schema of what is written is registered");
        self.ids().insert(subject.to_owned(), id);
        Ok(())
    }

    /// The id of the subject's schema, once it is registered.
    pub fn id(&self, subject: &str) -> Option<u32> {
        self.ids().get(subject).copied()
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        // Each change is whole in itself.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not what was registered so far: settings are the same before and after.
impl fmt::Debug for OutputSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputSchemas({})", self.registry.url)
    }
}
