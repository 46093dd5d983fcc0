//! Asks a running Spanloom every question of a test set, in this process, one after the
//! other, as `spanloom search` would.
//!
//! The first findings are those of a client that asks for `limit` of them and follows
//! the cursors to the end: same stages, same depths, same rows reranked. Where that gives
//! fewer different documents than are measured, the findings of a second, deeper search
//! follow, as far as they are new.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::ablation::Change;
use super::judgments::Question;
use super::matching::{Hit, Level, ranking};
use crate::app::App;
use crate::envelope::{AnswerEnvelope, Finding};
use crate::faults::{Fault, Faults};
use crate::index::snapshot::Snapshot;
use crate::mcp::{SearchService as _, answered_search};
use crate::pipeline::{self, Arm};
use crate::request::{DEPTH_MAX, PluginChoice, Reach, RequestError, SearchProArguments, SearchRequest};
use crate::telemetry::Caller;
use crate::telemetry::conventions::span;
use crate::types::Stage;

/// Rows of one search: all that its channels can give.
const ROWS_MAX: usize = 100_000;
/// What answers call the part of theirs that an experiment has.
const EXPERIMENT_PART: &str = "experiment";
/// Of a system that is as it is configured.
static NO_CHANGE: Change = Change::None;

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
    /// Everything that the answers say went otherwise than asked.
    pub warnings: Vec<String>,
    /// Of the first search, without what a client adds.
    pub took: Duration,
    /// Why there is no answer.
    pub error: Option<String>,
    /// Why the arm was not carried out: the answer is that of the configuration.
    pub refused: Option<String>,
}

/// A system: an app with one generation, and what is otherwise than configured.
pub struct System<'a> {
    app: &'a App,
    snapshot: Arc<Snapshot>,
    change: &'a Change,
    /// The arm of an experiment that all searches are of.
    arm: Option<Arm>,
}

impl<'a> System<'a> {
    /// # Errors
    /// [`RequestError`] when the reranker refuses its changed parameters.
    pub fn new(app: &'a App, snapshot: Arc<Snapshot>, change: &'a Change) -> Result<System<'a>, RequestError> {
        if let Change::RerankParameters(parameters) = change {
            let choice = PluginChoice { plugin: None, parameters: Some(parameters.clone()) };
            app.plugins().set().choose(Stage::Rerank, Some(&choice))?;
        }
        Ok(System { app, snapshot, change, arm: None })
    }

    /// An arm of an experiment: what it changes, and nothing else. [`Answered::refused`]
    /// says whether its plugins can be had.
    pub fn of_arm(app: &'a App, snapshot: Arc<Snapshot>, arm: Arm) -> System<'a> {
        System { app, snapshot, change: &NO_CHANGE, arm: Some(arm) }
    }

    /// The first page that a client gets who asks a question for `limit` findings.
    pub async fn first_page(&self, question: &Question, limit: u32) -> Answered {
        self.search(question, limit, Reach::default()).await
    }

    /// Asks a question for as many findings as are measured.
    pub async fn ask(&self, question: &Question, asking: Asking<'_>) -> Answered {
        let reach = |depth_min: u32| Reach { rows: Some(ROWS_MAX), depth_min, ..Reach::default() };
        let mut answered = self.search(question, asking.limit, reach(0)).await;
        let ranked = ranking(asking.level, &answered.hits, asking.kept, asking.depth).len();
        if ranked >= asking.depth || answered.error.is_some() || answered.refused.is_some() {
            return answered;
        }
        let deeper = self.search(question, asking.limit, reach(DEPTH_MAX)).await;
        answered.deepen(deeper);
        answered
    }

    async fn search(&self, question: &Question, limit: u32, reach: Reach) -> Answered {
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
        let request = SearchRequest::pro(arguments).map(|mut request| {
            request.reach = reach;
            if let Change::WithoutChannel(channel) = self.change {
                request.reach.without.push(*channel);
            }
            request
        });
        self.answer("semantic_search_pro", told, request).await
    }

    /// Answers a call of a tool as a run of its own. `arguments` are as the client sent
    /// them, `request` is what they say.
    pub async fn answer(&self, tool: &str, arguments: Json, request: Result<SearchRequest, RequestError>) -> Answered {
        let run = self.app.begin_run(tool, &Caller::default(), arguments);
        let mut host = self.app.search_host(self.snapshot.clone());
        host.arms.extend(self.arm.clone());
        match self.change {
            // What a stage that fails falls back to is what the host does without it.
            Change::WithoutStage(Stage::Gate) => host.faults = Arc::new(Faults::of(span::GATE, Fault::Error)),
            Change::WithoutStage(Stage::Fusion) => host.faults = Arc::new(Faults::of(span::FUSE, Fault::Error)),
            Change::WithoutRecency => host.settings.recency.weight = 0.0,
            _ => {}
        }
        let began = Instant::now();
        let outcome = match request {
            Ok(request) => pipeline::search(&host, &run, &request).await,
            Err(error) => Err(error),
        };
        let took = began.elapsed();
        match &outcome {
            Ok(answer) => run.succeed(answered_search(&mut answer.clone()).map(|(_, outcome)| outcome).unwrap_or_default()),
            Err(error) => run.fail(error.class(), &error.to_string()),
        }
        match outcome {
            Ok(answer) => self.answered(answer, took),
            Err(error) => Answered { took, error: Some(error.to_string()), ..Answered::default() },
        }
    }

    fn answered(&self, answer: AnswerEnvelope, took: Duration) -> Answered {
        let left_out = match self.change {
            Change::WithoutStage(stage) => Some(stage.as_str()),
            _ => None,
        };
        let mut degraded = Vec::new();
        let parts = answer.degraded.iter().filter(|part| Some(part.part.as_str()) != left_out);
        for part in parts.map(|part| format!("{}: {}", part.part, part.cause)) {
            if !degraded.contains(&part) {
                degraded.push(part);
            }
        }
        Answered {
            refused: refusal(&answer),
            hits: answer.findings.into_iter().map(|finding| self.hit(finding)).collect(),
            run_id: answer.observability.run_id,
            degraded,
            warnings: answer.warnings,
            took,
            error: None,
        }
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

/// Why an arm was not carried out, in the words of the search.
fn refusal(answer: &AnswerEnvelope) -> Option<String> {
    let part = answer.degraded.iter().find(|part| part.part == EXPERIMENT_PART)?;
    let words = answer.warnings.iter().find(|warning| warning.starts_with(EXPERIMENT_PART));
    Some(words.unwrap_or(&part.cause).clone())
}

impl Answered {
    /// Takes in the answer of a deeper search.
    fn deepen(&mut self, deeper: Answered) {
        // The findings there are stay.
        self.degraded.extend(deeper.error.map(|error| format!("the deeper search: {error}")));
        let (degraded, warnings) = (deeper.degraded, deeper.warnings);
        for (own, more) in [(&mut self.degraded, degraded), (&mut self.warnings, warnings)] {
            for word in more {
                if !own.contains(&word) {
                    own.push(word);
                }
            }
        }
        self.refused = self.refused.take().or(deeper.refused);
        self.append(deeper.hits);
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
