//! What goes over the wire: the request, the answer and its numbers, refusals.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Above any model's dimension or vocabulary with dense output; bounds what an answer may hold.
pub(super) const DIMENSION_MAX: usize = 1 << 17;
/// A number in decimal takes some 22 bytes, in base64 less than 6.
const ANSWER_BYTES_PER_NUMBER: usize = 32;
/// What surrounds the numbers of a vector, and of an answer.
const ANSWER_BYTES_PER_VECTOR: usize = 1 << 10;
const ANSWER_BYTES_ENVELOPE: usize = 1 << 16;

/// Vectors of unit length, row-major.
#[derive(Debug)]
pub(super) struct Rows {
    pub values: Vec<f32>,
    pub dimension: usize,
}

#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub model: &'a str,
    pub input: &'a [Cow<'a, str>],
    pub encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate_prompt_tokens: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    pub data: Vec<Item>,
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    index: usize,
    embedding: Numbers,
}

#[derive(Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub prompt_tokens: u64,
}

/// A list of numbers, or little-endian 32-bit floats in base64. `null`, which some encoders write
/// for what JSON can't hold, is NaN here.
pub struct Numbers(pub Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Numbers;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a list of numbers or floats in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Numbers, E> {
                let bytes = BASE64.decode(text).map_err(E::custom)?;
                let (floats, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("the base64 breaks off within a number"));
                }
                Ok(Numbers(floats.iter().map(|float| f32::from_le_bytes(*float)).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = list.next_element::<Option<f32>>()? {
                    numbers.push(number.unwrap_or(f32::NAN));
                }
                Ok(Numbers(numbers))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Puts the vectors in the order of their texts and scales each to length 1. The error says what is
/// wrong with them.
pub(super) fn unit_rows(items: Vec<Item>, count: usize, dimension: Option<usize>) -> Result<Rows, String> {
    if items.len() != count {
        return Err(format!("{} vectors for {count} texts", items.len()));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    for Item { index, embedding } in items {
        match vectors.get_mut(index) {
            None => return Err(format!("index {index} for {count} texts")),
            Some(Some(_)) => return Err(format!("two vectors with index {index}")),
            Some(slot) => *slot = Some(embedding.0),
        }
    }
    let dimension = dimension.or_else(|| Some(vectors.first()?.as_ref()?.len())).unwrap_or(0);
    let mut values = Vec::with_capacity(count * dimension);
    // As many as there are places, and none twice: no place is empty.
    for (index, vector) in vectors.into_iter().flatten().enumerate() {
        if vector.len() != dimension || vector.is_empty() {
            return Err(format!("vector {index} is of dimension {}, not {dimension}", vector.len()));
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return Err(format!("vector {index} has a number that is not finite"));
        }
        let norm = vector.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(format!("vector {index} is all zeros"));
        }
        values.extend(vector.iter().map(|&number| (f64::from(number) / norm) as f32));
    }
    Ok(Rows { values, dimension })
}

pub(super) fn answer_bytes_max(count: usize, dimension: Option<usize>) -> usize {
    let vector = dimension.unwrap_or(DIMENSION_MAX) * ANSWER_BYTES_PER_NUMBER + ANSWER_BYTES_PER_VECTOR;
    count.saturating_mul(vector).saturating_add(ANSWER_BYTES_ENVELOPE)
}

/// The body, or `None` when it is longer than `bytes_max`.
pub(super) async fn read(response: &mut Response, bytes_max: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let (body, whole) = read_start(response, bytes_max).await?;
    Ok(whole.then_some(body))
}

/// At most `bytes_max` bytes of the body, and whether they are all of it.
pub(super) async fn read_start(response: &mut Response, bytes_max: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// Whole seconds as in RFC 9110, section 10.2.3. Its other form, a date, needs clocks that agree
/// and counts as none.
pub(super) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

/// What a refusal says: `{"error": {"message"}}`, as vLLM does now, `{"message"}`, as it did,
/// `{"error": "…"}`, as its check of keys does, or `{"detail"}`, as the framework below it does.
pub(super) fn error_message(body: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<Json>(body) {
        let places = ["/error/message", "/message", "/error", "/detail"];
        let found = places.iter().find_map(|place| json.pointer(place)?.as_str());
        return found.map_or_else(|| json.to_string(), str::to_owned);
    }
    let text = String::from_utf8_lossy(body);
    match text.trim() {
        "" => "no message".into(),
        page if page.starts_with('<') => "a page for browsers instead of a message".into(),
        text => text.into(),
    }
}
