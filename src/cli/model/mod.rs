//! `strayd model`: what lies in the registry, whether it is whole, and which model is in use.

mod generate;
pub(super) mod json;
pub(super) mod table;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
pub use generate::{GenerateArgs, RowFormat};
use serde_json::{Value, json};

use super::{ConfigArgs, Failure, output};
use crate::model::{
    Model, ModelError,
    registry::{Change, Entry, Registry, Report, Severity},
};

/// The commands on the registry and on a model file.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show all models, the one stored last first
    List(RegistryArgs),
    /// Show all that is known of one model, or of a model file
    Show(ShowArgs),
    /// Check every model against its hash and metadata, and the index and the pointer
    Verify(VerifyArgs),
    /// Put a stored model to use
    Promote(PromoteArgs),
    /// Put the model to use that was in use before; twice goes two models back
    Rollback(RegistryArgs),
    /// Make rows like those that a variational model file was fitted on
    Generate(GenerateArgs),
}

/// Which registry, and for whom the answer is.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// The registry's directory; left out, it is model.registry of the configuration
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "set"])]
    pub registry: Option<PathBuf>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Answer with one JSON object on one line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `strayd model show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The model's version, or as much of its beginning as no other one has; or a model file
    #[arg(value_name = "VERSION|FILE")]
    pub model: String,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Arguments of `strayd model verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Make the index agree with the files; a damaged one is kept beside the new one
    #[arg(long)]
    pub repair: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Arguments of `strayd model promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The model's version, or as much of its beginning as no other one has
    pub version: String,
    /// Put it to use even if it was refused
    #[arg(long)]
    pub force: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

impl RegistryArgs {
    /// The registry, whose directory must be there: a slip in its name would look like a registry without models.
    fn open(&self) -> Result<Registry, Failure> {
        let folder = match &self.registry {
            Some(folder) => folder.clone(),
            None => self.config.load()?.settings.model.registry,
        };
        match std::fs::read_dir(&folder) {
            Ok(_) => Ok(Registry::new(&folder)),
            Err(cause) => {
                Err(ModelError::from(crate::model::registry::RegistryError::Io { path: folder, cause }).into())
            }
        }
    }

    fn answer(&self, text: impl FnOnce() -> String, document: impl FnOnce() -> Value) -> Result<(), Failure> {
        let answer = if self.json { format!("{}\n", document()) } else { text() };
        output::print(&answer)
    }
}

/// Runs a command on the registry.
pub fn run(command: &ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::List(args) => list(args),
        ModelCommand::Show(args) => show(args),
        ModelCommand::Verify(args) => verify(args),
        ModelCommand::Promote(args) => {
            let registry = args.registry.open()?;
            let change = registry.promote(&args.version, args.force)?;
            tell_change(&args.registry, &registry, &change)
        }
        ModelCommand::Rollback(args) => {
            let registry = args.open()?;
            let change = registry.rollback()?;
            tell_change(args, &registry, &change)
        }
        ModelCommand::Generate(args) => generate::run(args),
    }
}

/// The models, and then why none of them is in use, should the pointer be at fault.
fn list(args: &RegistryArgs) -> Result<(), Failure> {
    let registry = args.open()?;
    let (models, promotions) = (registry.list()?, registry.promotions()?);
    let current = registry.current_version();
    let document = || {
        json!({
            "registry": registry.folder(),
            "current": current.as_ref().ok(),
            "models": models.iter().map(json::entry).collect::<Vec<_>>(),
            "promotions": promotions.iter().map(json::promotion).collect::<Vec<_>>(),
        })
    };
    let text = || match models.as_slice() {
        [] => format!("no models in {}\n", registry.folder().display()),
        models => table::of_models(models),
    };
    args.answer(text, document)?;
    Ok(current.map(drop)?)
}

/// The model, and then why its file can't be used, should that be so.
fn show(args: &ShowArgs) -> Result<(), Failure> {
    let file = Path::new(&args.model);
    if file.is_file() {
        let model = Model::read(file)?;
        let entry = Entry::of_file(&model, file);
        return args.registry.answer(|| table::of_file(&entry, &model), || with_inside(&entry, Some(&model)));
    }
    let registry = args.registry.open()?;
    let entry = registry.find(&args.model)?;
    let model = registry.read(&entry.version);
    let inside = model.as_ref().ok();
    let path = registry.folder().join(&entry.file);
    args.registry.answer(|| table::of_model(&entry, &path, inside), || with_inside(&entry, inside))?;
    Ok(model.map(drop)?)
}

fn with_inside(entry: &Entry, model: Option<&Model>) -> Value {
    let mut document = json::entry(entry);
    document["model"] = model.map_or(Value::Null, json::inside);
    document
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let registry = args.registry.open()?;
    let report = if args.repair { registry.repair() } else { registry.verify() }?;
    let document = || {
        let mut document = json::report(&report);
        document["registry"] = json!(registry.folder());
        document
    };
    args.registry.answer(|| report_text(&report, &registry), document)?;
    if report.is_sound() { Ok(()) } else { Err(Failure::told(1)) }
}

fn report_text(report: &Report, registry: &Registry) -> String {
    let repairs = report.repairs.iter().map(|repair| format!("repaired: {repair}\n"));
    let findings =
        report.findings.iter().map(|finding| format!("{}: {}\n", finding.severity.as_str(), finding.problem));
    let lines: String = repairs.chain(findings).collect();
    let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let verdict = match errors {
        0 => "ok".to_owned(),
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    };
    let models = match report.models {
        1 => "1 model".to_owned(),
        models => format!("{models} models"),
    };
    format!("{lines}{verdict}: {models} in {}\n", registry.folder().display())
}

fn tell_change(args: &RegistryArgs, registry: &Registry, change: &Change) -> Result<(), Failure> {
    let Change { from, to } = change;
    let text = || match from {
        Some(from) if from == to => format!("model {to} is in use already\n"),
        Some(from) => format!("model {to} is in use now; before, {from} was\n{FOLLOW}"),
        None => format!("model {to} is in use now; before, none was\n{FOLLOW}"),
    };
    args.answer(text, || json!({ "registry": registry.folder(), "from": from, "to": to }))
}

/// When a change reaches the daemons.
const FOLLOW: &str = "running daemons that share this registry follow within their model.poll_interval\n";
