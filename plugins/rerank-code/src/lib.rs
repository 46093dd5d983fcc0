//! Scores the best rows again by what the channels, names and paths say, and spreads the
//! findings over files. In: rows with fused scores. Out: a score for each row.
//!
//! `base = Σ weight × signal`. Signals run from 0 to 1: the scores that the channels give the
//! rows are divided by their largest value, so that a weight means the same for every query,
//! and those of vectors, which are large for all rows, by their range; the others are shares of
//! the query's weight that a name spells out.
//! Then `score = base × factors of the file's role × same_file_decay ^ (rows of the same file
//! with a better score)`: showing one file again and again is the largest known loss.
//!
//! Adding scores beats adding ranks here, so the fused score counts only where the host has no
//! scores of channels to tell.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Call, Candidates, Documents, Evidence, Facts, PluginError, Profile, Rerank, Span, check_range, explain};

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
    /// Weight of the chunk's score by the channel `bm25`, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub bm25_weight: f32,
    /// Weight of the whole file's score by the channel `files`, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub files_weight: f32,
    /// Weight of the chunk's score by the channel `dense`, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub dense_weight: f32,
    /// Weight of the fused score where the host tells no scores of channels, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub fused_weight: f32,
    /// Weight of a file whose name the query spells out, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub stem_weight: f32,
    /// Weight of a name that the query spells out and the chunk defines, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub definition_weight: f32,
    /// Weight of a name that is all of the query and that the chunk defines, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub exact_weight: f32,
    /// Weight of a name that the query spells out and the chunk hands on from elsewhere
    /// (`pub use`, `export … from`, imports in `__init__.py`), 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub reexport_weight: f32,
    /// Weight of the quoted phrases that the text holds, 0 to 10.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub phrase_weight: f32,
    /// Factor for test files unless the query asks for tests, 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub test_factor: f32,
    /// Factor for examples, documentation, benchmarks, generated and vendored files
    /// unless the query asks for them, 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub auxiliary_factor: f32,
    /// Factor for prose (Markdown and the like) outside of documentation unless the query
    /// asks for documentation, 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub prose_factor: f32,
    /// Factor for each row of the same file with a better score, 0.01 to 1; 1 for none.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub same_file_decay: f32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            bm25_weight: 1.0,
            files_weight: 0.3,
            dense_weight: 0.4,
            fused_weight: 1.0,
            stem_weight: 0.6,
            definition_weight: 0.2,
            exact_weight: 0.8,
            reexport_weight: 0.4,
            phrase_weight: 0.3,
            test_factor: 0.5,
            auxiliary_factor: 0.5,
            prose_factor: 0.4,
            same_file_decay: 0.1,
        }
    }
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct CodeReranker(Parameters);

/// What an explanation tells of each row: the weighted signals, which add up, and the
/// two factors that their sum is multiplied with.
const PART_NAMES: [&str; 11] =
    ["bm25", "files", "dense", "fused", "stem", "definition", "exact", "reexport", "phrase", "role_factor", "same_file_factor"];

/// Why a row has its score.
#[derive(Clone, Debug, Default)]
struct Parts {
    id: u64,
    score: f32,
    bm25: f32,
    files: f32,
    dense: f32,
    fused: f32,
    stem: f32,
    definition: f32,
    exact: f32,
    reexport: f32,
    phrase: f32,
    /// What the role of the file leaves of the score.
    role_factor: f32,
    /// What earlier rows of the same file leave of it.
    same_file_factor: f32,
}

impl Rerank for CodeReranker {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<CodeReranker, PluginError> {
        let p = &parameters;
        for (name, weight) in [
            ("bm25_weight", p.bm25_weight),
            ("files_weight", p.files_weight),
            ("dense_weight", p.dense_weight),
            ("fused_weight", p.fused_weight),
            ("stem_weight", p.stem_weight),
            ("definition_weight", p.definition_weight),
            ("exact_weight", p.exact_weight),
            ("reexport_weight", p.reexport_weight),
            ("phrase_weight", p.phrase_weight),
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
        let (mut parts, facts) = self.read_facts(stage, &query, rows, documents)?;
        self.read_texts(stage, &query, &mut parts, &facts, documents)?;
        self.score(&mut parts);
        self.spread(&mut parts, &facts.paths);
        explain::parts(call, PART_NAMES, || parts.iter().map(|row| self.terms(row)));
        Ok(parts.iter().map(|row| row.score).collect())
    }
}

impl CodeReranker {
    /// The signals that need no text.
    fn read_facts(
        &self,
        stage: &Span,
        query: &Query,
        rows: &Candidates,
        documents: &Documents,
    ) -> Result<(Vec<Parts>, Facts), PluginError> {
        let span = stage.child("rerank.features");
        let facts = documents.look_up(&rows.ids)?;
        let evidence = documents.evidence(&rows.ids)?;
        let scores = |column: &str, low: Low| normalized(evidence.column(column).unwrap_or_default(), rows.ids.len(), low);
        let (bm25, files, dense) = (scores("bm25", Low::Zero), scores("files", Low::Zero), scores("dense", Low::Smallest));
        let told = bm25.iter().chain(&dense).any(|score| *score > 0.0);
        let fused = if told { vec![0.0; rows.ids.len()] } else { normalized(&rows.scores, rows.ids.len(), Low::Zero) };
        let parts: Vec<Parts> = (0..rows.ids.len())
            .map(|row| {
                let (path, language) = (&facts.paths[row], &facts.languages[row]);
                Parts {
                    id: rows.ids[row],
                    bm25: bm25[row],
                    files: files[row],
                    dense: dense[row],
                    fused: fused[row],
                    stem: names::stem(query, path),
                    definition: names::definition(query, &facts.symbols[row], &facts.definitions[row], language),
                    exact: names::exact(query, &facts.symbols[row], &facts.definitions[row], language),
                    role_factor: self.role_factor(query, &evidence, row, language),
                    ..Parts::default()
                }
            })
            .collect();
        span.set(|| {
            let count = |test: fn(&Parts) -> bool| parts.iter().filter(|row| test(row)).count();
            [
                ("retrieval.rerank.rows", parts.len().into()),
                ("retrieval.rerank.rows_spelled", count(|row| row.stem > 0.0 || row.definition > 0.0).into()),
                ("retrieval.rerank.rows_lowered", count(|row| row.role_factor < 1.0).into()),
            ]
        });
        Ok((parts, facts))
    }

    /// The signals of the texts, of those rows for which they matter.
    fn read_texts(
        &self,
        stage: &Span,
        query: &Query,
        parts: &mut [Parts],
        facts: &Facts,
        documents: &Documents,
    ) -> Result<(), PluginError> {
        let span = stage.child("rerank.score");
        let matters = |row: &usize| !query.phrases.is_empty() || text::may_reexport(&facts.paths[*row], &facts.languages[*row]);
        let rows: Vec<usize> = (0..parts.len()).filter(matters).collect();
        let ids: Vec<u64> = rows.iter().map(|&row| parts[row].id).collect();
        let texts = if ids.is_empty() { Vec::new() } else { documents.texts(&ids)? };
        for (&row, text) in rows.iter().zip(&texts) {
            parts[row].phrase = text::phrases(query, text);
            if text::may_reexport(&facts.paths[row], &facts.languages[row]) {
                parts[row].reexport = text::reexport(query, text);
            }
        }
        span.set(|| {
            let bytes: usize = texts.iter().map(String::len).sum();
            [
                ("retrieval.rerank.terms", query.terms().into()),
                ("retrieval.rerank.texts", texts.len().into()),
                ("retrieval.rerank.text_bytes", bytes.into()),
            ]
        });
        Ok(())
    }

    /// `test_factor` or `auxiliary_factor`, else `prose_factor`, as far as it applies.
    fn role_factor(&self, query: &Query, evidence: &Evidence, row: usize, language: &str) -> f32 {
        let role = Kind::ALL.into_iter().find(|kind| evidence.value(kind.column(), row) > 0.0);
        match role {
            Some(kind) if query.asked.contains(&kind) => 1.0,
            Some(Kind::Test) => self.0.test_factor,
            Some(_) => self.0.auxiliary_factor,
            None if matches!(language, "markdown" | "text") && !query.asked.contains(&Kind::Docs) => self.0.prose_factor,
            None => 1.0,
        }
    }

    fn score(&self, parts: &mut [Parts]) {
        for row in parts {
            let [signals @ .., _, _] = self.terms(row);
            row.score = signals.iter().sum::<f32>() * row.role_factor;
        }
    }

    /// What a score is made of, in the order of [`PART_NAMES`].
    fn terms(&self, row: &Parts) -> [f32; PART_NAMES.len()] {
        let p = &self.0;
        [
            p.bm25_weight * row.bm25,
            p.files_weight * row.files,
            p.dense_weight * row.dense,
            p.fused_weight * row.fused,
            p.stem_weight * row.stem,
            p.definition_weight * row.definition,
            p.exact_weight * row.exact,
            p.reexport_weight * row.reexport,
            p.phrase_weight * row.phrase,
            row.role_factor,
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

/// The score that becomes 0.
#[derive(Clone, Copy)]
enum Low {
    /// 0, or the smallest one if that is negative.
    Zero,
    /// Of cosines: a range below [`COSINE_RANGE_MIN`] is rounding, and none.
    Smallest,
}

/// Vectors hold 32 bits a number: what they differ by here says nothing.
const COSINE_RANGE_MIN: f64 = 1e-4;
/// A share below this is rounding, and 0.
const SHARE_MIN: f32 = 1e-6;

/// Scores as shares of the way from the lowest to the largest one. Those that are no numbers
/// count as the lowest. Without a range all are 0, and a column that isn't there is `length` zeros.
fn normalized(scores: &[f32], length: usize, low: Low) -> Vec<f32> {
    let finite = || scores.iter().copied().filter(|score| score.is_finite());
    let (lowest, range_min) = match low {
        Low::Zero => (finite().fold(0.0, f32::min), 0.0),
        Low::Smallest => (finite().reduce(f32::min).unwrap_or(0.0), COSINE_RANGE_MIN),
    };
    let range = f64::from(finite().fold(lowest, f32::max)) - f64::from(lowest);
    let share = |score: f32| match score.is_finite() && range > range_min {
        true => ((f64::from(score) - f64::from(lowest)) / range) as f32,
        false => 0.0,
    };
    let shares = (0..length).map(|row| share(scores.get(row).copied().unwrap_or(0.0)));
    shares.map(|share| if share < SHARE_MIN { 0.0 } else { share }).collect()
}

#[cfg(test)]
mod tests;
