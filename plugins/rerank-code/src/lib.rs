//! Scores the best rows again by what names, paths and texts say, and spreads the
//! findings over files. In: rows with fused scores. Out: a score for each row.
//!
//! `base = Σ weight × signal`, signals from 0 to 1. The fused score and the two signals
//! that only compare words (`definition`, `path`) are divided by their largest value
//! among the rows first, so that a weight means the same for every query. Then
//! `score = base × factors of the file's kind × same_file_decay ^ (rows of the same file
//! with a better score)`: showing one file again and again is the largest known loss.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Call, Candidates, Documents, PluginError, Profile, Rerank, Span, check_range, explain};

mod files;
mod names;
mod query;
mod text;
mod words;

use files::Kind;
use query::Query;

spanloom_plugin::export_rerank!(CodeReranker);

/// What can be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Weight of the fused score, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub fused_weight: f32,
    /// Weight of a name in the query that is defined in the chunk, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub exact_weight: f32,
    /// Weight of query terms in the names defined in the chunk, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub definition_weight: f32,
    /// Weight of query terms in the path, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub path_weight: f32,
    /// Weight of defining rather than using a name of the query in the text, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub definition_over_use_weight: f32,
    /// Weight of the quoted phrases that the text holds, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub phrase_weight: f32,
    /// Weight of the terms that stand close together, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub proximity_weight: f32,
    /// Weight of the terms that the text holds, by their rarity, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub coverage_weight: f32,
    /// How many lines are close together, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub proximity_lines: u32,
    /// Factor for test files unless the query asks for tests, 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub test_factor: f32,
    /// Factor for examples, documentation, benchmarks, generated and vendored files
    /// unless the query asks for them, 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub auxiliary_factor: f32,
    /// Factor for prose (Markdown and the like) if the query is written like code,
    /// 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub prose_factor: f32,
    /// Factor for each row of the same file with a better score, 0.01 to 1; 1 for none.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub same_file_decay: f32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            fused_weight: 1.0,
            exact_weight: 0.4,
            definition_weight: 0.25,
            path_weight: 0.15,
            definition_over_use_weight: 0.2,
            phrase_weight: 0.3,
            proximity_weight: 0.1,
            coverage_weight: 0.2,
            proximity_lines: 8,
            test_factor: 0.5,
            auxiliary_factor: 0.7,
            prose_factor: 0.8,
            same_file_decay: 0.3,
        }
    }
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct CodeReranker(Parameters);

/// What an explanation tells of each row: the weighted signals, which add up, and the
/// two factors that their sum is multiplied with.
const PART_NAMES: [&str; 10] =
    ["fused", "exact", "definition", "path", "definition_over_use", "phrase", "proximity", "coverage", "kind_factor", "same_file_factor"];

/// Why a row has its score.
#[derive(Clone, Debug, Default)]
struct Parts {
    id: u64,
    score: f32,
    fused: f32,
    exact: f32,
    definition: f32,
    path: f32,
    definition_over_use: f32,
    phrase: f32,
    proximity: f32,
    coverage: f32,
    /// What the kind of the file leaves of the score.
    kind_factor: f32,
    /// What earlier rows of the same file leave of it.
    same_file_factor: f32,
}

impl Rerank for CodeReranker {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<CodeReranker, PluginError> {
        let p = &parameters;
        for (name, weight) in [
            ("fused_weight", p.fused_weight),
            ("exact_weight", p.exact_weight),
            ("definition_weight", p.definition_weight),
            ("path_weight", p.path_weight),
            ("definition_over_use_weight", p.definition_over_use_weight),
            ("phrase_weight", p.phrase_weight),
            ("proximity_weight", p.proximity_weight),
            ("coverage_weight", p.coverage_weight),
        ] {
            check_range(name, weight, 0.0..=10.0)?;
        }
        for (name, factor) in [
            ("test_factor", p.test_factor),
            ("auxiliary_factor", p.auxiliary_factor),
            ("prose_factor", p.prose_factor),
            ("same_file_decay", p.same_file_decay),
        ] {
            check_range(name, factor, 0.01..=1.0)?;
        }
        check_range("proximity_lines", p.proximity_lines, 1..=1_000)?;
        Ok(CodeReranker(parameters))
    }

    fn rerank(
        &self,
        stage: &Span,
        call: &Call,
        query: &Profile,
        rows: &Candidates,
        documents: &Documents,
    ) -> Result<Vec<f32>, PluginError> {
        spanloom_plugin::check_rows(rows)?;
        if rows.ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query::of(query);
        let (mut parts, paths) = self.read_facts(stage, &query, rows, documents)?;
        self.read_texts(stage, &query, &mut parts, documents)?;
        self.score(&mut parts);
        self.spread(&mut parts, &paths);
        explain::parts(call, PART_NAMES, || parts.iter().map(|row| self.terms(row)));
        Ok(parts.iter().map(|row| row.score).collect())
    }
}

impl CodeReranker {
    /// The signals that need no text; gives the paths back.
    fn read_facts(
        &self,
        stage: &Span,
        query: &Query,
        rows: &Candidates,
        documents: &Documents,
    ) -> Result<(Vec<Parts>, Vec<String>), PluginError> {
        let span = stage.child("rerank.features");
        let facts = documents.look_up(&rows.ids)?;
        let fused = normalized(&rows.scores);
        let mut parts: Vec<Parts> = (0..rows.ids.len())
            .map(|row| {
                let (symbol, definitions) = (&facts.symbols[row], &facts.definitions[row]);
                Parts {
                    id: rows.ids[row],
                    fused: fused[row],
                    exact: names::exact(query, symbol, definitions),
                    definition: names::definition(query, symbol, definitions),
                    path: names::path(query, &facts.paths[row]),
                    kind_factor: self.kind_factor(query, &facts.paths[row], &facts.languages[row]),
                    ..Parts::default()
                }
            })
            .collect();
        divide_by_maximum(&mut parts, |row| &mut row.definition);
        divide_by_maximum(&mut parts, |row| &mut row.path);
        span.set(|| {
            let count = |test: fn(&Parts) -> bool| parts.iter().filter(|row| test(row)).count();
            [
                ("retrieval.rerank.rows", parts.len().into()),
                ("retrieval.rerank.rows_exact", count(|row| row.exact > 0.0).into()),
                ("retrieval.rerank.rows_lowered", count(|row| row.kind_factor < 1.0).into()),
            ]
        });
        Ok((parts, facts.paths))
    }

    /// The signals of the texts.
    fn read_texts(&self, stage: &Span, query: &Query, parts: &mut [Parts], documents: &Documents) -> Result<(), PluginError> {
        let span = stage.child("rerank.score");
        let ids: Vec<u64> = parts.iter().map(|row| row.id).collect();
        let texts = documents.texts(&ids)?;
        for (row, text) in parts.iter_mut().zip(&texts) {
            let signals = text::read(query, text, self.0.proximity_lines);
            row.definition_over_use = signals.definition_over_use.max(row.exact);
            row.phrase = signals.phrase;
            row.proximity = signals.proximity;
            row.coverage = signals.coverage;
        }
        span.set(|| {
            let bytes: usize = texts.iter().map(String::len).sum();
            [
                ("retrieval.rerank.terms", query.terms.len().into()),
                ("retrieval.rerank.names", query.names.len().into()),
                ("retrieval.rerank.text_bytes", bytes.into()),
            ]
        });
        Ok(())
    }

    /// `test_factor` × `auxiliary_factor` × `prose_factor`, each as far as it applies.
    fn kind_factor(&self, query: &Query, path: &str, language: &str) -> f32 {
        let kinds = Kind::of(path);
        let unasked = |kind: &Kind| !query.asked.contains(kind);
        let is_test = kinds.iter().any(|kind| *kind == Kind::Test && unasked(kind));
        let is_auxiliary = kinds.iter().any(|kind| *kind != Kind::Test && unasked(kind));
        let is_prose =
            matches!(language, "markdown" | "text" | "rst" | "asciidoc") && query.code_like && !query.asked.contains(&Kind::Docs);
        let mut factor = 1.0;
        for (applies, own) in [(is_test, self.0.test_factor), (is_auxiliary, self.0.auxiliary_factor), (is_prose, self.0.prose_factor)] {
            if applies {
                factor *= own;
            }
        }
        factor
    }

    fn score(&self, parts: &mut [Parts]) {
        for row in parts {
            let [signals @ .., _, _] = self.terms(row);
            row.score = signals.iter().sum::<f32>() * row.kind_factor;
        }
    }

    /// What a score is made of, in the order of [`PART_NAMES`].
    fn terms(&self, row: &Parts) -> [f32; PART_NAMES.len()] {
        let p = &self.0;
        [
            p.fused_weight * row.fused,
            p.exact_weight * row.exact,
            p.definition_weight * row.definition,
            p.path_weight * row.path,
            p.definition_over_use_weight * row.definition_over_use,
            p.phrase_weight * row.phrase,
            p.proximity_weight * row.proximity,
            p.coverage_weight * row.coverage,
            row.kind_factor,
            row.same_file_factor,
        ]
    }

    /// Lowers the second and further rows of each file. Greedy in the order of the
    /// scores (equal ones as they came): within a file the order stays, so a row's
    /// factor depends on its place within its file alone.
    fn spread(&self, parts: &mut [Parts], paths: &[String]) {
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by(|&a, &b| parts[b].score.total_cmp(&parts[a].score));
        let mut factors: BTreeMap<&str, f32> = BTreeMap::new();
        for row in order {
            let factor = factors.entry(&paths[row]).or_insert(1.0);
            parts[row].same_file_factor = *factor;
            parts[row].score = (parts[row].score * *factor).max(f32::MIN_POSITIVE);
            *factor *= self.0.same_file_decay;
        }
    }
}

/// Divides by the largest score. Negative scores are lifted to 0 first, all by the same;
/// scores that are no numbers count as the smallest. All equal to 0 stay so.
fn normalized(scores: &[f32]) -> Vec<f32> {
    let finite = || scores.iter().copied().filter(|score| score.is_finite());
    let lift = finite().fold(0.0, f32::min);
    let largest = f64::from(finite().fold(lift, f32::max)) - f64::from(lift);
    let divide = |&score: &f32| match score.is_finite() && largest > 0.0 {
        true => ((f64::from(score) - f64::from(lift)) / largest) as f32,
        false => 0.0,
    };
    scores.iter().map(divide).collect()
}

/// Divides a signal by its largest value among the rows, if that is over 0.
fn divide_by_maximum(parts: &mut [Parts], signal: fn(&mut Parts) -> &mut f32) {
    let largest = parts.iter_mut().map(|row| *signal(row)).fold(0.0, f32::max);
    if largest > 0.0 {
        parts.iter_mut().for_each(|row| *signal(row) /= largest);
    }
}

#[cfg(test)]
mod tests;
