//! By which id a report is asked for: a run's own, or that of its trace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::{RequestError, invalid};

/// Characters of a run id.
const RUN_ID_CHARS_MAX: usize = 128;
/// Hexadecimal digits of a trace id.
const TRACE_ID_DIGITS: usize = 32;
/// Characters of a wrong id that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// What is asked for. The ids are checked: a run id is fit to be a file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportKey {
    Run(String),
    /// In lower case; a run of that name is looked for when there is no such trace.
    Trace(String),
}

/// Arguments of `run_report`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunReportArguments {
    /// `run_id` of an answer; or else give `trace_id`.
    #[schemars(length(min = 1, max = 128))]
    pub run_id: Option<String>,
    /// `trace_id` of an answer, 32 hexadecimal digits: the newest run of the trace.
    #[schemars(length(min = 32, max = 32))]
    pub trace_id: Option<String>,
    /// Form of the text: `markdown` (the default) or `json`.
    pub format: Option<ReportFormat>,
}

/// The form of a report's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    #[default]
    Markdown,
    Json,
}

impl RunReportArguments {
    /// # Errors
    /// [`RequestError::Invalid`] unless exactly one id is given, and it is one.
    pub fn key(&self) -> Result<ReportKey, RequestError> {
        match (&self.run_id, &self.trace_id) {
            (Some(id), None) => ReportKey::run(id),
            (None, Some(id)) => ReportKey::trace(id),
            (None, None) => Err(RequestError::Invalid("neither `run_id` nor `trace_id` is given; allowed: one of them".into())),
            (Some(_), Some(_)) => Err(RequestError::Invalid("both `run_id` and `trace_id` are given; allowed: one of them".into())),
        }
    }
}

impl ReportKey {
    /// The key of an id that may be either: 32 hexadecimal digits are a trace's.
    ///
    /// # Errors
    /// As [`ReportKey::run`].
    pub fn of(id: &str) -> Result<ReportKey, RequestError> {
        ReportKey::trace(id).or_else(|_| ReportKey::run(id))
    }

    /// # Errors
    /// [`RequestError::Invalid`] for what can be no run's id.
    pub fn run(id: &str) -> Result<ReportKey, RequestError> {
        let fit =
            (1..=RUN_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if fit {
            Ok(ReportKey::Run(id.to_owned()))
        } else {
            Err(invalid("run_id", &shown(id), &format!("1 to {RUN_ID_CHARS_MAX} letters, digits, `-` and `_`")))
        }
    }

    /// # Errors
    /// [`RequestError::Invalid`] for what is no trace id.
    pub fn trace(id: &str) -> Result<ReportKey, RequestError> {
        if id.len() == TRACE_ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(ReportKey::Trace(id.to_ascii_lowercase()))
        } else {
            Err(invalid("trace_id", &shown(id), &format!("{TRACE_ID_DIGITS} hexadecimal digits")))
        }
    }
}

fn shown(id: &str) -> String {
    match id.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", &id[..end]),
        None => format!("`{id}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let trace = "0AF7651916cd43dd8448eb211c80319c";
        assert_eq!(ReportKey::of(trace), Ok(ReportKey::Trace(trace.to_ascii_lowercase())));
        for run in ["019aa5f2-7b1c-7000-8000-000000000000", "my_run-7", &trace[1..]] {
            assert_eq!(ReportKey::of(run), Ok(ReportKey::Run(run.into())));
        }
    }

    #[test]
    fn what_is_no_id_is_refused_and_named() {
        for bad in ["", "../secret", "a/b", "a.jsonl", "a b", "ü", &"x".repeat(129)] {
            let error = ReportKey::of(bad).unwrap_err().to_string();
            assert!(error.starts_with("`run_id` is `") && error.contains("allowed: 1 to 128"), "{error}");
        }
        let error = ReportKey::trace(&"g".repeat(200)).unwrap_err().to_string();
        assert!(error.contains("ggg…`; allowed: 32 hexadecimal digits") && error.len() < 200, "{error}");
    }

    #[test]
    fn exactly_one_id_is_given() {
        let arguments = |run: Option<&str>, trace: Option<&str>| {
            RunReportArguments { run_id: run.map(str::to_owned), trace_id: trace.map(str::to_owned), format: None }.key()
        };
        assert_eq!(arguments(Some("a"), None), Ok(ReportKey::Run("a".into())));
        for (run, trace) in [(None, None), (Some("a"), Some("b"))] {
            assert!(arguments(run, trace).unwrap_err().to_string().contains("allowed: one of them"));
        }
    }
}
