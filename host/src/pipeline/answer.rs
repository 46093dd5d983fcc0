//! From ranked rows to the envelope that a client gets.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::Xxh3;

use super::draft::{self, Order, Slot};
use super::judge::{Placed, Ranked};
use super::page::{FirstPage, Page};
use super::{Notes, Ranking, Search, Teams, arms};
use crate::envelope::{AnswerEnvelope, Contribution, Coverage, ExperimentStamp, Finding, IndexStamp, Observability};
use crate::explanation::{
    BudgetExplanation, ChannelExplanation, Explanation, FindingExplanation, GateExplanation, PluginStamp, QueryExplanation,
    TeamExplanation, TermExplanation,
};
use crate::index::snapshot::{ChunkTable, Snapshot};
use crate::index::tokenize::Tokenizer;
use crate::plugin::{ChannelRun, Configured};
use crate::profile::QueryProfile;
use crate::request::SearchRequest;
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::texts;
use crate::types::{ChunkId, Stage};

/// What an answer with something degraded is worth, against a whole one.
const DEGRADED_CONFIDENCE: f32 = 0.8;

/// What one ranking tells of its findings.
struct Told<'a> {
    profile: &'a QueryProfile,
    ranking: &'a Ranking,
    places: Places<'a>,
    /// Key of the arm, where several share the answer.
    team: Option<&'a str>,
}

/// Writes the answer: of one ranking, or of several that `teams` share.
pub(super) async fn envelope(
    search: &Search<'_>,
    profile: &QueryProfile,
    rankings: &[Ranking],
    teams: Option<&Teams>,
    mut notes: Notes,
) -> AnswerEnvelope {
    let Search { host, run, request, page, .. } = *search;
    let stage = search.stage(&run.root, span::ENVELOPE);
    // It can't fail, so nothing comes of this but a delay or worse.
    let _ = search.strike(span::ENVELOPE).await;
    let chunks = &host.snapshot.chunks;
    let told: Vec<Told<'_>> = rankings
        .iter()
        .enumerate()
        .map(|(at, ranking)| Told {
            profile,
            ranking,
            places: Places::of(&ranking.gathered.runs),
            team: teams.and_then(|teams| teams.key(at)),
        })
        .collect();
    let order = match (teams, rankings) {
        (Some(teams), _) => draft::drafted(rankings, chunks, teams.seed(page), page.end()),
        (None, [one, ..]) => draft::alone(one, page.end()),
        (None, []) => Order { slots: Vec::new(), more: false },
    };
    let ranked = order.slots.iter().zip(1..).skip(page.offset).take(page.limit);
    let findings: Vec<Finding> =
        ranked.filter_map(|(slot, rank)| told.get(slot.ranking)?.finding(*slot, rank, request.explain, chunks)).collect();
    let stamps: Vec<ExperimentStamp> = search.arms.stamps().into_iter().chain(teams.map(|teams| teams.stamp.clone())).collect();
    if teams.is_some() {
        arms::mark(&stamps, &stage);
    }
    let here = FirstPage {
        generation: host.snapshot.manifest.generation.clone(),
        run_id: host.page_run.clone().unwrap_or_default(),
        arms: hash(&stamps),
    };
    note_changes(page, &here, &mut notes);
    let best = order.slots.first().map_or(0, |slot| slot.ranking);
    let runs = rankings.get(best).map_or(&[][..], |ranking| &ranking.gathered.runs);
    let confidence = confidence(profile, &findings, runs, !notes.degraded.is_empty());
    let answer = AnswerEnvelope {
        answer: sentence(request, &findings, page),
        confidence,
        warnings: notes.warnings,
        degraded: notes.degraded,
        index: stamp(&host.snapshot),
        observability: Observability { trace_id: run.trace_id(), run_id: run.id.clone() },
        experiments: stamps,
        query_class: rankings.first().map(|first| first.decided.decision.class.clone()).unwrap_or_default(),
        next_cursor: (order.more && !findings.is_empty()).then(|| page.next(here)),
        explanation: if request.explain { explanation(&told) } else { None },
        findings,
    };
    stage.set(attr::FINDINGS, answer.findings.len() as i64);
    stage.end();
    run.root.set(attr::FINDINGS, answer.findings.len() as i64);
    if !answer.degraded.is_empty() {
        run.root.set(attr::DEGRADED, texts(answer.degraded.iter().map(|part| format!("{}: {}", part.part, part.cause))));
    }
    if !answer.warnings.is_empty() {
        run.root.set(attr::WARNINGS, texts(answer.warnings.iter().cloned()));
    }
    answer
}

/// Says what is otherwise than on the first page.
fn note_changes(page: &Page, here: &FirstPage, notes: &mut Notes) {
    let Some(first) = &page.first else { return };
    if first.generation != here.generation {
        notes.warn(format!(
            "the index has changed since the first page ({} then, {} now): findings may repeat or be missing",
            first.generation, here.generation
        ));
    }
    if first.arms != here.arms {
        notes
            .warn("the experiments that this query is part of have changed since the first page: findings may repeat or be missing".into());
    }
}

/// Of the arms that ranked; 0 without any.
fn hash(stamps: &[ExperimentStamp]) -> u64 {
    if stamps.is_empty() {
        return 0;
    }
    let mut hash = Xxh3::new();
    for ExperimentStamp { id, version, variant, .. } in stamps {
        // Neither may hold a line's end.
        hash.update(format!("{id}\n{version}\n{variant}\n").as_bytes());
    }
    hash.digest()
}

/// How the stages decided; of several rankings, each.
fn explanation(told: &[Told<'_>]) -> Option<Explanation> {
    let mut explanation = told.first()?.explanation();
    explanation.teams = told.iter().filter_map(|told| Some((told.team?.to_owned(), told.team_explanation()))).collect();
    Some(explanation)
}

impl Told<'_> {
    /// What stands at a rank; nothing where the ranking has no such row.
    fn finding(&self, slot: Slot, rank: u32, explain: bool, chunks: &ChunkTable) -> Option<Finding> {
        let Ranked { fused, candidates, placed, .. } = &self.ranking.ranked;
        let placed = placed.get(slot.at)?;
        let row = candidates.rows.get(placed.row)?;
        let parts = fused.contributions_of(*candidates.fused_rows.get(placed.row)?);
        Some(Finding {
            rank,
            chunk_id: row.id,
            path: row.path.clone(),
            document: row.document.clone(),
            start_line: row.start_line,
            end_line: row.end_line,
            symbol: row.symbol.clone(),
            language: row.language.clone(),
            score: placed.score,
            text: row.text.clone(),
            contributions: self.places.contributions(row.id, parts),
            commit: row.commit.clone(),
            team: slot.team,
            explanation: explain.then(|| self.way(chunks, row.id, placed, slot)).map(|way| FindingExplanation { final_rank: rank, ..way }),
        })
    }

    /// A finding's way through the stages.
    fn way(&self, chunks: &ChunkTable, id: ChunkId, placed: &Placed, slot: Slot) -> FindingExplanation {
        let Ranked { fused, candidates, explained, .. } = &self.ranking.ranked;
        let fused_row = candidates.fused_rows[placed.row];
        let fused_score = fused.list.scores.get(fused_row).copied().unwrap_or_default();
        let boosted_score = candidates.list.scores.get(placed.row).copied().unwrap_or_default();
        FindingExplanation {
            channels: self.places.explained(id, fused.contributions_of(fused_row)),
            fused_rank: fused_row as u32 + 1,
            fused_score,
            boosted_rank: placed.row as u32 + 1,
            boosted_score,
            boost: if fused_score > 0.0 { boosted_score / fused_score } else { 1.0 },
            rerank_score: placed.rerank_score,
            rerank_parts: placed.rerank_score.and_then(|_| explained.parts_of(placed.row)).unwrap_or_default(),
            team: slot.team.and(self.team).map(str::to_owned),
            final_rank: slot.at as u32 + 1,
            without: self.ranking.without.iter().map(|(channel, ranks)| (*channel, rank_in(ranks, chunks, id))).collect(),
        }
    }

    fn explanation(&self) -> Explanation {
        let (profile, gathered) = (self.profile, &self.ranking.gathered);
        let TeamExplanation { gate, plugins, widened } = self.team_explanation();
        Explanation {
            query: QueryExplanation {
                terms: profile
                    .terms
                    .iter()
                    .zip(&profile.document_frequencies)
                    .map(|(term, &document_frequency)| TermExplanation { term: term.clone(), document_frequency })
                    .collect(),
                documents: profile.documents,
                identifiers: profile.identifiers.clone(),
                phrases: profile.phrases.clone(),
                prefixes: gathered.prefixes.clone(),
                expanded: gathered.expanded.clone(),
                widened,
            },
            gate,
            plugins,
            teams: BTreeMap::new(),
        }
    }

    fn team_explanation(&self) -> TeamExplanation {
        let Ranking { decided, gathered, ranked, chosen, .. } = self.ranking;
        let decision = &decided.decision;
        let mut plugins = BTreeMap::from([(Stage::Gate, plugin_stamp(&chosen.gate)), (Stage::Fusion, plugin_stamp(&chosen.fusion))]);
        if ranked.reranked {
            plugins.insert(Stage::Rerank, plugin_stamp(&chosen.rerank));
        }
        TeamExplanation {
            gate: GateExplanation {
                features: decided.features.clone(),
                class: decision.class.clone(),
                ambiguity: decision.ambiguity,
                budgets: decision
                    .budgets
                    .iter()
                    .map(|budget| BudgetExplanation {
                        channel: budget.channel,
                        depth: budget.depth,
                        weight: budget.weight,
                        reason: budget.reason.clone(),
                    })
                    .collect(),
                rrf_k: decision.rrf_k,
                rm3: decision.rm3,
                rerank_depth: decision.rerank_depth,
                reasons: decision.reasons.clone(),
            },
            plugins,
            widened: gathered.widened.clone(),
        }
    }
}

fn plugin_stamp(plugin: &Configured) -> PluginStamp {
    let identity = &plugin.plugin.identity;
    PluginStamp { name: identity.name.clone(), version: identity.version.clone(), sha256: identity.sha256.clone() }
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
        self.explained(id, parts)
            .into_iter()
            .map(|part| {
                let share = if total > 0.0 { part.contribution.max(0.0) / total } else { 0.0 };
                Contribution { channel: part.channel, rank: part.rank, score: part.score, share }
            })
            .collect()
    }

    fn explained(&self, id: ChunkId, parts: &[f32]) -> Vec<ChannelExplanation> {
        self.runs
            .iter()
            .enumerate()
            .filter_map(|(column, run)| {
                let at = *self.by_id[column].get(&id)?;
                Some(ChannelExplanation {
                    channel: run.channel,
                    rank: at as u32 + 1,
                    score: run.list.scores[at],
                    weight: run.weight,
                    contribution: parts.get(column).copied().unwrap_or(0.0),
                })
            })
            .collect()
    }
}

/// The rank of a chunk, or of another passage of its record.
fn rank_in(ranks: &HashMap<ChunkId, u32>, chunks: &ChunkTable, id: ChunkId) -> Option<u32> {
    let of_record = || {
        let record = chunks.record_of(id)?;
        ranks.iter().filter(|(other, _)| chunks.record_of(**other) == Some(record)).map(|(_, rank)| *rank).min()
    };
    ranks.get(&id).copied().or_else(of_record)
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
