//! MCP clients: the protocol's SDK, and bare messages where headers matter.

use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use rmcp::model::{CallToolRequestParams, CallToolResult, ReadResourceRequestParams, ReadResourceResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ServiceError, ServiceExt as _};
use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use super::server::Server;

/// The SDK's client, connected.
pub struct Client {
    inner: RunningService<RoleClient, ()>,
}

impl Client {
    pub async fn connect(server: &Server) -> Client {
        let transport = StreamableHttpClientTransport::from_uri(server.mcp());
        Client { inner: ().serve(transport).await.expect("the server takes a client") }
    }

    pub async fn tools(&self) -> Vec<String> {
        let tools = self.inner.list_all_tools().await.expect("a list of tools");
        tools.into_iter().map(|tool| tool.name.into_owned()).collect()
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: Json) -> Result<CallToolResult, ServiceError> {
        let mut call = CallToolRequestParams::new(tool.to_owned());
        call.arguments = arguments.as_object().cloned();
        self.inner.call_tool(call).await
    }

    /// URI templates of resources that can be read, and how many resources are listed.
    pub async fn resources(&self) -> (Vec<String>, usize) {
        let templates = self.inner.list_all_resource_templates().await.expect("a list of templates");
        let listed = self.inner.list_all_resources().await.expect("a list of resources");
        (templates.into_iter().map(|template| template.uri_template.clone()).collect(), listed.len())
    }

    pub async fn read(&self, uri: &str) -> Result<ReadResourceResult, ServiceError> {
        self.inner.read_resource(ReadResourceRequestParams::new(uri)).await
    }

    /// `semantic_search_pro`, which has to answer.
    pub async fn search(&self, arguments: Json) -> AnswerEnvelope {
        let result = self.call("semantic_search_pro", arguments.clone()).await.unwrap_or_else(|error| panic!("{arguments}: {error}"));
        assert_ne!(result.is_error, Some(true), "{arguments}: {:?}", result.content);
        serde_json::from_value(result.structured_content.expect("structured content")).expect("an envelope")
    }

    /// A call that has to be refused as a tool error; its words.
    pub async fn refused(&self, tool: &str, arguments: Json) -> String {
        let result = self.call(tool, arguments.clone()).await.unwrap_or_else(|error| panic!("{arguments}: {error}"));
        assert_eq!(result.is_error, Some(true), "{arguments} was answered: {:?}", result.structured_content);
        result.content.iter().filter_map(|content| content.as_text().map(|text| text.text.clone())).collect()
    }
}

/// The answer to a bare message.
#[derive(Debug)]
pub struct Raw {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Json,
}

/// A call as a bare message of protocol version 2026-07-28, with further headers and
/// further members of `_meta`.
pub async fn raw_call(server: &Server, tool: &str, arguments: Json, headers: &[(&str, &str)], meta: Json) -> Raw {
    answered(raw_request(server, tool, arguments, headers, meta)).await
}

/// The same before it is sent.
pub fn raw_request(server: &Server, tool: &str, arguments: Json, headers: &[(&str, &str)], meta: Json) -> RequestBuilder {
    raw_request_by(&reqwest::Client::new(), server, tool, arguments, headers, meta)
}

/// The same by a client that keeps its connections.
pub fn raw_request_by(
    client: &reqwest::Client,
    server: &Server,
    tool: &str,
    arguments: Json,
    headers: &[(&str, &str)],
    meta: Json,
) -> RequestBuilder {
    let mut all = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (key, value) in meta.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    let params = json!({"name": tool, "arguments": arguments, "_meta": all});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let mut own = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)];
    own.extend(headers);
    request(client, server, body, &own)
}

/// Any bytes, posted to the endpoint.
pub async fn post(server: &Server, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> Raw {
    answered(request(&reqwest::Client::new(), server, body, headers)).await
}

fn request(client: &reqwest::Client, server: &Server, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> RequestBuilder {
    let mut request = client
        .post(server.mcp())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

pub async fn answered(request: RequestBuilder) -> Raw {
    let response = request.send().await.expect("a response");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    Raw { status, headers, body: serde_json::from_str(&text).unwrap_or(Json::String(text)) }
}

impl Raw {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().expect("visible characters")
    }

    /// The envelope of a search.
    pub fn envelope(&self) -> AnswerEnvelope {
        let result = &self.body["result"];
        assert_ne!(result["isError"], true, "{}", self.body);
        serde_json::from_value(result["structuredContent"].clone()).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}
