//! Asks a running Spanloom every question of a test set, in this process, one after the
//! other, as `spanloom search` would.
//!
//! The first findings are those of a client that asks for `limit` of them and follows
//! the cursors to the end: same stages, same depths, same rows reranked. Where that gives
//! fewer different documents than are measured, the findings of a second, deeper search
//! follow, as far as they are new.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::ablation::Change;
use super::judgments::Question;
use super::matching::{Hit, Level, ranking};
use crate::app::App;
use crate::envelope::{AnswerEnvelope, Finding};
use crate::faults::{Fault, Faults};
use crate::index::snapshot::Snapshot;
use crate::mcp::{SearchService as _, answered_search};
use crate::pipeline;
use crate::request::{DEPTH_MAX, PluginChoice, Reach, RequestError, SearchProArguments, SearchRequest};
use crate::telemetry::Caller;
use crate::telemetry::conventions::span;
use crate::types::Stage;

/// Rows of one search: all that its channels can give.
const ROWS_MAX: usize = 100_000;

/// What is asked, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub level: Level,
    /// See [`ranking`].
    pub kept: Option<&'a BTreeSet<String>>,
    /// Ranks that are measured.
    pub depth: usize,
    /// Findings that the stages are told are wanted, 1 to 100.
    pub limit: u32,
}

/// What came of one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answered {
    /// Best first, before anything is dropped or reduced.
    pub hits: Vec<Hit>,
    /// Of the run, as ledgers and traces have it.
    pub run_id: String,
    /// Stages and channels that didn't do their full part, in words; without those that
    /// were left out on purpose.
    pub degraded: Vec<String>,
    /// Why there is no answer.
    pub error: Option<String>,
}

/// A system: an app with one generation, and what is otherwise than configured.
pub struct System<'a> {
    app: &'a App,
    snapshot: Arc<Snapshot>,
    change: &'a Change,
}

impl<'a> System<'a> {
    /// # Errors
    /// [`RequestError`] when the reranker refuses its changed parameters.
    pub fn new(app: &'a App, snapshot: Arc<Snapshot>, change: &'a Change) -> Result<System<'a>, RequestError> {
        if let Change::RerankParameters(parameters) = change {
            let choice = PluginChoice { plugin: None, parameters: Some(parameters.clone()) };
            app.plugins().set().choose(Stage::Rerank, Some(&choice))?;
        }
        Ok(System { app, snapshot, change })
    }

    /// Asks a question.
    pub async fn ask(&self, question: &Question, asking: Asking<'_>) -> Answered {
        let mut answered = Answered::default();
        match self.search(question, asking.limit, 0).await {
            Ok((hits, envelope)) => {
                let ranked = ranking(asking.level, &hits, asking.kept, asking.depth).len();
                answered.note(&envelope, self.change);
                answered.hits = hits;
                answered.run_id = envelope.observability.run_id;
                if ranked >= asking.depth {
                    return answered;
                }
            }
            Err(error) => return Answered { error: Some(error.to_string()), ..answered },
        }
        match self.search(question, asking.limit, DEPTH_MAX).await {
            Ok((hits, envelope)) => {
                answered.note(&envelope, self.change);
                answered.append(hits);
            }
            // The findings there are stay.
            Err(error) => answered.degraded.push(format!("the deeper search: {error}")),
        }
        answered
    }

    /// One search as a run of its own. Each channel that is asked is asked for
    /// `depth_min` rows at least.
    async fn search(&self, question: &Question, limit: u32, depth_min: u32) -> Result<(Vec<Hit>, AnswerEnvelope), RequestError> {
        let arguments = SearchProArguments {
            query: question.text.clone(),
            limit: Some(limit),
            rerank: match self.change {
                Change::RerankParameters(parameters) => Some(PluginChoice { plugin: None, parameters: Some(parameters.clone()) }),
                _ => None,
            },
            rerank_enabled: (*self.change == Change::WithoutStage(Stage::Rerank)).then_some(false),
            ..SearchProArguments::default()
        };
        let told = serde_json::to_value(&arguments).unwrap_or_default();
        let run = self.app.begin_run("semantic_search_pro", &Caller::default(), told);
        let mut host = self.app.search_host(self.snapshot.clone());
        match self.change {
            // What a stage that fails falls back to is what the host does without it.
            Change::WithoutStage(Stage::Gate) => host.faults = Arc::new(Faults::of(span::GATE, Fault::Error)),
            Change::WithoutStage(Stage::Fusion) => host.faults = Arc::new(Faults::of(span::FUSE, Fault::Error)),
            Change::WithoutRecency => host.settings.recency.weight = 0.0,
            _ => {}
        }
        let outcome = match SearchRequest::pro(arguments) {
            Ok(mut request) => {
                request.reach = Reach { rows: Some(ROWS_MAX), depth_min, ..Reach::default() };
                if let Change::WithoutChannel(channel) = self.change {
                    request.reach.without.push(*channel);
                }
                pipeline::search(&host, &run, &request).await
            }
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(answer) => run.succeed(answered_search(&mut answer.clone()).map(|(_, outcome)| outcome).unwrap_or_default()),
            Err(error) => run.fail(error.class(), &error.to_string()),
        }
        let mut answer = outcome?;
        let hits = std::mem::take(&mut answer.findings).into_iter().map(|finding| self.hit(finding)).collect();
        Ok((hits, answer))
    }

    fn hit(&self, finding: Finding) -> Hit {
        Hit {
            document: self.document(&finding),
            path: finding.path,
            start_line: finding.start_line,
            end_line: finding.end_line,
            score: finding.score,
        }
    }

    /// The id of the plain record that was found; of files their path.
    fn document(&self, finding: &Finding) -> String {
        let file = self.snapshot.chunks.file(finding.chunk_id);
        file.and_then(|(file, _)| file.document.as_ref()).unwrap_or(&finding.path).clone()
    }
}

/// The ids, or paths, of everything in an index: what judgments can name.
pub fn indexed(snapshot: &Snapshot) -> BTreeSet<&str> {
    snapshot.chunks.files().map(|(file, path)| file.document.as_deref().unwrap_or(path)).collect()
}

impl Answered {
    fn note(&mut self, envelope: &AnswerEnvelope, change: &Change) {
        let left_out = match change {
            Change::WithoutStage(stage) => Some(stage.as_str()),
            _ => None,
        };
        let parts = envelope.degraded.iter().filter(|part| Some(part.part.as_str()) != left_out);
        for part in parts.map(|part| format!("{}: {}", part.part, part.cause)) {
            if !self.degraded.contains(&part) {
                self.degraded.push(part);
            }
        }
    }

    /// Adds what is new. Its scores are of another search, so they are lowered as far as
    /// needed to go on from the last one.
    fn append(&mut self, more: Vec<Hit>) {
        let place = |hit: &Hit| (hit.document.clone(), hit.start_line, hit.end_line);
        let known: HashSet<_> = self.hits.iter().map(place).collect();
        let mut last = self.hits.last().map_or(f32::MAX, |hit| hit.score);
        for mut hit in more {
            if !known.contains(&place(&hit)) {
                last = last.min(hit.score);
                hit.score = last;
                self.hits.push(hit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(path: &str, score: f32) -> Hit {
        Hit { document: path.into(), path: path.into(), start_line: 1, end_line: 2, score }
    }

    #[test]
    fn a_deeper_search_adds_what_is_new_below() {
        let mut answered = Answered { hits: vec![hit("a", 0.9), hit("b", 0.5)], ..Answered::default() };
        answered.append(vec![hit("c", 0.8), hit("a", 0.7), hit("d", 0.4)]);
        let order: Vec<(&str, f32)> = answered.hits.iter().map(|hit| (hit.path.as_str(), hit.score)).collect();
        assert_eq!(order, [("a", 0.9), ("b", 0.5), ("c", 0.5), ("d", 0.4)]);
        let mut nothing = Answered::default();
        nothing.append(vec![hit("c", 0.8)]);
        assert_eq!(nothing.hits, [hit("c", 0.8)]);
    }
}
