//! What a caller may ask: the arguments of the tools, and their checked form.
//!
//! Arguments come in as they are on the wire ([`SearchArguments`]), are checked once,
//! and go on as [`SearchRequest`]: whoever holds one need not check again.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::types::{ChannelName, Stage};

/// Bytes of a query's text. Longer ones are documents, not queries.
pub const QUERY_BYTES_MAX: usize = 8_192;
/// Findings a call may ask for.
pub const LIMIT_MAX: u32 = 100;
/// Findings a call gets when it doesn't say.
pub const LIMIT_DEFAULT: u32 = 10;
/// Rows a channel may be asked for; also how far paging goes.
pub const DEPTH_MAX: u32 = 1_000;
/// Globs or languages a call may name.
pub const FILTERS_MAX: usize = 64;
/// Lines `open_file` returns at most, and `git_blame` tells the commits of.
pub const OPEN_LINES_MAX: u32 = 2_000;
/// Commits `git_history` returns at most.
pub const HISTORY_LIMIT_MAX: u32 = 100;
/// Commits `git_history` returns when it isn't told how many.
pub const HISTORY_LIMIT_DEFAULT: u32 = 20;
/// Characters of a wrong `since` that are repeated in its error.
const SINCE_CHARS_SHOWN: usize = 40;

/// Arguments of `semantic_search`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchArguments {
    /// What to look for: words, identifiers, a question. `"in double quotes"` is a phrase
    /// that findings have to hold, `rout*` any word that begins so. At most 8192 bytes.
    #[schemars(length(min = 1, max = 8192))]
    pub query: String,
    /// How many findings, 1 to 100. Default 10.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Only files whose path matches one of these globs, such as `src/**/*.rs`.
    #[schemars(length(max = 64))]
    pub paths: Option<Vec<String>>,
    /// Only files of these languages, such as `rust`, `python`, `markdown`.
    #[schemars(length(max = 64))]
    pub languages: Option<Vec<String>>,
    /// `next_cursor` of the answer before, for the findings that follow it.
    pub cursor: Option<String>,
}

/// Arguments of `semantic_search_pro`: those of `semantic_search`, and control over
/// every stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchProArguments {
    /// What to look for: words, identifiers, a question. `"in double quotes"` is a phrase
    /// that findings have to hold, `rout*` any word that begins so. At most 8192 bytes.
    #[schemars(length(min = 1, max = 8192))]
    pub query: String,
    /// How many findings, 1 to 100. Default 10.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Only files whose path matches one of these globs, such as `src/**/*.rs`.
    #[schemars(length(max = 64))]
    pub paths: Option<Vec<String>>,
    /// Only files of these languages, such as `rust`, `python`, `markdown`.
    #[schemars(length(max = 64))]
    pub languages: Option<Vec<String>>,
    /// `next_cursor` of the answer before, for the findings that follow it.
    pub cursor: Option<String>,
    /// Ask only these channels. Default: those that the gate chooses.
    pub channels: Option<Vec<ChannelName>>,
    /// Rows to ask of a channel, 1 to 1000, instead of the gate's budget.
    pub depths: Option<BTreeMap<ChannelName, u32>>,
    /// Weight of a channel in the fusion, 0 to 100, instead of the gate's.
    pub weights: Option<BTreeMap<ChannelName, f32>>,
    /// Another gate plugin, or other parameters for it.
    pub gate: Option<PluginChoice>,
    /// Another fusion plugin, or other parameters for it.
    pub fusion: Option<PluginChoice>,
    /// Another rerank plugin, or other parameters for it.
    pub rerank: Option<PluginChoice>,
    /// Whether to rerank at all. Default: as the server is configured.
    pub rerank_enabled: Option<bool>,
    /// Explain each finding and each decision. Default false.
    pub explain: Option<bool>,
}

/// A plugin for one stage of one call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginChoice {
    /// A plugin that the server has loaded, by name. Default: the configured one.
    pub plugin: Option<String>,
    /// Parameters instead of the configured ones. Default: the configured ones for
    /// the configured plugin, none for another.
    pub parameters: Option<Map<String, Json>>,
}

/// Arguments of `open_file`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenFileArguments {
    /// A path as findings have it, relative to an indexed root; of a record its path, or its `document`.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
    /// First line, from 1. Default 1.
    #[schemars(range(min = 1))]
    pub start_line: Option<u32>,
    /// Last line, inclusive; at most 2000 lines are returned. Default: as many.
    #[schemars(range(min = 1))]
    pub end_line: Option<u32>,
}

/// Arguments of `git_blame`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlameArguments {
    /// A path as findings have it, relative to an indexed root.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
    /// First line of the committed file, from 1. Default 1.
    #[schemars(range(min = 1))]
    pub start_line: Option<u32>,
    /// Last line, inclusive; at most 2000 lines are told of. Default: as many.
    #[schemars(range(min = 1))]
    pub end_line: Option<u32>,
}

/// Arguments of `git_history`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryArguments {
    /// A path as findings have it, relative to an indexed root.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
    /// How many commits, 1 to 100. Default 20.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Only commits of this day or moment or later: `2026-01-31` (from midnight UTC) or
    /// `2026-01-31T12:00:00Z` (RFC 3339). Default: all.
    #[schemars(length(min = 10, max = 40))]
    pub since: Option<String>,
}

/// Why a request can't be understood. Everything else degrades the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// An argument is wrong; the message names it, its value and what is allowed.
    #[error("{0}")]
    Invalid(String),
    /// The thing asked for isn't there.
    #[error("{0}")]
    NotFound(String),
    /// The server can't answer now; the message says why and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// Git can't answer about the file; the message says why and what to do.
    #[error("{message}")]
    Git {
        /// One of few, all of which begin with `git_`.
        class: &'static str,
        message: String,
    },
}

impl RequestError {
    /// The value of `error.type`.
    pub fn class(&self) -> &'static str {
        match self {
            RequestError::Invalid(_) => "invalid_argument",
            RequestError::NotFound(_) => "not_found",
            RequestError::Unavailable(_) => "unavailable",
            RequestError::Git { class, .. } => class,
        }
    }
}

/// A checked search.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// Not blank, at most [`QUERY_BYTES_MAX`].
    pub query: String,
    /// 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// `None` admits every path.
    pub paths: Option<GlobSet>,
    /// The globs that `paths` was made of.
    pub path_globs: Vec<String>,
    /// Empty admits every language; lower case.
    pub languages: Vec<String>,
    /// Where in the ranking to go on, as the client sent it.
    pub cursor: Option<String>,
    pub channels: Option<Vec<ChannelName>>,
    /// 1 to [`DEPTH_MAX`] each.
    pub depths: BTreeMap<ChannelName, u32>,
    /// 0 to 100 each.
    pub weights: BTreeMap<ChannelName, f32>,
    pub plugins: BTreeMap<Stage, PluginChoice>,
    pub rerank_enabled: Option<bool>,
    pub explain: bool,
    pub reach: Reach,
}

/// How far a search goes beyond what clients can ask. Only callers inside the program
/// set it, to measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Findings in the answer, where that is not `limit`; the stages are told `limit` all
    /// the same.
    pub rows: Option<usize>,
    /// Rows that each channel that is asked is asked for at least.
    pub depth_min: u32,
    /// Channels that are treated as if the index didn't have them.
    pub without: Vec<ChannelName>,
}

impl SearchRequest {
    /// A search with the server's own judgement of everything.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for the first argument that is out of range.
    pub fn simple(arguments: SearchArguments) -> Result<SearchRequest, RequestError> {
        let SearchArguments { query, limit, paths, languages, cursor } = arguments;
        SearchRequest::pro(SearchProArguments { query, limit, paths, languages, cursor, ..SearchProArguments::default() })
    }

    /// A search with control over the stages.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for the first argument that is out of range.
    pub fn pro(arguments: SearchProArguments) -> Result<SearchRequest, RequestError> {
        let query = arguments.query;
        if query.trim().is_empty() {
            return Err(invalid("query", "empty", "words, identifiers or a question"));
        }
        if query.len() > QUERY_BYTES_MAX {
            return Err(invalid("query", &format!("{} bytes long", query.len()), &format!("at most {QUERY_BYTES_MAX} bytes")));
        }
        let limit = arguments.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(invalid("limit", &limit.to_string(), &format!("1 to {LIMIT_MAX}")));
        }
        let depths = arguments.depths.unwrap_or_default();
        for (channel, depth) in &depths {
            if !(1..=DEPTH_MAX).contains(depth) {
                return Err(invalid(&format!("depths.{channel}"), &depth.to_string(), &format!("1 to {DEPTH_MAX}")));
            }
        }
        let weights = arguments.weights.unwrap_or_default();
        for (channel, weight) in &weights {
            if !(0.0..=100.0).contains(weight) {
                return Err(invalid(&format!("weights.{channel}"), &weight.to_string(), "0 to 100"));
            }
        }
        if arguments.channels.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid("channels", "an empty list", "at least one of bm25, dense, files; leave it out for all"));
        }
        let plugins = [(Stage::Gate, arguments.gate), (Stage::Fusion, arguments.fusion), (Stage::Rerank, arguments.rerank)]
            .into_iter()
            .filter_map(|(stage, choice)| choice.map(|choice| (stage, choice)))
            .collect();
        Ok(SearchRequest {
            query,
            limit,
            paths: path_filter(arguments.paths.as_deref().unwrap_or_default())?,
            path_globs: arguments.paths.unwrap_or_default(),
            languages: languages(arguments.languages.unwrap_or_default())?,
            cursor: arguments.cursor,
            channels: arguments.channels,
            depths,
            weights,
            plugins,
            rerank_enabled: arguments.rerank_enabled,
            explain: arguments.explain.unwrap_or(false),
            reach: Reach::default(),
        })
    }
}

/// A checked question for a file's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Not checked against the index.
    pub path: String,
    /// 1 to [`HISTORY_LIMIT_MAX`].
    pub limit: u32,
    /// Seconds since 1970 UTC.
    pub since_s: Option<i64>,
}

impl HistoryRequest {
    /// # Errors
    /// [`RequestError::Invalid`] for the first argument that is out of range.
    pub fn check(arguments: HistoryArguments) -> Result<HistoryRequest, RequestError> {
        let limit = arguments.limit.unwrap_or(HISTORY_LIMIT_DEFAULT);
        if !(1..=HISTORY_LIMIT_MAX).contains(&limit) {
            return Err(invalid("limit", &limit.to_string(), &format!("1 to {HISTORY_LIMIT_MAX}")));
        }
        let since_s = arguments.since.as_deref().map(moment).transpose()?;
        Ok(HistoryRequest { path: arguments.path, limit, since_s })
    }
}

/// A day (its beginning in UTC) or an RFC 3339 date-time, as seconds since 1970 UTC.
fn moment(text: &str) -> Result<i64, RequestError> {
    let day = || time::Date::parse(text, format_description!("[year]-[month]-[day]")).ok().map(|day| day.midnight().assume_utc());
    OffsetDateTime::parse(text, &Rfc3339).ok().or_else(day).map(OffsetDateTime::unix_timestamp).ok_or_else(|| {
        let shown: String = text.chars().take(SINCE_CHARS_SHOWN).collect();
        invalid("since", &format!("`{shown}`"), "a day such as `2026-01-31`, or an RFC 3339 date-time such as `2026-01-31T12:00:00Z`")
    })
}

/// The error for an argument out of its range.
pub fn invalid(argument: &str, value: &str, allowed: &str) -> RequestError {
    RequestError::Invalid(format!("`{argument}` is {value}; allowed: {allowed}"))
}

fn path_filter(globs: &[String]) -> Result<Option<GlobSet>, RequestError> {
    if globs.is_empty() {
        return Ok(None);
    }
    if globs.len() > FILTERS_MAX {
        return Err(invalid("paths", &format!("a list of {}", globs.len()), &format!("at most {FILTERS_MAX} globs")));
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let bare = glob.trim_start_matches("./").trim_end_matches('/');
        // `src/http` means the folder with all that is in it, as git has it.
        for pattern in [bare.to_owned(), format!("{bare}/**")] {
            let compiled = GlobBuilder::new(&pattern).literal_separator(true).build().map_err(|error| {
                invalid("paths", &format!("`{glob}`, which does not parse ({})", error.kind()), "globs such as `src/**/*.rs`")
            })?;
            set.add(compiled);
        }
    }
    set.build().map(Some).map_err(|error| invalid("paths", &error.to_string(), "globs such as `src/**/*.rs`"))
}

fn languages(names: Vec<String>) -> Result<Vec<String>, RequestError> {
    if names.len() > FILTERS_MAX {
        return Err(invalid("languages", &format!("a list of {}", names.len()), &format!("at most {FILTERS_MAX} names")));
    }
    let known: Vec<&str> = crate::index::chunk::Language::ALL.iter().map(|language| language.as_str()).collect();
    names
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            if known.contains(&lower.as_str()) { Ok(lower) } else { Err(invalid("languages", &format!("`{name}`"), &known.join(", "))) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(arguments: Json, expect: &str) {
        let outcome = serde_json::from_value::<SearchProArguments>(arguments.clone())
            .map_err(|error| error.to_string())
            .and_then(|arguments| SearchRequest::pro(arguments).map_err(|error| error.to_string()));
        match outcome {
            Ok(request) => assert_eq!(expect, "ok", "{arguments} gave {request:?}"),
            Err(message) => assert!(message.contains(expect) && expect != "ok", "{arguments}: {message}"),
        }
    }

    #[test]
    fn arguments_out_of_range_are_named() {
        check(json!({"query": "x"}), "ok");
        check(json!({"query": " \n"}), "`query` is empty");
        check(json!({"query": "x".repeat(100_000)}), "`query` is 100000 bytes long");
        check(json!({"query": "x", "limit": 0}), "`limit` is 0; allowed: 1 to 100");
        check(json!({"query": "x", "limit": 1_000_000_000}), "`limit` is 1000000000");
        check(json!({"query": "x", "limit": "ten"}), "invalid type");
        check(json!({"query": "x", "limt": 3}), "unknown field `limt`");
        check(json!({"query": "x", "paths": ["src/[a"]}), "`paths` is `src/[a`, which does not parse");
        check(json!({"query": "x", "languages": ["klingon"]}), "`languages` is `klingon`; allowed: rust");
        check(json!({"query": "x", "depths": {"bm25": 0}}), "`depths.bm25` is 0");
        check(json!({"query": "x", "depths": {"fax": 5}}), "unknown variant `fax`");
        check(json!({"query": "x", "weights": {"dense": -1.0}}), "`weights.dense` is -1");
        check(json!({"query": "x", "channels": []}), "`channels` is an empty list");
        check(json!({"query": "x", "fusion": {"plugn": "a"}}), "unknown field `plugn`");
        check(json!({}), "missing field `query`");
    }

    #[test]
    fn a_history_begins_at_a_day_or_a_moment() {
        let check = |arguments: Json| {
            let parsed = serde_json::from_value::<HistoryArguments>(arguments).map_err(|error| error.to_string())?;
            HistoryRequest::check(parsed).map(|request| (request.limit, request.since_s)).map_err(|error| error.to_string())
        };
        assert_eq!(check(json!({"path": "a"})), Ok((20, None)));
        for (since, expect) in [
            ("1970-01-02", 86_400),
            ("2026-01-31", 1_769_817_600),
            ("1969-12-31T23:59:59Z", -1),
            ("2026-01-31T01:00:00+01:00", 1_769_817_600),
            ("2026-01-31T00:00:00.999Z", 1_769_817_600),
        ] {
            assert_eq!(check(json!({"path": "a", "limit": 100, "since": since})), Ok((100, Some(expect))), "{since}");
        }
        for since in ["", "yesterday", "30d", "2026-13-01", "2026-02-30", "2026-1-1", "2026-01-31T12:00:00", "1769817600"] {
            let message = check(json!({"path": "a", "since": since})).expect_err(since);
            assert!(message.starts_with(&format!("`since` is `{since}`; allowed: a day")), "{message}");
        }
        for limit in [0, 101] {
            let message = check(json!({"path": "a", "limit": limit})).expect_err("out of range");
            assert_eq!(message, format!("`limit` is {limit}; allowed: 1 to 100"));
        }
        let long = check(json!({"path": "a", "since": "x".repeat(10_000)})).expect_err("no date");
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn a_folder_stands_for_what_is_in_it() {
        let filter = path_filter(&["src/http".into(), "*.md".into()]).unwrap().unwrap();
        for (path, expect) in
            [("src/http/a/b.rs", true), ("src/http", true), ("src/https/a.rs", false), ("README.md", true), ("docs/a.md", false)]
        {
            assert_eq!(filter.is_match(path), expect, "{path}");
        }
    }
}
