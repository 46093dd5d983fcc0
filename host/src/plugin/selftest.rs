//! Calls that every plugin has to get right before it serves: small, odd and plain
//! ones, each twice, and the golden cases it is configured with.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cases;
use super::documents::DocumentRows;
use super::evidence::{Evidence, KnownEvidence};
use super::failure::{Cause, PluginFailure};
use super::instance::{CallSettings, Configured};
use super::load::{LoadError, step};
use super::runner;
use super::stages::ChannelRun;
use crate::index::catalog::ChunkRow;
use crate::profile::QueryProfile;
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, span};
use crate::types::{ChannelName, ChunkId, RankedList, Stage};

/// Findings that the calls ask for.
const LIMIT: u32 = 10;
/// The constant that fusions are given.
const RRF_K: f32 = 60.0;

/// Tests a configured plugin; with `cases`, also against these.
///
/// # Errors
/// [`LoadError::SelfTest`] with the call that went wrong, and how.
pub(super) fn run(configured: &Configured, cases: Option<&Path>, within: &Span) -> Result<(), LoadError> {
    let source = &configured.plugin.identity.source;
    step(within, span::PLUGIN_SELF_TEST, |span| {
        let failed = |detail: String| LoadError::SelfTest { source_name: source.clone(), detail };
        let mut calls = built_in(configured, span).map_err(failed)?;
        if let Some(folder) = cases {
            calls += golden(configured, folder, span).map_err(failed)?;
        }
        span.set(attr::PLUGIN_CASES, calls as i64);
        Ok(())
    })
}

/// How many calls there were.
fn built_in(configured: &Configured, span: &Span) -> Result<usize, String> {
    match configured.plugin.identity.stage {
        Stage::Gate => {
            all(configured, &profiles(), |profile| configured.decide(span, settings(configured), profile, evidence(profile, &[])).outcome)
        }
        Stage::Fusion => all(configured, &runs(), |runs| configured.fuse(span, settings(configured), RRF_K, runs).outcome),
        Stage::Rerank => all(configured, &candidates(), |(rows, chunks)| {
            let documents = DocumentRows::new(Arc::new(chunks.clone())).with_evidence(evidence(&sentence(), &rows.ids));
            configured.rerank(span, settings(configured), &sentence(), rows, documents, None).outcome
        }),
    }
}

fn all<I, T: PartialEq>(
    configured: &Configured,
    calls: &[(&str, I)],
    call: impl Fn(&I) -> Result<T, PluginFailure>,
) -> Result<usize, String> {
    for (name, input) in calls {
        // What a plugin says that it doesn't do is no defect.
        let answer = || match call(input) {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.cause == Cause::Unsupported => Ok(None),
            Err(failure) => Err(format!("{name}: {}: {}", failure.cause.as_str(), failure.message)),
        };
        if answer()? != answer()? && configured.plugin.terms.grants.is_deterministic() {
            return Err(format!("{name}: the same call was answered in two ways"));
        }
    }
    Ok(2 * calls.len())
}

fn golden(configured: &Configured, folder: &Path, span: &Span) -> Result<usize, String> {
    let cases = cases::read_folder(folder).map_err(|error| error.to_string())?;
    let mine: Vec<_> = cases.iter().filter(|(_, case)| case.stage == configured.plugin.identity.stage).collect();
    for (path, case) in &mine {
        let outcome = runner::run(&configured.plugin, case, span);
        if let Some(first) = cases::check(case, &outcome).first() {
            return Err(format!("{}: {first}", path.display()));
        }
    }
    Ok(mine.len())
}

fn settings(configured: &Configured) -> CallSettings {
    // One millisecond more than the plugin's own limit: that is the one to be named.
    let deadline = Instant::now() + configured.plugin.call_time_max() + Duration::from_millis(1);
    CallSettings { deadline, limit: LIMIT, explain: true, observe: false }
}

/// A query without a term has an index that knows nothing beside it.
fn evidence(profile: &QueryProfile, ids: &[ChunkId]) -> Evidence {
    match profile.terms.is_empty() {
        true => Evidence::None,
        false => Evidence::Known(Arc::new(KnownEvidence::made_up(profile, ids))),
    }
}

fn sentence() -> QueryProfile {
    profile("where is the retry limit set", &[("retri", 40), ("limit", 900)], &[], &ChannelName::ALL)
}

fn profiles() -> Vec<(&'static str, QueryProfile)> {
    vec![
        ("a sentence", sentence()),
        ("a query without a term", profile("?", &[], &[], &ChannelName::ALL)),
        ("an identifier", profile("parse_query", &[("pars", 30), ("queri", 70), ("parse_query", 2)], &["parse_query"], &ChannelName::ALL)),
        ("one channel and a word of no document", profile("xylophone", &[("xylophon", 0)], &[], &[ChannelName::Bm25])),
    ]
}

fn profile(text: &str, terms: &[(&str, u32)], identifiers: &[&str], channels: &[ChannelName]) -> QueryProfile {
    QueryProfile {
        text: text.into(),
        terms: terms.iter().map(|(term, _)| (*term).to_owned()).collect(),
        document_frequencies: terms.iter().map(|(_, frequency)| *frequency).collect(),
        documents: 10_000,
        identifiers: identifiers.iter().map(|word| (*word).to_owned()).collect(),
        channels: channels.to_vec(),
        ..QueryProfile::default()
    }
}

fn runs() -> Vec<(&'static str, Vec<ChannelRun>)> {
    let run = |channel, weight, rows: &[(u64, f32)]| ChannelRun {
        channel,
        weight,
        list: RankedList { ids: rows.iter().map(|row| ChunkId(row.0)).collect(), scores: rows.iter().map(|row| row.1).collect() },
    };
    let words = run(ChannelName::Bm25, 1.0, &[(1, 12.5), (2, 7.25), (3, 7.25), (u64::MAX, 0.5)]);
    let vectors = run(ChannelName::Dense, 0.5, &[(2, 0.91), (4, 0.9), (1, -0.2)]);
    vec![
        ("no runs", Vec::new()),
        ("an empty run", vec![run(ChannelName::Bm25, 1.0, &[])]),
        ("one run", vec![words.clone()]),
        ("a run of one row beside an empty one", vec![run(ChannelName::Bm25, 1.0, &[(7, 3.0)]), run(ChannelName::Dense, 1.0, &[])]),
        ("two runs", vec![words.clone(), vectors.clone()]),
        ("a run of weight 0", vec![words, ChannelRun { weight: 0.0, ..vectors }]),
    ]
}

type Rows = (RankedList, Vec<ChunkRow>);

fn candidates() -> Vec<(&'static str, Rows)> {
    let chunk = |id: u64, path: &str, symbol: Option<&str>, text: &str| ChunkRow {
        id: ChunkId(id),
        path: path.into(),
        language: if path.ends_with(".rs") { "rust".into() } else { "markdown".into() },
        start_line: 1,
        end_line: text.lines().count().max(1) as u32,
        symbol: symbol.map(str::to_owned),
        definitions: symbol.unwrap_or_default().to_owned(),
        text: text.into(),
        document: None,
        commit: None,
        commit_time_s: None,
    };
    let rows = |chunks: Vec<ChunkRow>, scores: &[f32]| {
        (RankedList { ids: chunks.iter().map(|chunk| chunk.id).collect(), scores: scores.to_vec() }, chunks)
    };
    let set = chunk(1, "src/retry.rs", Some("Retry::set_limit"), "pub fn set_limit(&mut self, limit: u32) {\n    self.limit = limit;\n}\n");
    let empty = chunk(2, "docs/empty.md", None, "");
    let prose = chunk(u64::MAX, "docs/retries.md", None, "# Retries\n\nThe retry limit is 3 – `limit`.\n");
    vec![("one row", rows(vec![set.clone()], &[0.5])), ("three rows", rows(vec![prose, set, empty], &[0.75, 0.75, 0.0]))]
}
