//! A client of our own endpoint, for the command line: the protocol's own SDK, over
//! HTTP, like any other agent's.

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;

use crate::envelope::AnswerEnvelope;
use crate::request::SearchProArguments;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no MCP server answered at {url}: {error}")]
    Connect { url: String, error: String },
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not one of Spanloom's: {0}")]
    Foreign(String),
}

/// Calls `semantic_search_pro` at an endpoint such as `http://127.0.0.1:8000/mcp`.
///
/// # Errors
/// [`ClientError`]; a refused argument comes with the server's own words.
pub async fn search(url: &str, arguments: &SearchProArguments) -> Result<AnswerEnvelope, ClientError> {
    let connect = |error: String| ClientError::Connect { url: url.into(), error };
    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = ().serve(transport).await.map_err(|error| connect(error.to_string()))?;
    let mut call = CallToolRequestParams::new("semantic_search_pro");
    let mut object = serde_json::to_value(arguments).map_err(|error| ClientError::Foreign(error.to_string()))?;
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        call.arguments = Some(std::mem::take(object));
    }
    let outcome = client.call_tool(call).await;
    // The answer is there; how the session ends is no matter to the caller.
    let _ = client.cancel().await;
    let result = outcome.map_err(|error| ClientError::Refused(error.to_string()))?;
    if result.is_error == Some(true) {
        let words: Vec<String> = result.content.iter().filter_map(|content| content.as_text().map(|text| text.text.clone())).collect();
        return Err(ClientError::Refused(words.join("\n")));
    }
    let structured = result.structured_content.ok_or_else(|| ClientError::Foreign("it has no structured content".into()))?;
    serde_json::from_value(structured).map_err(|error| ClientError::Foreign(error.to_string()))
}
