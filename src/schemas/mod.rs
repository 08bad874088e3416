//! Schemas that records were written with, by the id that stands before them, as a schema registry gives them.
//!
//! The record's way never waits for a registry: it asks for a schema, holds its records back while the answer is
//! [`Lookup::Awaited`], and is told once it is there. A thread fetches what was asked for, tries again for as long as the
//! registry is away, and ends when nothing is left to fetch.

mod fetch;
mod outputs;
mod settings;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use fetch::{FetchError, fetch};
pub use {
    fetch::Reference,
    outputs::OutputSchemas,
    settings::{RegistryProblem, SchemaRegistrySettings},
};

/// What a payload begins with: a zero, and the schema's id in four bytes (Confluent's wire format).
pub const HEADER_BYTES: usize = 5;
/// A schema that the registry doesn't know is asked for anew after so long: it may have been restored since.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// Ids that the registry doesn't know are remembered up to this many: bytes that are no records may hold any number.
const MOST_UNUSABLE: usize = 10_000;
/// Pauses between two tries while the registry is away: the first, which doubles, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A schema as the registry gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub kind: String,
    /// The schema in its own language.
    pub text: String,
    /// All schemas that it refers to, directly or not; each after those that it refers to itself.
    pub references: Vec<Reference>,
}

impl Definition {
    /// Whether it is of this kind.
    ///
    /// # Errors
    /// What it is instead.
    pub fn require(&self, kind: &str) -> Result<(), String> {
        if self.kind == kind { Ok(()) } else { Err(format!("it is {}, expected {kind}", self.kind)) }
    }
}

/// What is known of a schema.
#[derive(Debug)]
pub enum Lookup<T> {
    /// The schema.
    Known(Arc<T>),
    /// The registry has not answered yet.
    Awaited,
    /// Records with it can't be read: the registry doesn't know it, or it can't be used. The text says why.
    Unusable(Arc<str>),
}

/// Where the schema of a record comes from.
#[derive(Debug)]
pub enum SchemaSource<T> {
    /// From a registry, by the id that stands before each record.
    Registry(Schemas<T>),
    /// All records were written with this one.
    File(Arc<T>),
}

impl<T> Clone for SchemaSource<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Registry(schemas) => Self::Registry(schemas.clone()),
            Self::File(schema) => Self::File(Arc::clone(schema)),
        }
    }
}

impl<T: PartialEq> PartialEq for SchemaSource<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Registry(one), Self::Registry(other)) => one == other,
            (Self::File(one), Self::File(other)) => one == other,
            _ => false,
        }
    }
}

impl<T: Send + Sync + 'static> SchemaSource<T> {
    /// Why the registry gives no answer, where there is one and it is asked.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Registry(schemas) => schemas.fault(),
            Self::File(_) => None,
        }
    }
}

/// Makes a schema that records can be read by, or says what is wrong with it.
type Compile<T> = fn(&Definition) -> Result<T, String>;

/// Schemas of a registry. Clones share what was fetched.
pub struct Schemas<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    settings: SchemaRegistrySettings,
    compile: Compile<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    known: HashMap<u32, Entry<T>>,
    /// Ids to fetch, in the order in which they came up.
    wanted: VecDeque<u32>,
    /// Whether a thread fetches.
    fetching: bool,
    /// Why the registry gives no answer.
    fault: Option<String>,
}

enum Entry<T> {
    Awaited,
    Known(Arc<T>),
    /// Why, and until when that holds; `None` is for good.
    Unusable(Arc<str>, Option<Instant>),
}

impl<T> Clone for Schemas<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> PartialEq for Schemas<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> fmt::Debug for Schemas<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schemas({})", self.shared.settings.url)
    }
}

impl<T: Send + Sync + 'static> Schemas<T> {
    /// Schemas of this registry, of which nothing is asked yet.
    pub fn new(settings: SchemaRegistrySettings, compile: Compile<T>) -> Self {
        let state = State { known: HashMap::new(), wanted: VecDeque::new(), fetching: false, fault: None };
        Self { shared: Arc::new(Shared { settings, compile, state: Mutex::new(state) }) }
    }

    /// What is known of the schema; asks for it where that is nothing.
    pub fn lookup(&self, id: u32) -> Lookup<T> {
        let mut state = self.shared.state();
        match state.known.get(&id) {
            Some(Entry::Known(schema)) => return Lookup::Known(Arc::clone(schema)),
            Some(Entry::Unusable(why, until)) if until.is_none_or(|until| Instant::now() < until) => {
                return Lookup::Unusable(Arc::clone(why));
            }
            Some(Entry::Awaited) => {}
            Some(Entry::Unusable(..)) | None => {
                state.known.insert(id, Entry::Awaited);
                state.wanted.push_back(id);
            }
        }
        if !state.fetching {
            state.fetching = self.start();
        }
        Lookup::Awaited
    }

    /// Why the registry gives no answer, while it is asked.
    pub fn fault(&self) -> Option<String> {
        self.shared.state().fault.clone()
    }

    /// Whether a thread could be started; without one, the next record that asks tries again.
    fn start(&self) -> bool {
        let shared = Arc::downgrade(&self.shared);
        let started = std::thread::Builder::new().name("schema-registry".to_owned()).spawn(move || run(&shared));
        if let Err(error) = &started {
            tracing::error!("no thread for the schema registry can be started: {error}");
        }
        started.is_ok()
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Each change is whole in itself, so a panic elsewhere leaves the state sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to fetch next. `None` ends the thread.
    fn next(&self) -> Option<u32> {
        let mut state = self.state();
        let next = state.wanted.front().copied();
        state.fetching = next.is_some();
        next
    }

    /// Asks once. `false` where the registry is away.
    fn try_once(&self, id: u32) -> bool {
        let unusable = |why: String| format!("schema {id} of {}: {why}", self.settings.url).into();
        let entry = match fetch(&self.settings, id) {
            Ok(definition) => match (self.compile)(&definition) {
                Ok(schema) => Entry::Known(Arc::new(schema)),
                Err(why) => Entry::Unusable(unusable(why), None),
            },
            Err(FetchError::Unknown(why)) => Entry::Unusable(unusable(why), Some(Instant::now() + UNKNOWN_FOR)),
            Err(FetchError::Away(why)) => {
                let why = format!("{}: {why}", self.settings.url);
                if self.state().fault.replace(why.clone()).is_none_or(|before| before != why) {
                    tracing::warn!(id, "the schema registry gives no answer, trying again: {why}");
                }
                return false;
            }
        };
        match &entry {
            Entry::Unusable(why, _) => tracing::warn!("{why}"),
            _ => tracing::info!(id, "schema fetched"),
        }
        let mut state = self.state();
        state.fault = None;
        if state.known.len() > MOST_UNUSABLE {
            state.known.retain(|_, entry| !matches!(entry, Entry::Unusable(..)));
        }
        state.known.insert(id, entry);
        state.wanted.pop_front();
        true
    }
}

/// Fetches what is wanted, until nothing is or nobody is left who could ask.
fn run<T>(shared: &Weak<Shared<T>>) {
    let (first, longest) = PAUSES;
    let mut pause = first;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let Some(id) = shared.next() else { return };
        let answered = shared.try_once(id);
        drop(shared);
        if answered {
            pause = first;
        } else {
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }
}

#[cfg(test)]
mod tests;
