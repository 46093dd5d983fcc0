//! Asks every arm the queries of a set with judgments, as `spanloom eval` asks a system.

use std::sync::Arc;

use super::bench::{Bench, latency_ms};
use crate::cli::Failure;
use crate::cli::eval::Bar;
use crate::config::Loaded;
use crate::eval::ask::{Asking, System, indexed};
use crate::eval::judgments::Question;
use crate::eval::report::{QueryReport, SetFacts};
use crate::eval::{Level, SetPaths, TestSet, matching};
use crate::experiments::ExperimentFile;
use crate::experiments::offline::{Asked, AskedQuery, Measures, Query, Source};
use crate::index::snapshot::Snapshot;

/// What every arm answered.
///
/// # Errors
/// When the set is wrong, an index can't be opened, or an arm can't be carried out.
pub(super) fn ask(loaded: &Loaded, file: &ExperimentFile, paths: &SetPaths, level: Option<Level>) -> Result<Asked, Failure> {
    let mut set = TestSet::read(paths, level).map_err(|error| Failure::Usage(error.to_string()))?;
    let bench = Bench::open(loaded, file)?;
    note_missing(&mut set, &bench);
    let measures = Measures::of(&file.experiment);
    let asking = Asking { level: set.level, kept: set.kept.as_ref(), depth: measures.depth(), limit: measures.limit() };
    let systems = bench.systems();
    let mut arms: Vec<_> = bench.arms.iter().map(|arm| arm.answers()).collect();
    if let Some(first) = set.questions.first() {
        // Makes instances of plugins, and tells of those that can't be had.
        bench.in_turn(0, |place| {
            let answered = bench.runtime.block_on(systems[place].first_page(first, asking.limit));
            ((), answered.refused)
        })?;
    }
    let bar = Bar::new("all arms", set.questions.len());
    for (turn, question) in set.questions.iter().enumerate() {
        let answers = bench.in_turn(turn, |place| bench.runtime.block_on(one(&systems[place], question, asking, &measures)))?;
        arms.iter_mut().zip(answers).for_each(|(arm, answer)| arm.per_query.push(answer));
        bar.step();
    }
    let warnings = measures.warning().into_iter().chain(set.warnings.iter().cloned()).collect();
    Ok(Asked {
        source: Source::Judgments { set: SetFacts::of(paths, &set), depth: asking.depth, limit: asking.limit },
        measures: measures.list().iter().map(ToString::to_string).collect(),
        described: Vec::new(),
        queries: set.questions.iter().map(|own| Query { query_id: own.id.clone(), text: Some(own.text.clone()) }).collect(),
        arms,
        warnings,
    })
}

/// The latency of what a client would ask, then the ranking that is judged. The second
/// reads every row that was found, which no client waits for.
async fn one(system: &System<'_>, question: &Question, asking: Asking<'_>, measures: &Measures) -> (AskedQuery, Option<String>) {
    let page = system.first_page(question, asking.limit).await;
    let answered = system.ask(question, asking).await;
    let ranking = matching::ranking(asking.level, &answered.hits, asking.kept, asking.depth);
    let mut query = QueryReport::new(&question.id, &matching::judge(asking.level, &question.truth, &ranking), measures.list());
    let refused = page.refused.clone().or(answered.refused);
    (query.degraded, query.error) = (answered.degraded, answered.error);
    (AskedQuery { query, latency_ms: latency_ms(&page), warnings: answered.warnings }, refused)
}

/// Warns of relevant documents that an index doesn't have: once of each index.
fn note_missing(set: &mut TestSet, bench: &Bench) {
    let mut seen: Vec<&Arc<Snapshot>> = Vec::new();
    for arm in &bench.arms {
        if seen.iter().any(|known| Arc::ptr_eq(known, &arm.snapshot)) {
            continue;
        }
        let before = set.warnings.len();
        set.note_missing(&indexed(&arm.snapshot));
        if bench.arms.iter().any(|other| !Arc::ptr_eq(&other.snapshot, &arm.snapshot)) {
            set.warnings[before..].iter_mut().for_each(|warning| *warning = format!("arm `{}`: {warning}", arm.key()));
        }
        seen.push(&arm.snapshot);
    }
}
