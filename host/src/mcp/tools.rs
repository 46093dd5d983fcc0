//! The tools as clients see them, and the way from a call's JSON to typed arguments.

use std::sync::{Arc, LazyLock};

use rmcp::model::{Tool as ToolCard, ToolAnnotations};
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, ReplaceBoolSchemas};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::envelope::{AnswerEnvelope, BlameAnswer, FileSlice, HistoryAnswer};
use crate::experiments::feedback::{FeedbackAnswer, FeedbackArguments};
use crate::experiments::report::Report as ExperimentReport;
use crate::reports::{REPORT_TOOL, ReportFormat, Reported, RunReportArguments};
use crate::request::{BlameArguments, HistoryArguments, OpenFileArguments, RequestError, SearchArguments, SearchProArguments, invalid};

/// Characters of a wrong value that are repeated in an error.
const VALUE_CHARS_SHOWN: usize = 80;

/// Arguments of `experiment_report`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExperimentReportArguments {
    /// The experiment's id, as `experiments` of an answer has it.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// Form of the text: `markdown` (the default) or `json`.
    pub format: Option<ReportFormat>,
}

/// A tool of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Search,
    SearchPro,
    OpenFile,
    GitBlame,
    GitHistory,
    RunReport,
    ReportFeedback,
    ExperimentReport,
}

impl Tool {
    /// In the order in which they are listed.
    pub const ALL: [Tool; 8] = [
        Tool::Search,
        Tool::SearchPro,
        Tool::OpenFile,
        Tool::GitBlame,
        Tool::GitHistory,
        Tool::RunReport,
        Tool::ReportFeedback,
        Tool::ExperimentReport,
    ];

    /// The name clients call.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Search => "semantic_search",
            Tool::SearchPro => "semantic_search_pro",
            Tool::OpenFile => "open_file",
            Tool::GitBlame => "git_blame",
            Tool::GitHistory => "git_history",
            Tool::RunReport => REPORT_TOOL,
            Tool::ReportFeedback => "report_feedback",
            Tool::ExperimentReport => "experiment_report",
        }
    }

    /// The tool of that name.
    pub fn find(name: &str) -> Option<Tool> {
        Tool::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Name, texts, schemas and hints, as `tools/list` has them.
    pub fn card(self) -> ToolCard {
        CARDS[self as usize].clone()
    }

    fn title(self) -> &'static str {
        match self {
            Tool::Search => "Search code",
            Tool::SearchPro => "Search code, every stage adjustable",
            Tool::OpenFile => "Open an indexed file",
            Tool::GitBlame => "Who last changed lines of a file",
            Tool::GitHistory => "Commits that changed a file",
            Tool::RunReport => "Report on an earlier call",
            Tool::ReportFeedback => "Say which findings were of use",
            Tool::ExperimentReport => "What an experiment on rankings has shown",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Tool::Search => {
                "Find code and documentation by meaning, words or identifiers. Ask a question, or name what you look for. \
                 Returns ranked pieces with path, line range, symbol and text. Start here; narrow with `paths` or `languages`; \
                 read around a finding with `open_file`."
            }
            Tool::SearchPro => {
                "`semantic_search` with control over channels, depths, weights, ranking plugins and reranking, and with \
                 `explain`. Use it when `semantic_search` misses something that must be there, or to study the ranking."
            }
            Tool::OpenFile => {
                "Read lines of an indexed file or record, by the path a finding has. Use it to see what surrounds a finding or to \
                 read text that an answer left out."
            }
            Tool::GitBlame => {
                "Which commit each line of an indexed file comes from, with author, time and summary, for the file as last \
                 committed. Use it to see why lines are as they are and what changed together. Renames are followed."
            }
            Tool::GitHistory => {
                "Commits that changed an indexed file, newest first, with author, time and summary. Use it to see how often and \
                 for what a file changes. A rename is named where the history of this path begins."
            }
            Tool::RunReport => {
                "Tell what an earlier call did, by its `run_id` or `trace_id`: stages with times, budgets and reasons, \
                 warnings, what was degraded, and why it stopped. Use it when an answer surprises or a call failed."
            }
            Tool::ReportFeedback => {
                "Say what you did with findings of a search, or what you think of them, by its `run_id` and their `chunk_id`s. \
                 Rankings are judged by it. Call it once you know which findings you used; saying the same again changes nothing."
            }
            Tool::ExperimentReport => {
                "Tell what an experiment on rankings has shown so far, by its id: a verdict in one sentence, whether the data can be \
                 trusted, figures of each arm, and differences with intervals that hold whenever one looks."
            }
        }
    }

    fn build_card(self) -> ToolCard {
        let (input, output) = match self {
            Tool::Search => (schema::<SearchArguments>(), schema::<AnswerEnvelope>()),
            Tool::SearchPro => (schema::<SearchProArguments>(), schema::<AnswerEnvelope>()),
            Tool::OpenFile => (schema::<OpenFileArguments>(), schema::<FileSlice>()),
            Tool::GitBlame => (schema::<BlameArguments>(), schema::<BlameAnswer>()),
            Tool::GitHistory => (schema::<HistoryArguments>(), schema::<HistoryAnswer>()),
            Tool::RunReport => (schema::<RunReportArguments>(), schema::<Reported>()),
            Tool::ReportFeedback => (schema::<FeedbackArguments>(), schema::<FeedbackAnswer>()),
            Tool::ExperimentReport => (schema::<ExperimentReportArguments>(), schema::<ExperimentReport>()),
        };
        let hints = ToolAnnotations::with_title(self.title())
            .read_only(self != Tool::ReportFeedback)
            .destructive(false)
            .idempotent(true)
            .open_world(false);
        ToolCard::new(self.name(), self.description(), input)
            .with_title(self.title())
            .with_raw_output_schema(Arc::new(output))
            .with_annotations(hints)
    }
}

/// As [`Tool::ALL`].
static CARDS: LazyLock<[ToolCard; Tool::ALL.len()]> = LazyLock::new(|| Tool::ALL.map(Tool::build_card));

/// The JSON Schema (2020-12) of a type as clients take it: without references, which
/// some don't resolve, without `true` for a schema, which some refuse, and without
/// formats such as `uint32`, about which some complain.
fn schema<T: JsonSchema>() -> Map<String, Json> {
    let mut booleans = ReplaceBoolSchemas::default();
    booleans.skip_additional_properties = true;
    let formats = RecursiveTransform(|schema: &mut Schema| {
        schema.remove("format");
    });
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).with_transform(booleans).with_transform(formats);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    let mut object = std::mem::take(schema.ensure_object());
    // The name and the comment of the Rust type tell an agent nothing.
    object.remove("title");
    object.remove("description");
    object.remove("$defs");
    object.values_mut().for_each(without_references);
    object
}

/// Puts an object of any kind where a type that holds itself refers to itself: there is
/// no other end to writing it out.
fn without_references(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            if members.remove("$ref").is_some() {
                members.insert("type".into(), "object".into());
                members.insert("description".into(), "As the object around it.".into());
            }
            members.values_mut().for_each(without_references);
        }
        Json::Array(items) => items.iter_mut().for_each(without_references),
        _ => {}
    }
}

/// The arguments of a call to `tool`.
///
/// # Errors
/// [`RequestError::Invalid`] names the argument, its value and what is allowed.
pub(crate) fn parse<T: DeserializeOwned>(tool: Tool, arguments: Json) -> Result<T, RequestError> {
    let shown = arguments.clone();
    serde_path_to_error::deserialize(arguments).map_err(|error| {
        let path = error.path().to_string();
        // A key that is an enum shows as `?`; the argument as a whole still has a name.
        let path = path.split(".?").next().unwrap_or_default();
        let cause = error.into_inner().to_string();
        wrong_argument(tool, &shown, path, &cause)
    })
}

fn wrong_argument(tool: Tool, arguments: &Json, path: &str, cause: &str) -> RequestError {
    let card = tool.card();
    let properties = card.input_schema.get("properties").and_then(Json::as_object);
    let top = path.split(['.', '[']).next().unwrap_or_default();
    match properties.and_then(|properties| properties.get(top)) {
        Some(property) => {
            let value = value_at(arguments, path).map_or_else(|| "missing".to_owned(), shorten);
            let allowed = property["description"].as_str().unwrap_or("see the tool's input schema");
            invalid(path, &format!("{value} ({cause})"), allowed)
        }
        None => {
            let names: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            RequestError::Invalid(format!("the arguments of `{}` do not fit: {cause}; allowed: {}", tool.name(), names.join(", ")))
        }
    }
}

/// The value at a path such as `depths.bm25` or `channels[1]`.
fn value_at<'a>(arguments: &'a Json, path: &str) -> Option<&'a Json> {
    path.split(['.', '[']).try_fold(arguments, |value, part| {
        let part = part.trim_end_matches(']');
        match value {
            Json::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        }
    })
}

fn shorten(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(arguments: Json, expect: &[&str]) {
        let error = parse::<SearchProArguments>(Tool::SearchPro, arguments.clone()).expect_err(&arguments.to_string());
        assert_eq!(error.class(), "invalid_argument");
        for part in expect {
            assert!(error.to_string().contains(part), "{arguments}: {error} lacks {part}");
        }
    }

    #[test]
    fn a_wrong_argument_is_named_with_its_value_and_what_is_allowed() {
        check(json!({"query": "x", "limit": "ten"}), &["`limit` is \"ten\"", "allowed: How many findings, 1 to 100"]);
        check(json!({"query": "x", "limit": -5}), &["`limit` is -5"]);
        check(json!({"query": ["x".repeat(1000)]}), &["`query` is [\"xxx", "…", "allowed: What to look for"]);
        check(json!({"query": "x", "channels": ["bm25", "fax"]}), &["`channels[1]` is \"fax\"", "Ask only these channels"]);
        check(
            json!({"query": "x", "depths": {"fax": 5}}),
            &["`depths` is {\"fax\":5} (unknown variant `fax`, expected one of `bm25`, `dense`, `files`)"],
        );
        check(json!({"query": "x", "weights": {"dense": "much"}}), &["`weights` is {\"dense\":\"much\"} (invalid type: string \"much\""]);
        check(json!({"query": "x", "fusion": {"plugn": "a"}}), &["fusion", "unknown field `plugn`"]);
        check(json!({"query": "x", "limt": 3}), &["unknown field `limt`", "limit"]);
        check(json!({}), &["missing field `query`"]);
        check(json!([1]), &["semantic_search_pro"]);
        check(json!("x"), &["invalid type"]);
    }

    #[test]
    fn schemas_are_closed_objects_without_what_clients_refuse() {
        fn walk(value: &Json, at: &str) {
            match value {
                Json::Object(object) => {
                    // As keywords; there is an argument called `format`.
                    assert!(["$ref", "format"].iter().all(|key| !object.get(*key).is_some_and(Json::is_string)), "{at}");
                    for (key, inner) in object {
                        if let ("properties", Json::Object(properties)) = (key.as_str(), inner) {
                            assert!(properties.values().all(Json::is_object), "{at}/properties");
                        }
                        walk(inner, &format!("{at}/{key}"));
                    }
                }
                Json::Array(items) => items.iter().for_each(|item| walk(item, at)),
                _ => {}
            }
        }
        for tool in Tool::ALL {
            let card = tool.card();
            assert_eq!(card.name, tool.name());
            assert_eq!(Tool::find(tool.name()), Some(tool));
            assert_eq!(card.input_schema["additionalProperties"], false, "{tool:?}");
            for schema in [&card.input_schema, card.output_schema.as_ref().unwrap()] {
                assert_eq!(schema["type"], "object");
                walk(&Json::Object((**schema).clone()), tool.name());
            }
            assert!(card.description.unwrap().len() < 400, "{tool:?}: descriptions cost every client tokens");
        }
        assert_eq!(Tool::find("semantic_search_max"), None);
    }
}
