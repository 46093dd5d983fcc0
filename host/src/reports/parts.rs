//! What the parts of a run did: gate, channels, plugins, models, index, findings,
//! degradations. Each reads the spans and events that tell it.

use serde_json::Value as Json;

use super::remedy::remedy;
use super::report::{
    BudgetReport, ChannelReport, ChannelStatus, ContributionReport, Degradation, FindingReport, GateReport, IndexReport, ModelReport,
    PluginReport, SkippedStep,
};
use super::stages as stage;
use super::trail::{EventFacts, SpanFacts, Trail};
use crate::telemetry::conventions::{attr, event};
use crate::types::ChannelName;

/// The outcome of what went well.
const OK: &str = "ok";
/// The outcome of what has not ended.
const UNFINISHED: &str = "unfinished";

/// The gate's decision, from its event, so that it is known as soon as it is made, and
/// from its span.
pub(super) fn gate(trail: &Trail) -> Option<GateReport> {
    let decision = trail.events.iter().find(|told| told.name == event::GATING_DECISION);
    let span = trail.named(stage::GATE).next();
    let value = |key: &str| decision.and_then(|told| told.attributes?.get(key)).or_else(|| span?.attribute(key));
    let text = |key: &str| value(key).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let depths = map_of(value(attr::CHANNEL_DEPTHS));
    let weights = map_of(value(attr::CHANNEL_WEIGHTS));
    let mut budgets: Vec<BudgetReport> = trail
        .events
        .iter()
        .filter(|told| told.name == event::CHANNEL_BUDGET)
        .filter_map(|told| {
            let channel = told.text(attr::CHANNEL)?.to_owned();
            let depth = told.attributes?.get(attr::CHANNEL_DEPTH).and_then(Json::as_u64);
            Some(BudgetReport { channel, depth, weight: None, reason: told.text("reason").map(str::to_owned) })
        })
        .collect();
    for (channel, depth) in &depths {
        if !budgets.iter().any(|budget| budget.channel == *channel) {
            budgets.push(BudgetReport { channel: channel.clone(), depth: depth.as_u64(), ..BudgetReport::default() });
        }
    }
    for budget in &mut budgets {
        budget.weight = weights.get(&budget.channel).and_then(Json::as_f64);
    }
    let report = GateReport {
        class: text(attr::CLASS),
        ambiguity: value(attr::AMBIGUITY).and_then(Json::as_f64),
        budgets,
        rrf_k: value(attr::RRF_K).and_then(Json::as_f64),
        rm3: value(attr::RM3_ENABLED).and_then(Json::as_bool),
        rerank_depth: value(attr::RERANK_DEPTH).and_then(Json::as_u64),
        reasons: text(attr::REASONS),
    };
    (report != GateReport::default()).then_some(report)
}

/// The map that is written as JSON text into an attribute.
fn map_of(value: Option<&Json>) -> serde_json::Map<String, Json> {
    value.and_then(Json::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

pub(super) fn skipped(trail: &Trail) -> Vec<SkippedStep> {
    let text = |line: &Json, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let skips = trail.steps.iter().filter(|step| step["status"] == "skipped");
    skips.map(|step| SkippedStep { stage: text(step, "name"), reason: text(step, "detail") }).collect()
}

/// The channels with a budget, a span or a degradation, in the order of asking.
pub(super) fn channels(
    trail: &Trail,
    gate: Option<&GateReport>,
    skipped: &[SkippedStep],
    degradations: &[Degradation],
) -> Vec<ChannelReport> {
    let gather = trail.named(stage::GATHER).next();
    let budgets = gate.map_or(&[][..], |gate| &gate.budgets);
    let known = ChannelName::ALL.map(ChannelName::as_str);
    let others = budgets.iter().map(|budget| budget.channel.as_str()).filter(|name| !known.contains(name));
    let mut reports = Vec::new();
    for name in known.into_iter().chain(others) {
        let own_span = stage::of_channel(name);
        // Not those of a comparison, which hang elsewhere.
        let span = own_span
            .and_then(|own| trail.named(own).find(|span| span.parent.is_some_and(|parent| trail.spans[parent].name == stage::GATHER)));
        let budget = budgets.iter().find(|budget| budget.channel == name);
        let degraded = degradations.iter().find(|part| part.part == name);
        if span.is_none() && budget.is_none() && degraded.is_none() {
            continue;
        }
        let why_skipped = || skipped.iter().find(|step| Some(step.stage.as_str()) == own_span).map(|step| step.reason.clone());
        let cause = degraded.map(|part| part.cause.clone()).or_else(|| span?.error_class().map(str::to_owned)).or_else(why_skipped);
        reports.push(ChannelReport {
            name: name.to_owned(),
            depth: budget.and_then(|budget| budget.depth),
            hits: span.and_then(|span| span.number(attr::HITS)),
            deadline_ms: span.and_then(|span| span.number(attr::DEADLINE_MS)).or_else(|| gather?.number(attr::DEADLINE_MS)),
            duration_us: span.and_then(SpanFacts::duration_us),
            status: channel_status(span, cause.as_deref(), gather.is_some_and(|gather| gather.ended.is_some())),
            cause,
        });
    }
    reports
}

fn channel_status(span: Option<&SpanFacts>, cause: Option<&str>, gathered: bool) -> ChannelStatus {
    match (span, cause) {
        (Some(_), Some("deadline")) => ChannelStatus::Late,
        (Some(_), Some(_)) => ChannelStatus::Failed,
        (Some(span), None) if span.ended.is_some() => ChannelStatus::Answered,
        (Some(_), None) => ChannelStatus::Unfinished,
        // Older ledgers have the spans of channels at their ends only.
        (None, Some("deadline")) if gathered => ChannelStatus::Late,
        (None, _) => ChannelStatus::NotAsked,
    }
}

pub(super) fn plugins(trail: &Trail) -> Vec<PluginReport> {
    let called = |name: &'static str, part: &'static str| {
        let spans = trail.named(name).filter(|span| trail.is_of_run(span));
        spans.filter_map(move |span| {
            let text = |key: &str| span.text(key).map(str::to_owned);
            Some(PluginReport {
                stage: text(attr::PLUGIN_STAGE).unwrap_or_else(|| part.to_owned()),
                name: text(attr::PLUGIN_NAME)?,
                version: text(attr::PLUGIN_VERSION),
                sha256: text(attr::PLUGIN_SHA256),
                reuse: span.number(attr::PLUGIN_REUSE),
                guest_time_us: span.number(attr::PLUGIN_GUEST_US),
                memory_bytes_peak: span.number(attr::PLUGIN_MEMORY),
                candidates_in: span.number(attr::PLUGIN_ROWS_IN),
                candidates_out: span.number(attr::PLUGIN_ROWS_OUT),
                outcome: text(attr::PLUGIN_TRAP).unwrap_or_else(|| span.error_class().unwrap_or(OK).to_owned()),
                fallback: text(attr::PLUGIN_FALLBACK),
            })
        })
    };
    called(stage::GATE, "gate").chain(called(stage::FUSE, "fusion")).chain(called(stage::RERANK, "rerank")).collect()
}

/// The uses of models, in the order in which they began. A query's vector that a server
/// gave is told once, with what both of its spans know.
pub(super) fn models(trail: &Trail) -> Vec<ModelReport> {
    let asks = |span: &SpanFacts| span.name.starts_with("vllm.");
    let mut reports = Vec::new();
    for (place, span) in trail.spans.iter().enumerate() {
        let around = span.parent.map(|parent| &trail.spans[parent]).filter(|parent| parent.name == stage::EMBED);
        let told_below = || trail.spans.iter().any(|below| below.parent == Some(place) && asks(below));
        if !(asks(span) || (span.name == stage::EMBED && !told_below())) {
            continue;
        }
        let text = |key: &str| span.text(key).or_else(|| around?.text(key)).map(str::to_owned);
        let number = |key: &str| span.number(key).or_else(|| around?.number(key));
        let name = text(attr::VLLM_MODEL_NAME).or_else(|| text(attr::GEN_AI_REQUEST_MODEL));
        let Some(name) = name else { continue };
        reports.push(ModelReport {
            stage: span.name.to_owned(),
            name,
            mode: text(attr::VLLM_MODE).or_else(|| asks(span).then(|| "http".to_owned())),
            dimension: number(attr::VLLM_EMBED_DIM),
            batch: number(attr::VLLM_BATCH),
            attempts: span.number(attr::VLLM_ATTEMPTS),
            duration_us: span.duration_us(),
            outcome: match &span.ended {
                None => UNFINISHED.to_owned(),
                Some(_) => span.error_class().unwrap_or(OK).to_owned(),
            },
        });
    }
    reports
}

/// What did not do its full part, in the order of the stages: as the answer says, and
/// without an answer as the stages said themselves.
pub(super) fn degradations(trail: &Trail) -> Vec<Degradation> {
    let text = |value: &Json, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut told: Vec<&EventFacts> = trail.events.iter().filter(|told| told.name == event::DEGRADED).collect();
    let answered = trail.end.and_then(|end| end["outcome"]["degraded"].as_array()).map_or(&[][..], Vec::as_slice);
    let mut parts: Vec<Degradation> = Vec::new();
    for item in answered {
        let (part, cause) = (text(item, "part"), text(item, "cause"));
        let event = told.iter().position(|event| event_part(event) == (part.as_str(), cause.as_str())).map(|at| told.remove(at));
        let message = event.and_then(|event| event.text("message")).map(str::to_owned);
        parts.push(degradation(trail, part, cause, text(item, "instead"), message));
    }
    for event in told {
        let (part, cause) = event_part(event);
        let of = |key: &str| event.text(key).map(str::to_owned);
        parts.push(degradation(trail, part.to_owned(), cause.to_owned(), of("instead").unwrap_or_default(), of("message")));
    }
    parts.sort_by_key(|part| stage::place(&part.stage));
    parts
}

/// Part and cause. Events of older ledgers tell of channels only, by other keys.
fn event_part<'a>(told: &EventFacts<'a>) -> (&'a str, &'a str) {
    let part = told.text("part").or_else(|| told.text(attr::CHANNEL));
    let cause = told.text("cause").or_else(|| told.text(attr::ERROR_TYPE));
    (part.unwrap_or("unknown"), cause.unwrap_or("unknown"))
}

fn degradation(trail: &Trail, part: String, cause: String, instead: String, message: Option<String>) -> Degradation {
    let failed_there = |name: &str| trail.named(name).find(|span| span.error_class() == Some(cause.as_str()));
    // Without a vector the dense channel can't be asked: its cause is in the stage before.
    let in_embed = part == "dense" && failed_there(stage::FAISS).is_none() && failed_there(stage::EMBED).is_some();
    let at = if in_embed { stage::EMBED } else { stage::of_part(&part) };
    let message = message.or_else(|| failed_there(at)?.ended.as_ref()?.error.map(str::to_owned));
    Degradation { stage: at.to_owned(), remedy: remedy(at, &cause), message: message.unwrap_or_default(), part, cause, instead }
}

pub(super) fn index(trail: &Trail) -> Option<IndexReport> {
    let stamp = trail.end.map_or(&Json::Null, |end| &end["outcome"]["index"]);
    let coverage = |key: &str| stamp["coverage"][key].as_u64();
    let on_root = || trail.root_span().and_then(|root| root.text(attr::GENERATION));
    let report = IndexReport {
        generation: stamp["generation"].as_str().or_else(on_root).map(str::to_owned),
        commit: stamp["commit"].as_str().map(str::to_owned),
        dirty: stamp["dirty"].as_bool(),
        age_s: stamp["age_s"].as_u64(),
        files_indexed: coverage("files_indexed"),
        files_skipped: coverage("files_skipped"),
        chunks: coverage("chunks"),
        chunks_embedded: coverage("chunks_embedded"),
    };
    (report != IndexReport::default()).then_some(report)
}

pub(super) fn findings(trail: &Trail) -> Vec<FindingReport> {
    let found = trail.end.and_then(|end| end["outcome"]["findings"].as_array());
    found.into_iter().flatten().filter(|item| item.is_object()).map(finding).collect()
}

fn finding(item: &Json) -> FindingReport {
    let part = |part: &Json| ContributionReport {
        channel: part["channel"].as_str().unwrap_or_default().to_owned(),
        rank: part["rank"].as_u64(),
        score: part["score"].as_f64(),
        share: part["share"].as_f64(),
    };
    FindingReport {
        rank: item["rank"].as_u64().unwrap_or(0),
        chunk_id: item["chunk_id"].as_u64(),
        path: item["path"].as_str().unwrap_or_default().to_owned(),
        start_line: item["start_line"].as_u64(),
        end_line: item["end_line"].as_u64(),
        symbol: item["symbol"].as_str().map(str::to_owned),
        score: item["score"].as_f64(),
        contributions: item["contributions"].as_array().into_iter().flatten().filter(|item| item.is_object()).map(part).collect(),
    }
}
