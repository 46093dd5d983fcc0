//! From ranked rows to the envelope that a client gets.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::judge::Ranked;
use super::page::Page;
use super::{Notes, SearchHost};
use crate::envelope::{AnswerEnvelope, Contribution, Coverage, Finding, IndexStamp, Observability};
use crate::index::snapshot::Snapshot;
use crate::index::tokenize::Tokenizer;
use crate::plugin::{ChannelRun, Decision, Fused};
use crate::profile::QueryProfile;
use crate::request::SearchRequest;
use crate::telemetry::Run;
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::texts;
use crate::types::ChunkId;

/// What an answer with something degraded is worth, against a whole one.
const DEGRADED_CONFIDENCE: f32 = 0.8;

/// Writes the answer.
#[allow(clippy::too_many_arguments)]
pub(super) fn envelope(
    host: &SearchHost,
    run: &Run,
    request: &SearchRequest,
    page: &Page,
    profile: &QueryProfile,
    decision: &Decision,
    runs: &[ChannelRun],
    fused: &Fused,
    ranked: Ranked,
    mut notes: Notes,
) -> AnswerEnvelope {
    let stage = run.root.child(span::ENVELOPE).announce();
    let places = Places::of(runs);
    let findings: Vec<Finding> = ranked
        .placed
        .iter()
        .enumerate()
        .skip(page.offset)
        .take(page.limit)
        .map(|(at, placed)| {
            let row = &ranked.candidates.rows[placed.row];
            let fused_row = ranked.candidates.fused_rows[placed.row];
            Finding {
                rank: at as u32 + 1,
                chunk_id: row.id,
                path: row.path.clone(),
                start_line: row.start_line,
                end_line: row.end_line,
                symbol: row.symbol.clone(),
                language: row.language.clone(),
                score: placed.score,
                text: row.text.clone(),
                contributions: places.contributions(row.id, fused.contributions_of(fused_row)),
                commit: row.commit.clone(),
                explanation: request.explain.then(|| {
                    json!({
                        "fused_rank": fused_row + 1,
                        "fused_score": fused.list.scores.get(fused_row),
                        "boosted_rank": placed.row + 1,
                        "boosted_score": ranked.candidates.list.scores.get(placed.row),
                        "rerank_score": placed.rerank_score,
                    })
                }),
            }
        })
        .collect();
    let generation = &host.snapshot.manifest.generation;
    if let Some(first) = page.generation.as_ref().filter(|first| *first != generation) {
        notes.warnings.push(format!(
            "the index has changed since the first page ({first} then, {generation} now): findings may repeat or be missing"
        ));
    }
    let more = ranked.placed.len() + ranked.candidates.beyond > page.end();
    let confidence = confidence(profile, &findings, runs, !notes.degraded.is_empty());
    let answer = AnswerEnvelope {
        answer: sentence(request, &findings, page),
        confidence,
        warnings: notes.warnings,
        degraded: notes.degraded,
        index: stamp(&host.snapshot),
        observability: Observability { trace_id: run.trace_id(), run_id: run.id.clone() },
        next_cursor: (more && !findings.is_empty()).then(|| page.next(generation)),
        explanation: request.explain.then(|| explain(profile, decision)),
        findings,
    };
    stage.set(attr::FINDINGS, answer.findings.len() as i64);
    run.root.set(attr::FINDINGS, answer.findings.len() as i64);
    if !answer.degraded.is_empty() {
        run.root.set(attr::DEGRADED, texts(answer.degraded.iter().map(|part| format!("{}: {}", part.part, part.cause))));
    }
    if !answer.warnings.is_empty() {
        run.root.set(attr::WARNINGS, texts(answer.warnings.iter().cloned()));
    }
    answer
}

/// Where each chunk stands in each run.
struct Places<'a> {
    runs: &'a [ChannelRun],
    by_id: Vec<HashMap<ChunkId, usize>>,
}

impl<'a> Places<'a> {
    fn of(runs: &'a [ChannelRun]) -> Places<'a> {
        let by_id = runs.iter().map(|run| run.list.ids.iter().enumerate().map(|(at, id)| (*id, at)).collect()).collect();
        Places { runs, by_id }
    }

    fn contributions(&self, id: ChunkId, parts: &[f32]) -> Vec<Contribution> {
        let total: f32 = parts.iter().map(|part| part.max(0.0)).sum();
        self.runs
            .iter()
            .enumerate()
            .filter_map(|(column, run)| {
                let at = *self.by_id[column].get(&id)?;
                let part = parts.get(column).copied().unwrap_or(0.0).max(0.0);
                let share = if total > 0.0 { part / total } else { 0.0 };
                Some(Contribution { channel: run.channel, rank: at as u32 + 1, score: run.list.scores[at], share })
            })
            .collect()
    }
}

fn sentence(request: &SearchRequest, findings: &[Finding], page: &Page) -> String {
    let query: String = request.query.chars().take(80).collect();
    match findings.first() {
        None if page.offset > 0 => format!("No further findings for “{query}”."),
        None => format!("Nothing was found for “{query}”."),
        Some(best) => {
            let symbol = best.symbol.as_ref().map(|symbol| format!("{symbol} in ")).unwrap_or_default();
            let count = findings.len();
            let noun = if count == 1 { "finding" } else { "findings" };
            format!("{count} {noun} for “{query}”, first {symbol}{} lines {}–{}.", best.path, best.start_line, best.end_line)
        }
    }
}

/// See [`AnswerEnvelope::confidence`].
fn confidence(profile: &QueryProfile, findings: &[Finding], runs: &[ChannelRun], degraded: bool) -> f32 {
    let Some(best) = findings.first() else { return 0.0 };
    let held = Tokenizer::default().query_terms(&format!("{} {} {}", best.path, best.symbol.as_deref().unwrap_or_default(), best.text));
    let idf = profile.idf();
    let total: f32 = idf.iter().sum();
    let covered: f32 = profile.terms.iter().zip(&idf).filter(|(term, _)| held.contains(term)).map(|(_, weight)| weight).sum();
    let coverage = if total > 0.0 { covered / total } else { 0.0 };
    let agreement = if runs.is_empty() { 0.0 } else { best.contributions.len() as f32 / runs.len() as f32 };
    let whole = coverage * (0.5 + 0.5 * agreement);
    (if degraded { whole * DEGRADED_CONFIDENCE } else { whole }).clamp(0.0, 1.0)
}

fn explain(profile: &QueryProfile, decision: &Decision) -> Json {
    json!({
        "profile": {
            "terms": profile.terms.iter().zip(&profile.document_frequencies).map(|(term, frequency)| json!({"term": term, "document_frequency": frequency})).collect::<Vec<_>>(),
            "documents": profile.documents,
            "identifiers": profile.identifiers,
            "phrases": profile.phrases,
        },
        "gate": {
            "class": decision.class,
            "ambiguity": decision.ambiguity,
            "rrf_k": decision.rrf_k,
            "rm3": decision.rm3,
            "rerank_depth": decision.rerank_depth,
            "budgets": decision.budgets.iter().map(|budget| json!({
                "channel": budget.channel, "depth": budget.depth, "weight": budget.weight, "reason": budget.reason,
            })).collect::<Vec<_>>(),
            "reasons": decision.reasons,
        },
    })
}

/// What was searched, and how old it is.
fn stamp(snapshot: &Snapshot) -> IndexStamp {
    let manifest = &snapshot.manifest;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    IndexStamp {
        generation: manifest.generation.clone(),
        commit: manifest.roots.first().and_then(|root| root.commit.clone()),
        dirty: manifest.roots.iter().any(|root| root.dirty),
        age_s: (now - manifest.created_s).max(0) as u64,
        coverage: Coverage {
            files_indexed: manifest.counts.files,
            files_skipped: manifest.counts.skipped,
            chunks: manifest.counts.chunks,
            chunks_embedded: manifest.counts.embedded,
        },
    }
}
