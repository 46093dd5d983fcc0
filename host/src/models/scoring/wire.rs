//! What goes over the wire for scores: requests, answers and their checks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::maxsim::TokenRows;
use crate::models::vllm::wire::{Numbers, Usage};

/// Has the server cut what is longer than its model takes, instead of refusing all of the request.
const TRUNCATE_TO_THE_MODEL: i32 = -1;
/// Room for 32 texts of 2,048 tokens, each with 128 numbers of 22 bytes in decimal, which takes 185
/// MB. Larger ones ask for smaller batches.
pub(super) const POOLING_ANSWER_BYTES_MAX: usize = 256 << 20;
/// Answers repeat the documents; escaped, a byte takes up to 6.
const RERANK_ANSWER_BYTES_PER_BYTE: usize = 6;
/// What surrounds a document, and an answer.
const RERANK_ANSWER_BYTES_PER_DOCUMENT: usize = 1 << 10;
const RERANK_ANSWER_BYTES_ENVELOPE: usize = 1 << 16;

/// `POST /v1/rerank`.
#[derive(Serialize)]
pub(super) struct RerankRequest<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [Cow<'a, str>],
    truncate_prompt_tokens: i32,
}

impl<'a> RerankRequest<'a> {
    pub(super) fn new(model: &'a str, query: &'a str, documents: &'a [Cow<'a, str>]) -> Self {
        RerankRequest { model, query, documents, truncate_prompt_tokens: TRUNCATE_TO_THE_MODEL }
    }
}

/// Results come best first.
#[derive(Deserialize)]
pub(super) struct RerankAnswer {
    pub results: Vec<RerankResult>,
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct RerankResult {
    index: usize,
    /// `null`, which some encoders write for what JSON can't hold, is none.
    relevance_score: Option<f32>,
}

/// `POST /pooling`.
#[derive(Serialize)]
pub(super) struct PoolingRequest<'a> {
    model: &'a str,
    input: &'a [Cow<'a, str>],
    task: &'static str,
    encoding_format: &'static str,
    truncate_prompt_tokens: i32,
}

impl<'a> PoolingRequest<'a> {
    pub(super) fn new(model: &'a str, input: &'a [Cow<'a, str>]) -> Self {
        // In base64 the rows of a text would run into one another.
        PoolingRequest { model, input, task: "token_embed", encoding_format: "float", truncate_prompt_tokens: TRUNCATE_TO_THE_MODEL }
    }
}

#[derive(Deserialize)]
pub(super) struct PoolingAnswer {
    pub data: Vec<PoolingItem>,
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct PoolingItem {
    index: usize,
    /// A row for each token.
    data: Vec<Numbers>,
}

/// The scores in the order of the documents. The error says what is wrong with them.
pub(super) fn relevances(results: Vec<RerankResult>, count: usize) -> Result<Vec<f32>, String> {
    let results = results.into_iter().map(|result| (result.index, result.relevance_score)).collect();
    let scores = in_order(results, count, ["score", "scores"])?;
    scores
        .into_iter()
        .enumerate()
        .map(|(index, score)| match score {
            Some(score) if score.is_finite() => Ok(score),
            _ => Err(format!("score {index} is not finite")),
        })
        .collect()
}

/// The token vectors in the order of the texts. The error says what is wrong with them.
pub(super) fn token_rows(items: Vec<PoolingItem>, count: usize, dimension: Option<usize>) -> Result<TokenRows, String> {
    let items = items.into_iter().map(|item| (item.index, item.data)).collect();
    let texts = in_order(items, count, ["list of vectors", "lists of vectors"])?;
    let texts = texts.into_iter().map(|rows| rows.into_iter().map(|Numbers(row)| row).collect()).collect();
    TokenRows::new(texts, dimension)
}

/// Puts what comes with an index in its place: as many as there are texts, each index once. `names`
/// is what they are called, one and several.
fn in_order<T>(items: Vec<(usize, T)>, count: usize, [one, several]: [&str; 2]) -> Result<Vec<T>, String> {
    if items.len() != count {
        return Err(format!("{} {several} for {count} texts", items.len()));
    }
    let mut places: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for (index, item) in items {
        match places.get_mut(index) {
            None => return Err(format!("a {one} with index {index} for {count} texts")),
            Some(Some(_)) => return Err(format!("two {several} with index {index}")),
            Some(place) => *place = Some(item),
        }
    }
    // As many as there are places, and none twice: no place is empty.
    Ok(places.into_iter().flatten().collect())
}

pub(super) fn rerank_answer_bytes_max(documents: &[Cow<'_, str>]) -> usize {
    let text: usize = documents.iter().map(|document| document.len()).sum();
    let text = text.saturating_mul(RERANK_ANSWER_BYTES_PER_BYTE);
    let around = documents.len().saturating_mul(RERANK_ANSWER_BYTES_PER_DOCUMENT);
    text.saturating_add(around).saturating_add(RERANK_ANSWER_BYTES_ENVELOPE)
}
