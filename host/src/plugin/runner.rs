//! Runs golden cases through a plugin, and turns calls into cases: the two directions
//! between the host's types and those of `cases`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Map;

use super::bindings::types::Run as WireRun;
use super::cases::{self, Case, Failure, Input, Observed, ObservedSpan, Output};
use super::documents::DocumentRows;
use super::evidence::{Evidence, KnownEvidence};
use super::failure::PluginFailure;
use super::instance::{CallSettings, Configured};
use super::load::Plugin;
use super::report::{CallReport, Called};
use super::scoring::{KnownScores, Scoring};
use super::stages::{ChannelRun, Decision, Fused};
use crate::evidence::Column;
use crate::index::catalog::ChunkRow;
use crate::profile::QueryProfile;
use crate::telemetry::Span;
use crate::types::{ChannelName, ChunkId, RankedList};

/// A case names a channel that the host doesn't have.
const UNKNOWN_CHANNEL: &str = "unknown_channel";

/// Makes the call of a case on a new instance, configured as the case says.
pub fn run(plugin: &Arc<Plugin>, case: &Case, span: &Span) -> Observed {
    let parameters = serde_json::Value::Object(case.parameters.clone()).to_string();
    match Configured::try_new(plugin.clone(), parameters) {
        Ok(configured) => call(&configured, case, span),
        Err(failure) => failed(&failure),
    }
}

/// Makes the call of a case on a configured plugin, whatever parameters the case names.
pub fn call(configured: &Configured, case: &Case, span: &Span) -> Observed {
    // A little more than the plugin's own limit: that is the one to be named.
    let deadline = Instant::now() + configured.plugin.call_time_max() + Duration::from_millis(1);
    let settings = CallSettings { deadline, limit: case.call.limit, explain: case.call.explain, observe: true };
    let outcome = match &case.input {
        Input::Gate(input) => {
            let evidence = known_evidence(&input.query, None);
            let decide = |profile: QueryProfile| configured.decide(span, settings, &profile, evidence);
            profile(&input.query).map(|profile| observed(decide(profile), |decision| gate_output(&decision)))
        }
        Input::Fusion(input) => {
            let runs: Vec<WireRun> = input.runs.iter().map(wire_run).collect();
            Ok(observed(configured.fuse_wire(span, settings, input.rrf_k, &runs), |fused| fusion_output(&fused)))
        }
        Input::Rerank(input) => profile(&input.query).map(|profile| {
            let rows = ranked(&input.rows.ids, &input.rows.scores);
            let documents = DocumentRows::new(Arc::new(input.documents.iter().map(chunk).collect()))
                .with_evidence(known_evidence(&input.query, Some(&input.rows)));
            let scores = input
                .documents
                .iter()
                .map(|row| (row.id, KnownScores { late_interaction: row.late_interaction, cross_encoder: row.cross_encoder }))
                .collect();
            let called = configured.rerank(span, settings, &profile, &rows, documents, Some(Scoring::Known(Arc::new(scores))));
            observed(called, |scores| Output::Rerank(cases::RerankOutput { scores }))
        }),
    };
    outcome.unwrap_or_else(|message| Observed { outcome: Err(Failure { cause: UNKNOWN_CHANNEL.into(), message }), spans: Vec::new() })
}

fn failed(failure: &PluginFailure) -> Observed {
    let outcome = Err(Failure { cause: failure.cause.as_str().into(), message: failure.message.clone() });
    Observed { outcome, spans: Vec::new() }
}

/// What was seen of a call, as cases have it.
pub fn observed<T>(called: Called<T>, output: impl FnOnce(T) -> Output) -> Observed {
    let spans = spans(&called.report);
    let outcome = called.outcome.map(output).map_err(|failure| Failure { cause: failure.cause.as_str().into(), message: failure.message });
    Observed { outcome, spans }
}

/// The guest's spans; the stage span itself only when the guest wrote on it.
fn spans(report: &CallReport) -> Vec<ObservedSpan> {
    let name = |place: usize| report.spans.get(place).map(|span| span.name.clone());
    let told = |span: &&super::report::GuestSpanFact| span.parent.is_some() || !span.attributes.is_empty() || !span.events.is_empty();
    report
        .spans
        .iter()
        .filter(told)
        .map(|span| ObservedSpan {
            name: span.name.clone(),
            parent: span.parent.and_then(name),
            attributes: span.attributes.clone(),
            events: span.events.clone(),
            failed: span.failed,
        })
        .collect()
}

fn profile(query: &cases::Query) -> Result<QueryProfile, String> {
    let channels: Result<Vec<ChannelName>, String> = query.channels.iter().map(|name| name.parse()).collect();
    Ok(QueryProfile {
        text: query.text.clone(),
        terms: query.terms.clone(),
        document_frequencies: query.document_frequencies.clone(),
        documents: query.documents,
        identifiers: query.identifiers.clone(),
        phrases: query.phrases.clone(),
        channels: channels?,
        ..QueryProfile::default()
    })
}

/// The columns of a case; one without any has none.
fn known_evidence(query: &cases::Query, rows: Option<&cases::Columns>) -> Evidence {
    let (ids, rows) = rows.map(|rows| (rows.ids.clone(), rows.evidence.clone())).unwrap_or_default();
    Evidence::Known(Arc::new(KnownEvidence { terms: query.evidence.clone(), ids, rows }))
}

/// What the index knows of rows, as cases have it.
pub fn row_evidence(evidence: &Evidence, rows: &[ChunkRow]) -> BTreeMap<String, Vec<f32>> {
    by_name(evidence.rows(&rows.iter().collect::<Vec<_>>()).columns)
}

fn by_name(columns: Vec<Column>) -> BTreeMap<String, Vec<f32>> {
    columns.into_iter().map(|column| (column.name, column.values)).collect()
}

/// A query as cases have it.
pub fn query(profile: &QueryProfile, evidence: &Evidence) -> cases::Query {
    cases::Query {
        text: profile.text.clone(),
        terms: profile.terms.clone(),
        document_frequencies: profile.document_frequencies.clone(),
        documents: profile.documents,
        identifiers: profile.identifiers.clone(),
        phrases: profile.phrases.clone(),
        channels: profile.channels.iter().map(|channel| channel.as_str().to_owned()).collect(),
        evidence: by_name(evidence.terms().columns),
    }
}

fn wire_run(run: &cases::Run) -> WireRun {
    WireRun { channel: run.channel.clone(), weight: run.weight, ids: run.ids.clone(), scores: run.scores.clone() }
}

/// A channel's list as cases have it.
pub fn run_input(run: &ChannelRun) -> cases::Run {
    cases::Run {
        channel: run.channel.as_str().to_owned(),
        weight: run.weight,
        ids: run.list.ids.iter().map(|id| id.0).collect(),
        scores: run.list.scores.clone(),
    }
}

fn ranked(ids: &[u64], scores: &[f32]) -> RankedList {
    RankedList { ids: ids.iter().copied().map(ChunkId).collect(), scores: scores.to_vec() }
}

fn chunk(document: &cases::Document) -> ChunkRow {
    ChunkRow {
        id: ChunkId(document.id),
        path: document.path.clone(),
        language: document.language.clone().unwrap_or_default(),
        start_line: document.start_line.unwrap_or_default(),
        end_line: document.end_line.unwrap_or_default(),
        symbol: document.symbol.clone(),
        definitions: document.definitions.clone().unwrap_or_default(),
        text: document.text.clone().unwrap_or_default(),
        document: None,
        commit: None,
        commit_time_s: document.commit_time,
    }
}

/// A chunk as cases have it.
pub fn document(row: &ChunkRow) -> cases::Document {
    cases::Document {
        id: row.id.0,
        path: row.path.clone(),
        symbol: row.symbol.clone(),
        definitions: Some(row.definitions.clone()).filter(|names| !names.is_empty()),
        language: Some(row.language.clone()),
        start_line: Some(row.start_line),
        end_line: Some(row.end_line),
        commit_time: row.commit_time_s,
        text: Some(row.text.clone()),
        late_interaction: None,
        cross_encoder: None,
    }
}

/// A decision as cases have it.
pub fn gate_output(decision: &Decision) -> Output {
    Output::Gate(cases::GateOutput {
        class: decision.class.clone(),
        ambiguity: decision.ambiguity,
        budgets: decision
            .budgets
            .iter()
            .map(|budget| cases::Budget {
                channel: budget.channel.as_str().to_owned(),
                depth: budget.depth,
                weight: budget.weight,
                reason: budget.reason.clone(),
            })
            .collect(),
        rrf_k: decision.rrf_k,
        rm3: decision.rm3,
        rerank_depth: decision.rerank_depth,
        reasons: decision.reasons.clone(),
    })
}

/// A fused list as cases have it.
pub fn fusion_output(fused: &Fused) -> Output {
    Output::Fusion(cases::FusionOutput {
        ids: fused.list.ids.iter().map(|id| id.0).collect(),
        scores: fused.list.scores.clone(),
        contributions: fused.contributions.clone(),
    })
}

/// A case of one call, expecting what was observed.
pub fn case_of(name: String, input: Input, call: &CallSettings, parameters: &str, recorded: cases::Recorded, seen: &Observed) -> Case {
    let parameters = serde_json::from_str(parameters).unwrap_or_else(|_| Map::new());
    let case = Case {
        schema: cases::SCHEMA,
        stage: input.stage(),
        name,
        parameters,
        call: cases::CaseCall { limit: call.limit, explain: call.explain },
        input,
        expect: cases::Expect::default(),
        recorded: Some(recorded),
    };
    case.expecting(seen)
}

/// Replaces the words of a query by numbered ones, the same word by the same number, and
/// leaves out the texts of documents: what is left are counts, scores, paths and symbols.
pub fn redact(input: &mut Input) {
    let hide = |query: &mut cases::Query| {
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut word = |text: &mut String| {
            let next = numbers.len() + 1;
            let number = *numbers.entry(std::mem::take(text)).or_insert(next);
            *text = format!("word{number}");
        };
        query.terms.iter_mut().chain(&mut query.identifiers).chain(&mut query.phrases).for_each(&mut word);
        query.text = query.terms.join(" ");
    };
    match input {
        Input::Gate(input) => hide(&mut input.query),
        Input::Rerank(input) => {
            hide(&mut input.query);
            input.documents.iter_mut().for_each(|document| document.text = None);
        }
        Input::Fusion(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redaction_hides_words_and_keeps_what_is_counted() {
        let query = cases::Query {
            text: "secret word secret".into(),
            terms: vec!["secret".into(), "word".into()],
            document_frequencies: vec![3, 4],
            identifiers: vec!["secret".into()],
            ..cases::Query::default()
        };
        let document = cases::Document { id: 1, path: "a.rs".into(), text: Some("the secret".into()), ..cases::Document::default() };
        let rows = cases::Columns { ids: vec![1], scores: vec![0.5], ..cases::Columns::default() };
        let mut input = Input::Rerank(cases::RerankInput { query, rows, documents: vec![document] });
        redact(&mut input);
        let text = serde_json::to_string(&input).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains(r#""terms":["word1","word2"]"#) && text.contains(r#""identifiers":["word1"]"#), "{text}");
        assert!(text.contains("a.rs") && text.contains("[3,4]"), "{text}");
    }
}
