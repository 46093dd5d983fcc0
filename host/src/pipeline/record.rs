//! Turns the calls of a recorded run into golden cases.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Search;
use crate::plugin::cases::{self, Columns, FusionInput, GateInput, Input, Output, Recorded, RerankInput};
use crate::plugin::{Called, Cause, ChannelRun, Configured, Decision, DocumentRows, Evidence, Fused, runner};
use crate::profile::QueryProfile;
use crate::types::RankedList;

pub(super) fn gate(search: &Search<'_>, profile: &QueryProfile, evidence: &Evidence, called: &Called<Decision>) {
    let input = || Input::Gate(GateInput { query: runner::query(profile, evidence) });
    take(search, &search.chosen.gate, input, called, runner::gate_output);
}

pub(super) fn fusion(search: &Search<'_>, rrf_k: f32, runs: &[ChannelRun], called: &Called<Fused>) {
    let input = || Input::Fusion(FusionInput { rrf_k, runs: runs.iter().map(runner::run_input).collect() });
    take(search, &search.chosen.fusion, input, called, runner::fusion_output);
}

pub(super) fn rerank(search: &Search<'_>, profile: &QueryProfile, rows: &RankedList, documents: &DocumentRows, called: &Called<Vec<f32>>) {
    let input = || {
        let chunks = documents.rows().get(..rows.len()).unwrap_or(documents.rows());
        Input::Rerank(RerankInput {
            query: runner::query(profile, documents.evidence()),
            rows: Columns {
                ids: rows.ids.iter().map(|id| id.0).collect(),
                scores: rows.scores.clone(),
                evidence: runner::row_evidence(documents.evidence(), chunks),
            },
            documents: chunks.iter().map(runner::document).collect(),
        })
    };
    take(search, &search.chosen.rerank, input, called, |scores| Output::Rerank(cases::RerankOutput { scores: scores.clone() }));
}

fn take<T>(search: &Search<'_>, plugin: &Configured, input: impl FnOnce() -> Input, called: &Called<T>, output: impl FnOnce(&T) -> Output) {
    let identity = &plugin.plugin.identity;
    let Some(recording) = search.recording.filter(|recording| recording.wants(identity.stage)) else { return };
    // A call that was never made is none.
    if matches!(&called.outcome, Err(failure) if matches!(failure.cause, Cause::Quarantined | Cause::Instances)) {
        return;
    }
    let redacted = recording.redact || !search.host.record_query_text;
    let run = search.run;
    let recorded = Recorded {
        run_id: run.id.clone(),
        trace_id: run.trace_id(),
        at: OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default(),
        generation: search.host.snapshot.manifest.generation.clone(),
        plugin: identity.name.clone(),
        version: identity.version.clone(),
        sha256: identity.sha256.clone(),
        redacted,
    };
    let seen = runner::observed(Called { outcome: called.outcome.as_ref().map_err(Clone::clone), report: called.report.clone() }, output);
    let mut input = input();
    let name = if redacted { format!("{} of run {}", identity.stage, run.id) } else { search.request.query.clone() };
    if redacted {
        runner::redact(&mut input);
    }
    recording.take(runner::case_of(name, input, &search.call, &plugin.parameters, recorded, &seen));
}
