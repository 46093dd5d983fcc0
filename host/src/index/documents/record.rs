//! One line → one record, checked member by member.

use serde::Deserialize;
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{DocumentsError, Place, Record, RecordRules};
use crate::index::chunk::Language;
use crate::index::scan::SkipReason;

/// Bytes of an id: it is kept in memory and repeated in every answer.
const ID_BYTES_MAX: usize = 1_024;
/// Bytes of a path, which is what systems take.
const PATH_BYTES_MAX: usize = 4_096;
/// Characters of a value that a message repeats.
const EXCERPT_CHARS: usize = 60;
/// Unix seconds of the years 1 to 9999.
const TIMES_S: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A line that is a record, whether or not it is indexed.
pub(super) struct Parsed {
    pub id: String,
    /// The record, or why it is left out.
    pub outcome: Result<Record, (SkipReason, String)>,
    /// A name that no language has.
    pub unknown_language: Option<String>,
    pub title_is_cut: bool,
}

/// A [`DocumentsError`] without its place.
#[derive(Debug)]
pub(super) enum Problem {
    NotAnObject { reason: String, excerpt: String },
    Member { member: &'static str, found: String, allowed: &'static str },
}

/// The members that count. `null` is as good as nothing.
#[derive(Deserialize)]
struct Members {
    id: Option<Json>,
    text: Option<Json>,
    title: Option<Json>,
    path: Option<Json>,
    language: Option<Json>,
    time: Option<Json>,
}

/// Checks a line. `line` is its number.
pub(super) fn parse(text: &str, line: u64, rules: &RecordRules) -> Result<Parsed, Problem> {
    let not_an_object = |reason: String| Problem::NotAnObject { reason, excerpt: excerpt(text) };
    if !text.starts_with('{') {
        return Err(not_an_object("it does not begin with `{`".into()));
    }
    let members: Members = serde_json::from_str(text).map_err(|error| not_an_object(without_line(&error)))?;
    let id = id(members.id)?;
    let path = path(members.path)?;
    let (title, title_is_cut) = title(members.title, rules.title_bytes_max)?;
    let time_s = time_s(members.time.as_ref())?;
    let named = word("language", members.language, "the name of a language")?;
    let known = named.as_deref().and_then(language_named);
    let unknown_language = if known.is_none() { named } else { None };
    let by_path = path.as_deref().map(Language::of_path).filter(|language| *language != Language::Text);
    let language = known.or(by_path).or(rules.language).unwrap_or(Language::Text);
    let outcome = body(members.text, rules)?.map(|text| Record { line, id: id.clone(), text, title, path, language, time_s });
    Ok(Parsed { id, outcome, unknown_language, title_is_cut })
}

/// The language of a name in any case, or of a file's extension: `Python`, `py`, `C++`.
pub fn language_named(name: &str) -> Option<Language> {
    let name = name.trim().to_lowercase();
    let by_extension = || {
        let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '+' | '#' | '-'));
        plain.then(|| Language::of_path(&format!("x.{name}"))).filter(|language| *language != Language::Text)
    };
    match name.as_str() {
        "golang" => Some(Language::Go),
        "plain" | "plaintext" | "txt" => Some(Language::Text),
        _ => name.parse().ok().or_else(by_extension),
    }
}

impl Problem {
    pub fn at(self, at: Place) -> DocumentsError {
        match self {
            Problem::NotAnObject { reason, excerpt } => DocumentsError::NotAnObject { at, reason, excerpt },
            Problem::Member { member, found, allowed } => DocumentsError::Member { at, member, found, allowed },
        }
    }
}

fn id(value: Option<Json>) -> Result<String, Problem> {
    const ALLOWED: &str = "text of 1 to 1024 bytes, without control characters";
    let refused = |found: String| Problem::Member { member: "id", found, allowed: ALLOWED };
    match value {
        None => Err(refused("missing".into())),
        Some(Json::String(id)) if id.trim().is_empty() => Err(refused("empty".into())),
        Some(Json::String(id)) if id.len() > ID_BYTES_MAX => Err(refused(format!("{} bytes long, {}", id.len(), excerpt(&id)))),
        Some(Json::String(id)) if id.contains(char::is_control) => Err(refused(excerpt(&id))),
        Some(Json::String(id)) => Ok(id),
        Some(other) => Err(refused(excerpt(&other.to_string()))),
    }
}

fn path(value: Option<Json>) -> Result<Option<String>, Problem> {
    const ALLOWED: &str = "text of at most 4096 bytes, without control characters";
    let path = word("path", value, ALLOWED)?;
    match path {
        Some(path) if path.len() > PATH_BYTES_MAX || path.contains(char::is_control) => {
            Err(Problem::Member { member: "path", found: excerpt(&path), allowed: ALLOWED })
        }
        other => Ok(other),
    }
}

/// The title in one line, and whether some of it is cut off.
fn title(value: Option<Json>, bytes_max: usize) -> Result<(Option<String>, bool), Problem> {
    let Some(title) = word("title", value, "text")? else { return Ok((None, false)) };
    let words: Vec<&str> = title.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let mut title = words.join(" ");
    let end = title.floor_char_boundary(bytes_max);
    let is_cut = end < title.len();
    title.truncate(end);
    Ok(((!title.is_empty()).then_some(title), is_cut))
}

/// A member that is text and may be missing; white space is as good as nothing.
fn word(member: &'static str, value: Option<Json>, allowed: &'static str) -> Result<Option<String>, Problem> {
    match value {
        None => Ok(None),
        Some(Json::String(text)) => Ok((!text.trim().is_empty()).then_some(text)),
        Some(other) => Err(Problem::Member { member, found: excerpt(&other.to_string()), allowed }),
    }
}

fn time_s(value: Option<&Json>) -> Result<Option<i64>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let seconds = match value {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64)),
        Json::String(text) => OffsetDateTime::parse(text.trim(), &Rfc3339).ok().map(OffsetDateTime::unix_timestamp),
        _ => None,
    };
    match seconds.filter(|seconds| TIMES_S.contains(seconds)) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Problem::Member {
            member: "time",
            found: excerpt(&value.to_string()),
            allowed: "Unix seconds, or RFC 3339 such as \"2026-01-31T12:00:00Z\"",
        }),
    }
}

/// The text to index, or why there is none.
fn body(value: Option<Json>, rules: &RecordRules) -> Result<Result<String, (SkipReason, String)>, Problem> {
    let text = match value {
        None => return Ok(Err((SkipReason::NoText, "`text` is missing".into()))),
        Some(Json::String(text)) => text,
        Some(other) => return Err(Problem::Member { member: "text", found: excerpt(&other.to_string()), allowed: "text" }),
    };
    let bytes = text.len() as u64;
    Ok(if bytes > rules.text_bytes_max {
        Err((SkipReason::TooLarge, format!("`text` has {bytes} bytes, limit {}", rules.text_bytes_max)))
    } else if text.contains('\0') {
        Err((SkipReason::Binary, "`text` has NUL characters".into()))
    } else {
        match without_blank_ends(&text) {
            "" => Err((SkipReason::NoText, "`text` is empty or white space".into())),
            body => Ok(body.to_owned()),
        }
    })
}

/// The text from its first line that is not blank to its last visible character.
fn without_blank_ends(text: &str) -> &str {
    let text = text.trim_end();
    let first = text.len() - text.trim_start().len();
    let line = text[..first].rfind('\n').map_or(0, |at| at + 1);
    &text[line..]
}

/// A value as messages have it: the first part of a long one, without characters that a terminal would act on.
fn excerpt(value: &str) -> String {
    let mut out = String::from("`");
    for c in value.chars().take(EXCERPT_CHARS) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('`');
    if value.chars().nth(EXCERPT_CHARS).is_some() {
        out.push_str(" …");
    }
    out
}

/// What the parser says, with the column and without the line, which is always the first.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => text,
    }
}
