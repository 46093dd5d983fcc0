//! Run reports as resources: `run://{run_id}/report`.
//!
//! They are not listed: a report is for whoever was handed the id of its run.

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, ResourceContents, ResourceTemplate};
use serde_json::json;

use super::fit;
use crate::reports::{ReportFormat, ReportKey, Reported};
use crate::request::RequestError;

const SCHEME: &str = "run://";
const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown";

/// A resource that can be read.
pub(super) struct ReportResource {
    pub key: ReportKey,
    /// As it was asked for, without the ending.
    base: String,
    /// `report.json` is JSON alone.
    json_only: bool,
}

/// What `resources/templates/list` gives.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |ending: &str, name: &str, title: &str, mime: &str| {
        ResourceTemplate::new(format!("{SCHEME}{{run_id}}/report{ending}"), name)
            .with_title(title)
            .with_description("What a run did, how long it took and why it stopped; `run_id` is in every answer, a trace id does as well.")
            .with_mime_type(mime)
    };
    vec![template("", "run_report", "Run report", MARKDOWN), template(".json", "run_report_json", "Run report as JSON", JSON)]
}

impl ReportResource {
    /// # Errors
    /// The protocol's "resource not found" for anything but the URI of a report.
    pub fn parse(uri: &str) -> Result<ReportResource, ErrorData> {
        let unknown = |why: String| not_found(uri, &why);
        let base = uri.strip_suffix(".json").unwrap_or(uri);
        let id = base.strip_prefix(SCHEME).and_then(|rest| rest.strip_suffix("/report")).ok_or_else(|| {
            unknown("this is no resource of this server; there are run://{run_id}/report and run://{run_id}/report.json".into())
        })?;
        let key = ReportKey::of(id).map_err(|error| unknown(error.to_string()))?;
        Ok(ReportResource { key, base: base.to_owned(), json_only: base.len() < uri.len() })
    }

    /// The report, as Markdown and as JSON.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn contents(&self, reported: &Reported) -> Result<ReadResourceResult, ErrorData> {
        let failed = |error: RequestError| ErrorData::internal_error(error.to_string(), None);
        let (json, _) = fit::report(reported, ReportFormat::Json).map_err(failed)?;
        let json = ResourceContents::text(json, format!("{}.json", self.base)).with_mime_type(JSON);
        if self.json_only {
            return Ok(ReadResourceResult::new(vec![json]));
        }
        let (markdown, _) = fit::report(reported, ReportFormat::Markdown).map_err(failed)?;
        let markdown = ResourceContents::text(markdown, self.base.clone()).with_mime_type(MARKDOWN);
        Ok(ReadResourceResult::new(vec![markdown, json]))
    }
}

/// What the protocol has for a run that can't be found; anything else is the server's fault.
pub(super) fn failure(uri: &str, error: &RequestError) -> ErrorData {
    match error {
        RequestError::Invalid(_) | RequestError::NotFound(_) => not_found(uri, &error.to_string()),
        RequestError::Unavailable(_) | RequestError::Git { .. } => ErrorData::internal_error(error.to_string(), None),
    }
}

fn not_found(uri: &str, why: &str) -> ErrorData {
    let uri: String = uri.chars().take(super::server::TOOL_NAME_CHARS_MAX).collect();
    ErrorData::resource_not_found(format!("resource `{uri}`: {why}"), Some(json!({ "uri": uri })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_reports_are_read_and_others_refused() {
        let check = |uri: &str, expect: Option<(&str, bool)>| {
            let found = ReportResource::parse(uri).ok().map(|found| (found.key, found.json_only));
            assert_eq!(found, expect.map(|(id, json)| (ReportKey::of(id).unwrap(), json)), "{uri}");
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        check("run://019aa5f2-7b1c/report", Some(("019aa5f2-7b1c", false)));
        check("run://019aa5f2-7b1c/report.json", Some(("019aa5f2-7b1c", true)));
        check(&format!("run://{trace}/report"), Some((trace, false)));
        for uri in
            ["run://a", "run://a/", "run://a/report.md", "run://a/b/report", "run:///report", "run://../report", "file:///a/report", ""]
        {
            check(uri, None);
        }
        assert_eq!(ReportResource::parse("run://a b/report").err().unwrap().code, rmcp::model::ErrorCode::RESOURCE_NOT_FOUND);
    }
}
