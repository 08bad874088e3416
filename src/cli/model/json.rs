//! Answers for programs. Their keys are documented in docs/registry.md: more may come, none goes or changes its meaning.

use serde_json::{Value, json};

use crate::model::{
    Model,
    metadata::GraphOrigin,
    registry::{Entry, Promotion, Report},
};

/// A model as the index knows it.
pub(super) fn entry(entry: &Entry) -> Value {
    let from = &entry.provenance;
    // A file in no registry never was.
    let stored = Some(&entry.stored).filter(|stored| !stored.is_empty());
    let offsets = from
        .ranges
        .iter()
        .map(|(partition, first, last)| json!({ "partition": partition, "first": first, "last": last }));
    json!({
        "version": entry.version,
        "state": stored.map(|_| entry.state.as_str()),
        "file": entry.file,
        "sha256": entry.sha256,
        "bytes": entry.bytes,
        "kind": entry.kind,
        "program": entry.program,
        "parent": entry.parent,
        "created": from.created,
        "stored": stored,
        "promoted": entry.promoted,
        "reasons": entry.reasons,
        "provenance": {
            "source": from.source,
            "offsets": offsets.collect::<Vec<_>>(),
            "span": from.span.as_ref().map(|(first, last)| json!({ "first": first, "last": last })),
            "fitted_rows": from.fitted_rows,
            "held_back_rows": from.held_back_rows,
            "left_out_rows": from.left_out_rows,
            "unusable_records": from.unusable_records,
            "seed": from.seed,
            "config_sha256": from.config_sha256,
            "training_loss": from.training_loss,
            "validation_loss": from.validation_loss,
            "epochs": from.epochs,
            "active_units": from.active_units,
        },
    })
}

/// What only the file itself tells.
pub(super) fn inside(model: &Model) -> Value {
    let metadata = &model.metadata;
    json!({
        "architecture": architecture(&metadata.graph),
        "window": metadata.window,
        "columns": metadata.columns.iter().map(|column| &column.name).collect::<Vec<_>>(),
        "entities": Some(metadata.calibration.entities).filter(|entities| *entities > 0),
        "entity_scales": metadata.calibration.entity_scales,
    })
}

/// Kind and widths of the network, or what a graph of another tool takes and gives.
pub(in crate::cli) fn architecture(graph: &GraphOrigin) -> String {
    match graph {
        GraphOrigin::Strayd { architecture } => architecture.clone(),
        GraphOrigin::Foreign { input, output } => format!("foreign {input} -> {output}"),
    }
}

/// When a model was put to use, and how.
pub(super) fn promotion(promotion: &Promotion) -> Value {
    json!({ "version": promotion.version, "at": promotion.at, "how": promotion.how })
}

/// What a look at the registry found.
pub(super) fn report(report: &Report) -> Value {
    let findings = report.findings.iter().map(
        |finding| json!({ "severity": finding.severity.as_str(), "file": finding.file, "problem": finding.problem }),
    );
    json!({
        "sound": report.is_sound(),
        "models": report.models,
        "findings": findings.collect::<Vec<_>>(),
        "repairs": report.repairs,
    })
}
